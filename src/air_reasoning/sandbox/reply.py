"""What a session sent back, checked field by field: it may have been written by the cell itself."""

from typing import Any, cast

from PIL import Image

from air_reasoning.sandbox.child.frames import Frame, FrameError
from air_reasoning.sandbox.child.pictures import MODES
from air_reasoning.sandbox.raw_images import from_raw, reference
from air_reasoning.sandbox.settings import SandboxConfig
from air_reasoning.types import Execution

# The longest that the notice in place of cut text and one cut character can add.
NOTICE_CHARS = 100
# A character above U+FFFF is two escapes of six bytes in JSON.
JSON_BYTES_PER_BYTE = 6


def reply_limits(config: SandboxConfig) -> tuple[int, int]:
    """Bytes that a reply may have in its header and in its blobs."""
    texts = 5  # stdout, stderr, value, message, traceback
    header = 4096 + texts * JSON_BYTES_PER_BYTE * (config.output_chars + NOTICE_CHARS)
    return header, config.max_images * config.max_image_pixels * max(MODES.values())


def read_reply(
    frame: Frame, cell: int, config: SandboxConfig
) -> tuple[Execution, list[Image.Image]]:
    """The result of cell number ``cell`` and the pixels of its images.

    ``wall_ms`` and ``tier`` are left open: a session is not asked about them.

    Raises:
        FrameError: a field is missing, of the wrong type or beyond its limit, the answer is to
            another cell, or an image has not as many bytes as its size says.
    """
    header = frame.header
    if header.get("cell") != cell:
        raise FrameError(f"answers cell {header.get('cell')!r}, not {cell}")
    cpu_ms = header.get("cpu_ms")
    if not isinstance(cpu_ms, float) or not 0 <= cpu_ms < 1e12:
        raise FrameError(f"cpu_ms is {cpu_ms!r}")
    images = from_raw(header.get("images"), frame.blobs, config.max_images, config.max_image_pixels)
    error = _error(header.get("error"), config)
    value = header.get("value")
    return Execution(
        status="ok" if error is None else "error",
        stdout=_text(header.get("stdout"), config),
        stderr=_text(header.get("stderr"), config),
        value=None if value is None else _text(value, config),
        error=error,
        images=[reference(image) for image in images],
        cpu_ms=cpu_ms,
    ), images


def _text(value: object, config: SandboxConfig) -> str:
    if not isinstance(value, str) or len(value) > config.output_chars + NOTICE_CHARS:
        raise FrameError("a text is missing or too long")
    # Lone surrogates cannot be written to any file; they become \udc80 and the like.
    return value.encode("utf-8", "backslashreplace").decode()


def _error(value: object, config: SandboxConfig) -> dict[str, str] | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise FrameError("error is not an object")
    fields = cast(dict[str, Any], value)
    if fields.keys() != {"type", "message", "traceback"}:
        raise FrameError("error has other fields than type, message and traceback")
    return {key: _text(text, config) for key, text in fields.items()}
