"""Bar, grouped bar, line, scatter and pie charts and histograms over real tables."""

import math
from itertools import pairwise

from air_reasoning.tasks.families.asks import (
    ask_block,
    ask_points,
    ask_series,
    exact,
    number,
)
from air_reasoning.tasks.families.axes import (
    Axis,
    Frame,
    axis,
    draw_flat_axis,
    draw_label,
    draw_legend,
    draw_value_axis,
    label_layout,
    new_sheet,
    round_ticks,
    tick_room,
    tick_text,
    titled_frame,
)
from air_reasoning.tasks.families.item import Asked, Item, Wanted
from air_reasoning.tasks.families.real_data import records
from air_reasoning.tasks.families.series import (
    Block,
    Points,
    Series,
    draw_block,
    draw_points,
    draw_series,
)
from air_reasoning.tasks.families.sheet import Sheet

HEADROOM = 1.12
"""Room above the highest bar for what is printed there."""


def caption(series: Series) -> str:
    """``Mean share price: MSFT ($)``."""
    unit = f" ({series.unit})" if series.unit else ""
    known = series.name.lower() in series.title.lower()
    name = "" if known else f": {series.name}"
    return f"{series.title}{name}{unit}"


def bar(wanted: Wanted) -> Item:
    """One bar a label; values above the bars, or an axis to read them from."""
    series = draw_series(wanted, (3, 8))
    printed = wanted.difficulty != "easy" or wanted.rng.random() < 0.5
    frame, scale = _upright(wanted, series, caption(series))
    slot = (frame.right - frame.left) / len(series.labels)
    color, sheet = frame.sheet.theme.palette[0], frame.sheet
    several = wanted.rng.random() < 0.25
    for i, value in enumerate(series.numbers):
        x, y = frame.left + slot * (i + 0.5), scale.at(value)
        fill = sheet.theme.palette[i % len(sheet.theme.palette)] if several else color
        sheet.rectangle(x - slot * 0.32, y, x + slot * 0.32, scale.at(max(scale.low, 0)), fill)
        if printed:
            sheet.text(x, y - 2, series.values[i], "mb", size=_fitting(frame, series, slot))
    tolerance = None if printed else _tolerance(scale)
    return Item(image=sheet.image(), asked=ask_series(wanted, series, tolerance=tolerance),
                columns=list(series.columns))  # fmt: skip


def _tolerance(scale: Axis) -> float:
    """What may be missed in reading off a scale: 2 % of it."""
    return float(f"{0.02 * (scale.high - scale.low):.3g}")


def _fitting(frame: Frame, series: Series, slot: float) -> float:
    """Print that keeps the widest value inside its slot."""
    size = float(frame.sheet.print)
    widest = max(frame.sheet.width_of(value) for value in series.values)
    return max(7.0, min(size, size * slot / (widest + 4)))


def _upright(wanted: Wanted, series: Series, title: str, zero: bool = True) -> tuple[Frame, Axis]:
    """Sheet, frame, value axis and labels of a chart with its labels below."""
    sheet = new_sheet(wanted.rng, wanted.side)
    numbers = series.numbers
    low = 0.0 if zero else min(numbers)
    ticks = round_ticks(low, max(numbers) * HEADROOM)
    left = tick_room(sheet, ticks)
    slot = (sheet.width - left - sheet.print) / len(series.labels)
    turned, room = label_layout(sheet, series.labels, slot)
    if turned:
        left = max(left, sheet.width_of(series.labels[0]) * 0.71 - slot / 2 + 6)
    frame = titled_frame(sheet, title, left=left, bottom=room)
    scale = axis(low, max(numbers) * HEADROOM, frame.bottom, frame.top)
    draw_value_axis(frame, scale)
    for i, label in enumerate(series.labels):
        x = frame.left + (frame.right - frame.left) / len(series.labels) * (i + 0.5)
        draw_label(sheet, x, frame.bottom, label, turned)
    return frame, scale


def line(wanted: Wanted) -> Item:
    """Values in order with markers; printed at the points, or read off the axis."""
    while True:
        series = draw_series(wanted, (4, 9))
        if series.ordered:
            break
    printed = wanted.difficulty != "easy" or wanted.rng.random() < 0.4
    frame, scale = _upright(wanted, series, caption(series), zero=wanted.rng.random() < 0.5)
    slot, sheet = (frame.right - frame.left) / len(series.labels), frame.sheet
    points = [(frame.left + slot * (i + 0.5), scale.at(v)) for i, v in enumerate(series.numbers)]
    color = sheet.theme.palette[0]
    sheet.line(points, color, wanted.rng.choice((1.2, 1.8)), dash=wanted.rng.choice((0, 0, 4)))
    for i, (x, y) in enumerate(points):
        sheet.circle(x, y, 2.6, color)
        if printed:
            around = [points[j][1] for j in (i - 1, i + 1) if 0 <= j < len(points)]
            above = y <= sum(around) / len(around) or y > frame.bottom - 2 * sheet.print
            place = (y - 5, "mb") if above else (y + 5, "mt")
            sheet.text(x, place[0], series.values[i], place[1], size=_fitting(frame, series, slot))  # type: ignore[arg-type]
    tolerance = None if printed else _tolerance(scale)
    return Item(image=sheet.image(), asked=ask_series(wanted, series, tolerance=tolerance),
                columns=list(series.columns))  # fmt: skip


