"""A drawing surface for small pictures: Pillow, shapes smoothed by half, text crisp on top.

matplotlib takes 20 ms for a chart; this takes about one. Coordinates are pixels of the finished
picture, y downwards. Shapes are drawn at twice the size and averaged; text is hinted at its own
size and always lies above the shapes.
"""

import functools
import math
import random
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

from PIL import Image, ImageDraw, ImageFont

from air_reasoning.tasks.canvas import CYCLE, Color, Point, font_folder

SCALE = 2
Anchor = Literal["lm", "mm", "rm", "mt", "mb", "lt", "rt", "lb", "rb"]
SANS = "DejaVuSans.ttf"
BOLD = {
    SANS: "DejaVuSans-Bold.ttf",
    "DejaVuSerif.ttf": "DejaVuSerif-Bold.ttf",
    "STIXGeneral.ttf": "STIXGeneralBol.ttf",
    "DejaVuSansMono.ttf": "DejaVuSansMono-Bold.ttf",
}
MUTED: tuple[Color, ...] = (
    (76, 114, 176), (221, 132, 82), (85, 168, 104), (196, 78, 82), (129, 114, 179),
    (147, 120, 96), (218, 139, 195), (140, 140, 140), (204, 185, 116), (100, 181, 205),
)  # fmt: skip
BRIGHT: tuple[Color, ...] = (
    (0, 114, 178), (230, 159, 0), (0, 158, 115), (204, 121, 167), (86, 180, 233),
    (213, 94, 0), (148, 130, 20), (90, 90, 90),
)  # fmt: skip


@dataclass(kw_only=True, slots=True, frozen=True)
class Theme:
    """How a picture looks: colours of paper, plot, ink, grid and data; the font; which lines."""

    paper: Color
    plot: Color
    ink: Color
    grid: Color
    palette: tuple[Color, ...]
    font: str
    boxed: bool
    gridded: bool


@functools.cache
def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    """Without kerning, which takes a tenth of the time of a picture."""
    layout = ImageFont.Layout.BASIC
    return ImageFont.truetype(str(font_folder() / name), size, layout_engine=layout)


def draw_theme(rng: random.Random) -> Theme:
    """One of the looks that plotting libraries have, with a palette and a font."""
    papers: tuple[tuple[Color, Color, Color, Color], ...] = (
        ((255, 255, 255), (255, 255, 255), (30, 30, 30), (221, 221, 221)),
        ((255, 255, 255), (234, 234, 242), (38, 38, 38), (255, 255, 255)),
        ((250, 247, 240), (250, 247, 240), (60, 50, 40), (226, 218, 203)),
        ((28, 31, 38), (38, 42, 51), (226, 228, 232), (66, 72, 84)),
        ((255, 255, 255), (247, 249, 252), (20, 40, 80), (214, 222, 235)),
    )
    paper, plot, ink, grid = rng.choices(papers, (4, 2, 1, 1, 2))[0]
    palette = list(rng.choice((CYCLE, MUTED, BRIGHT)))
    turn = rng.randrange(len(palette))
    return Theme(
        paper=paper, plot=plot, ink=ink, grid=grid, palette=tuple(palette[turn:] + palette[:turn]),
        font=rng.choices(list(BOLD), (5, 2, 2, 1))[0], boxed=rng.random() < 0.4,
        gridded=rng.random() < 0.7,
    )  # fmt: skip


@dataclass(kw_only=True, slots=True, frozen=True)
class _Text:
    x: float
    y: float
    text: str
    size: int
    color: Color
    anchor: Anchor
    font: str
    angle: float


