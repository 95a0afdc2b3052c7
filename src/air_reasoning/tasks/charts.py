"""The pictures: bar, horizontal bar and line charts, tables, geometry figures, handwritten digits.

Each function draws onto a ``Canvas`` and returns a ``Picture`` whose ``entries`` say what stands
where in reading order. A value is printed at its bar, point, cell or side, as in annotated charts.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from PIL import Image

from air_reasoning.tasks.canvas import Canvas, Mark, fill_color, new_canvas, pale_color
from air_reasoning.tasks.tables import Split, handwriting

Family = Literal["bar", "hbar", "line", "table", "geometry", "digits"]
RendererName = Literal["pil", "mpl"]
FAMILIES: tuple[Family, ...] = ("bar", "hbar", "line", "table", "geometry", "digits")
SIZE = 128


@dataclass(kw_only=True, slots=True, frozen=True)
class Entry:
    """One named value; ``name_mark`` is None where the name is implied (sides, digits)."""

    name: str
    value: str
    name_mark: Mark | None
    value_mark: Mark


@dataclass(kw_only=True, slots=True)
class Picture:
    """A drawn picture and all that it says. ``shape`` is rect, tri or circle for geometry."""

    image: Image.Image
    family: str
    renderer: str
    entries: list[Entry]
    marks: list[Mark]
    shape: str = ""
    source: str = ""


@dataclass(kw_only=True, slots=True)
class Content:
    """What to draw: names and values in order, the figure's shape, where the values come from."""

    names: list[str]
    values: list[str]
    shape: str = ""
    source: str = ""
    notes: list[str] = field(default_factory=list[str])


def draw(
    family: Family, renderer: RendererName, content: Content, rng: random.Random, split: Split
) -> Picture:
    """Draw ``content``; the look (font, size, colours, layout) comes from ``rng``."""
    if family == "digits":
        return draw_digits(content, rng, split)
    canvas = new_canvas(renderer, rng, SIZE)
    entries = _CHARTS[family](canvas, content, rng)
    return Picture(
        image=canvas.image(), family=family, renderer=renderer, entries=entries,
        marks=canvas.marks, shape=content.shape, source=content.source,
    )  # fmt: skip


def written(name: str, rng: random.Random) -> str:
    """How a name is printed: letters as they are, words in one of three cases."""
    if len(name) == 1:
        return name
    kind = rng.random()
    return (
        name if kind < 0.4 else name.capitalize() if kind < 0.85 else name.upper().replace("I", "i")
    )


def _shrink(canvas: Canvas, texts: list[str], room: float, smallest: float = 8.0) -> None:
    """Smaller print until the widest text fits the room (pixels)."""
    while canvas.font_size > smallest and max(canvas.width_of(t) for t in texts) > room:
        canvas.font_size -= 0.5 if canvas.font_size % 1 else 1


def _columns_layout(canvas: Canvas, count: int, rng: random.Random) -> tuple[float, float, float]:
    left = rng.uniform(2, 6)
    slot = (canvas.size - left - rng.uniform(2, 6)) / count
    base = canvas.size - canvas.font_size - rng.uniform(4, 8)
    return left, slot, base


def _axes(
    canvas: Canvas, left: float, right: float, base: float, top: float, rng: random.Random
) -> None:
    if rng.random() < 0.3:
        for step in range(1, 4):
            y = base - (base - top) * step / 4
            canvas.line([(left, y), (right, y)], (215, 215, 215), 1)
    if rng.random() < 0.85:
        canvas.line([(left, base), (right, base)], canvas.ink, 1)
    if rng.random() < 0.4:
        canvas.line([(left, top - 6), (left, base)], canvas.ink, 1)


