"""What a roll-out is given before its first token: settings, rendered prompt, sampling rules."""

import hashlib
from dataclasses import dataclass, replace
from typing import Literal

from PIL import Image
from pydantic import Field

from air_reasoning.config import Config
from air_reasoning.engine import Engine
from air_reasoning.errors import ConfigError
from air_reasoning.images import load_ref
from air_reasoning.samplers.base import Message, SamplingParams
from air_reasoning.turn_format import TurnFormat, parse_turn
from air_reasoning.types import Segment, StopReason, Task


class RolloutConfig(Config):
    """How far a trajectory may go, and how it is sampled."""

    max_turns: int = Field(default=4, ge=1)
    """Model turns; a cell in the last one is not executed, nobody could read its result."""
    max_new_tokens: int = Field(default=256, ge=1)
    """Tokens that the model may write over all turns; tool results do not count."""
    temperature: float = Field(default=1.0, ge=0)
    """Sampling temperature; 0 is greedy."""
    code_temperature: float | None = Field(default=None, ge=0)
    """Another temperature inside cells (Thyme: 0, so that programs are not garbled); None: the
    same. The turn is sampled in two requests then: up to the opening tag, and from it on."""
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
    """Stop where a turn ends or a cell closes; under a ban no cell can open, so none closes.

    Raises ConfigError where the engine cannot do what the settings ask for.
    """
    renderer = engine.renderer
    if config.code_temperature is not None and not renderer.eos_ids:
        raise ConfigError(
            "rollout.code_temperature: this engine gives no token ids, so the temperature cannot "
            "change within a turn; remove the setting, or use model.path or a vLLM engine"
        )
    opening, closing = renderer.form.code
    opens, closes = renderer.single_id(opening), renderer.single_id(closing)
    split = config.code_temperature is not None
    params = SamplingParams(
        temperature=config.temperature,
        top_p=config.top_p,
        seed=seed,
        stop_ids=renderer.eos_ids,
    )
    if code_banned:
        banned = () if opens is None else (opens,)
        return replace(params, banned_ids=banned, banned_texts=(opening,))
    tags = (opens, closes) if split else (closes,)
    stop_ids = (*params.stop_ids, *(tag for tag in tags if tag is not None))
    return replace(
        params, stop_ids=stop_ids, stop_texts=(opening, closing) if split else (closing,)
    )


def next_params(
    params: SamplingParams, config: RolloutConfig, written: str, form: TurnFormat
) -> SamplingParams:
    """The temperature for what follows ``written`` of a turn: that of text or that of cells."""
    if config.code_temperature is None:
        return params
    last = parse_turn(written, form)[-1:]
    inside = bool(last) and last[0].kind == "code" and not last[0].closed
    return replace(params, temperature=config.code_temperature) if inside else params


def derived_seed(*parts: object) -> int:
    """63 bits that depend on every part and on nothing else."""
    text = "\0".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) >> 1
