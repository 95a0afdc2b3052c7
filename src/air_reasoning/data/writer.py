"""A model that writes for the data commands: teacher, rewriter or judge.

    async with open_writer("thought", config, ledger, budget) as writer:
        reply = await writer.ask("thought/t7/0", text, task)      # from the ledger, if it is there

Behind it is a chat-completions endpoint, a local checkpoint, or a file of replies.
"""

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

from pydantic import Field

from air_reasoning.chat_renderer import ChatRenderer
from air_reasoning.config import Config
from air_reasoning.data.budget import Budget, bound, price, prompt_tokens
from air_reasoning.data.ledger import Ledger, Reply
from air_reasoning.engine import EngineConfig, load_for
from air_reasoning.errors import ConfigError, DataError, SamplerError
from air_reasoning.identity import content_identity, model_identity
from air_reasoning.images import load_ref
from air_reasoning.json_io import read_json
from air_reasoning.renderer import Renderer
from air_reasoning.rollout_setup import derived_seed
from air_reasoning.samplers.base import Completion, Message, Sampler, SampleRequest, SamplingParams
from air_reasoning.samplers.http import Refused
from air_reasoning.samplers.openai import OpenAISampler
from air_reasoning.samplers.settings import UNMOVING, EndpointConfig
from air_reasoning.turn_format import AIR
from air_reasoning.types import Part, Task

REFUSED_REQUESTS = (400, 413, 415, 422, 451)
"""Statuses that say something of the one request; 401 and the like say it of all."""
USELESS = (401, 402, 403, 404, 405)


class RequestRefused(SamplerError):
    """The endpoint will not answer this one request, now or later."""


class WriterConfig(Config):
    """Which model writes, how it is sampled, and what it may cost.

    One of ``endpoint.url``, ``model`` and ``script`` must be set.
    """

    endpoint: EndpointConfig = EndpointConfig(max_connections=32)
    """A chat-completions endpoint; its prices make the cost estimate and the cap work."""
    model: Path | None = None
    """Folder of a local checkpoint instead."""
    script: Path | None = None
    """JSON file of replies by request instead: {"thought/TASK/0": "...", "thought/TASK": "..."}."""
    temperature: float = Field(default=0.7, ge=0)
    """Sampling temperature."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Probability mass that sampling keeps."""
    max_tokens: int = Field(default=4096, ge=1)
    """Longest reply in tokens, hidden reasoning included."""
    expected_tokens: int = Field(default=700, ge=1)
    """Tokens of a usual reply: for the estimate before anything is measured."""
    max_pixels: int | None = Field(default=None, ge=1)
    """Larger pictures (width x height) are shrunk before they are sent; None: sent as they are."""
    tries: int = Field(default=3, ge=1)
    """Times that a request is sent when its answer breaks off; each may be billed. Refused
    connections, 429 and 5xx are tried again by endpoint.retries and are not billed."""
    give_up_after: int = Field(default=20, ge=1)
    """Requests lost one after the other before the command stops: the service is down."""

    def prints(self, role: str) -> dict[str, Any]:
        """What of it changes a result, for the fingerprint. Raises ConfigError: no model named."""
        given = [bool(self.endpoint.url), self.model is not None, self.script is not None]
        if sum(given) != 1:
            raise ConfigError(
                f"{role}: set exactly one of {role}.endpoint.url, {role}.model, {role}.script"
            )
        sampling = {f"{role}.{n}": getattr(self, n) for n in _SAMPLING}
        if self.script is not None:
            return sampling | {f"{role}.script": content_identity([read_json(self.script)])}
        if self.model is not None:
            return sampling | {f"{role}.model": model_identity(self.model)}
        endpoint = self.endpoint.model_dump(mode="json", exclude=set(UNMOVING))
        return sampling | {f"{role}.endpoint": endpoint}


_SAMPLING = ("temperature", "top_p", "max_tokens", "max_pixels")


