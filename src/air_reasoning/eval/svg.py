"""Two kinds of picture as SVG text: learning curves, and figures with their intervals.

Pure functions of numbers. Colours are CSS variables (``--c1`` .. ``--c6``, ``--ink``, ``--muted``,
``--grid``) with a fallback for light paper, so that a page around them can switch to dark. All text
is escaped. Lengths are in user units of the view box, which scales to the width it is given.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

WIDTH = 420
PALETTE = ("#2f6fb3", "#c8531c", "#23875b", "#8a56ac", "#b58a00", "#58677a")
DASHES = ("", "7 4", "2 3", "9 3 2 3")


@dataclass(kw_only=True, slots=True, frozen=True)
class Series:
    """A named line: ``points`` are (step, value); undefined values are simply absent."""

    label: str
    points: Sequence[tuple[float, float]]
    colour: int = 0


@dataclass(kw_only=True, slots=True, frozen=True)
class Interval:
    """One dot with its whisker; None ends draw no whisker, a None value draws "undefined"."""

    label: str
    value: float | None
    low: float | None = None
    high: float | None = None
    colour: int = 0
    hollow: bool = False


@dataclass(kw_only=True, slots=True)
class _Frame:
    """Where the plot stands in the view box, and its two scales."""

    left: float
    top: float
    right: float
    bottom: float
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    parts: list[str] = field(default_factory=list[str])

    def x(self, value: float) -> float:
        low, high = self.x_range
        return self.left + (value - low) / (high - low) * (self.right - self.left)

    def y(self, value: float) -> float:
        low, high = self.y_range
        return self.bottom - (value - low) / (high - low) * (self.bottom - self.top)


def line_chart(
    title: str,
    series: Sequence[Series],
    *,
    y_range: tuple[float, float] | None = None,
    percent: bool = False,
    smoothing: int = 9,
    height: int = 256,
    x_label: str = "step",
) -> str:
    """Curves over steps: a pale line of the raw values and a strong one of their moving average.

    Args:
        title: stands above the plot.
        series: at most six; those without points are left out. None at all gives "no data yet".
        y_range: fixed ends; by default those of the data, with round ticks.
        percent: show 0.25 as 25 %.
        smoothing: width of the centred moving average in points; 1 shows the raw values alone.
        height: of the view box.
        x_label: unit of the horizontal axis.
    """
    drawn = [s for s in series if s.points]
    if not drawn:
        return _empty(title, height)
    xs = [x for s in drawn for x, _ in s.points]
    ys = [y for s in drawn for _, y in s.points]
    legend, legend_rows = _legend(drawn)
    frame = _Frame(
        left=46,
        top=44 + 18 * legend_rows,
        right=WIDTH - 12,
        bottom=height - 30,
        x_range=_widened(min(xs), max(xs)),
        y_range=y_range or _round_range(min(ys), max(ys)),
    )
    _axes(frame, percent=percent, x_label=x_label, height=height)
    for one, dash in zip(drawn, _dashes(drawn), strict=True):
        _curve(frame, one, smoothing, dash)
    summary = "; ".join(f"{s.label} ends at {_number(s.points[-1][1], percent)}" for s in drawn)
    return _svg(title, [*legend, *frame.parts], height, summary)


def interval_chart(
    title: str,
    rows: Sequence[tuple[str, Sequence[Interval]]],
    *,
    percent: bool = True,
    x_range: tuple[float, float] = (0.0, 1.0),
) -> str:
    """Figures as dots with whiskers: one band a row, one dot an entry, one colour a label."""
    line, gap = 15, 12
    entries = [entry for _, row in rows for entry in row]
    legend, legend_rows = _legend(list({entry.label: entry for entry in entries}.values()))
    top = 40 + 18 * legend_rows
    height = top + sum(line * len(row) + gap for _, row in rows) + 30
    frame = _Frame(
        left=118,
        top=top,
        right=WIDTH - 18,
        bottom=height - 30,
        x_range=x_range,
        y_range=(0.0, 1.0),
    )
    for tick in _ticks(*x_range):
        x = frame.x(tick)
        frame.parts.append(_line(x, top, x, height - 30, "var(--grid, #e3e6ea)"))
        frame.parts.append(_text(x, height - 14, _number(tick, percent), anchor="middle"))
    y = float(top) + gap / 2
    for name, row in rows:
        middle = y + line * len(row) / 2
        frame.parts.append(_text(108, middle + 4, name, anchor="end", ink=True))
        for entry in row:
            _whisker(frame, entry, y + line / 2, percent)
            y += line
        y += gap
        frame.parts.append(_line(8, y - gap / 2, WIDTH - 12, y - gap / 2, "var(--grid, #e3e6ea)"))
    return _svg(title, [*legend, *frame.parts], height, f"{len(rows)} figures with intervals")


def moving_average(values: Sequence[float], width: int) -> list[float]:
    """Centred mean over ``width`` values, over fewer at both ends (symmetric, so no drift there).

    ``moving_average([0, 3, 6, 9], 3) == [0, 3, 6, 9]``.
    """
    result = list[float]()
    for index in range(len(values)):
        reach = min(width // 2, index, len(values) - 1 - index)
        window = values[index - reach : index + reach + 1]
        result.append(math.fsum(window) / len(window))
    return result


def _axes(frame: _Frame, *, percent: bool, x_label: str, height: int) -> None:
    for tick in _ticks(*frame.y_range):
        y = frame.y(tick)
        frame.parts.append(_line(frame.left, y, frame.right, y, "var(--grid, #e3e6ea)"))
        frame.parts.append(_text(frame.left - 7, y + 4, _number(tick, percent), anchor="end"))
    for tick in _ticks(*frame.x_range):
        frame.parts.append(_text(frame.x(tick), height - 14, _number(tick, False), anchor="middle"))
    if frame.y_range[0] < 0 < frame.y_range[1]:
        y = frame.y(0)
        frame.parts.append(_line(frame.left, y, frame.right, y, "var(--muted, #6b7683)"))
    frame.parts.append(_text(frame.left - 7, height - 14, x_label, anchor="end"))


def _curve(frame: _Frame, series: Series, smoothing: int, dash: str) -> None:
    points = sorted(series.points)
    colour = _colour(series.colour)
    smooth = moving_average([y for _, y in points], smoothing)
    if smoothing > 1 and len(points) > 2:
        frame.parts.append(_polyline(frame, points, f'{colour} stroke-width="1" opacity=".28"'))
    style = f'{colour} stroke-width="2.2"{dash}'
    frame.parts.append(
        _polyline(frame, [(x, y) for (x, _), y in zip(points, smooth, strict=True)], style)
    )
    x, y = frame.x(points[-1][0]), frame.y(_inside(smooth[-1], frame.y_range))
    fill = _colour(series.colour).replace("stroke", "fill")
    frame.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" {fill}/>')


def _polyline(frame: _Frame, points: Sequence[tuple[float, float]], style: str) -> str:
    path = " ".join(f"{frame.x(x):.1f},{frame.y(_inside(y, frame.y_range)):.1f}" for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke-linejoin="round" {style}/>'


def _whisker(frame: _Frame, entry: Interval, y: float, percent: bool) -> None:
    if entry.value is None:
        frame.parts.append(_text(frame.left + 2, y + 4, f"{entry.label}: undefined"))
        return
    colour = _colour(entry.colour)
    if entry.low is not None and entry.high is not None:
        low, high = (frame.x(_inside(end, frame.x_range)) for end in (entry.low, entry.high))
        ends = f'x1="{low:.1f}" y1="{y:.1f}" x2="{high:.1f}" y2="{y:.1f}"'
        frame.parts.append(
            f'<line {ends} {colour} stroke-width="5" stroke-linecap="round" opacity=".35"/>'
        )
    x = frame.x(_inside(entry.value, frame.x_range))
    name = f"{entry.label}: {_number(entry.value, percent)}"
    frame.parts.append(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.2" {_dot(entry)}>'
        f"<title>{escape(name)}</title></circle>"
    )


def _dashes(entries: Sequence[Series] | Sequence[Interval]) -> list[str]:
    """Two lines are told apart by colour; more of them by their dashes, too."""
    used = DASHES if len(entries) > 2 else DASHES[:1]
    marks = [used[index % len(used)] for index in range(len(entries))]
    return [f' stroke-dasharray="{mark}"' if mark else "" for mark in marks]


def _dot(entry: Interval) -> str:
    stroke = _colour(entry.colour)
    fill = 'fill="var(--card, #fff)"' if entry.hollow else stroke.replace("stroke", "fill")
    return f'{fill} {stroke} stroke-width="2"'


def _legend(entries: "Sequence[Series] | Sequence[Interval]") -> tuple[list[str], int]:
    """Swatches under the title, and how many rows they take."""
    parts, x, row = list[str](), 8.0, 0
    for entry, dash in zip(entries, _dashes(entries), strict=True):
        width = 27 + 7.1 * len(entry.label)
        if x > 8 and x + width > WIDTH - 8:
            x, row = 8.0, row + 1
        y = 38 + 18 * row
        colour = _colour(entry.colour)
        if isinstance(entry, Interval):
            parts.append(f'<circle cx="{x + 8:.1f}" cy="{y}" r="4.2" {_dot(entry)}/>')
        else:
            ends = f'x1="{x:.1f}" y1="{y}" x2="{x + 17:.1f}" y2="{y}"'
            parts.append(f'<line {ends} {colour} stroke-width="2.6"{dash}/>')
        parts.append(_text(x + 21, y + 4, entry.label))
        x += width + 9
    return parts, row + 1


def _svg(title: str, parts: Sequence[str], height: float, summary: str) -> str:
    name = escape(f"{title}: {summary}", quote=True)
    heading = (
        f'<text x="8" y="18" font-size="14" font-weight="600" fill="var(--ink, #1c2430)">'
        f"{escape(title)}</text>"
    )
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{name}" '
        f'font-family="inherit" xmlns="http://www.w3.org/2000/svg">{heading}{"".join(parts)}</svg>'
    )


def _empty(title: str, height: int) -> str:
    return _svg(
        title, [_text(WIDTH / 2, height / 2, "no data yet", anchor="middle")], height, "empty"
    )


def _text(x: float, y: float, text: str, *, anchor: str = "start", ink: bool = False) -> str:
    fill = "var(--ink, #1c2430)" if ink else "var(--muted, #6b7683)"
    place = f'x="{x:.1f}" y="{y:.1f}" font-size="12" text-anchor="{anchor}" fill="{fill}"'
    return f"<text {place}>{escape(text)}</text>"


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def _colour(index: int) -> str:
    index %= len(PALETTE)
    return f'stroke="var(--c{index + 1}, {PALETTE[index]})"'


def _inside(value: float, ends: tuple[float, float]) -> float:
    return min(max(value, ends[0]), ends[1])


def _widened(low: float, high: float) -> tuple[float, float]:
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _round_range(low: float, high: float) -> tuple[float, float]:
    """Ends on round numbers, zero included where it is near."""
    if low == high:
        low, high = low - (abs(low) * 0.1 or 0.5), high + (abs(high) * 0.1 or 0.5)
    low = 0.0 if 0 < low < 0.4 * high else low
    step = _step(low, high)
    return math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step


def _ticks(low: float, high: float) -> list[float]:
    step = _step(low, high)
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def _step(low: float, high: float) -> float:
    """1, 2, 2.5 or 5 times a power of ten: four to six ticks."""
    raw = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(raw))
    return next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)


def _number(value: float, percent: bool) -> str:
    if percent:
        return f"{100 * value:.0f} %"
    return f"{value:.4g}" if abs(value) < 10_000 else f"{value:,.0f}"
