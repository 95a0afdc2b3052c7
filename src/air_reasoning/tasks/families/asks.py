"""Questions about series, blocks and points by difficulty, each with the program that answers it.

Easy is reading and comparing; medium is one step of mental arithmetic; hard is statistics, growth,
interpolation and conversion, which need code. A program holds the values as the picture prints
them, so that running it is checking the answer.
"""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

from air_reasoning.tasks.families.item import Asked, Wanted
from air_reasoning.tasks.families.series import Block, Points, Series, spread_out

Ask = Callable[[Wanted, Series], Asked | None]
COMPUTED = ("read", "compute")


def listed(values: tuple[str, ...]) -> str:
    """``[12.5, 3.0]`` as the program writes it."""
    return f"[{', '.join(values)}]"


def number(
    kind: str, text: str, expression: str, digits: int, setup: str = "", imports: str = ""
) -> Asked:
    """A question whose answer is rounded to ``digits``, and says so."""
    first = f"import {imports}\n" if imports else ""
    setup = setup and setup + "\n"
    places = "a whole number" if digits == 0 else f"{digits} decimal{'s' * (digits > 1)}"
    rounded = f"round({expression}, {digits})" if digits else f"round({expression})"
    return Asked(
        kind=kind,
        text=f"{text} Round to {places}.",
        program=f"{first}{setup}print({rounded})",
        type="float" if digits else "int",
        digits=digits or None,
        operations=COMPUTED,
    )


def exact(kind: str, text: str, value: str, *, tolerance: float | None = None) -> Asked:
    """A number that stands on the picture, or is read off a scale to ``tolerance``."""
    about = " An estimate from the axis will do." if tolerance else ""
    return Asked(
        kind=kind,
        text=text + about,
        program=f"print({value})",
        tolerance=tolerance,
        type="float" if "." in value or tolerance else "int",
    )


def named(
    kind: str, text: str, labels: tuple[str, ...], values: tuple[str, ...], pick: str
) -> Asked:
    """A label, chosen by ``pick`` ("max" or "min") over the values."""
    setup = f"labels = {list(labels)!r}\nvalues = {listed(values)}"
    program = f"{setup}\nprint(labels[values.index({pick}(values))])"
    return Asked(kind=kind, text=text, program=program, type="text")


def _two(wanted: Wanted, series: Series) -> tuple[int, int]:
    a, b = wanted.rng.sample(range(len(series.labels)), 2)
    return (min(a, b), max(a, b)) if series.ordered else (a, b)


def ask_read(wanted: Wanted, series: Series, tolerance: float | None = None) -> Asked:
    """The value of one label."""
    i = wanted.rng.randrange(len(series.labels))
    phrase = wanted.rng.choice(
        ("What is the value for {}?", "Which value is shown for {}?", "Read off the value of {}.")
    )
    return exact("read", phrase.format(series.labels[i]), series.values[i], tolerance=tolerance)


def ask_extreme(wanted: Wanted, series: Series) -> Asked | None:
    """Which label is highest or lowest."""
    if not spread_out(series.numbers):
        return None
    pick, word = wanted.rng.choice((("max", "highest"), ("min", "lowest")))
    return named("extreme", f"Which one has the {word} value?", series.labels, series.values, pick)


def ask_compare(wanted: Wanted, series: Series) -> Asked | None:
    """Which of two labels is larger."""
    i, j = _two(wanted, series)
    pair = ((series.labels[i], series.labels[j]), (series.values[i], series.values[j]))
    if not spread_out(list(map(float, pair[1]))):
        return None
    pick, word = wanted.rng.choice((("max", "larger"), ("min", "smaller")))
    return named(
        "compare", f"Which has the {word} value, {pair[0][0]} or {pair[0][1]}?", *pair, pick
    )


def _difference(wanted: Wanted, series: Series) -> Asked:
    i, j = _two(wanted, series)
    a, b, digits = series.values[i], series.values[j], _places(series)
    text = f"By how much do {series.labels[i]} and {series.labels[j]} differ?"
    return _plain("difference", text, f"abs({a} - {b})", digits)


def _pair_sum(wanted: Wanted, series: Series) -> Asked:
    i, j = _two(wanted, series)
    text = f"What do {series.labels[i]} and {series.labels[j]} come to together?"
    return _plain("pair_sum", text, f"{series.values[i]} + {series.values[j]}", _places(series))


def _count_above(wanted: Wanted, series: Series) -> Asked | None:
    limits = sorted(series.numbers)
    below, above = wanted.rng.choice(list(pairwise(limits)))
    limit = f"{(below + above) / 2:.{_places(series) + 1}f}"
    if above - below < 0.06 * limits[-1]:
        return None
    program = f"values = {listed(series.values)}\nprint(sum(value > {limit} for value in values))"
    text = f"How many of the values are above {limit}?"
    return Asked(kind="count_above", text=text, program=program, type="int", operations=COMPUTED)