class Writer:
    """Asks one model; every response goes through the ledger before it is used."""

    def __init__(
        self,
        config: WriterConfig,
        sampler: Sampler,
        renderer: Renderer | ChatRenderer,
        ledger: Ledger,
        budget: Budget,
        seed: int = 0,
    ) -> None:
        """Use ``open_writer``."""
        self.config = config
        self.sampler = sampler
        self._renderer = renderer
        self._ledger = ledger
        self._budget = budget
        self._seed = seed
        self._lost_in_a_row = 0
        self._prints = config.prints("model")

    @property
    def counts(self) -> Counter[str]:
        """Of the connection: requests, retries, rate limits, lost connections."""
        return self.sampler.counts if isinstance(self.sampler, OpenAISampler) else Counter()

    def bound(self, text: str, task: Task | None) -> float:
        """US dollars that a request may cost at most: reserve them with ``Budget.room``."""
        tokens = prompt_tokens(text, task.images if task else [], self.config.max_pixels)
        return bound(self.config.endpoint, tokens, self.config.max_tokens)

    async def ask(self, key: str, text: str, task: Task | None) -> Reply:
        """The response to ``text`` with the pictures of ``task`` before it.

        Raises:
            RequestRefused: the endpoint refuses this request and has answered others.
            SamplerError: no response after all tries; worth asking again later.
            BudgetReached: the run was interrupted.
            ServiceDown: nothing was answered for ``give_up_after`` requests, or the key is refused.
        """
        request = self._identity(text, task)
        if (known := self._ledger.find(key, request)) is not None:
            return known
        error = SamplerError("not asked")
        for _ in range(self.config.tries):
            await self._budget.turn()
            self._ledger.asked(key, request, self.bound(text, task))
            try:
                reply = self._reply(await self._sample(key, text, task))
                self._ledger.paid(key, request, reply)
            except SamplerError as lost:
                self._ledger.lost(key, request, str(lost))
                error = self._judged(lost)
                continue
            self._lost_in_a_row = 0
            return reply
        raise error

    def _identity(self, text: str, task: Task | None) -> str:
        pictures = [ref.sha256 for ref in task.images] if task is not None else []
        return content_identity([self._prints, self._seed, text, pictures])

    def _judged(self, error: SamplerError) -> SamplerError:
        """What a failed request means for the next try. Raises where there is no next try."""
        self._lost_in_a_row += 1
        if isinstance(error, Refused):
            if error.status in USELESS:
                raise ServiceDown(str(error)) from None
            if error.status in REFUSED_REQUESTS:
                if self._ledger.counts["replies"] == 0:
                    raise ServiceDown(f"the first request was refused: {error}") from None
                self._lost_in_a_row = 0
                raise RequestRefused(str(error)) from None
        if self._lost_in_a_row >= self.config.give_up_after:
            raise ServiceDown(f"{self._lost_in_a_row} requests lost in a row; the last: {error}")
        return error

    async def _sample(self, key: str, text: str, task: Task | None) -> Completion:
        images = [load_ref(ref) for ref in task.images] if task is not None else []
        parts = [Part(kind="image", image=n) for n in range(len(images))]
        messages = [Message(role="user", parts=[*parts, Part(kind="text", text=text)])]
        request = SampleRequest(
            trajectory_id=key,
            group_id="",
            token_ids=self._renderer.message_ids(messages, images),
            images=images,
            params=SamplingParams(
                temperature=self.config.temperature,
                top_p=self.config.top_p,
                max_tokens=self.config.max_tokens,
                stop_ids=self._renderer.eos_ids,
                seed=derived_seed(self._seed, key),
            ),
            messages=messages,
        )
        self.sampler.open(key)
        try:
            return await self.sampler.sample(request)
        finally:
            self.sampler.release(key)

    def _reply(self, completion: Completion) -> Reply:
        sent, cached = completion.prompt_tokens, completion.cached_tokens
        cost = price(self.config.endpoint, sent, completion.written, cached)
        return Reply(
            text=completion.text,
            finish=completion.finish_reason,
            prompt_tokens=sent,
            cached_tokens=cached,
            written=completion.written,
            cost=0.0 if completion.free else cost,
            free=completion.free,
        )


class ServiceDown(SamplerError):
    """Going on would only lose more; what was paid is kept and the same command goes on."""

    resumable = True


class ScriptSampler:
    """Replies from a mapping by request, for tests and examples; no token ids.

    ``script`` is looked up by ``role/task/number``, then ``role/task``, then ``role``; a missing
    reply is a SamplerError.
    """

    def __init__(self, script: Mapping[str, str]) -> None:
        self._script = script

    async def sample(self, request: SampleRequest) -> Completion:
        """The reply to the request of this id."""
        role, _, rest = request.trajectory_id.partition("/")
        task, _, _ = rest.rpartition("/")
        for name in (request.trajectory_id, f"{role}/{task}", role):
            if name in self._script:
                text = self._script[name]
                tokens = max(1, len(text) // 4)
                return Completion(
                    token_ids=[], logprobs=[], text=text, finish_reason="stop", tokens=tokens
                )
        raise SamplerError(f"the script has no reply to {request.trajectory_id}")

    def open(self, trajectory_id: str) -> None:
        """Nothing to gather."""

    def release(self, trajectory_id: str) -> None:
        """Nothing to forget."""

    async def load_weights(self, weights: Any, version: int) -> None:
        """A script has no weights."""

    async def close(self) -> None:
        """Nothing to free."""


@asynccontextmanager
async def open_writer(
    config: WriterConfig,
    ledger: Ledger,
    budget: Budget,
    *,
    engine: EngineConfig | None = None,
    seed: int = 0,
) -> AsyncIterator[Writer]:
    """Open the model that ``config`` names; an endpoint is asked what it serves, which is free.

    Raises:
        ConfigError: none or several named, or an endpoint of token ids. SamplerError: the endpoint
            is not there. DataError: no such checkpoint or script.
    """
    config.prints("model")
    renderer: Renderer | ChatRenderer = ChatRenderer(AIR)
    sampler: Sampler
    if config.script is not None:
        sampler = ScriptSampler(read_script(config.script))
    elif config.model is not None:
        from air_reasoning.samplers.local import LocalSampler

        engine = engine or EngineConfig()
        loaded = load_for(engine, config.model)
        sampler = LocalSampler(loaded, engine.sampler)
        renderer = Renderer(loaded, AIR)
    else:
        if config.endpoint.api != "openai":
            raise ConfigError("endpoint.api: a writer is asked in text; use api openai")
        sampler = OpenAISampler(config.endpoint, AIR, config.max_pixels)
    try:
        if isinstance(sampler, OpenAISampler):
            await sampler.connect()
        yield Writer(config, sampler, renderer, ledger, budget, seed)
    finally:
        await sampler.close()


def read_script(path: Path) -> dict[str, str]:
    """Raises DataError: no such file, or not an object of texts."""
    data: Any = read_json(path)
    if not isinstance(data, dict) or not all(isinstance(v, str) for v in data.values()):
        raise DataError(f"{path}: expected an object of replies by role/task/number")
    return cast(dict[str, str], data)
