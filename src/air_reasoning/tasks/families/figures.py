"""Geometry figures drawn to scale with their measures: lengths, angles, areas."""

import math
import random

from air_reasoning.tasks.canvas import Color, Point
from air_reasoning.tasks.families.asks import exact, number
from air_reasoning.tasks.families.axes import new_sheet
from air_reasoning.tasks.families.item import Asked, Item, Wanted
from air_reasoning.tasks.families.sheet import Sheet
from air_reasoning.tasks.tables import columns

NAMES = "ABCDE"


def geometry(wanted: Wanted) -> Item:
    """A triangle, quadrilateral, circle or L-shape with the measures that the question needs.

    Lengths come from a real column, scaled to what can be drawn.
    """
    rng = wanted.rng
    column = rng.choice(columns(wanted.split))
    lengths = [_length(column.values, rng) for _ in range(4)]
    make = rng.choice((_triangle, _right_triangle, _trapezoid, _circle, _l_shape, _sector))
    sheet = new_sheet(rng, wanted.side, (0.75, 0.9))
    asked = make(wanted, sheet, lengths)
    return Item(image=sheet.image(), asked=asked, columns=[f"{column.table}/{column.name}"])


def _length(values: tuple[str, ...], rng: random.Random) -> float:
    """A number between 4 and 30 with the digits of a real value."""
    number = float(rng.choice(values))
    while number >= 30:
        number /= 10
    while number < 4:
        number *= 5
    return round(number, 1)


def _drawn(
    sheet: Sheet, corners: list[Point], fill: Color | None = None, names: str = NAMES
) -> list[Point]:
    """Draw a polygon as large as fits, with its corners named; pixels of the corners."""
    margin = sheet.print * 3.2
    xs, ys = zip(*corners, strict=True)
    scale = min(
        (sheet.width - 2 * margin) / (max(xs) - min(xs)),
        (sheet.height - 2 * margin) / (max(ys) - min(ys)),
    )
    left = (sheet.width - scale * (max(xs) - min(xs))) / 2
    top = (sheet.height - scale * (max(ys) - min(ys))) / 2
    at = [(left + (x - min(xs)) * scale, top + (max(ys) - y) * scale) for x, y in corners]
    sheet.polygon(at, fill or _pale(sheet), sheet.theme.ink, 1.2)
    middle = (sum(x for x, _ in at) / len(at), sum(y for _, y in at) / len(at))
    for name, (x, y) in zip(names, at, strict=False):
        away = math.hypot(x - middle[0], y - middle[1]) or 1
        reach = sheet.print * 0.9
        place = (x + (x - middle[0]) / away * reach, y + (y - middle[1]) / away * reach)
        sheet.text(*place, name, "mm", bold=True)
    return at


def _pale(sheet: Sheet) -> Color:
    """The first colour of the palette, thinned with paper."""
    paper, color = sheet.theme.paper, sheet.theme.palette[0]
    return tuple(round(0.75 * p + 0.25 * c) for p, c in zip(paper, color, strict=True))  # type: ignore[return-value]


def _side(sheet: Sheet, a: Point, b: Point, text: str, inside: Point) -> None:
    """The length of a side, written outside of it."""
    x, y = (a[0] + b[0]) / 2, (a[1] + b[1]) / 2
    dx, dy = b[1] - a[1], a[0] - b[0]
    length = math.hypot(dx, dy) or 1
    if (inside[0] - x) * dx + (inside[1] - y) * dy > 0:
        dx, dy = -dx, -dy
    away = sheet.print * 0.5 + sheet.width_of(text) / 2 * abs(dx) / length + 3
    sheet.text(x + dx / length * away, y + dy / length * away, text, "mm")


def _angle(sheet: Sheet, at: Point, towards: tuple[Point, Point], text: str) -> None:
    """An arc in a corner with its degrees."""
    angles = [math.degrees(math.atan2(y - at[1], x - at[0])) for x, y in towards]
    start, end = sorted(angles)
    if end - start > 180:
        start, end = end, start + 360
    r = sheet.print * 1.6
    sheet.arc(*at, r, start, end, sheet.theme.ink)
    middle = math.radians((start + end) / 2)
    sheet.text(
        at[0] + math.cos(middle) * r * 1.9,
        at[1] + math.sin(middle) * r * 1.9,
        text,
        "mm",
        size=sheet.print * 0.9,
    )


