"""The sampler contract: token ids in, token ids and log-probabilities out.

Token ids come from the engine and are never made again from text.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from PIL import Image

from air_reasoning.types import Part

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(kw_only=True, slots=True)
class Message:
    """One turn of a conversation. ``Part.image`` counts in the pictures of the request.

    ``tool`` is what the sandbox gave back, output tags included; an ``assistant`` message that is
    the last one is unfinished: the engine goes on with it.
    """

    role: Role
    parts: list[Part]


@dataclass(kw_only=True, slots=True, frozen=True)
class SamplingParams:
    """How one turn is sampled; ``temperature`` 0 is greedy.

    ``stop_ids`` end a turn and are part of it; ``banned_ids`` cannot be sampled. ``stop_texts`` end
    a turn once its text holds one of them, for models whose tags are several tokens (the last token
    may go on behind it); ``banned_texts`` cannot be spelled, whatever tokens would do it.
    ``seed`` makes the trajectory's random numbers its own, whatever else is in the batch.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 256
    stop_ids: tuple[int, ...] = ()
    stop_texts: tuple[str, ...] = ()
    banned_ids: tuple[int, ...] = ()
    banned_texts: tuple[str, ...] = ()
    seed: int = 0


@dataclass(kw_only=True, slots=True)
class SampleRequest:
    """The whole sequence so far. A ``trajectory_id`` that was seen before continues its KV cache.

    Members of a group (the same non-empty ``group_id``) with the same ids have the same pictures.
    ``messages`` is the same sequence as a conversation, for engines that take no ids (then
    ``token_ids`` is empty). Engines that can stream call ``on_token`` with each token as it is
    sampled, or ``on_text`` if they give no ids.
    """

    trajectory_id: str
    group_id: str
    token_ids: list[int]
    images: list[Image.Image] = field(default_factory=list[Image.Image])
    params: SamplingParams = field(default_factory=SamplingParams)
    messages: list[Message] = field(default_factory=list[Message])
    on_token: Callable[[int], None] | None = None
    on_text: Callable[[str], None] | None = None


@dataclass(kw_only=True, slots=True)
class Completion:
    """``logprobs``: of the distribution sampled from (after temperature and bans), one a token.

    ``temperatures``, one a token, are filled in by the roll-out where a turn has more than one.
    An engine that gives no token ids leaves the lists empty - such a turn cannot be trained on -
    and says in ``tokens`` how many it wrote. ``prompt_tokens`` were sent, ``cached_tokens`` of them
    were not computed again, where the engine tells. ``free``: it came from a cache of ours.
    """

    token_ids: list[int]
    logprobs: list[float]
    text: str
    finish_reason: Literal["stop", "length", "context"]
    policy_version: int = 0
    tokens: int | None = None
    prompt_tokens: int = 0
    cached_tokens: int = 0
    temperatures: list[float] = field(default_factory=list[float])
    free: bool = False

    @property
    def written(self) -> int:
        """Tokens that the model wrote."""
        return len(self.token_ids) if self.tokens is None else self.tokens


class Sampler(Protocol):
    """One contract, several engines."""

    async def sample(self, request: SampleRequest) -> Completion:
        """Sample until a stop, ``max_tokens`` or the end of the context. Raises SamplerError."""
        ...

    def open(self, trajectory_id: str) -> None:
        """Announce a trajectory, so that the engine can gather a whole batch before it starts."""
        ...

    def release(self, trajectory_id: str) -> None:
        """Forget its cache; called in ``finally``, harmless when repeated."""
        ...

    async def load_weights(self, weights: Any, version: int) -> None:
        """Sample from new weights from now on; refused while trajectories are open."""
        ...

    async def close(self) -> None:
        """Free the engine."""
        ...
