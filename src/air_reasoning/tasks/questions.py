"""Questions about a picture's entries, their answers, and the two-stage solutions that teach them.

Difficulty is known by construction: *easy* needs reading and comparing, *medium* is mental
arithmetic that a small head sometimes gets right, *hard* needs more digits than a head holds. The
answer is computed by ``program``, which is kept with the task.
"""

import math
import random
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from air_reasoning.tasks.charts import Family
from air_reasoning.tasks.tables import ValueStyle

Difficulty = Literal["easy", "medium", "hard"]
Numbers = list[float]


@dataclass(kw_only=True, slots=True, frozen=True)
class Kind:
    """One kind of question.

    ``ask`` are phrasings with {a}, {b} for asked names. ``operands`` is how many entries are asked
    for (0: all of them). ``expression`` writes the Python that computes the answer from operand
    texts. ``digits`` is the rounding of the answer (None: exact); ``answer`` "name" means one of
    the names.
    """

    name: str
    difficulty: Difficulty
    ask: tuple[str, ...]
    operands: int
    expression: Callable[[list[str], list[str]], str]
    families: tuple[Family, ...]
    style: ValueStyle = "any"
    entries: tuple[int, int] = (2, 5)
    digits: int | None = None
    answer: Literal["number", "name"] = "number"
    shape: str = ""
    imports: str = ""


ORDINALS = ("first", "second", "third", "fourth")
CHARTED: tuple[Family, ...] = ("bar", "hbar", "line", "table")
ALL: tuple[Family, ...] = ("bar", "hbar", "line", "table", "geometry", "digits")


def _pick(compare: str) -> Callable[[list[str], list[str]], str]:
    return lambda values, names: (
        f"'{names[0]}' if {values[0]}{compare}{values[1]} else '{names[1]}'"
    )


def _listed(function: str) -> Callable[[list[str], list[str]], str]:
    return lambda values, _: f"{function}([{','.join(values)}])"


KINDS: tuple[Kind, ...] = (
    Kind(
        name="read", difficulty="easy", operands=1, families=ALL,
        ask=("What is the value of {a}?", "How much is {a}?", "Read {a}."),
        expression=lambda v, _: v[0],
    ),
    Kind(
        name="larger", difficulty="easy", operands=2, families=ALL, answer="name",
        ask=("Which is larger, {a} or {b}?", "Is {a} or {b} the larger one?"),
        expression=_pick(">"),
    ),
    Kind(
        name="smaller", difficulty="easy", operands=2, families=ALL, answer="name",
        ask=("Which is smaller, {a} or {b}?", "Is {a} or {b} the smaller one?"),
        expression=_pick("<"),
    ),
    Kind(
        name="add", difficulty="medium", operands=2, families=ALL, style="two_digit",
        ask=("What is {a} plus {b}?", "Add {a} and {b}."), expression=lambda v, _: f"{v[0]}+{v[1]}",
    ),
    Kind(
        name="difference", difficulty="medium", operands=2, families=ALL, style="two_digit",
        ask=("By how much do {a} and {b} differ?", "What is the difference of {a} and {b}?"),
        expression=lambda v, _: f"abs({v[0]}-{v[1]})",
    ),
    Kind(
        name="product", difficulty="hard", operands=2, families=ALL, digits=2,
        ask=("What is {a} times {b}?", "Multiply {a} by {b}."),
        expression=lambda v, _: f"{v[0]}*{v[1]}",
    ),
    Kind(
        name="percent", difficulty="hard", operands=2, families=CHARTED, digits=1,
        ask=("How many percent of {b} is {a}?", "What is {a} in percent of {b}?"),
        expression=lambda v, _: f"100*{v[0]}/{v[1]}",
    ),
    Kind(
        name="sum", difficulty="hard", operands=0, families=(*CHARTED, "digits"), entries=(3, 5),
        digits=2, ask=("What is the sum of all values?", "Add all values."),
        expression=lambda v, _: "+".join(v),
    ),
    Kind(
        name="mean", difficulty="hard", operands=0, families=(*CHARTED, "digits"), entries=(3, 5),
        digits=2, ask=("What is the mean of all values?", "What is the average?"),
        expression=lambda v, _: f"({'+'.join(v)})/{len(v)}",
    ),
    Kind(
        name="deviation", difficulty="hard", operands=0, families=CHARTED, entries=(3, 5), digits=2,
        ask=("What is the standard deviation?",), expression=_listed("statistics.pstdev"),
        imports="statistics",
    ),
    Kind(
        name="growth", difficulty="hard", operands=1, families=CHARTED, digits=1,
        ask=("{a} grows by {p} percent a year. What is it after {y} years?",),
        expression=lambda v, _: f"{v[0]}*{v[1]}**{v[2]}",
    ),
    Kind(
        name="area", difficulty="hard", operands=0, families=("geometry",), digits=1,
        ask=("What is the area?",), expression=lambda v, _: "",
    ),
    Kind(
        name="perimeter", difficulty="hard", operands=0, families=("geometry",), digits=1,
        ask=("What is the perimeter?",), expression=lambda v, _: "",
    ),
)  # fmt: skip
BY_NAME = {kind.name: kind for kind in KINDS}

