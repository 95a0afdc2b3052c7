"""Things that measure: a clock, a ruler with an object on it, a dial."""

import math

from air_reasoning.tasks.canvas import Color
from air_reasoning.tasks.families.asks import COMPUTED, number
from air_reasoning.tasks.families.item import Asked, Item, Wanted, held_apart
from air_reasoning.tasks.families.sheet import Sheet, draw_theme


def clock(wanted: Wanted) -> Item:
    """An analogue clock; hands that are exact to the minute."""
    rng = wanted.rng
    side = round(wanted.side * 0.7)
    sheet = Sheet(side, side, draw_theme(rng), max(9, round(side / 16)))
    while True:
        hour, minute = rng.randrange(12), rng.randrange(60)
        if wanted.difficulty == "easy":
            minute -= minute % 5
        if held_apart(wanted, "clock", hour, minute):
            break
    _face(wanted, sheet)
    x, y, r = side / 2, side / 2, side * 0.44
    ink, accent = sheet.theme.ink, sheet.theme.palette[0]
    hands: tuple[tuple[float, float, float, Color], ...] = (
        (hour * 30 + minute / 2, 0.5, 3.6, ink), (minute * 6, 0.78, 2.2, accent),
    )  # fmt: skip
    for degrees, length, width, color in hands:
        turn = math.radians(degrees - 90)
        back = (x - math.cos(turn) * r * 0.1, y - math.sin(turn) * r * 0.1)
        tip = (x + math.cos(turn) * r * length, y + math.sin(turn) * r * length)
        sheet.line([back, tip], color, width * side / 224)
    sheet.circle(x, y, side / 55, ink)
    return Item(image=sheet.image(), asked=_ask_clock(wanted, hour, minute))


def _face(wanted: Wanted, sheet: Sheet) -> None:
    side, ink = sheet.width, sheet.theme.ink
    x = y = side / 2
    r = side * 0.44
    sheet.circle(x, y, r, sheet.theme.plot, ink, 2)
    style = wanted.rng.choice(("all", "all", "quarters", "roman", "none"))
    roman = ("XII", "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI")
    for mark in range(60):
        turn = math.radians(mark * 6 - 90)
        inner = 0.9 if mark % 5 == 0 else 0.95
        ends = [(x + math.cos(turn) * r * f, y + math.sin(turn) * r * f) for f in (inner, 0.985)]
        sheet.line(ends, ink, 1.6 if mark % 5 == 0 else 0.8)
        place = mark // 5
        shown = style in ("all", "roman") or (style == "quarters" and place % 3 == 0)
        if mark % 5 == 0 and shown:
            text = roman[place] if style == "roman" else str(place or 12)
            sheet.text(x + math.cos(turn) * r * 0.79, y + math.sin(turn) * r * 0.79, text, "mm")


def _ask_clock(wanted: Wanted, hour: int, minute: int) -> Asked:
    rng = wanted.rng
    written = " Write it as H:MM with hours from 1 to 12."
    setup = f"hour, minute = {hour}, {minute}"
    told = 'print(f"{(%s) // 60 %% 12 or 12}:{(%s) %% 60:02d}")'
    now = "hour * 60 + minute"
    if wanted.difficulty == "easy":
        program = f"{setup}\n{told % (now, now)}"
        return Asked(kind="time", text="What time is it?" + written, program=program, type="text")
    if wanted.difficulty == "medium":
        after = rng.choice((15, 20, 30, 45, 90))
        later = f"{now} + {after}"
        text = f"What time will it be in {after} minutes?{written}"
        return Asked(
            kind="later",
            text=text,
            program=f"{setup}\n{told % (later, later)}",
            type="text",
            operations=COMPUTED,
        )
    if rng.random() < 0.5:
        speed = rng.randint(31, 97)
        text = f"How many kilometres does a train cover from now until 12 o'clock at {speed} km/h?"
        return number("until_twelve", text, f"(720 - ({now})) / 60 * {speed}", 2, setup)
    expression = "min(abs(30 * hour - 5.5 * minute), 360 - abs(30 * hour - 5.5 * minute))"
    text = "What is the smaller angle between the two hands, in degrees?"
    return number("hand_angle", text, expression, 1, setup)


