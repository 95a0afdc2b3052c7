"""Two drawing surfaces with one face: PIL and matplotlib, in pixel coordinates, y downwards.

Charts are written once (``charts.py``) and drawn by either. Every text that is put on the
surface is remembered as a ``Mark`` with the place of each character: the ground truth for reading.
"""

# ruff: noqa: D102 - the methods of the two surfaces are described by ``Canvas``

import functools
import random
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Color = tuple[int, int, int]
Point = tuple[float, float]
Anchor = Literal[
    "mm", "mb", "mt", "lm", "rm"
]  # horizontal left|middle|right, vertical top|middle|bottom

FONTS = (
    *("DejaVuSans.ttf",) * 3,
    "DejaVuSans-Bold.ttf",
    "DejaVuSans-Oblique.ttf",
    "DejaVuSerif.ttf",
    "DejaVuSansMono.ttf",
    "STIXGeneral.ttf",
    "STIXGeneralBol.ttf",
)


@dataclass(kw_only=True, slots=True, frozen=True)
class Mark:
    """A text on the picture: ``xs`` are the centres of its characters, ``y`` their middle."""

    text: str
    xs: tuple[float, ...]
    y: float


@functools.cache
def font_folder() -> Path:
    """Where matplotlib keeps the fonts that both surfaces use."""
    import matplotlib

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf"


@functools.cache
def pil_font(name: str, size: float) -> ImageFont.FreeTypeFont:
    """A font at a size in pixels."""
    return ImageFont.truetype(str(font_folder() / name), size)


class Canvas(Protocol):
    """What a chart needs from a surface; ``ink`` is the colour of text and axes."""

    size: int
    ink: Color
    font_size: float
    marks: list[Mark]

    def rectangle(
        self, x0: float, y0: float, x1: float, y1: float, fill: Color | None, outline: Color | None
    ) -> None:
        """An upright rectangle between two corners; None: not filled, no outline."""
        ...

    def polygon(self, points: list[Point], fill: Color | None, outline: Color | None) -> None:
        """A closed polygon."""
        ...

    def circle(
        self, x: float, y: float, r: float, fill: Color | None, outline: Color | None
    ) -> None:
        """A circle of radius ``r`` around (x, y)."""
        ...

    def line(self, points: list[Point], color: Color, width: float) -> None:
        """An open line through all points."""
        ...

    def width_of(self, text: str) -> float:
        """How wide ``text`` would be, in pixels."""
        ...

    def text(self, x: float, y: float, text: str, anchor: Anchor) -> Mark:
        """Write ``text`` with its anchor at (x, y), moved to stay on the picture."""
        ...

    def image(self) -> Image.Image:
        """What has been drawn."""
        ...


class _Lettering:
    """Placing text inside the picture, and remembering it: the same for both surfaces."""

    def __init__(self, size: int, font: str, font_size: float, ink: Color) -> None:
        self.size, self.font, self.font_size, self.ink = size, font, font_size, ink
        self.marks: list[Mark] = []

    def width_of(self, text: str) -> float:
        """How wide ``text`` would be, in pixels."""
        return pil_font(self.font, 20).getlength(text) * self.font_size / 20

    def _place(self, x: float, y: float, text: str, anchor: Anchor) -> tuple[float, float]:
        """Left edge and vertical middle, moved so that the whole text is on the picture."""
        width, height = self.width_of(text), self.font_size
        left = x - {"l": 0.0, "m": 0.5, "r": 1.0}[anchor[0]] * width
        middle = y + {"t": 0.5, "m": 0.0, "b": -0.5}[anchor[1]] * 0.8 * height
        left = min(max(left, 1.0), self.size - 1.0 - width)
        middle = min(max(middle, 0.45 * height), self.size - 0.45 * height)
        self._remember(text, left, middle)
        return left, middle

    def _remember(self, text: str, left: float, middle: float) -> None:
        edges = [left + self.width_of(text[:i]) for i in range(len(text) + 1)]
        centres = tuple((a + b) / 2 for a, b in pairwise(edges))
        self.marks.append(Mark(text=text, xs=centres, y=middle))


