"""What a chart shows: a few labelled values, a small grid, points or a sample, as printed texts.

The printed text is the truth: a value is rounded before anything is drawn or asked.
"""

import random
from dataclasses import dataclass, replace

from air_reasoning.tasks.families.item import Wanted
from air_reasoning.tasks.families.real_data import Grid, Records, grids, records


@dataclass(kw_only=True, slots=True, frozen=True)
class Series:
    """``labels`` and printed ``values`` of one column (or one row) of a grid."""

    name: str
    title: str
    unit: str
    labels: tuple[str, ...]
    values: tuple[str, ...]
    columns: tuple[str, ...]
    ordered: bool
    parts: bool

    @property
    def numbers(self) -> list[float]:
        """The values as they are printed."""
        return [float(value) for value in self.values]


@dataclass(kw_only=True, slots=True, frozen=True)
class Block:
    """Several series over the same labels."""

    title: str
    unit: str
    labels: tuple[str, ...]
    series: tuple[Series, ...]
    ordered: bool

    @property
    def columns(self) -> list[str]:
        """All "table/column" shown."""
        return sorted({column for series in self.series for column in series.columns})


@dataclass(kw_only=True, slots=True, frozen=True)
class Points:
    """Two columns of a record table against each other, values as printed."""

    title: str
    names: tuple[str, str]
    units: tuple[str, str]
    xs: tuple[float, ...]
    ys: tuple[float, ...]
    columns: tuple[str, ...]


def decimals_for(numbers: list[float]) -> int:
    """Digits after the point that make about three in all.

    >>> decimals_for([0.4, 9.2]), decimals_for([61.5]), decimals_for([840.2]), decimals_for([3.0])
    (2, 1, 0, 0)
    """
    largest = max(abs(number) for number in numbers)
    if all(number == int(number) for number in numbers):
        return 0
    return 0 if largest >= 150 else 1 if largest >= 15 else 2


def draw_series(
    wanted: Wanted, count: tuple[int, int], *, parts: bool = False, positive: bool = True
) -> Series:
    """A column (or a row) of a grid with ``count`` different rows, in order where time matters."""
    rng = wanted.rng
    pool = [g for g in grids(wanted.split, wanted.bokeh) if g.parts or not parts]
    while True:
        grid = rng.choice(pool)
        turn = rng.random() < 0.3 or len(grid.rows) < count[0] or (parts and grid.ordered)
        if turn and len(grid.columns) >= count[0]:
            grid = _turned(grid)
        if len(grid.rows) < count[0]:
            continue
        rows = _rows(grid, rng.randint(count[0], min(count[1], len(grid.rows))), rng)
        column = rng.randrange(len(grid.columns))
        numbers = [grid.values[row][column] for row in rows]
        places = decimals_for(numbers)
        if all(abs(number) >= 10**-places for number in numbers) and (
            min(numbers) > 0 or not positive
        ):
            return _series(grid, rows, column, places)


def draw_block(wanted: Wanted, rows: tuple[int, int], columns: tuple[int, int]) -> Block:
    """Two or more columns of one grid over the same rows; all values are above zero."""
    rng = wanted.rng
    pool = [g for g in grids(wanted.split, wanted.bokeh) if len(g.columns) >= columns[0]]
    while True:
        grid = rng.choice(pool)
        if len(grid.rows) < rows[0]:
            continue
        chosen = _rows(grid, rng.randint(rows[0], min(rows[1], len(grid.rows))), rng)
        number = rng.randint(columns[0], min(columns[1], len(grid.columns)))
        across = sorted(rng.sample(range(len(grid.columns)), number))
        shown = [grid.values[row][column] for row in chosen for column in across]
        places = decimals_for(shown)
        if min(shown) < 10**-places or max(shown) > 60 * min(shown):
            continue
        series = tuple(_series(grid, chosen, column, places) for column in across)
        return Block(
            title=grid.title, unit=grid.unit, labels=series[0].labels, series=series,
            ordered=grid.ordered,
        )  # fmt: skip


def draw_points(wanted: Wanted, count: tuple[int, int]) -> Points:
    """Rows of a record table, two columns, rounded to what can be seen."""
    rng = wanted.rng
    table: Records = rng.choice(records(wanted.split, wanted.bokeh))
    a, b = rng.sample(list(table.columns), 2)
    size = len(table.columns[a])
    rows = sorted(rng.sample(range(size), min(size, rng.randint(*count))))
    pair = [[table.columns[name][row] for row in rows] for name in (a, b)]
    xs, ys = (tuple(round(v, decimals_for(values)) for v in values) for values in pair)
    return Points(
        title=table.title, names=(a, b), units=(table.units[a], table.units[b]), xs=xs, ys=ys,
        columns=(f"{table.table}/{a}", f"{table.table}/{b}"),
    )  # fmt: skip


def _rows(grid: Grid, count: int, rng: random.Random) -> list[int]:
    """Neighbours in time, every second or third of them, or any rows where there is no order."""
    size = len(grid.rows)
    if not grid.ordered:
        return rng.sample(range(size), count)
    step = rng.randint(1, max(1, min(5, (size - 1) // max(1, count - 1))))
    start = rng.randrange(size - (count - 1) * step)
    return list(range(start, start + count * step, step))


def _series(grid: Grid, rows: list[int], column: int, places: int) -> Series:
    name = grid.columns[column]
    return Series(
        name=name, title=grid.title, unit=grid.unit, labels=tuple(grid.rows[row] for row in rows),
        values=tuple(f"{grid.values[row][column]:.{places}f}" for row in rows),
        columns=(f"{grid.table}/{name}",) if not grid.table.startswith("~")
        else tuple(f"{grid.table[1:]}/{grid.rows[row]}" for row in rows),
        ordered=grid.ordered, parts=grid.parts,
    )  # fmt: skip


def _turned(grid: Grid) -> Grid:
    """Rows for columns; the table is marked so that what is shown is still named by column."""
    return replace(
        grid, table="~" + grid.table, rows=grid.columns, columns=grid.rows, ordered=False,
        values=tuple(zip(*grid.values, strict=True)),
    )  # fmt: skip


def spread_out(numbers: list[float]) -> bool:
    """Whether the largest and the smallest stand alone by what an eye can tell (4 %)."""
    ordered = sorted(numbers)
    least = 0.04 * (ordered[-1] - min(0.0, ordered[0]))
    return ordered[-1] - ordered[-2] > least and ordered[1] - ordered[0] > least