def grouped_bar(wanted: Wanted) -> Item:
    """Two to four series side by side, with a legend and printed values."""
    block = draw_block(wanted, (2, 4), (2, 3))
    sheet = new_sheet(wanted.rng, wanted.side)
    numbers = [value for series in block.series for value in series.numbers]
    ticks = round_ticks(0, max(numbers) * HEADROOM)
    left = tick_room(sheet, ticks)
    slot = (sheet.width - left - sheet.print) / len(block.labels)
    turned, room = label_layout(sheet, block.labels, slot)
    unit = f" ({block.unit})" if block.unit else ""
    frame = titled_frame(sheet, block.title + unit, left=left, bottom=room + sheet.print * 1.6)
    scale = axis(0, max(numbers) * HEADROOM, frame.bottom, frame.top)
    draw_value_axis(frame, scale)
    _grouped(frame, block, scale, turned)
    names = [series.name for series in block.series]
    draw_legend(
        sheet,
        4,
        sheet.height - sheet.print * 0.9,
        names,
        list(sheet.theme.palette[: len(names)]),
        across=sheet.width - 8,
    )
    return Item(image=sheet.image(), asked=ask_block(wanted, block), columns=block.columns)


def _grouped(frame: Frame, block: Block, scale: Axis, turned: bool) -> None:
    sheet, many = frame.sheet, len(block.series)
    slot = (frame.right - frame.left) / len(block.labels)
    width = slot * 0.8 / many
    for i, label in enumerate(block.labels):
        draw_label(sheet, frame.left + slot * (i + 0.5), frame.bottom, label, turned)
        for j, series in enumerate(block.series):
            x = frame.left + slot * i + slot * 0.1 + width * j
            y = scale.at(series.numbers[i])
            sheet.rectangle(x + 1, y, x + width - 1, frame.bottom, sheet.theme.palette[j])
            sheet.text(
                x + width / 2, y - 2, series.values[i], "mb", size=_fitting(frame, series, width)
            )


def pie(wanted: Wanted) -> Item:
    """Sectors with names; values or percentages printed beside them."""
    rng = wanted.rng
    while True:
        series = draw_series(wanted, (3, 6), parts=True)
        total = sum(series.numbers)
        if min(series.numbers) > 0.05 * total:
            break
    sheet = new_sheet(rng, wanted.side, (0.75, 0.85))
    frame = titled_frame(sheet, caption(series), left=4)
    x, y = sheet.width / 2, (frame.top + sheet.height) / 2
    texts = [f"{a}: {b}" for a, b in zip(series.labels, series.values, strict=True)]
    beside = (sheet.width - 2 * max(map(sheet.width_of, texts)) - 12) / 2.24
    r = min((sheet.height - frame.top) * 0.36, beside)
    angle, hole = rng.uniform(0, 360), rng.random() < 0.35
    edge = sheet.theme.paper
    for i, value in enumerate(series.numbers):
        end = angle + 360 * value / total
        sheet.slice(x, y, r, angle, end, sheet.theme.palette[i % len(sheet.theme.palette)], edge)
        middle = math.radians((angle + end) / 2)
        cx, cy = x + r * 1.12 * math.cos(middle), y + r * 1.12 * math.sin(middle)
        anchor = "lm" if math.cos(middle) > 0 else "rm"
        sheet.text(cx, cy, texts[i], anchor)
        angle = end
    if hole:
        sheet.circle(x, y, r * 0.5, sheet.theme.plot if sheet.theme.plot == edge else edge)
    return Item(image=sheet.image(), asked=_ask_pie(wanted, series), columns=list(series.columns))


def _ask_pie(wanted: Wanted, series: Series) -> Asked:
    """As for any series; the sector's angle and its share are the hard ones of a pie."""
    if wanted.difficulty != "hard" or wanted.rng.random() < 0.3:
        return ask_series(wanted, series)
    i = wanted.rng.randrange(len(series.labels))
    label, setup = series.labels[i], f"values = [{', '.join(series.values)}]"
    kind, text, factor = wanted.rng.choice(
        (
            ("share", f"What percentage of the whole is {label}?", 100),
            ("angle", f"How many degrees does the sector of {label} span?", 360),
        )
    )
    return number(kind, text, f"{factor} * values[{i}] / sum(values)", 1, setup)


