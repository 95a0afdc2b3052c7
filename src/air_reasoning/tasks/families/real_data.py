"""Real tables as grids and records, split by table: no column is shown in two splits.

A *grid* has labelled rows, labelled columns and one unit (years x stocks in dollars); a *record
table* has numeric columns with units of their own (cars: horsepower, weight). Sources are the
tables of ``vega-datasets`` and scikit-learn and, where asked for, of ``bokeh-sampledata``. The
split of each is in ``tables.split_of``; tables that hold the same data under another name (cars and
autompg, iris twice) are used once.
"""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from air_reasoning.errors import PrerequisiteError
from air_reasoning.tasks.tables import Split, raw_tables, split_of

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
BOKEH_SPLITS: dict[str, Split] = {
    "gapminder": "train", "degrees": "train", "superstore": "train", "elements": "train",
    "emissions": "dev", "glass": "dev", "penguins": "test", "marriages": "test",
    "unemployment": "test",
}  # fmt: skip
BOKEH_LICENSES = {
    "gapminder": "CC-BY-2.0, gapminder.org", "degrees": "CC0-1.0", "superstore": "CC0-1.0",
    "penguins": "CC0-1.0", "elements": "public domain", "emissions": "public domain",
    "glass": "public domain", "marriages": "public domain", "unemployment": "public domain",
}  # fmt: skip
"""As the package's licence list records them."""


@dataclass(kw_only=True, slots=True, frozen=True)
class Grid:
    """``values[row][column]``, all in one ``unit``.

    ``ordered``: rows follow each other in time. ``parts``: values add up to something, so that
    shares and sums make sense.
    """

    table: str
    title: str
    unit: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]
    ordered: bool = False
    parts: bool = False

    def named(self, columns: list[str]) -> list[str]:
        """``table/column`` of each."""
        return [f"{self.table}/{column}" for column in columns]


@dataclass(kw_only=True, slots=True, frozen=True)
class Records:
    """Columns of numbers, ``units`` of each, row by row."""

    table: str
    title: str
    columns: dict[str, tuple[float, ...]]
    units: dict[str, str]


@functools.cache
def grids(split: Split, bokeh: bool = False) -> tuple[Grid, ...]:
    """The split's grids, in a fixed order; those of bokeh-sampledata come last."""
    found = [grid for grid in _vega_grids() if split_of(grid.table) == split]
    if bokeh:
        found += [grid for grid in _bokeh_grids() if BOKEH_SPLITS[grid.table] == split]
    return tuple(found)


@functools.cache
def records(split: Split, bokeh: bool = False) -> tuple[Records, ...]:
    """The split's record tables, in a fixed order."""
    found = [table for table in _vega_records() if split_of(table.table) == split]
    if bokeh:
        found += [table for table in _bokeh_records() if BOKEH_SPLITS[table.table] == split]
    return tuple(found)


def _grid(
    frame: Any, *, table: str, title: str, unit: str, ordered: bool = False, parts: bool = False
) -> Grid:
    """From a pandas frame whose index and columns are the labels; incomplete rows are left out."""
    frame = frame.dropna()
    return Grid(
        rows=tuple(map(str, frame.index)), columns=tuple(map(str, frame.columns)),
        values=tuple(tuple(map(float, row)) for row in frame.to_numpy()), ordered=ordered,
        parts=parts, table=table, title=title, unit=unit,
    )  # fmt: skip


def _monthly(frame: Any, date: str, how: Literal["mean", "sum"] = "mean") -> Any:
    """Numeric columns by calendar month."""
    numbers = frame.select_dtypes("number").groupby(frame[date].dt.month).agg(how)
    numbers.index = [MONTHS[month - 1] for month in numbers.index]
    return numbers


def _vega_grids() -> Iterator[Grid]:
    raw = raw_tables()
    stocks = raw["stocks"]
    yearly = stocks.groupby([stocks.date.dt.year, "symbol"]).price.mean().unstack()
    yield _grid(yearly, ordered=True, table="stocks", title="Mean share price", unit="$")
    yield from _employment(raw["us-employment"])
    iris = raw["iris"].groupby("species").mean()
    iris.columns = ["sepal length", "sepal width", "petal length", "petal width"]
    yield _grid(iris, table="iris", title="Mean size of iris flowers", unit="cm")
    for table, place in (("seattle-temps", "Seattle"), ("sf-temps", "San Francisco")):
        frame = raw[table]
        by_hour = frame.groupby([frame.date.dt.month, frame.date.dt.hour]).temp.mean().unstack()
        by_hour = by_hour[[0, 6, 12, 18]].set_axis(["midnight", "6 am", "noon", "6 pm"], axis=1)
        by_hour.index = list(MONTHS)
        title = f"Mean temperature in {place}"
        yield _grid(by_hour, ordered=True, table=table, title=title, unit="°F")
    airports = raw["airports"].groupby("state").size().sort_values(ascending=False)[:24]
    title = "Airports by state"
    yield _grid(airports.to_frame("airports"), parts=True, table="airports", title=title, unit="")
    yield from _test_grids(raw)
    yield from _dev_grids(raw)


