"""Settings of the samplers; loads no torch."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from air_reasoning.config import Config


class LocalSamplerConfig(Config):
    """How the batch is run. None of it changes what is sampled, but for ``max_context``."""

    max_rows: int = Field(default=512, ge=1)
    """Trajectories in the batch at once; further ones wait."""
    max_context: int | None = Field(default=None, ge=2)
    """Longest sequence in tokens; None: what the model was made for."""
    prefill_tokens: int = Field(default=8192, ge=1)
    """Tokens, padding included, in one pass over new prompts (at least one prompt)."""
    force_limit: int = Field(default=24, ge=1)
    """Tool results of up to so many tokens are forced into the running batch."""
    wait_for_tools_ms: float = Field(default=2000.0, ge=0)
    """A step waits for trajectories with a tool until none has come back for so long (ms)."""


class EndpointConfig(Config):
    """A model behind HTTP. Keys come from the environment only, and are never written anywhere."""

    url: str = ""
    """Base address with its version, as in http://localhost:8000/v1; empty: no endpoint. For api
    vllm several addresses, separated by commas."""
    model: str = ""
    """Name of the model there; empty: the only one that the server lists."""
    api: Literal["openai", "vllm"] = "openai"
    """openai: chat completions of any server, text only; vllm: token ids and log-probabilities."""
    key_env: str = "OPENAI_API_KEY"
    """Environment variable that holds the key; unset or empty there: none is sent."""
    processor: str = ""
    """For api vllm: folder or hub id of the checkpoint that the server runs."""
    tool_results: Literal["auto", "continue", "user"] = "auto"
    """For api openai: whether a result goes on inside the model's turn or comes as a user turn;
    auto: the first where the server can (vLLM, SGLang), pictures always as a user turn."""
    require_processed_logprobs: bool = False
    """For api vllm: refuse a server whose log-probabilities are not of the distribution sampled
    from; training needs it."""
    max_connections: int = Field(default=256, ge=1)
    """Requests under way at the same time, over all addresses."""
    timeout_s: float = Field(default=600.0, gt=0)
    """Seconds without a byte from the server after which a request counts as lost."""
    retries: int = Field(default=6, ge=0)
    """Further tries after 429, 5xx or a lost connection, each after twice the wait."""
    retry_wait_s: float = Field(default=0.5, gt=0)
    """Seconds before the first further try; what the server asks for (Retry-After) comes first."""
    cache: Path | None = None
    """Folder of answers by request: the same request is not paid for twice; None: no cache."""
    omit: tuple[str, ...] = ()
    """Fields of the request that this server refuses, as in temperature, seed, stop."""
    extra: dict[str, Any] = Field(default_factory=dict)
    """Further fields of every request, as the server names them."""
    input_price: float = Field(default=0.0, ge=0)
    """US dollars for a million prompt tokens."""
    cached_price: float | None = Field(default=None, ge=0)
    """US dollars for a million prompt tokens that were cached; None: as input_price."""
    output_price: float = Field(default=0.0, ge=0)
    """US dollars for a million tokens written."""


UNMOVING = (
    *("url", "key_env", "max_connections", "timeout_s", "retries", "retry_wait_s", "cache"),
    *("input_price", "cached_price", "output_price"),
)
"""Settings of an endpoint that change no result."""