@dataclass(slots=True)
class Sheet:
    """``Sheet(320, 240, theme)``; ``print`` is the ordinary size of text in pixels."""

    width: int
    height: int
    theme: Theme
    print: int = 0
    _texts: list[_Text] = field(default_factory=list[_Text])
    _large: Image.Image = field(init=False)
    _pen: ImageDraw.ImageDraw = field(init=False)

    def __post_init__(self) -> None:
        self.print = self.print or max(9, round(max(self.width, self.height) / 29))
        size = (self.width * SCALE, self.height * SCALE)
        self._large = Image.new("RGB", size, self.theme.paper)
        self._pen = ImageDraw.Draw(self._large)

    def rectangle(
        self, x0: float, y0: float, x1: float, y1: float, fill: Color | None,
        outline: Color | None = None, width: float = 1,
    ) -> None:  # fmt: skip
        """Between two corners; neither filled nor outlined where the colour is None."""
        left, top = min(x0, x1), min(y0, y1)
        box = (left, top, max(left, max(x0, x1) - 0.5), max(top, max(y0, y1) - 0.5))
        self._pen.rectangle(_scaled(box), fill, outline, round(width * SCALE))

    def line(self, points: list[Point], color: Color, width: float = 1, dash: float = 0) -> None:
        """An open line; ``dash`` is the length of strokes and gaps, 0 for none."""
        thick = max(1, round(width * SCALE))
        if not dash:
            flat = [value * SCALE for point in points for value in point]
            self._pen.line(flat, color, thick, joint="curve" if len(points) > 2 else None)
            return
        for (x0, y0), (x1, y1) in pairwise(points):
            strokes = max(1, int(math.hypot(x1 - x0, y1 - y0) / dash))
            for i in range(0, strokes, 2):
                a, b = i / strokes, min(1.0, (i + 1) / strokes)
                ends = (
                    x0 + a * (x1 - x0),
                    y0 + a * (y1 - y0),
                    x0 + b * (x1 - x0),
                    y0 + b * (y1 - y0),
                )
                self._pen.line(_scaled(ends), color, thick)

    def polygon(
        self,
        points: list[Point],
        fill: Color | None,
        outline: Color | None = None,
        width: float = 1,
    ) -> None:
        """A closed polygon."""
        flat = [value * SCALE for point in points for value in point]
        if fill is not None:
            self._pen.polygon(flat, fill)
        if outline is not None:
            self.line([*points, points[0], points[1]], outline, width)

    def circle(
        self, x: float, y: float, r: float, fill: Color | None, outline: Color | None = None,
        width: float = 1,
    ) -> None:  # fmt: skip
        """A circle of radius ``r`` around (x, y)."""
        box = _scaled((x - r, y - r, x + r, y + r))
        self._pen.ellipse(box, fill, outline, round(width * SCALE))

    def slice(
        self, x: float, y: float, r: float, start: float, end: float, fill: Color | None,
        outline: Color | None = None,
    ) -> None:  # fmt: skip
        """A sector between two angles in degrees, clockwise from the right."""
        box = _scaled((x - r, y - r, x + r, y + r))
        self._pen.pieslice(box, start, end, fill, outline, SCALE)

    def arc(
        self, x: float, y: float, r: float, start: float, end: float, color: Color, width: float = 1
    ) -> None:
        """Part of a circle, angles as in ``slice``."""
        box = _scaled((x - r, y - r, x + r, y + r))
        self._pen.arc(box, start, end, color, round(width * SCALE))

    def text(
        self, x: float, y: float, text: str, anchor: Anchor = "lm", *, size: float = 0,
        color: Color | None = None, bold: bool = False, angle: float = 0, font: str = "",
    ) -> None:  # fmt: skip
        """Text with its anchor at (x, y); ``angle`` in degrees, counterclockwise."""
        name = font or self.theme.font
        self._texts.append(
            _Text(
                x=x, y=y, text=text, size=round(size or self.print), color=color or self.theme.ink,
                anchor=anchor, font=BOLD.get(name, name) if bold else name, angle=angle,
            )
        )  # fmt: skip

    def width_of(self, text: str, size: float = 0, font: str = "") -> float:
        """How wide ``text`` is, in pixels."""
        return _font(font or self.theme.font, round(size or self.print)).getlength(text)

    def image(self) -> Image.Image:
        """The finished picture, RGB."""
        image = self._large.reduce(SCALE)
        pen = ImageDraw.Draw(image)
        for text in self._texts:
            font = _font(text.font, text.size)
            if text.angle:
                _turned(image, text, font)
            else:
                pen.text((text.x, text.y), text.text, text.color, font, _PIL[text.anchor])
        return image


_PIL = {
    a: a[0] + {"t": "a", "m": "m", "b": "d"}[a[1]]
    for a in ("lm", "mm", "rm", "mt", "mb", "lt", "rt", "lb", "rb")
}


def _turned(image: Image.Image, text: _Text, font: ImageFont.FreeTypeFont) -> None:
    left, top, right, bottom = font.getbbox(text.text)
    stencil = Image.new("L", (int(right - left) + 4, int(bottom - top) + 4))
    ImageDraw.Draw(stencil).text((2 - left, 2 - top), text.text, 255, font)
    stencil = stencil.rotate(text.angle, Image.Resampling.BICUBIC, expand=True)
    place = (round(text.x - stencil.width / 2), round(text.y - stencil.height / 2))
    image.paste(text.color, place, stencil)


def _scaled(values: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(value * SCALE for value in values)
