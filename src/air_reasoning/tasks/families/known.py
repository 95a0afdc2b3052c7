"""The families by name."""

from collections.abc import Callable
from typing import Literal, get_args

from air_reasoning.tasks.families import charts, figures, instruments, papers, small_print
from air_reasoning.tasks.families.item import Item, Wanted

FamilyName = Literal[
    "bar", "grouped_bar", "line", "scatter", "pie", "histogram", "table", "receipt", "digits",
    "geometry", "clock", "ruler", "dial", "area", "small_print", "turned", "faint",
]  # fmt: skip
FAMILY_NAMES: tuple[FamilyName, ...] = get_args(FamilyName)
MADE: dict[FamilyName, Callable[[Wanted], Item]] = {
    "bar": charts.bar, "grouped_bar": charts.grouped_bar, "line": charts.line,
    "scatter": charts.scatter, "pie": charts.pie, "histogram": charts.histogram,
    "table": papers.table, "receipt": papers.receipt, "digits": papers.digits,
    "geometry": figures.geometry, "clock": instruments.clock, "ruler": instruments.ruler,
    "dial": instruments.dial, "area": small_print.area, "small_print": small_print.small_print,
    "turned": small_print.turned, "faint": small_print.faint,
}  # fmt: skip
LOOK_AGAIN = frozenset(("small_print", "turned", "faint"))
"""Families whose print cannot be read as it is, however easy the question."""