def _plain(kind: str, text: str, expression: str, digits: int) -> Asked:
    """Exact arithmetic on printed decimals: rounding only removes binary dust."""
    rounded = f"round({expression}, {digits})" if digits else f"{expression}"
    return Asked(
        kind=kind,
        text=text,
        program=f"print({rounded})",
        type="float" if digits else "int",
        digits=digits or None,
        operations=COMPUTED,
    )


def _places(series: Series) -> int:
    return len(series.values[0].partition(".")[2])


def _statistic(wanted: Wanted, series: Series) -> Asked:
    kind, text, call = wanted.rng.choice(
        (
            ("mean", "What is the mean of all values?", "statistics.mean(values)"),
            ("median", "What is the median of all values?", "statistics.median(values)"),
            (
                "deviation",
                "What is the population standard deviation of all values?",
                "statistics.pstdev(values)",
            ),
            (
                "geometric_mean",
                "What is the geometric mean of all values?",
                "statistics.geometric_mean(values)",
            ),
        )
    )
    return number(kind, text, call, 2, f"values = {listed(series.values)}", "statistics")


def _total(wanted: Wanted, series: Series) -> Asked | None:
    if not series.parts:
        return None
    i = wanted.rng.randrange(len(series.labels))
    text = f"What share of the sum of all values shown is {series.labels[i]}, in percent?"
    return number(
        "share",
        text,
        f"100 * {series.values[i]} / sum(values)",
        1,
        f"values = {listed(series.values)}",
    )


def _change(wanted: Wanted, series: Series) -> Asked:
    i, j = _two(wanted, series)
    text = (
        f"By how many percent does the value change from {series.labels[i]} to {series.labels[j]}? "
        "A fall is negative."
    )
    return number("percent_change", text, f"100 * ({series.values[j]} / {series.values[i]} - 1)", 1)


def _growth(wanted: Wanted, series: Series) -> Asked:
    i = wanted.rng.randrange(len(series.labels))
    rate, years = wanted.rng.randint(11, 89) / 10, wanted.rng.randint(3, 15)
    text = (
        f"If the value of {series.labels[i]} grew by {rate} percent a year, compounded, "
        f"what would it be after {years} years?"
    )
    return number("compound_growth", text, f"{series.values[i]} * (1 + {rate} / 100) ** {years}", 2)


def _annual(wanted: Wanted, series: Series) -> Asked | None:
    """Mean growth a year between two labels that are years."""
    i, j = _two(wanted, series)
    if not all(label.isdigit() and len(label) == 4 for label in series.labels) or i == j:
        return None
    a, b = series.labels[i], series.labels[j]
    ratio = f"({series.values[j]} / {series.values[i]}) ** (1 / ({b} - {a}))"
    text = f"What is the compound annual growth rate from {a} to {b}, in percent?"
    return number("annual_growth", text, f"100 * ({ratio} - 1)", 2)


def _interpolate(wanted: Wanted, series: Series) -> Asked | None:
    if not all(label.isdigit() for label in series.labels):
        return None
    years = [int(label) for label in series.labels]
    gaps = [i for i in range(len(years) - 1) if years[i + 1] - years[i] > 1]
    if not gaps:
        return None
    i = wanted.rng.choice(gaps)
    year = wanted.rng.randint(years[i] + 1, years[i + 1] - 1)
    a, b = series.values[i], series.values[i + 1]
    expression = f"{a} + ({b} - {a}) * ({year} - {years[i]}) / ({years[i + 1]} - {years[i]})"
    text = (
        f"Interpolate linearly between {years[i]} and {years[i + 1]}: what is the value in {year}?"
    )
    return number("interpolation", text, expression, 2)


CONVERSIONS: dict[str, tuple[str, str]] = {
    "$": ("euros at 0.92 euros a dollar", "{} * 0.92"),
    "cm": ("inches of 2.54 cm", "{} / 2.54"),
    "mm": ("inches of 25.4 mm", "{} / 25.4"),
    "°F": ("degrees Celsius", "({} - 32) * 5 / 9"),
    "°C": ("degrees Fahrenheit", "{} * 9 / 5 + 32"),
    "miles": ("kilometres of 0.621371 miles", "{} / 0.621371"),
    "mpg": ("litres per 100 km (235.215 divided by mpg)", "235.215 / {}"),
    "hp": ("kilowatts of 1.34102 hp", "{} / 1.34102"),
    "TWh": ("petajoules (3.6 for each TWh)", "{} * 3.6"),
    "shillings": ("pounds of 20 shillings", "{} / 20"),
    "bushels per acre": ("bushels per hectare of 2.47105 acres", "{} * 2.47105"),
}


