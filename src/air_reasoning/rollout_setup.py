"""What a roll-out is given before its first token: settings, rendered prompt, sampling rules."""

import hashlib
from dataclasses import dataclass, replace
from typing import Literal

from PIL import Image
from pydantic import Field

from air_reasoning.config import Config
from air_reasoning.engine import Engine
from air_reasoning.images import load_ref
from air_reasoning.samplers.base import Message, SamplingParams
from air_reasoning.types import Segment, StopReason, Task


class RolloutConfig(Config):
    """How far a trajectory may go, and how it is sampled."""

    max_turns: int = Field(default=4, ge=1)
    """Model turns; a cell in the last one is not executed, nobody could read its result."""
    max_new_tokens: int = Field(default=256, ge=1)
    """Tokens that the model may write over all turns; tool results do not count."""
    temperature: float = Field(default=1.0, ge=0)
    """Sampling temperature; 0 is greedy."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Probability mass that sampling keeps."""
    output_chars: int = Field(default=2000, ge=16)
    """Characters of a tool result that the model sees; the middle is cut out."""
    cell_timeout_s: float | None = Field(default=None, gt=0)
    """Seconds of wall time for one cell; None: the sandbox's own limit."""


@dataclass(kw_only=True, slots=True, frozen=True)
class Event:
    """What just happened: some text (``delta``), a whole ``segment``, or the end (``stop``)."""

    kind: Literal["delta", "segment", "stop"]
    trajectory_id: str
    text: str = ""
    segment: Segment | None = None
    stop: StopReason | None = None


@dataclass(kw_only=True, slots=True)
class Prompt:
    """A task made ready once for all its roll-outs; ``shown`` in order of the placeholders.

    ``messages`` is what was rendered, where it is more than the task's one question.
    """

    ids: list[int]
    images: list[Image.Image]
    shown: list[Image.Image]
    messages: list[Message] | None = None


def prepare(task: Task, engine: Engine, images: list[Image.Image] | None = None) -> Prompt:
    """Render the prompt; ``images`` None: load the task's. Raises DataError for a broken task."""
    images = [load_ref(ref) for ref in task.images] if images is None else images
    return Prompt(
        ids=engine.renderer.prompt_ids(task, images),
        images=images,
        shown=engine.renderer.prompt_images(task, images),
    )


def sampling_params(
    engine: Engine, config: RolloutConfig, seed: int, code_banned: bool
) -> SamplingParams:
    """Stop where a turn ends or a cell closes; under a ban no cell can open, so none closes."""
    renderer = engine.renderer
    opening, closing = renderer.form.code
    opens, closes = renderer.single_id(opening), renderer.single_id(closing)
    params = SamplingParams(
        temperature=config.temperature,
        top_p=config.top_p,
        seed=seed,
        stop_ids=renderer.eos_ids,
    )
    if code_banned:
        banned = () if opens is None else (opens,)
        return replace(params, banned_ids=banned, banned_texts=(opening,))
    stop_ids = params.stop_ids if closes is None else (*params.stop_ids, closes)
    return replace(params, stop_ids=stop_ids, stop_texts=(closing,))


def derived_seed(*parts: object) -> int:
    """63 bits that depend on every part and on nothing else."""
    text = "\0".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) >> 1
