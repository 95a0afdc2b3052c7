"""One row of any format: a task, its pictures as the row holds them, a solution if there is one."""

import base64
import binascii
import re
from dataclasses import dataclass, field
from typing import Any, cast

from air_reasoning.answer_values import parse_number
from air_reasoning.errors import DataError
from air_reasoning.json_io import parse_json
from air_reasoning.types import Answer, AnswerType, Part, Segment

Row = dict[str, Any]
Picture = str | bytes
"""A path (relative to the file, or absolute), or the bytes of a picture file."""
PLACEHOLDER = "<image>"
CARRIED = "air"
"""The column in which we keep, as JSON, what a format has no field for; others ignore it."""


class RowError(DataError):
    """A row that cannot be taken over. ``reason`` is one of ``REASONS``; the row is counted."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


REASONS = {
    "no_question": "no question in the row",
    "no_answer": "no gold answer, and none that can be read off the solution",
    "placeholders": "the number of <image> placeholders is not the number of pictures",
    "missing_image": "a picture file is not there",
    "broken_image": "a picture cannot be decoded",
    "remote_image": "a picture is an address; nothing is fetched, so download it first",
    "several_turns": "the user speaks again after the answer: one question a task",
    "layout": "a field has another type than the format says",
}


@dataclass(kw_only=True, slots=True)
class Record:
    """``solution`` is None for a question alone. ``unread`` are columns that were not understood.

    ``output_pictures`` belong to outputs, in order; ``carried`` is what our own column held.
    """

    prompt: list[Part]
    pictures: list[Picture]
    answer: Answer
    id: str = ""
    choices: list[str] = field(default_factory=list[str])
    source: str = ""
    license: str = ""
    meta: dict[str, Any] = field(default_factory=dict[str, Any])
    solution: list[Segment] | None = None
    output_pictures: list[Picture] = field(default_factory=list[Picture])
    unread: list[str] = field(default_factory=list[str])
    carried: dict[str, Any] = field(default_factory=dict[str, Any])


def prompt_parts(text: str, pictures: int) -> list[Part]:
    """Text with ``<image>`` placeholders as parts; without any, the pictures come first.

    >>> [p.kind for p in prompt_parts("Look: <image> What is it?", 1)]
    ['text', 'image', 'text']

    Raises:
        RowError: there are placeholders, but not one a picture, or there is no text.
    """
    pieces = text.split(PLACEHOLDER)
    if not any(piece.strip() for piece in pieces):
        raise RowError("no_question", repr(text[:80]))
    if len(pieces) == 1:
        shown = [Part(kind="image", image=index) for index in range(pictures)]
        return [*shown, Part(kind="text", text=text)]
    if len(pieces) - 1 != pictures:
        raise RowError("placeholders", f"{len(pieces) - 1} placeholders, {pictures} pictures")
    parts: list[Part] = []
    for index, piece in enumerate(pieces):
        if piece if index else piece.strip():
            parts.append(Part(kind="text", text=piece.removeprefix("\n") if index == 1 else piece))
        if index < pictures:
            parts.append(Part(kind="image", image=index))
    return parts


def marked_text(prompt: list[Part]) -> str:
    r"""The other way round: one text, each picture a placeholder on a line of its own.

    >>> marked_text([Part(kind="image"), Part(kind="text", text="How many?")])
    '<image>\nHow many?'
    """
    pieces: list[str] = []
    for part in prompt:
        if part.kind == "image":
            pieces.append(PLACEHOLDER)
            continue
        first = pieces == [PLACEHOLDER]
        pieces.append("\n" + part.text if first else part.text)
    return "".join(pieces)


_BOXED = re.compile(r"^\$*\\boxed\{(.*)\}\$*$", re.DOTALL)
_LETTER = re.compile(r"^\(?([A-H])\)?\.?$")
_DECIMAL = re.compile(r"^[-+]?\d+\.\d+$")
_LATEX = re.compile(r"[\\^=]")


def guessed_answer(value: Any) -> Answer:
    r"""A gold answer without a type: int, float, choice, expr or text by how it looks.

    >>> guessed_answer("\\boxed{12.5}")
    Answer(value='12.5', type='float', precision=None, unit='', tolerance=None, rule='')

    Raises:
        RowError: there is none.
    """
    if isinstance(value, list) and len(cast(list[Any], value)) == 1:
        value = value[0]
    if value is None or isinstance(value, dict | list):
        raise RowError("no_answer", f"found {value!r}"[:100])
    text = str(value).strip()
    if boxed := _BOXED.match(text):
        text = boxed[1].strip()
    if not text:
        raise RowError("no_answer", "it is empty")
    return Answer(value=text, type=_kind(text))


def _kind(text: str) -> AnswerType:
    if text.lstrip("+-").isdigit():
        return "int"
    if _DECIMAL.match(text):
        return "float"
    if _LETTER.match(text):
        return "choice"
    if _LATEX.search(text) and len(text) < 400:
        return "expr"
    return "float" if len(text) < 40 and parse_number(text) is not None else "text"


def as_text(value: Any, name: str) -> str:
    """Raises RowError unless it is a text."""
    if not isinstance(value, str):
        raise RowError("layout", f"{name}: expected a text, found {value!r}"[:120])
    return value


def pictures_of(value: Any) -> list[Picture]:
    """Paths, bytes, ``{"bytes", "path"}``, or one of them alone.

    Raises:
        RowError: something else, or an address.
    """
    if value is None or value == "":
        return []
    items = cast(list[Any], value) if isinstance(value, list) else [value]
    return [_picture(item) for item in items]


_LONGEST_PATH = 4096
"""A longer text is no path but a picture in base64, as some parquet files hold them."""


def _picture(item: Any) -> Picture:
    if isinstance(item, dict):
        fields = cast(dict[str, Any], item)
        item = fields.get("bytes") or fields.get("path") or fields.get("image") or fields.get("url")
    if isinstance(item, bytes):
        return item
    if isinstance(item, str):
        if item.startswith(("http://", "https://")):
            raise RowError("remote_image", item[:100])
        if item.startswith("data:image/"):
            return _decoded(item.partition(",")[2])
        if len(item) > _LONGEST_PATH:
            return _decoded(item)
        return item.removeprefix("file://")
    raise RowError("layout", f"a picture is neither path nor bytes: {item!r}"[:120])


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise RowError("broken_image", f"not base64: {error}") from None


def carried(row: Row) -> dict[str, Any]:
    """What our own column of the row holds."""
    text = row.get(CARRIED)
    if not isinstance(text, str) or not text:
        return {}
    data = parse_json(text.encode(), f"column {CARRIED}")
    return cast(dict[str, Any], data) if isinstance(data, dict) else {}
