"""What travels between a sandbox server and its clients.

Bodies are the frames of ``child/frames.py`` (media type ``application/x-air-frame``), which carry
pictures as raw pixels. A plain JSON object is taken, too, and answered with JSON without pixels, so
that ``curl`` will do:

    POST /sessions              {"seed": 1, "keep_s": 600, "images": []}  ->  {"id", "tier", ...}
    POST /sessions/ID/run       {"code": "1 + 1", "timeout_s": 10}        ->  {"execution": {...}}
    POST /keep                  {"ids": [...]}                            ->  {"unknown": [...]}
    DELETE /sessions/ID
    GET /health   GET /metrics
"""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from PIL import Image

from air_reasoning.errors import DataError
from air_reasoning.json_io import from_json, to_json
from air_reasoning.sandbox.child.frames import Frame, FrameError, FrameReader, pack
from air_reasoning.sandbox.raw_images import from_raw, reference, to_raw
from air_reasoning.types import Execution

FRAME = "application/x-air-frame"
JSON = "application/json"
MIB = 1 << 20
MAX_SMALL = MIB  # an opening or a heartbeat without pictures
MAX_PICTURES = 256 * MIB
MAX_REPLY = 64 * MIB


class BodyReader:
    """Puts a body together and gives up as soon as it is too large."""

    def __init__(self, media_type: str, max_header: int, max_blobs: int = 0) -> None:
        """Limits in bytes; JSON has only the first. Raises FrameError for another media type."""
        self._kind = media_type.partition(";")[0].strip()
        if self._kind not in (FRAME, JSON):
            raise FrameError(f"expected a body of type {FRAME} or {JSON}, not {self._kind!r}")
        self._frames = FrameReader(max_header, max_blobs)
        self._frame: Frame | None = None
        self._json = bytearray()
        self._max = max_header

    def feed(self, data: bytes) -> None:
        """Add what was read. Raises FrameError: too large, or no frame."""
        if self._kind == JSON:
            self._json += data
            if len(self._json) > self._max:
                raise FrameError(f"more than {self._max} bytes of JSON")
        elif data and self._frame is not None:
            raise FrameError("bytes behind the frame")
        elif data:
            self._frame = self._frames.feed(data)

    def frame(self) -> Frame:
        """The whole. Raises FrameError: it broke off, or is no JSON object."""
        if self._kind == JSON:
            try:
                header: Any = orjson.loads(self._json or b"{}")
            except orjson.JSONDecodeError as error:
                raise FrameError(f"the body is no JSON: {error}") from None
            if not isinstance(header, dict):
                raise FrameError("the body is no JSON object")
            return Frame(header, [])
        if self._frame is None:
            raise FrameError("the body broke off")
        return self._frame


def pack_execution(execution: Execution, pixels: Mapping[str, Image.Image]) -> bytes:
    """A result with the pixels of its pictures."""
    shapes, blobs = to_raw([pixels[ref.sha256] for ref in execution.images])
    return pack({"execution": to_json(execution), "images": shapes}, blobs)


def read_execution(frame: Frame, where: str) -> tuple[Execution, list[Image.Image]]:
    """The result and its pictures; references are made again from the pixels.

    Raises:
        FrameError: it is none.
    """
    try:
        execution = from_json(Execution, frame.header.get("execution"), where=where)
    except DataError as error:
        raise FrameError(str(error)) from None
    images = from_raw(frame.header.get("images"), frame.blobs, len(frame.blobs), MAX_PICTURES)
    execution.images = [reference(image) for image in images]
    return execution, images


def pack_opening(images: Sequence[Image.Image], seed: int, keep_s: float) -> bytes:
    """What a session begins with."""
    shapes, blobs = to_raw(images)
    return pack({"seed": seed, "keep_s": keep_s, "images": shapes}, blobs)


def number(header: Mapping[str, Any], key: str, low: float, high: float, default: float) -> float:
    """A number of the header within bounds, both included. Raises FrameError."""
    value = header.get(key)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise FrameError(f"{key}: expected a number from {low:g} to {high:g}, not {value!r:.40}")
    return value