def _employment(frame: Any) -> Iterator[Grid]:
    sectors = {
        "construction": "Construction", "manufacturing": "Manufacturing",
        "retail_trade": "Retail", "financial_activities": "Finance", "government": "Government",
        "leisure_and_hospitality": "Leisure", "information": "Information",
        "education_and_health_services": "Health",
    }  # fmt: skip
    yearly = frame.groupby(frame.month.str[:4])[list(sectors)].mean() / 1000
    yield _grid(
        yearly.rename(columns=sectors), ordered=True, parts=True, table="us-employment",
        title="Employment in the USA", unit="million",
    )  # fmt: skip


def _test_grids(raw: dict[str, Any]) -> Iterator[Grid]:
    wheat = raw["wheat"].set_index("year")
    for column, title in (("wheat", "Price of wheat"), ("wages", "Weekly wages")):
        yield _grid(wheat[[column]], ordered=True, table="wheat", title=title, unit="shillings")
    driving = raw["driving"].set_index("year")
    yield _grid(
        driving[["miles"]], ordered=True, table="driving", title="Miles driven a head", unit="miles"
    )
    yield _grid(
        driving[["gas"]], ordered=True, table="driving", title="Price of a gallon", unit="$"
    )
    cars = raw["cars"]
    for column, title, unit in (
        ("Miles_per_Gallon", "Mean mileage of cars", "mpg"),
        ("Horsepower", "Mean power of cars", "hp"),
        ("Acceleration", "Mean time to 60 mph", "s"),
    ):
        table = cars.groupby([cars.Year.dt.year, "Origin"])[column].mean().unstack()
        yield _grid(table, ordered=True, table="cars", title=title, unit=unit)
    crimea = raw["crimea"]
    crimea.index = crimea.date.dt.strftime("%b %y")
    yield _grid(
        crimea[["wounds", "other", "disease"]], ordered=True, parts=True, table="crimea",
        title="Deaths in the Crimean war", unit="",
    )  # fmt: skip
    weather = _monthly(raw["seattle-weather"], "date")
    temperatures = weather[["temp_max", "temp_min"]].set_axis(["highest", "lowest"], axis=1)
    yield _grid(
        temperatures, ordered=True, table="seattle-weather", unit="°C",
        title="Daily temperatures in Seattle",
    )  # fmt: skip
    rain = _monthly(raw["seattle-weather"], "date", "sum")[["precipitation"]] / 4
    yield _grid(
        rain, ordered=True, parts=True, table="seattle-weather", title="Rain in Seattle", unit="mm"
    )


def _dev_grids(raw: dict[str, Any]) -> Iterator[Grid]:
    barley = raw["barley"].groupby(["variety", "site"])["yield"].mean().unstack()
    yield _grid(barley, table="barley", title="Yield of barley", unit="bushels per acre")
    iowa = raw["iowa-electricity"]
    iowa = iowa.pivot(index="year", columns="source", values="net_generation") / 1000
    iowa.index = iowa.index.year
    yield _grid(
        iowa, ordered=True, parts=True, table="iowa-electricity", title="Electricity in Iowa",
        unit="TWh",
    )  # fmt: skip
    ohlc = raw["ohlc"]
    ohlc.index = ohlc.date.dt.strftime("%d %b")
    prices = ohlc[["open", "high", "low", "close"]]
    yield _grid(prices, ordered=True, table="ohlc", title="Price of a share", unit="$")


def _vega_records() -> Iterator[Records]:
    raw = raw_tables()
    yield _records(raw["iris"], "iris", "Iris flowers", {
        "sepalLength": ("sepal length", "cm"), "petalLength": ("petal length", "cm"),
        "sepalWidth": ("sepal width", "cm"), "petalWidth": ("petal width", "cm"),
    })  # fmt: skip
    yield _records(raw["breast_cancer"], "breast_cancer", "Cell nuclei", {
        "mean radius": ("mean radius", "µm"), "mean texture": ("mean texture", ""),
        "mean perimeter": ("mean perimeter", "µm"), "worst radius": ("worst radius", "µm"),
        "mean area": ("mean area", "µm²"),
    })  # fmt: skip
    yield _records(
        raw["anscombe"], "anscombe", "Anscombe's series", {"X": ("x", ""), "Y": ("y", "")}
    )
    yield _records(raw["cars"], "cars", "Cars", {
        "Horsepower": ("power", "hp"), "Miles_per_Gallon": ("mileage", "mpg"),
        "Weight_in_lbs": ("weight", "lb"), "Acceleration": ("time to 60 mph", "s"),
    })  # fmt: skip
    yield _records(raw["wine"], "wine", "Wines", {
        "alcohol": ("alcohol", "%"), "color_intensity": ("colour intensity", ""),
        "malic_acid": ("malic acid", "g/l"), "flavanoids": ("flavanoids", "g/l"),
        "magnesium": ("magnesium", "mg/l"),
    })  # fmt: skip
    yield _records(raw["driving"], "driving", "Driving in the USA", {
        "miles": ("miles a head", "miles"), "gas": ("price of a gallon", "$"),
    })  # fmt: skip
    yield _records(raw["ohlc"], "ohlc", "A share", {
        "open": ("opening price", "$"), "close": ("closing price", "$"),
        "high": ("highest price", "$"),
    })  # fmt: skip