_GEOMETRY: dict[tuple[str, str], Callable[[list[str]], str]] = {
    ("area", "rect"): lambda v: f"{v[0]}*{v[1]}",
    ("area", "tri"): lambda v: f"{v[0]}*{v[1]}/2",
    ("area", "circle"): lambda v: f"math.pi*{v[0]}**2",
    ("perimeter", "rect"): lambda v: f"2*({v[0]}+{v[1]})",
    ("perimeter", "tri"): lambda v: f"{v[0]}+{v[1]}+math.hypot({v[0]},{v[1]})",
    ("perimeter", "circle"): lambda v: f"2*math.pi*{v[0]}",
}


@dataclass(kw_only=True, slots=True, frozen=True)
class Question:
    """``asked`` are the names whose values are needed, in order; ``program`` prints the answer."""

    kind: Kind
    text: str
    asked: tuple[str, ...]
    answer: str
    program: str


def ask(
    kind: Kind, names: list[str], values: list[str], shape: str, rng: random.Random
) -> Question:
    """A question of that kind about the entries; the answer is what its program prints."""
    asked = rng.sample(names, kind.operands) if kind.operands else list(names)
    value_of = dict(zip(names, values, strict=True))
    operands, extra = [value_of[name] for name in asked], dict[str, str]()
    if kind.name == "growth":
        percent, years = rng.randint(2, 20), rng.randint(2, 9)
        extra = {"p": str(percent), "y": str(years)}
        operands += [f"{1 + percent / 100:g}", str(years)]
    if kind.families == ("geometry",):
        expression = _GEOMETRY[kind.name, shape](operands)
    else:
        expression = kind.expression(operands, asked)
    named = {key: spoken(name) for key, name in zip("ab", asked, strict=False)}
    text = rng.choice(kind.ask).format(**named, **extra)
    program = _program(expression, kind)
    return Question(
        kind=kind, text=text, asked=tuple(asked), answer=_run(expression, kind), program=program
    )


def spoken(name: str) -> str:
    """How a question calls an entry: handwritten numbers and sides have no printed name."""
    if name in ORDINALS:
        return f"the {name} number"
    return {"a": "side a", "b": "side b", "r": "radius r"}.get(name, name)


def _program(expression: str, kind: Kind) -> str:
    module = kind.imports or ("math" if "math." in expression else "")
    rounded = expression if kind.digits is None else f"round({expression},{kind.digits})"
    return (f"import {module}\n" if module else "") + f"print({rounded})"


def _run(expression: str, kind: Kind) -> str:
    """Our own expression over our own numbers; model-written code never comes here."""
    result = eval(expression, {"math": math, "statistics": statistics})
    if kind.digits is not None:
        result = round(result, kind.digits)
    return str(result)


def distinct_enough(kind: Kind, values: list[str]) -> bool:
    """Whether the question has one answer: comparing needs different values."""
    return kind.answer != "name" or len(set(map(float, values))) == len(values)