def draw_bar(canvas: Canvas, content: Content, rng: random.Random) -> list[Entry]:
    """Vertical bars, value above, name below."""
    count = len(content.names)
    shown = [written(n, rng) for n in content.names]
    left, slot, _ = _columns_layout(canvas, count, rng)
    _shrink(canvas, [*shown, *content.values], slot - 2)
    base = canvas.size - canvas.font_size - rng.uniform(4, 8)
    top = canvas.font_size + rng.uniform(4, 14)
    highest = max(map(float, content.values)) * rng.uniform(1, 1.3)
    _axes(canvas, left, left + slot * count, base, top, rng)
    width, color, one_color = slot * rng.uniform(0.4, 0.85), fill_color(rng), rng.random() < 0.6
    outline = canvas.ink if rng.random() < 0.3 else None
    entries: list[Entry] = []
    for i, (name, value) in enumerate(zip(content.names, content.values, strict=True)):
        x, y = left + slot * (i + 0.5), base - (base - top) * float(value) / highest
        fill = color if one_color else fill_color(rng)
        canvas.rectangle(x - width / 2, y, x + width / 2, base, fill, outline)
        value_mark = canvas.text(x, y - 2, value, "mb")
        name_mark = canvas.text(x, base + 3, shown[i], "mt")
        entries.append(Entry(name=name, value=value, name_mark=name_mark, value_mark=value_mark))
    return entries


def draw_hbar(canvas: Canvas, content: Content, rng: random.Random) -> list[Entry]:
    """Horizontal bars, name on the left, value at the tip."""
    count = len(content.names)
    shown = [written(n, rng) for n in content.names]
    names_width = max(canvas.width_of(n) for n in shown)
    values_width = max(canvas.width_of(v) for v in content.values)
    left, top = names_width + rng.uniform(4, 8), rng.uniform(2, 8)
    slot = (canvas.size - top - rng.uniform(2, 8)) / count
    thickness = slot * rng.uniform(0.4, 0.8)
    room = max(4.0, canvas.size - left - values_width - 6)
    highest = max(map(float, content.values)) * rng.uniform(1, 1.2)
    color, one_color = fill_color(rng), rng.random() < 0.6
    if rng.random() < 0.8:
        canvas.line([(left, top), (left, top + slot * count)], canvas.ink, 1)
    entries: list[Entry] = []
    for i, (name, value) in enumerate(zip(content.names, content.values, strict=True)):
        y, length = top + slot * (i + 0.5), room * float(value) / highest
        fill = color if one_color else fill_color(rng)
        canvas.rectangle(left, y - thickness / 2, left + length, y + thickness / 2, fill, None)
        value_mark = canvas.text(left + length + 3, y, value, "lm")
        name_mark = canvas.text(left - 3, y, shown[i], "rm")
        entries.append(Entry(name=name, value=value, name_mark=name_mark, value_mark=value_mark))
    return entries


def draw_line(canvas: Canvas, content: Content, rng: random.Random) -> list[Entry]:
    """A line with markers, value above its point, name below the axis."""
    count = len(content.names)
    shown = [written(n, rng) for n in content.names]
    left, slot, _ = _columns_layout(canvas, count, rng)
    _shrink(canvas, [*shown, *content.values], slot - 2)
    base = canvas.size - canvas.font_size - rng.uniform(4, 8)
    top = canvas.font_size + rng.uniform(6, 12)
    numbers = list(map(float, content.values))
    low, spread = min(numbers), max(max(numbers) - min(numbers), 1e-6)
    lowest = base - canvas.font_size - 5  # room for a label below a valley
    points = [
        (left + slot * (i + 0.5), lowest - (lowest - top) * (n - low) / spread)
        for i, n in enumerate(numbers)
    ]
    _axes(canvas, left, left + slot * count, base, top, rng)
    color, radius = fill_color(rng), rng.uniform(1.5, 3)
    canvas.line(points, color, rng.choice((1, 1, 2)))
    square, outline = rng.random() < 0.3, canvas.ink if rng.random() < 0.3 else None
    entries: list[Entry] = []
    for i, (x, y) in enumerate(points):
        if square:
            canvas.rectangle(x - radius, y - radius, x + radius, y + radius, color, outline)
        else:
            canvas.circle(x, y, radius, color, outline)
        neighbours = [points[j][1] for j in (i - 1, i + 1) if 0 <= j < count]
        if y <= sum(neighbours) / len(neighbours):  # a label stands where the line does not go
            value_mark = canvas.text(x, y - radius - 2, content.values[i], "mb")
        else:
            value_mark = canvas.text(x, y + radius + 3, content.values[i], "mt")
        name_mark = canvas.text(x, base + 3, shown[i], "mt")
        name, value = content.names[i], content.values[i]
        entries.append(Entry(name=name, value=value, name_mark=name_mark, value_mark=value_mark))
    return entries