def _records(frame: Any, table: str, title: str, columns: dict[str, tuple[str, str]]) -> Records:
    """The named columns under readable names; rows with a gap are left out."""
    numbers = frame[list(columns)].dropna()
    return Records(
        table=table, title=title, units={name: unit for name, unit in columns.values()},
        columns={name: tuple(map(float, numbers[raw])) for raw, (name, _) in columns.items()},
    )  # fmt: skip


def _bokeh(module: str, attribute: str = "data") -> Any:
    try:
        import importlib

        return getattr(importlib.import_module(f"bokeh_sampledata.{module}"), attribute)
    except ImportError as error:
        raise PrerequisiteError(
            f"tables of bokeh-sampledata need the 'bokeh' extra ({error.name} is missing): "
            "pip install 'air-reasoning[data,bokeh]'"
        ) from error


def _bokeh_grids() -> Iterator[Grid]:
    for attribute, title, unit, scale in (
        ("life_expectancy", "Life expectancy", "years", 1.0),
        ("fertility", "Children per woman", "", 1.0),
        ("population", "Population", "million", 1e6),
    ):
        frame = _bokeh("gapminder", attribute)
        large = _bokeh("gapminder", "population")["2013"].sort_values(ascending=False).index[:80]
        short = [name for name in large if len(name) <= 13]
        by_year = frame.loc[short, [str(year) for year in range(1965, 2014, 4)]].T / scale
        yield _grid(by_year, ordered=True, table="gapminder", title=title, unit=unit)
    degrees = _bokeh("degrees").set_index("Year")
    degrees = degrees[[name for name in degrees.columns if len(name) <= 13]]
    yield _grid(degrees, ordered=True, table="degrees", title="Degrees to women", unit="%")
    shop = _bokeh("sample_superstore")
    sales = shop.groupby(["Sub-Category", "Region"]).Sales.sum().unstack() / 1000
    yield _grid(sales, parts=True, table="superstore", title="Sales", unit="thousand $")
    emissions = _bokeh("emissions").pivot(index="year", columns="country", values="emissions")
    emissions.index = emissions.index.astype(int)
    complete = emissions.loc[1960:].dropna(axis=1)
    complete = complete[
        [name for name in complete.columns if len(name) <= 13 and complete[name].min() > 1]
    ]
    yield _grid(complete, ordered=True, table="emissions", title="CO2 emissions a head", unit="t")
    marriages = _bokeh("us_marriages_divorces").set_index("Year")
    rates = marriages[["Marriages_per_1000", "Divorces_per_1000"]].set_axis(
        ["marriages", "divorces"], axis=1
    )
    yield _grid(rates, ordered=True, table="marriages", title="Per 1000 people in the USA", unit="")
    rates = _bokeh("unemployment1948").set_index("Year")[list(MONTHS)]
    yield _grid(
        rates, ordered=True, table="unemployment", title="Unemployment in the USA", unit="%"
    )


def _bokeh_records() -> Iterator[Records]:
    builders: list[Callable[[], Records]] = [
        lambda: _records(_bokeh("penguins"), "penguins", "Penguins", {
            "bill_length_mm": ("bill length", "mm"), "bill_depth_mm": ("bill depth", "mm"),
            "flipper_length_mm": ("flipper length", "mm"), "body_mass_g": ("mass", "g"),
        }),
        lambda: _records(_bokeh("forensic_glass"), "glass", "Glass", {
            "Na": ("sodium", "%"), "Mg": ("magnesium", "%"), "Ca": ("calcium", "%"),
        }),
        lambda: _records(_bokeh("periodic_table", "elements"), "elements", "Elements", {
            "atomic number": ("atomic number", ""), "melting point": ("melting point", "K"),
            "density": ("density", "g/cm³"),
        }),
    ]  # fmt: skip
    for build in builders:
        yield build()
