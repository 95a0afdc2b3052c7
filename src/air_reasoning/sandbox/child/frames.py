"""Frames of the sandbox's socket: a length, a JSON header, then raw blobs. Never pickle.

    4 bytes big-endian n | n bytes of JSON {"blobs": [3, 5], ...} | 3 bytes | 5 bytes

Both sides use this file; only the standard library is imported, because the sandboxed side loads it
by path. What arrives is untrusted: every size is checked before the bytes are waited for.
"""

import json
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

PREFIX = struct.Struct(">I")


class FrameError(ValueError):
    """The other side broke the format or a limit; nothing more is read from it."""


class Frame(NamedTuple):
    """One message. ``header`` is whatever JSON object was sent, without the blob lengths."""

    header: dict[str, Any]
    blobs: list[bytes]


def pack(header: dict[str, Any], blobs: Sequence[bytes] = ()) -> bytes:
    """The bytes of one frame."""
    text = json.dumps({**header, "blobs": [len(blob) for blob in blobs]}).encode()
    return b"".join([PREFIX.pack(len(text)), text, *blobs])


class FrameReader:
    """Puts one frame together from the pieces in which it arrives.

    The two sides take turns, so bytes behind a frame are an error, not the next frame.

        reader = FrameReader(max_header=100, max_blob_bytes=10)
        reader.feed(first_half)     # None
        reader.feed(second_half)    # Frame(header={...}, blobs=[])
    """

    def __init__(self, max_header: int, max_blob_bytes: int) -> None:
        """Limits in bytes; ``max_blob_bytes`` is the sum over the blobs of one frame."""
        self._max_header = max_header
        self._max_blob_bytes = max_blob_bytes
        self._buffer = bytearray()
        self._header: dict[str, Any] | None = None
        self._sizes: list[int] = []
        self._need = PREFIX.size

    def feed(self, data: bytes) -> Frame | None:
        """Add what was read; the frame once it is whole.

        Raises:
            FrameError: a limit is passed, the header is no JSON object with blob lengths, or there
                are bytes behind the frame.
        """
        self._buffer += data
        if self._header is None:
            self._read_header()
        if self._header is None or len(self._buffer) < self._need:
            return None
        if len(self._buffer) > self._need:
            raise FrameError(f"{len(self._buffer) - self._need} bytes behind the frame")
        return self._take(self._header)

    def _read_header(self) -> None:
        if len(self._buffer) < PREFIX.size:
            return
        (length,) = PREFIX.unpack_from(self._buffer)
        if length > self._max_header:
            raise FrameError(f"header of {length} bytes, at most {self._max_header} allowed")
        end = PREFIX.size + length
        if len(self._buffer) < end:
            return
        self._header, self._sizes = _parse_header(bytes(self._buffer[PREFIX.size : end]))
        if sum(self._sizes) > self._max_blob_bytes:
            raise FrameError(f"{sum(self._sizes)} bytes, at most {self._max_blob_bytes} allowed")
        del self._buffer[:end]
        self._need = sum(self._sizes)

    def _take(self, header: dict[str, Any]) -> Frame:
        blobs: list[bytes] = []
        start = 0
        for size in self._sizes:
            blobs.append(bytes(self._buffer[start : start + size]))
            start += size
        self._buffer.clear()
        self._header, self._sizes, self._need = None, [], PREFIX.size
        return Frame(header, blobs)


def _parse_header(text: bytes) -> tuple[dict[str, Any], list[int]]:
    try:
        header: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FrameError(f"header is not JSON: {error}") from None
    if not isinstance(header, dict):
        raise FrameError("header is not a JSON object")
    fields = cast(dict[str, Any], header)
    sizes = fields.pop("blobs", None)
    if not isinstance(sizes, list):
        raise FrameError("header has no list of blob lengths")
    for size in cast(list[Any], sizes):
        if type(size) is not int or size < 0:
            raise FrameError(f"blob length {size!r} is not a count of bytes")
    return fields, cast(list[int], sizes)
