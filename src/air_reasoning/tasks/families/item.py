"""What a family gives: a picture, a question, and the program whose output is the answer."""

import builtins
import random
import zlib
from dataclasses import dataclass, field
from typing import Any, Literal

from PIL import Image

from air_reasoning.tasks.questions import Difficulty
from air_reasoning.tasks.tables import Split
from air_reasoning.types import Answer, AnswerType

Operation = Literal["read", "compute", "crop", "rotate", "contrast", "measure"]


@dataclass(kw_only=True, slots=True, frozen=True)
class Wanted:
    """What to make: ``side`` is the longer side of an ordinary picture in pixels.

    ``model_side`` is the longer side that the model sees: small print is unreadable there.
    ``bokeh``: tables of bokeh-sampledata as well.
    """

    rng: random.Random
    split: Split
    difficulty: Difficulty
    side: int = 320
    model_side: int = 448
    bokeh: bool = False


@dataclass(kw_only=True, slots=True, frozen=True)
class Asked:
    """A question. ``program`` prints the answer from what the picture shows.

    ``digits`` is the rounding of a number (None: exact), ``tolerance`` the absolute difference
    allowed to what is read off a scale, ``operations`` what answering takes beside reading.
    """

    kind: str
    text: str
    program: str
    type: AnswerType
    digits: int | None = None
    tolerance: float | None = None
    unit: str = ""
    operations: tuple[Operation, ...] = ("read",)


@dataclass(kw_only=True, slots=True)
class Item:
    """``columns`` are the "table/column" shown; ``view`` is code that shows what is needed.

    ``truth`` holds more of the ground truth, as the place of small print.
    """

    image: Image.Image
    asked: Asked
    columns: list[str] = field(default_factory=list[str])
    view: str = ""
    truth: dict[str, Any] = field(default_factory=dict[str, Any])


def held_apart(wanted: Wanted, *key: object) -> bool:
    """Whether something that comes from no table (a time of day, say) is of the wanted split.

    A tenth of all keys is test, a tenth dev, by a checksum; the rest is train.
    """
    place = zlib.crc32(repr(key).encode()) % 10
    return wanted.split == {0: "test", 1: "dev"}.get(place, "train")


def printed(program: str) -> str:
    r"""What ``program`` prints, run here: it is our own; model-written code never comes here.

    >>> printed("print(2 + 3)")
    '5'
    """
    lines: list[str] = []
    space: dict[str, Any] = {"print": lambda *values: lines.append(" ".join(map(str, values)))}
    space["__builtins__"] = builtins
    exec(compile(program, "<task>", "exec"), space)
    return "\n".join(lines)


def answer_of(asked: Asked) -> Answer:
    """The gold answer: what the program prints, with how to compare it."""
    value = printed(asked.program)
    precision = asked.digits
    if asked.type == "float" and precision is None:
        precision = len(value.partition(".")[2])
    return Answer(
        value=value, type=asked.type, unit=asked.unit, tolerance=asked.tolerance,
        precision=precision if asked.type == "float" else None,
    )  # fmt: skip