def ruler(wanted: Wanted) -> Item:
    """A bar above a ruler: its ends stand at marks of a millimetre (of a half centimetre: easy)."""
    rng = wanted.rng
    sheet = Sheet(wanted.side, round(wanted.side * 0.38), draw_theme(rng))
    length = rng.choice((8, 10, 12))
    step = 5 if wanted.difficulty == "easy" else 1
    while True:
        a = rng.randrange(0, length * 10 // 2, step) if wanted.difficulty != "easy" else 0
        b = rng.randrange(a + 10, length * 10 + 1, step)
        if held_apart(wanted, "ruler", a, b):
            break
    left, unit = sheet.width * 0.05, sheet.width * 0.9 / length
    top, bottom = sheet.height * 0.45, sheet.height * 0.92
    sheet.rectangle(left - 6, top, left + unit * length + 6, bottom, (244, 224, 170), (120, 96, 40))
    dark = (70, 52, 20)
    for mark in range(length * 10 + 1):
        x, tall = (
            left + unit * mark / 10,
            0.34 if mark % 10 == 0 else 0.24 if mark % 5 == 0 else 0.15,
        )
        sheet.line([(x, top), (x, top + (bottom - top) * tall)], dark, 0.8)
        if mark % 10 == 0:
            sheet.text(x, top + (bottom - top) * 0.4, str(mark // 10), "mt", color=dark)
    sheet.text(left, bottom - 3, "cm", "lb", color=dark, size=sheet.print * 0.9)
    edges = [left + unit * end / 10 for end in (a, b)]
    sheet.rectangle(edges[0], top * 0.5, edges[1], top - 2, sheet.theme.palette[0], sheet.theme.ink)
    return Item(image=sheet.image(), asked=_ask_ruler(wanted, a, b))


def _ask_ruler(wanted: Wanted, a: int, b: int) -> Asked:
    rng, setup = wanted.rng, f"start, end = {a / 10}, {b / 10}"
    if wanted.difficulty == "easy":
        text = "How long is the coloured bar, in centimetres?"
        return Asked(
            kind="length",
            text=text,
            program=f"{setup}\nprint(round(end - start, 1))",
            type="float",
            tolerance=0.1,
        )
    if wanted.difficulty == "medium":
        text = "How long is the coloured bar, in millimetres?"
        program = f"{setup}\nprint(round(10 * (end - start)))"
        return Asked(
            kind="millimetres",
            text=text,
            program=program,
            type="int",
            tolerance=1,
            operations=COMPUTED,
        )
    two = "Give two decimals."
    kind, text, expression = rng.choice(
        (
            (
                "inches",
                f"How long is the coloured bar, in inches of 2.54 cm? {two}",
                "(end - start) / 2.54",
            ),
            (
                "square",
                f"What is the area of a square with this side, in square centimetres? {two}",
                "(end - start) ** 2",
            ),
            (
                "scale",
                f"On a map of scale 1:25000, how many kilometres does the bar stand for? {two}",
                "(end - start) * 25000 / 100000",
            ),
        )
    )
    missed = {"inches": 0.1 / 2.54, "square": 0.2 * (b - a) / 10, "scale": 0.03}[kind]
    program = f"{setup}\nprint(round({expression}, 2))"
    return Asked(
        kind=kind,
        text=text,
        program=program,
        type="float",
        digits=2,
        tolerance=round(missed, 3),
        operations=COMPUTED,
    )


def dial(wanted: Wanted) -> Item:
    """A round gauge with a needle on a linear scale."""
    rng = wanted.rng
    side = round(wanted.side * 0.7)
    sheet = Sheet(side, round(side * 0.72), draw_theme(rng), max(9, round(side / 19)))
    low, high, unit = rng.choice(
        ((0, 100, "%"), (0, 240, "km/h"), (0, 10, "bar"), (-20, 60, "°C"), (0, 8, "kN"))
    )
    parts = rng.choice((4, 5, 8))
    if (high - low) * 10 % parts:
        parts = 4
    while True:
        share = round(rng.uniform(0.06, 0.94), 3)
        value = round(low + share * (high - low), 0 if high - low > 30 else 1)
        if held_apart(wanted, "dial", value, high):
            break
    x, y, r = side / 2, side * 0.5, side * 0.4
    sheet.arc(x, y, r, 150, 390, sheet.theme.ink, 1.6)
    for i in range(parts * 5 + 1):
        turn = math.radians(150 + 240 * i / (parts * 5))
        inner = 0.87 if i % 5 == 0 else 0.94
        ends = [(x + math.cos(turn) * r * f, y + math.sin(turn) * r * f) for f in (inner, 1)]
        sheet.line(ends, sheet.theme.ink, 1.4 if i % 5 == 0 else 0.8)
        if i % 5 == 0:
            text = f"{low + (high - low) * i / (parts * 5):g}"
            sheet.text(x + math.cos(turn) * r * 0.7, y + math.sin(turn) * r * 0.7, text, "mm")
    turn = math.radians(150 + 240 * (value - low) / (high - low))
    tip = (x + math.cos(turn) * r * 0.84, y + math.sin(turn) * r * 0.84)
    sheet.line([(x, y), tip], sheet.theme.palette[3], 2.2)
    sheet.circle(x, y, side / 40, sheet.theme.ink)
    sheet.text(x, y + r * 0.45, unit, "mm", bold=True)
    return Item(image=sheet.image(), asked=_ask_dial(wanted, value, low, high, unit))


def _ask_dial(wanted: Wanted, value: float, low: float, high: float, unit: str) -> Asked:
    missed = 0.02 * (high - low)
    setup = f"value = {value:g}"
    if wanted.difficulty == "easy":
        text = f"What does the dial show, in {unit}?"
        return Asked(
            kind="dial", text=text, program=f"{setup}\nprint(value)", type="float", tolerance=missed
        )
    if wanted.difficulty == "medium":
        text = f"How far is the needle below the end of the scale, in {unit}?"
        return Asked(
            kind="to_the_end",
            text=text,
            program=f"{setup}\nprint(round({high} - value, 1))",
            type="float",
            tolerance=missed,
            operations=COMPUTED,
        )
    squared = ("thousandths of the square of this share", "(value / 100) ** 2 * 1000")
    conversions = {
        "km/h": ("metres per second", "value / 3.6", 1 / 3.6),
        "bar": ("psi of 0.0689476 bar", "value / 0.0689476", 14.5),
        "°C": ("degrees Fahrenheit", "value * 9 / 5 + 32", 1.8),
        "kN": ("pounds-force of 4.44822 N", "value * 1000 / 4.44822", 224.8),
        "%": (*squared, 0.2 * max(value, 10) / 10),
    }
    target, expression, slope = conversions[unit]
    text = f"Convert what the dial shows to {target}. Give two decimals."
    program = f"{setup}\nprint(round({expression}, 2))"
    return Asked(
        kind="dial_conversion",
        text=text,
        program=program,
        type="float",
        digits=2,
        tolerance=round(missed * slope, 3),
        operations=COMPUTED,
    )
