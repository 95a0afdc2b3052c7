"""Pictures as raw pixels, ``[mode, width, height]`` and the bytes: how they travel everywhere here.

No picture format is ever decoded on a trusted side.
"""

from collections.abc import Sequence
from typing import Any, cast

from PIL import Image

from air_reasoning.images import as_rgb, image_hash
from air_reasoning.sandbox.child.frames import FrameError
from air_reasoning.sandbox.child.pictures import MODES
from air_reasoning.types import ImageRef


def to_raw(images: Sequence[Image.Image]) -> tuple[list[list[Any]], list[bytes]]:
    """Shapes and pixels; what is not L, RGB or RGBA becomes RGB."""
    ready = [image if image.mode in MODES else as_rgb(image) for image in images]
    shapes: list[list[Any]] = [[image.mode, image.width, image.height] for image in ready]
    return shapes, [image.tobytes() for image in ready]


def from_raw(
    shapes: object, blobs: Sequence[bytes], max_images: int, max_pixels: int
) -> list[Image.Image]:
    """The pictures again.

    Raises:
        FrameError: too many or too large ones, an unknown mode, or not as many bytes as the size
            says.
    """
    if not isinstance(shapes, list):
        raise FrameError("images is not a list")
    entries = cast(list[object], shapes)
    if len(entries) != len(blobs) or len(blobs) > max_images:
        raise FrameError(f"{len(entries)} images announced, {len(blobs)} sent")
    return [_image(shape, data, max_pixels) for shape, data in zip(entries, blobs, strict=True)]


def _image(shape: object, pixels: bytes, max_pixels: int) -> Image.Image:
    match shape:
        case [str(mode), int(width), int(height)] if mode in MODES:
            size = width * height * MODES[mode]
            allowed = 0 < width <= max_pixels and height > 0 and width * height <= max_pixels
            if allowed and len(pixels) == size:
                return Image.frombytes(mode, (width, height), pixels)
        case _:
            pass
    raise FrameError(f"image {shape!r:.80} with {len(pixels)} bytes")


def reference(image: Image.Image) -> ImageRef:
    """Its name by content; it has no path until somebody stores the pixels."""
    return ImageRef(sha256=image_hash(image), width=image.width, height=image.height, path="")