def _triangle(wanted: Wanted, sheet: Sheet, lengths: list[float]) -> Asked:
    """Two sides and the angle between them; hard: the third side, the area."""
    rng = wanted.rng
    b, c, angle = lengths[0], lengths[1], rng.randint(35, 110)
    c = min(max(c, b / 3), b * 3)
    c = round(c, 1)
    radians = math.radians(angle)
    corners = [(0.0, 0.0), (b, 0.0), (c * math.cos(radians), c * math.sin(radians))]
    at = _drawn(sheet, corners)
    inside = (sum(x for x, _ in at) / 3, sum(y for _, y in at) / 3)
    _side(sheet, at[0], at[1], f"{b:g}", inside)
    _side(sheet, at[0], at[2], f"{c:g}", inside)
    _angle(sheet, at[0], (at[1], at[2]), f"{angle}°")
    if wanted.difficulty == "easy":
        return exact("read_side", "How long is the side AB?", f"{b:g}")
    if wanted.difficulty == "medium":
        text = "What is the sum of the angles at B and C, in degrees?"
        return Asked(
            kind="angles",
            text=text,
            program=f"print(180 - {angle})",
            type="int",
            operations=("read", "compute"),
        )
    setup = f"b, c, a = {b:g}, {c:g}, math.radians({angle})"
    third = "math.sqrt(b * b + c * c - 2 * b * c * math.cos(a))"
    kind, text, expression = rng.choice(
        (
            ("area", "What is the area of the triangle?", "b * c * math.sin(a) / 2"),
            ("third_side", "How long is the side BC?", third),
            ("perimeter", "What is the perimeter of the triangle?", f"b + c + {third}"),
            (
                "angle",
                "How large is the angle at B, in degrees?",
                "math.degrees(math.atan2(c * math.sin(a), b - c * math.cos(a)))",
            ),
        )
    )
    return number(kind, text, expression, 2, setup, "math")


def _right_triangle(wanted: Wanted, sheet: Sheet, lengths: list[float]) -> Asked:
    a, b = lengths[0], round(min(max(lengths[1], lengths[0] / 3), lengths[0] * 3), 1)
    at = _drawn(sheet, [(0.0, 0.0), (a, 0.0), (0.0, b)])
    corner = sheet.print * 0.8
    x, y = at[0]
    sheet.line([(x + corner, y), (x + corner, y - corner), (x, y - corner)], sheet.theme.ink)
    inside = (x + 10, y - 10)
    _side(sheet, at[0], at[1], f"{a:g}", inside)
    _side(sheet, at[0], at[2], f"{b:g}", inside)
    if wanted.difficulty == "easy":
        return exact("read_side", "How long is the side AC?", f"{b:g}")
    if wanted.difficulty == "medium":
        return number("legs", "How long are the sides AB and AC together?", f"{a:g} + {b:g}", 1)
    kind, text, expression = wanted.rng.choice(
        (
            ("hypotenuse", "How long is the side BC?", f"math.hypot({a:g}, {b:g})"),
            ("perimeter", "What is the perimeter?", f"{a:g} + {b:g} + math.hypot({a:g}, {b:g})"),
            (
                "angle",
                "How large is the angle at B, in degrees?",
                f"math.degrees(math.atan2({b:g}, {a:g}))",
            ),
            (
                "height",
                "How far is A from the line BC?",
                f"{a:g} * {b:g} / math.hypot({a:g}, {b:g})",
            ),
        )
    )
    return number(kind, text, expression, 2, "", "math")


def _trapezoid(wanted: Wanted, sheet: Sheet, lengths: list[float]) -> Asked:
    base, height = max(lengths[0], 8.0), round(min(max(lengths[1], 4.0), 16.0), 1)
    top, shift = round(base * wanted.rng.uniform(0.4, 0.8), 1), wanted.rng.uniform(0, 0.2)
    corners = [(0.0, 0.0), (base, 0.0), (base * shift + top, height), (base * shift, height)]
    at = _drawn(sheet, corners)
    inside = (sum(x for x, _ in at) / 4, sum(y for _, y in at) / 4)
    _side(sheet, at[0], at[1], f"{base:g}", inside)
    _side(sheet, at[3], at[2], f"{top:g}", inside)
    x = (at[3][0] + at[2][0]) / 2
    sheet.line([(x, at[3][1]), (x, at[0][1])], sheet.theme.ink, 1, dash=3)
    sheet.text(x + 4, inside[1], f"h = {height:g}", "lm")
    if wanted.difficulty == "easy":
        return exact("read_height", "What is the height h?", f"{height:g}")
    if wanted.difficulty == "medium":
        return number("bases", "How much longer is AB than CD?", f"{base:g} - {top:g}", 1)
    return number(
        "area",
        "AB and CD are parallel. What is the area?",
        f"({base:g} + {top:g}) / 2 * {height:g}",
        2,
    )


