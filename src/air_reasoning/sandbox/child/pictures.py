"""Pictures into and out of a session, as raw pixels; Pillow only if a cell makes use of it.

On the wire a picture is ``[mode, width, height]`` and ``width * height * MODES[mode]`` raw bytes:
the trusted side must never decode a file format that a cell wrote.
"""

import struct
import sys
import types
import zlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

MODES = {"L": 1, "RGB": 3, "RGBA": 4}  # bytes per pixel
_PNG_COLOUR = {"L": 0, "RGB": 2, "RGBA": 6}


class RawPicture(NamedTuple):
    """8 bits a channel, rows top to bottom, no padding."""

    mode: str
    width: int
    height: int
    pixels: bytes


def png_file(picture: RawPicture) -> bytes:
    """A PNG without compression: written at every session start, so speed is what counts."""
    stride = picture.width * MODES[picture.mode]
    rows = b"".join(
        b"\0" + picture.pixels[start : start + stride]
        for start in range(0, stride * picture.height, stride)
    )
    size = struct.pack(
        ">IIBBBBB", picture.width, picture.height, 8, _PNG_COLOUR[picture.mode], 0, 0, 0
    )
    chunks = [(b"IHDR", size), (b"IDAT", zlib.compress(rows, 0)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def pillow_image(picture: RawPicture) -> Any:
    """The picture as a ``PIL.Image.Image``; imports Pillow."""
    from PIL import Image

    return Image.frombytes(picture.mode, (picture.width, picture.height), picture.pixels)


class Gallery:
    """The pictures that the running cell has given back."""

    def __init__(self, max_images: int, max_pixels: int, warn: Callable[[str], None]) -> None:
        """At most ``max_images`` a cell with ``max_pixels`` (width x height) each; more is told."""
        self._max_images = max_images
        self._max_pixels = max_pixels
        self._warn = warn
        self._figures: list[object] = []  # kept, so that no other takes the identity of one
        self.pictures: list[RawPicture] = []

    def take(self) -> list[RawPicture]:
        """The pictures so far; starts again from none."""
        pictures, self.pictures = self.pictures, []
        self._figures.clear()
        return pictures

    def add(self, value: object) -> bool:
        """Add ``value`` if it is a Pillow image or a matplotlib figure; False if it is neither."""
        if _is_a(value, "PIL.Image", "Image"):
            self._add(value, value.size, _pillow_pixels)  # type: ignore[attr-defined]
        elif _is_a(value, "matplotlib.figure", "Figure"):
            if not any(value is figure for figure in self._figures):
                self._figures.append(value)  # shown by name and still open in pyplot
                self._add(value, _figure_size(value), _figure_pixels)
        else:
            return False
        return True

    def add_open_figures(self) -> None:
        """Add what pyplot holds open, then close it, as a notebook does after each cell."""
        pyplot = sys.modules.get("matplotlib.pyplot")
        if pyplot is None:
            return
        try:
            for number in pyplot.get_fignums():
                self.add(pyplot.figure(number))
        finally:
            pyplot.close("all")

    def _add(self, value: Any, size: Sequence[int], rasterise: Callable[[Any], RawPicture]) -> None:
        width, height = size
        if width * height > self._max_pixels or width * height == 0:
            allowed = f"1 to {self._max_pixels} pixels allowed"
            self._warn(f"[image of {width}x{height} not returned: {allowed}]\n")
        elif len(self.pictures) >= self._max_images:
            self._warn(f"[image not returned: at most {self._max_images} a cell]\n")
        else:
            self.pictures.append(rasterise(value))


def replace_image_viewer(display: Callable[[object], None]) -> None:
    """Make ``image.show()`` give the picture back instead of looking for a desktop program."""
    viewer = types.ModuleType("PIL.ImageShow")
    viewer.show = lambda image, title=None, **options: display(image)  # type: ignore[attr-defined]
    sys.modules["PIL.ImageShow"] = viewer


def _is_a(value: object, module: str, name: str) -> bool:
    """Whether ``value`` is an instance of a class of a module that may not even be imported."""
    kind = getattr(sys.modules.get(module), name, None)
    return isinstance(kind, type) and isinstance(value, kind)


def _pillow_pixels(image: Any) -> RawPicture:
    if image.mode not in MODES:
        layered = image.mode in ("LA", "PA", "La", "RGBa") or "transparency" in image.info
        grey = image.mode == "1" or image.mode.startswith(("I", "F"))
        image = image.convert("RGBA" if layered else "L" if grey else "RGB")
    return RawPicture(image.mode, image.width, image.height, image.tobytes())


def _figure_size(figure: Any) -> tuple[int, int]:
    width, height = figure.get_size_inches() * figure.dpi
    return int(width), int(height)


def _figure_pixels(figure: Any) -> RawPicture:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    layer = Image.frombuffer("RGBA", canvas.get_width_height(), bytes(canvas.buffer_rgba()))
    white = Image.new("RGBA", layer.size, "white")
    return _pillow_pixels(Image.alpha_composite(white, layer).convert("RGB"))