def draw_table(canvas: Canvas, content: Content, rng: random.Random) -> list[Entry]:
    """Two columns of cells, with or without a header, frame or rules."""
    shown = [written(n, rng) for n in content.names]
    rows = list(zip(shown, content.values, strict=True))
    header = tuple(content.notes[:2]) if rng.random() < 0.3 and len(content.notes) >= 2 else None
    cells = [header, *rows] if header else rows
    _shrink(canvas, [a + b for a, b in cells], canvas.size - 14)
    height = rng.uniform(canvas.font_size + 3, canvas.font_size + 11)
    height = min(height, (canvas.size - 4) / len(cells))
    widths = [max(canvas.width_of(row[j]) for row in cells) + rng.uniform(5, 12) for j in (0, 1)]
    x0 = rng.uniform(1, max(1.0, canvas.size - sum(widths) - 1))
    y0 = rng.uniform(1, canvas.size - height * len(cells) - 1)
    frame, align = rng.choice(("box", "box", "rules", "none")), rng.choice(("lm", "mm", "rm"))
    gray = rng.randint(60, 190)
    grid = (gray, gray, gray)
    header_fill, marks = pale_color(rng), list[tuple[Mark, Mark]]()
    for i, row in enumerate(cells):
        y, x, placed = y0 + i * height, x0, list[Mark]()
        for text, width in zip(row, widths, strict=True):
            fill = header_fill if header and i == 0 else None
            if frame == "box" or fill:
                canvas.rectangle(
                    x, y, x + width, y + height, fill, grid if frame == "box" else None
                )
            if frame == "rules":
                canvas.line([(x, y + height), (x + width, y + height)], grid, 1)
            at = {"l": x + 2.5, "m": x + width / 2, "r": x + width - 2.5}[align[0]]
            placed.append(canvas.text(at, y + height / 2 + 0.5, text, align))
            x += width
        marks.append((placed[0], placed[1]))
    return [
        Entry(name=name, value=value, name_mark=a, value_mark=b)
        for (a, b), name, value in zip(
            marks[1:] if header else marks, content.names, content.values, strict=True
        )
    ]


def draw_geometry(canvas: Canvas, content: Content, rng: random.Random) -> list[Entry]:
    """A rectangle or right triangle with sides a (below) and b (beside); a circle with radius r."""
    unit = content.notes[0] if content.notes else ""
    lettered = rng.random() < 0.35
    texts = [
        (f"{n}=" if lettered else "") + v + unit
        for n, v in zip(content.names, content.values, strict=True)
    ]
    fill = pale_color(rng) if rng.random() < 0.7 else None
    marks = (
        _circle(canvas, texts, fill, rng)
        if content.shape == "circle"
        else _sides(canvas, content, texts, fill, rng)
    )
    return [
        Entry(name=n, value=v, name_mark=None, value_mark=_value_part(mark, v))
        for n, v, mark in zip(content.names, content.values, marks, strict=True)
    ]


def _value_part(mark: Mark, value: str) -> Mark:
    start = mark.text.index(value)
    return Mark(text=value, xs=mark.xs[start : start + len(value)], y=mark.y)


def _circle(
    canvas: Canvas, texts: list[str], fill: tuple[int, int, int] | None, rng: random.Random
) -> list[Mark]:
    size, radius = canvas.size, rng.uniform(20, 42)
    x, y = rng.uniform(radius + 3, size - radius - 3), rng.uniform(radius + 3, size - radius - 3)
    canvas.circle(x, y, radius, fill, canvas.ink)
    canvas.line([(x, y), (x + radius, y)], canvas.ink, 1)
    return [canvas.text(x + rng.choice((0, radius / 2)), y - 3, texts[0], "mb")]