def _circle(wanted: Wanted, sheet: Sheet, lengths: list[float]) -> Asked:
    """A circle with its radius or diameter, or a square around one."""
    r, boxed = lengths[0], wanted.rng.random() < 0.5
    x, y, size = sheet.width / 2, sheet.height / 2, min(sheet.width, sheet.height) * 0.38
    if boxed:
        sheet.rectangle(x - size, y - size, x + size, y + size, _pale(sheet), sheet.theme.ink)
    sheet.circle(x, y, size, sheet.theme.paper if boxed else _pale(sheet), sheet.theme.ink)
    turn = math.radians(wanted.rng.uniform(0, 60))
    end = (x + size * math.cos(turn), y - size * math.sin(turn))
    sheet.line([(x, y), end], sheet.theme.ink)
    sheet.circle(x, y, 1.8, sheet.theme.ink)
    sheet.text((x + end[0]) / 2 - 4, (y + end[1]) / 2 - sheet.print * 0.5, f"r = {r:g}", "rb")
    if wanted.difficulty == "easy":
        return exact("read_radius", "What is the radius?", f"{r:g}")
    if wanted.difficulty == "medium":
        return number("diameter", "What is the diameter?", f"2 * {r:g}", 1)
    choices = [
        ("area", "What is the area of the circle?", f"math.pi * {r:g} ** 2"),
        ("circumference", "What is the circumference of the circle?", f"2 * math.pi * {r:g}"),
    ]
    if boxed:
        text = "What is the area inside the square but outside the circle?"
        choices = [("shaded_area", text, f"(4 - math.pi) * {r:g} ** 2")]
    kind, text, expression = wanted.rng.choice(choices)
    return number(kind, text, expression, 2, "", "math")


def _sector(wanted: Wanted, sheet: Sheet, lengths: list[float]) -> Asked:
    r, angle, start = lengths[0], wanted.rng.randint(40, 160), wanted.rng.randint(180, 220)
    size = min(sheet.width, sheet.height) * 0.55
    x, y = sheet.width * 0.5, sheet.height * 0.82
    sheet.slice(x, y, size, start, start + angle, _pale(sheet), sheet.theme.ink)
    ends = [
        (x + size * math.cos(math.radians(a)), y + size * math.sin(math.radians(a)))
        for a in (start, start + angle)
    ]
    inside = (x, y - size / 3)
    _side(sheet, (x, y), ends[0], f"{r:g}", inside)
    middle = math.radians(start + angle / 2)
    sheet.text(
        x + math.cos(middle) * size * 0.3, y + math.sin(middle) * size * 0.3, f"{angle}°", "mm"
    )
    if wanted.difficulty == "easy":
        return exact("read_angle", "How many degrees is the angle of the sector?", str(angle))
    if wanted.difficulty == "medium":
        text = "How many degrees are missing to a full circle?"
        return Asked(
            kind="rest_angle",
            text=text,
            program=f"print(360 - {angle})",
            type="int",
            operations=("read", "compute"),
        )
    kind, text, expression = wanted.rng.choice(
        (
            (
                "sector_area",
                "What is the area of the sector?",
                f"math.pi * {r:g} ** 2 * {angle} / 360",
            ),
            ("arc_length", "How long is the arc?", f"2 * math.pi * {r:g} * {angle} / 360"),
            (
                "chord",
                "How far apart are the two ends of the arc?",
                f"2 * {r:g} * math.sin(math.radians({angle}) / 2)",
            ),
        )
    )
    return number(kind, text, expression, 2, "", "math")


def _l_shape(wanted: Wanted, sheet: Sheet, lengths: list[float]) -> Asked:
    """An L with all sides that are needed, all angles right."""
    rng = wanted.rng
    w, h = max(lengths[0], 10.0), max(lengths[1], 10.0)
    h = round(min(h, w), 1)
    a, b = round(w * rng.uniform(0.3, 0.6), 1), round(h * rng.uniform(0.3, 0.6), 1)
    corners = [(0.0, 0.0), (w, 0.0), (w, b), (a, b), (a, h), (0.0, h)]
    at = _drawn(sheet, corners, names="")
    inside = (at[0][0] + 10, at[0][1] - 10)
    for i, j, text in ((0, 1, w), (0, 5, h), (4, 5, a), (1, 2, b)):
        _side(sheet, at[i], at[j], f"{text:g}", inside)
    if wanted.difficulty == "easy":
        return exact("read_side", "How long is the lowest side?", f"{w:g}")
    if wanted.difficulty == "medium":
        return number(
            "missing_side",
            "All angles are right. How long is the horizontal side without a label?",
            f"{w:g} - {a:g}",
            1,
        )
    kind, text, expression = rng.choice(
        (
            (
                "area",
                "All angles are right. What is the area?",
                f"{w:g} * {b:g} + {a:g} * ({h:g} - {b:g})",
            ),
            ("perimeter", "All angles are right. What is the perimeter?", f"2 * ({w:g} + {h:g})"),
            (
                "diagonal",
                "How far is the lower right corner from the top left corner?",
                f"({w:g} ** 2 + {h:g} ** 2) ** 0.5",
            ),
        )
    )
    return number(kind, text, expression, 2)