def scatter(wanted: Wanted) -> Item:
    """Points of two columns; for hard questions the coordinates stand beside them."""
    hard = wanted.difficulty == "hard"
    while True:
        points = draw_points(wanted, (4, 6) if hard else (6, 14))
        sheet = new_sheet(wanted.rng, wanted.side, (0.8, 0.9))
        laid = _laid_out(sheet, points)
        if laid is not None and (not hard or len(set(points.xs)) > 2 < len(set(points.ys))):
            break
    frame, across, up = laid
    x_name, y_name = (
        f"{n} ({u})" if u else n for n, u in zip(points.names, points.units, strict=True)
    )
    draw_flat_axis(frame, across, x_name)
    draw_value_axis(frame, up, y_name)
    for x, y in zip(points.xs, points.ys, strict=True):
        sheet.circle(across.at(x), up.at(y), 3.2, sheet.theme.palette[0], sheet.theme.plot)
        if hard:
            right = across.at(x) < (frame.left + frame.right) / 2
            place = (across.at(x) + (5 if right else -5), up.at(y))
            sheet.text(*place, f"({x:g}, {y:g})", "lm" if right else "rm", size=sheet.print * 0.95)
    return Item(image=sheet.image(), asked=ask_points(wanted, points), columns=list(points.columns))


def _laid_out(sheet: Sheet, points: Points) -> tuple[Frame, Axis, Axis] | None:
    """The frame and both axes, or None where two points come too close to be told apart."""
    ticks = round_ticks(min(points.ys), max(points.ys))
    frame = titled_frame(
        sheet, points.title, left=tick_room(sheet, ticks, "y"), bottom=sheet.print * 3.2
    )
    across = axis(min(points.xs), max(points.xs), frame.left, frame.right)
    up = axis(min(points.ys), max(points.ys), frame.bottom, frame.top)
    apart = len(points.xs) <= 6
    places = [(across.at(x), up.at(y)) for x, y in zip(points.xs, points.ys, strict=True)]
    for i, (x, y) in enumerate(places):
        for a, b in places[:i]:
            if math.hypot(x - a, y - b) < 9 or (apart and abs(y - b) < sheet.print * 1.1):
                return None
    return frame, across, up


def histogram(wanted: Wanted) -> Item:
    """Counts of a real column in equal bins, the count above each."""
    rng = wanted.rng
    while True:
        table = rng.choice(records(wanted.split, wanted.bokeh))
        name = rng.choice(list(table.columns))
        size = len(table.columns[name])
        values = rng.sample(table.columns[name], min(size, rng.randint(30, 180)))
        edges = round_ticks(min(values), max(values), rng.randint(5, 8))
        counts = [sum(a <= v < b for v in values) for a, b in pairwise(edges)]
        counts[-1] += sum(v == edges[-1] for v in values)
        if 4 <= len(counts) <= 9 and sum(counts) == len(values) and sum(c > 0 for c in counts) > 2:
            break
    sheet = new_sheet(rng, wanted.side)
    left = tick_room(sheet, round_ticks(0, max(counts) * 1.1))
    unit = f" ({table.units[name]})" if table.units[name] else ""
    frame = titled_frame(sheet, f"{table.title}: {name}{unit}", left=left, bottom=sheet.print + 8)
    up = axis(0, max(counts) * 1.1, frame.bottom, frame.top)
    draw_value_axis(frame, up)
    slot = (frame.right - frame.left) / len(counts)
    for i, count in enumerate(counts):
        x = frame.left + i * slot
        sheet.rectangle(
            x, up.at(count), x + slot, frame.bottom, sheet.theme.palette[0], sheet.theme.plot
        )
        sheet.text(x + slot / 2, up.at(count) - 2, str(count), "mb")
    for i, edge in enumerate(edges):
        sheet.text(frame.left + i * slot, frame.bottom + 4, tick_text(edge), "mt")
    asked = _ask_histogram(wanted, list(edges), counts)
    return Item(image=sheet.image(), asked=asked, columns=[f"{table.table}/{name}"])


def _ask_histogram(wanted: Wanted, edges: list[float], counts: list[int]) -> Asked:
    rng = wanted.rng
    i = rng.randrange(len(counts))
    setup = f"edges = {edges}\ncounts = {counts}"
    if wanted.difficulty == "easy":
        text = f"How many values lie between {edges[i]:g} and {edges[i + 1]:g}?"
        return exact("read", text, str(counts[i]))
    if wanted.difficulty == "medium":
        cut = rng.randrange(1, len(counts))
        program = f"{setup}\nprint(sum(counts[{cut}:]))"
        text = f"How many values are at or above {edges[cut]:g}?"
        return Asked(
            kind="tail", text=text, program=program, type="int", operations=("read", "compute")
        )
    middles = (
        "middles = [(a + b) / 2 for a, b in zip(edges, edges[1:])]\nn = sum(counts)\n"
        "mean = sum(m * c for m, c in zip(middles, counts)) / n"
    )
    assumed = "taking every value as the middle of its bin"
    kind, text, expression = rng.choice(
        (
            ("binned_mean", f"Estimate the mean, {assumed}.", "mean"),
            (
                "binned_deviation",
                f"Estimate the population standard deviation, {assumed}.",
                "(sum(c * (m - mean) ** 2 for m, c in zip(middles, counts)) / n) ** 0.5",
            ),
            (
                "tail_share",
                f"What percentage of all values is at or above {edges[len(counts) // 2]:g}?",
                f"100 * sum(counts[{len(counts) // 2}:]) / n",
            ),
        )
    )
    return number(kind, text, expression, 2, f"{setup}\n{middles}")
