"""Numbers from real tables, split so that training never sees a test table.

Sources: the 17 tables of the ``vega-datasets`` package and three of scikit-learn (``data`` extra).
A column offers its values as short strings ("12.5", "847"), because that is what a 128-pixel
picture can show; the scale of a column may change, its digits do not.
"""

import functools
import random
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from air_reasoning.errors import PrerequisiteError

Split = Literal["train", "dev", "test"]
ValueStyle = Literal["any", "two_digit", "decimal"]

TEST_TABLES = frozenset({"wheat", "driving", "wine", "cars", "crimea", "seattle-weather"})
DEV_TABLES = frozenset({"barley", "ohlc", "iowa-electricity"})
VEGA_TABLES = [
    "airports", "anscombe", "barley", "burtin", "cars", "crimea", "driving", "iowa-electricity",
    "iris", "la-riots", "ohlc", "seattle-temps", "seattle-weather", "sf-temps", "stocks",
    "us-employment", "wheat",
]  # fmt: skip
SKLEARN_TABLES = ("wine", "diabetes", "breast_cancer")

LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"  # no I and O: they look like l, 1 and 0
WORDS = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec", "mon",
    "tue", "wed", "thu", "fri", "sat", "sun", "north", "south", "east", "west", "red", "blue",
    "green", "gold", "pink", "gray", "black", "white", "oak", "elm", "fir", "ash", "pine", "palm",
    "rice", "corn", "wheat", "beans", "salt", "tea", "milk", "fish", "meat", "egg", "apple", "pear",
    "plum", "fig", "lime", "kiwi", "grape", "car", "bus", "bike", "train", "boat", "plane", "cat",
    "dog", "cow", "hen", "fox", "owl", "bee", "ant", "bear", "wolf", "rome", "paris", "oslo",
    "lima", "cairo", "delhi", "tokyo", "bern", "kiev", "riga", "asia", "coal", "gas", "oil", "wind",
    "solar", "steel", "iron", "zinc", "tin", "lead", "rent", "food", "tax", "fuel", "books", "pens",
    "toys", "hats", "shoes", "coats", "alpha", "beta", "gamma", "delta", "one", "two", "low", "mid",
    "high",
]  # fmt: skip


@dataclass(kw_only=True, slots=True, frozen=True)
class Column:
    """One numeric column of a real table, as short strings of at most four characters."""

    table: str
    name: str
    values: tuple[str, ...]


def split_of(table: str) -> Split:
    """The split that a whole table belongs to."""
    if table in TEST_TABLES:
        return "test"
    return "dev" if table in DEV_TABLES else "train"


def short(number: float) -> str | None:
    """At most four characters, or None where the number cannot be shown so.

    >>> short(0.0125), short(12.5), short(84716.0)
    ('12.5', '12.5', '84.7')
    """
    number = abs(float(number))
    if number == 0 or not np.isfinite(number):
        return None
    if number < 0.095:
        number *= 1000
    while number >= 10000:
        number /= 1000
    if number >= 100 or abs(number - round(number)) < 1e-9:
        text = str(round(number))
    else:
        text = f"{number:.1f}" if number >= 1 else f"{number:.2f}"
    text = text.removesuffix(".0")
    return text if len(text) <= 4 else None


@functools.cache
def columns(split: Split, style: ValueStyle = "any") -> tuple[Column, ...]:
    """Columns of the split's tables with at least six different values of that style."""
    out: list[Column] = []
    for table, frame in raw_tables().items():
        if split_of(table) != split:
            continue
        for name in frame.columns:
            if frame[name].dtype.kind not in "if" or name == "year":
                continue
            numbers = frame[name].dropna().tolist()
            values = tuple(v for v in (_styled(n, style) for n in numbers) if v)
            if len(set(values)) >= 6:
                out.append(Column(table=table, name=str(name), values=values))
    return tuple(out)


def _styled(number: float, style: ValueStyle) -> str | None:
    text = short(number)
    match style:
        case "any":
            return text
        case "decimal":
            return text if text and "." in text else None
        case "two_digit":
            rounded = round(abs(float(text))) if text else 0
            return str(rounded) if 2 <= rounded <= 99 else None


@functools.cache
def raw_tables() -> dict[str, Any]:
    """All tables as pandas frames, by name. Raises PrerequisiteError without the ``data`` extra."""
    try:
        from sklearn import datasets
        from vega_datasets import local_data
    except ImportError as error:
        raise PrerequisiteError(
            f"real tables need the 'data' extra ({error.name} is missing): "
            "pip install 'air-reasoning[data]'"
        ) from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frames = {name: getattr(local_data, name.replace("-", "_"))() for name in VEGA_TABLES}
    for name in SKLEARN_TABLES:
        frames[name] = getattr(datasets, f"load_{name}")(as_frame=True).data
    return frames


@functools.cache
def handwriting(split: Split) -> tuple[np.ndarray, ...]:
    """Handwritten digits by class: ten arrays [n, 8, 8] of ink in 0..1 (scikit-learn's 1,797)."""
    from sklearn.datasets import load_digits

    digits: Any = load_digits()
    order = np.random.RandomState(0).permutation(len(digits.target))
    low, high = {"train": (0, 1300), "dev": (1300, 1450), "test": (1450, 1797)}[split]
    chosen = order[low:high]
    ink, label = digits.images[chosen].astype(np.float32) / 16, digits.target[chosen]
    return tuple(ink[label == digit] for digit in range(10))


def draw_names(rng: random.Random, count: int, longest: int) -> list[str]:
    """Different names of at most ``longest`` letters: all single letters, all words, or both."""
    words = [w for w in WORDS if len(w) <= longest]
    kind = rng.random() if words else 0.0
    pool: Sequence[str] = LETTERS if kind < 0.35 else words if kind < 0.85 else [*LETTERS, *words]
    return rng.sample(list(pool), count)


def draw_values(
    rng: random.Random, split: Split, count: int, style: ValueStyle = "any"
) -> tuple[list[str], str]:
    """``count`` values of one real column, and "table/column"; repeats are possible."""
    column = rng.choice(columns(split, style))
    return [rng.choice(column.values) for _ in range(count)], f"{column.table}/{column.name}"