def _convert(wanted: Wanted, series: Series) -> Asked | None:
    if series.unit not in CONVERSIONS:
        return None
    i = wanted.rng.randrange(len(series.labels))
    target, formula = CONVERSIONS[series.unit]
    text = f"Convert the value of {series.labels[i]} to {target}."
    return number("conversion", text, formula.format(series.values[i]), 2)


MEDIUM: tuple[Ask, ...] = (_difference, _pair_sum, _count_above)
HARD: tuple[Ask, ...] = (
    _statistic, _statistic, _total, _change, _growth, _annual, _interpolate, _convert,
)  # fmt: skip


def ask_series(wanted: Wanted, series: Series, *, tolerance: float | None = None) -> Asked:
    """A question of the wanted difficulty; values are printed unless there is a tolerance."""
    easy: list[Ask] = [lambda w, s: ask_read(w, s, tolerance), ask_extreme, ask_compare]
    kinds = {"easy": easy, "medium": list(MEDIUM), "hard": list(HARD)}[wanted.difficulty]
    while True:
        asked = wanted.rng.choice(kinds)(wanted, series)
        if asked is not None:
            return asked


def ask_block(wanted: Wanted, block: Block) -> Asked:
    """A question about several series; labels are named together with their series."""
    rng = wanted.rng
    one = rng.choice(block.series)
    if wanted.difficulty == "easy":
        asked = ask_read(wanted, one)
        return _about(asked, one)
    other = rng.choice([series for series in block.series if series is not one])
    i = rng.randrange(len(block.labels))
    both = f"{one.name} and {other.name}"
    if wanted.difficulty == "medium":
        text = f"By how much do {both} differ at {block.labels[i]}?"
        return _plain("difference", text, f"abs({one.values[i]} - {other.values[i]})", _places(one))
    constant = min(len(set(one.values)), len(set(other.values))) == 1
    kinds = ["single", "ratio_of_means", "mean_gap"] + ["correlation"] * (not constant)
    return _ask_two(wanted, one, other, rng.choice(kinds))


def _ask_two(wanted: Wanted, one: Series, other: Series, kind: str) -> Asked:
    """A hard question about two series over the same labels."""
    setup = f"a = {listed(one.values)}\nb = {listed(other.values)}"
    both = f"{one.name} and {other.name}"
    match kind:
        case "ratio_of_means":
            text = f"Divide the mean of {one.name} by the mean of {other.name}."
            return number(kind, text, "(sum(a) / len(a)) / (sum(b) / len(b))", 3, setup)
        case "correlation":
            text = f"What is Pearson's correlation of {both}?"
            return number(kind, text, "statistics.correlation(a, b)", 3, setup, "statistics")
        case "mean_gap":
            text = f"What is the mean absolute difference of {both} over all labels?"
            gap = "sum(abs(x - y) for x, y in zip(a, b)) / len(a)"
            return number(kind, text, gap, 3, setup)
        case _:
            return _about(ask_series(wanted, one), one)


def _about(asked: Asked, series: Series) -> Asked:
    return replace(asked, text=f"Consider {series.name} only. {asked.text}")


def ask_points(wanted: Wanted, points: Points) -> Asked:
    """Counting points, or the line through them."""
    rng = wanted.rng
    x, y = points.names
    data = f"xs = {list(points.xs)}\nys = {list(points.ys)}"
    if wanted.difficulty == "easy":
        program = f"{data}\nprint(len(xs))"
        return Asked(kind="count", text="How many points are there?", program=program, type="int")
    if wanted.difficulty == "medium":
        ordered = sorted(points.xs)
        gaps = [(b - a, a, b) for a, b in pairwise(ordered)]
        _, below, above = rng.choice([gap for gap in gaps if gap[0] >= max(gaps)[0] / 2])
        limit = round((below + above) / 2, 4)
        text = f"How many points have a {x} above {limit:g}?"
        program = f"{data}\nprint(sum(x > {limit} for x in xs))"
        return Asked(
            kind="count_above", text=text, program=program, type="int", operations=COMPUTED
        )
    kind, text, expression = rng.choice(
        (
            (
                "slope",
                f"What is the slope of the least-squares line of {y} over {x}?",
                "statistics.linear_regression(xs, ys).slope",
            ),
            (
                "correlation",
                f"What is Pearson's correlation of {x} and {y}?",
                "statistics.correlation(xs, ys)",
            ),
            ("mean_y", f"What is the mean {y} of all points?", "statistics.mean(ys)"),
        )
    )
    return number(kind, text, expression, 3, data, "statistics")