def _sides(
    canvas: Canvas,
    content: Content,
    texts: list[str],
    fill: tuple[int, int, int] | None,
    rng: random.Random,
) -> list[Mark]:
    a, b = map(float, content.values)
    size, room, scale = canvas.size, canvas.width_of(texts[1]) + 6, rng.uniform(0.7, 1)
    width = max(18.0, max(0.25, a / max(a, b)) * (size - 12 - room) * scale)
    height = max(18.0, max(0.25, b / max(a, b)) * (size - 30) * scale)
    left_label = rng.random() < 0.4
    x = rng.uniform(3, max(3.0, size - 6 - room - width)) + (room if left_label else 0)
    y = rng.uniform(3, max(3.0, size - canvas.font_size - 8 - height))
    if content.shape == "rect":
        canvas.rectangle(x, y, x + width, y + height, fill, canvas.ink)
    else:
        apex = x if left_label else x + width
        canvas.polygon([(x, y + height), (x + width, y + height), (apex, y)], fill, canvas.ink)
    below = canvas.text(x + width / 2, y + height + 3, texts[0], "mt")
    if left_label:
        return [below, canvas.text(x - 3, y + height / 2, texts[1], "rm")]
    return [below, canvas.text(x + width + 3, y + height / 2, texts[1], "lm")]


_CHARTS: dict[str, Callable[[Canvas, Content, random.Random], list[Entry]]] = {
    "bar": draw_bar,
    "hbar": draw_hbar,
    "line": draw_line,
    "table": draw_table,
    "geometry": draw_geometry,
}


def draw_digits(content: Content, rng: random.Random, split: Split) -> Picture:
    """Handwritten numbers in one or two columns: real pen strokes of the split's own digits."""
    pens, count = handwriting(split), len(content.values)
    across = 1 if count <= 2 or rng.random() < 0.6 else 2
    down = -(-count // across)
    cell_w, cell_h = SIZE / across, SIZE / down
    longest = max(map(len, content.values))
    size = int(min(rng.uniform(20, 30), (cell_w - 4) / longest, cell_h - 4))
    ink, marks = np.zeros((SIZE, SIZE), np.float32), list[Mark]()
    for i, value in enumerate(content.values):
        pitch = size * rng.uniform(0.88, 1.0)
        x = (i % across) * cell_w + rng.uniform(1, max(1.0, cell_w - pitch * len(value) - 2))
        y = (i // across) * cell_h + rng.uniform(1, max(1.0, cell_h - size - 1))
        xs = [
            _stamp(ink, pens[int(d)], x + pitch * j, y, size, split, rng)
            for j, d in enumerate(value)
        ]
        marks.append(Mark(text=value, xs=tuple(xs), y=y + size / 2))
    paper, pen = rng.uniform(225, 255), np.array([rng.uniform(0, 110) for _ in range(3)])
    pen = pen if rng.random() < 0.4 else np.zeros(3)
    rgb = paper * (1 - ink[..., None]) + pen * ink[..., None]
    entries = [
        Entry(name=n, value=v, name_mark=None, value_mark=m)
        for n, v, m in zip(content.names, content.values, marks, strict=True)
    ]
    image = Image.fromarray(rgb.clip(0, 255).astype(np.uint8))
    return Picture(
        image=image, family="digits", renderer="ink", entries=entries, marks=marks,
        source=content.source,
    )  # fmt: skip


def _stamp(
    ink: np.ndarray,
    pen: np.ndarray,
    x: float,
    y: float,
    size: int,
    split: Split,
    rng: random.Random,
) -> float:
    """Put one digit at (x, y); returns the x of its middle."""
    glyph = Image.fromarray((pen[rng.randrange(len(pen))] * 255).astype(np.uint8))
    glyph = glyph.resize((size, size), Image.Resampling.BICUBIC)
    if split == "train" and rng.random() < 0.6:
        glyph = glyph.rotate(rng.uniform(-9, 9), Image.Resampling.BILINEAR)
    left, top = int(min(x, SIZE - size)), int(min(y, SIZE - size))
    part = ink[top : top + size, left : left + size]
    np.maximum(part, np.asarray(glyph, np.float32) / 255, out=part)
    return left + size / 2