class PilCanvas(_Lettering):
    """Pillow: no antialiasing of shapes, hinted text."""

    def __init__(
        self, size: int, font: str, font_size: float, ink: Color, background: Color
    ) -> None:
        super().__init__(size, font, round(font_size), ink)
        self._image = Image.new("RGB", (size, size), background)
        self._draw = ImageDraw.Draw(self._image)

    def rectangle(
        self, x0: float, y0: float, x1: float, y1: float, fill: Color | None, outline: Color | None
    ) -> None:
        self._draw.rectangle((x0, min(y0, y1), x1, max(y0, y1)), fill=fill, outline=outline)

    def polygon(self, points: list[Point], fill: Color | None, outline: Color | None) -> None:
        self._draw.polygon(points, fill=fill, outline=outline)

    def circle(
        self, x: float, y: float, r: float, fill: Color | None, outline: Color | None
    ) -> None:
        self._draw.ellipse((x - r, y - r, x + r, y + r), fill=fill, outline=outline)

    def line(self, points: list[Point], color: Color, width: float) -> None:
        self._draw.line(points, fill=color, width=max(1, round(width)))

    def text(self, x: float, y: float, text: str, anchor: Anchor) -> Mark:
        left, middle = self._place(x, y, text, anchor)
        font = pil_font(self.font, self.font_size)
        self._draw.text((left, middle), text, font=font, fill=self.ink, anchor="lm")
        return self.marks[-1]

    def image(self) -> Image.Image:
        return self._image


@functools.cache
def _figure(size: int) -> Any:
    """One figure for all pictures: making a new one costs more than drawing it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(size / 100, size / 100), dpi=100)
    FigureCanvasAgg(figure)
    return figure


@functools.cache
def _font_properties(name: str, points: float) -> Any:
    from matplotlib.font_manager import FontProperties

    return FontProperties(fname=str(font_folder() / name), size=points)


def _unit(color: Color | None) -> Any:
    return "none" if color is None else tuple(c / 255 for c in color)


class MplCanvas(_Lettering):
    """matplotlib (Agg): antialiased shapes and sub-pixel text."""

    def __init__(
        self, size: int, font: str, font_size: float, ink: Color, background: Color
    ) -> None:
        super().__init__(size, font, round(font_size, 1), ink)
        figure = _figure(size)
        figure.clear()
        figure.patch.set_facecolor(_unit(background))
        self._axes = figure.add_axes((0, 0, 1, 1))
        self._axes.axis("off")
        self._axes.set_xlim(0, size)
        self._axes.set_ylim(size, 0)

    def rectangle(
        self, x0: float, y0: float, x1: float, y1: float, fill: Color | None, outline: Color | None
    ) -> None:
        corners = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
        self.polygon([(float(x), float(y)) for x, y in corners], fill, outline)

    def polygon(self, points: list[Point], fill: Color | None, outline: Color | None) -> None:
        from matplotlib.patches import Polygon

        self._axes.add_patch(Polygon(points, fc=_unit(fill), ec=_unit(outline), lw=0.7))

    def circle(
        self, x: float, y: float, r: float, fill: Color | None, outline: Color | None
    ) -> None:
        from matplotlib.patches import Circle

        self._axes.add_patch(Circle((x, y), r, fc=_unit(fill), ec=_unit(outline), lw=0.7))

    def line(self, points: list[Point], color: Color, width: float) -> None:
        xs, ys = zip(*points, strict=True)
        self._axes.plot(xs, ys, color=_unit(color), lw=width * 0.72)

    def text(self, x: float, y: float, text: str, anchor: Anchor) -> Mark:
        left, middle = self._place(x, y, text, anchor)
        properties = _font_properties(self.font, round(self.font_size * 0.72, 2))
        self._axes.text(
            left, middle, text, fontproperties=properties, color=_unit(self.ink),
            ha="left", va="center", parse_math=False,
        )  # fmt: skip
        return self.marks[-1]

    def image(self) -> Image.Image:
        canvas = _figure(self.size).canvas
        canvas.draw()
        return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())


def new_canvas(renderer: Literal["pil", "mpl"], rng: random.Random, size: int) -> Canvas:
    """A surface with a random font, size, ink and background."""
    ink: Color = (0, 0, 0) if rng.random() < 0.6 else _random_color(rng, 0, 110)
    paper: Color = (255, 255, 255) if rng.random() < 0.7 else _random_color(rng, 225, 255)
    font_size = rng.uniform(9, 13.4) * size / 128
    kind = PilCanvas if renderer == "pil" else MplCanvas
    return kind(size, rng.choice(FONTS), font_size, ink, paper)


def _random_color(rng: random.Random, low: int, high: int) -> Color:
    return rng.randint(low, high), rng.randint(low, high), rng.randint(low, high)


def fill_color(rng: random.Random) -> Color:
    """A colour for bars and areas: from matplotlib's own cycle, or any."""
    if rng.random() < 0.4:
        return rng.choice(CYCLE)
    return _random_color(rng, 60, 235)


def pale_color(rng: random.Random) -> Color:
    """A colour that text can stand on."""
    return _random_color(rng, 170, 250)


CYCLE: tuple[Color, ...] = (
    (31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40), (148, 103, 189),
    (140, 86, 75), (227, 119, 194), (127, 127, 127), (188, 189, 34), (23, 190, 207),
)  # fmt: skip
