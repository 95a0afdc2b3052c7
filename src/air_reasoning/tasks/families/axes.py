"""Axes with round ticks, titles and legends, drawn onto a sheet."""

import math
import random
from dataclasses import dataclass

from air_reasoning.tasks.canvas import Color, Point
from air_reasoning.tasks.families.sheet import BOLD, Sheet, draw_theme


@dataclass(kw_only=True, slots=True, frozen=True)
class Axis:
    """A linear scale: ``low`` and ``high`` are at pixels ``start`` and ``end``; ticks are round."""

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...]

    def at(self, value: float) -> float:
        """The pixel of a value."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def round_ticks(low: float, high: float, most: int = 6) -> tuple[float, ...]:
    """Multiples of 1, 2, 2.5 or 5 times a power of ten that cover the range.

    >>> round_ticks(0, 87)
    (0, 20, 40, 60, 80, 100)
    """
    rough = (high - low) / (most - 1) or 1.0
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return tuple(round(i * step, 10) for i in range(first, last + 1))


def axis(low: float, high: float, start: float, end: float, most: int = 6) -> Axis:
    """An axis whose ends are ticks."""
    ticks = round_ticks(low, high, most)
    return Axis(low=ticks[0], high=ticks[-1], start=start, end=end, ticks=ticks)


def tick_text(value: float) -> str:
    """A tick as it is printed."""
    return f"{value:,.0f}" if abs(value) >= 10000 else f"{value:g}"


@dataclass(kw_only=True, slots=True)
class Frame:
    """The part of a sheet that data are drawn in, in pixels."""

    sheet: Sheet
    left: float
    top: float
    right: float
    bottom: float


def new_sheet(
    rng: random.Random, side: int, shapes: tuple[float, ...] = (0.75, 0.67, 0.9)
) -> Sheet:
    """A sheet of the wanted longer side; height over width is one of ``shapes``."""
    return Sheet(side, round(side * rng.choice(shapes)), draw_theme(rng))


def titled_frame(
    sheet: Sheet, title: str, *, left: float, bottom: float = 0, right: float = 0
) -> Frame:
    """Title on top, margins around; ``left``, ``bottom`` and ``right`` are what labels need."""
    size = sheet.print
    fitting = size * 1.15
    font = BOLD[sheet.theme.font] if sheet.theme.boxed else sheet.theme.font
    while sheet.width_of(title, fitting, font) > sheet.width - 6 and fitting > 7:
        fitting -= 1
    sheet.text(sheet.width / 2, size * 0.5, title, "mt", size=fitting, bold=sheet.theme.boxed)
    frame = Frame(
        sheet=sheet, left=left, top=size * 2.4, right=sheet.width - max(right, size * 0.8),
        bottom=sheet.height - max(bottom, size * 0.8),
    )  # fmt: skip
    if sheet.theme.plot != sheet.theme.paper:
        sheet.rectangle(frame.left, frame.top, frame.right, frame.bottom, sheet.theme.plot)
    return frame


def draw_value_axis(frame: Frame, scale: Axis, label: str = "") -> None:
    """Ticks, grid lines and the line of a vertical axis on the left."""
    sheet = frame.sheet
    for tick in scale.ticks:
        y = scale.at(tick)
        if sheet.theme.gridded:
            sheet.line([(frame.left, y), (frame.right, y)], sheet.theme.grid)
        else:
            sheet.line([(frame.left - 3, y), (frame.left, y)], sheet.theme.ink)
        sheet.text(frame.left - 4, y, tick_text(tick), "rm")
    if label:
        middle = (frame.top + frame.bottom) / 2
        sheet.text(sheet.print * 0.8, middle, label, "mm", angle=90)
    _spines(frame)


def draw_flat_axis(frame: Frame, scale: Axis, label: str = "") -> None:
    """Ticks, grid lines and label of a horizontal axis below."""
    sheet = frame.sheet
    for tick in scale.ticks:
        x = scale.at(tick)
        if sheet.theme.gridded:
            sheet.line([(x, frame.top), (x, frame.bottom)], sheet.theme.grid)
        else:
            sheet.line([(x, frame.bottom), (x, frame.bottom + 3)], sheet.theme.ink)
        sheet.text(x, frame.bottom + 4, tick_text(tick), "mt")
    if label:
        middle = (frame.left + frame.right) / 2
        sheet.text(middle, sheet.height - 3, label, "mb")
    _spines(frame)


def _spines(frame: Frame) -> None:
    sheet, ink = frame.sheet, frame.sheet.theme.ink
    corners: list[Point] = [
        (frame.left, frame.top),
        (frame.left, frame.bottom),
        (frame.right, frame.bottom),
    ]
    if sheet.theme.boxed:
        corners += [(frame.right, frame.top), (frame.left, frame.top)]
    sheet.line(corners, ink, 1)


def tick_room(sheet: Sheet, scale: tuple[float, ...], label: str = "") -> float:
    """How much a vertical axis needs on its left."""
    widest = max(sheet.width_of(tick_text(tick)) for tick in scale)
    return widest + 8 + (sheet.print * 1.5 if label else 0)


def label_layout(sheet: Sheet, labels: tuple[str, ...], slot: float) -> tuple[bool, float]:
    """Whether labels below must be turned to fit their slots, and how much room they take."""
    widest = max(sheet.width_of(label) for label in labels)
    if widest <= slot - 3:
        return False, sheet.print + 8
    return True, widest * 0.71 + sheet.print * 0.8 + 8


def draw_label(sheet: Sheet, x: float, y: float, text: str, turned: bool) -> None:
    """A label below the axis, upright or at 45 degrees with its end at the tick."""
    if not turned:
        sheet.text(x, y + 4, text, "mt")
        return
    reach = sheet.width_of(text) * 0.71 / 2
    sheet.text(x - reach + sheet.print * 0.2, y + reach + sheet.print * 0.5, text, angle=45)


def draw_legend(
    sheet: Sheet, x: float, y: float, names: list[str], colors: list[Color], *, across: float = 0
) -> None:
    """Swatches with names, downwards from (x, y), or in one row where ``across`` is a width."""
    size = sheet.print
    if across:
        needed = sum(sheet.width_of(name) + size * 2.1 for name in names)
        x += max(0.0, (across - needed) / 2)
    for name, color in zip(names, colors, strict=True):
        sheet.rectangle(x, y - size * 0.35, x + size * 0.8, y + size * 0.45, color)
        sheet.text(x + size * 1.1, y, name, "lm")
        if across:
            x += sheet.width_of(name) + size * 2.1
        else:
            y += size * 1.4
