r"""Practice in text alone, for a model too small to do without: ends of many solutions in a row.

A comparison is one bit. Alone in a solution it drowns among the tokens around it: shown one a row,
a small model was at chance after 48,000 comparisons; shown twelve a row, it was right on 89 % of
two-digit pairs after 19,000 and on 93 % of real values after 77,000 (one seed). So a row asks one
question and then ends many thoughts with it, in the head or, for hard questions, by a program:

    Which is larger, A or B?   ;A=24,B=68:<</think><answer>\\boxed{B}</answer>;fir=9,C=3.5:>...
    Add all values.   ...A=<loc_033>24,...C=<loc_053>6.5</think><code>...print(round(24+6.5,2))...

Whether to call is no matter of practice: neither ``<code>`` nor ``<answer>`` counts in the loss.
Values are those of training tables and made-up digits; there is no picture.
"""

import random
from dataclasses import dataclass

from air_reasoning.models.tiny import LOCATION_COLUMNS, LOCATION_ROWS
from air_reasoning.tasks.charts import Content
from air_reasoning.tasks.content import sample_content, sign
from air_reasoning.tasks.questions import BY_NAME, Kind, Question, ask
from air_reasoning.tasks.tables import draw_names, draw_values

HEAD = ("larger", "larger", "smaller", "smaller", "add", "difference")
CODED = ("product", "percent", "sum", "mean", "deviation", "area", "perimeter")
"""Hard questions that are the same for every end of a row (growth names its percent)."""
SMALL_FIRST = 400
"""Steps in which most numbers to compare have one or two digits."""
Pieces = list[tuple[str, float]]


@dataclass(kw_only=True, slots=True, frozen=True)
class PracticeRow:
    """``pieces`` are (text, weight in the loss), in order: given 0, to be made by the model 1."""

    question: str
    pieces: Pieces


def practice_row(step: int, rng: random.Random, programs: float = 0.0) -> PracticeRow:
    """A row for that step; the same ``rng`` state, the same row. ``programs`` is their share."""
    coded = programs > 0 and rng.random() < programs
    ends = _coded_ends(rng) if coded else _head_ends(step, rng)
    return PracticeRow(
        question=ends[0][0].text, pieces=[piece for _, pieces in ends for piece in pieces]
    )


def _head_ends(step: int, rng: random.Random, ends: int = 8) -> list[tuple[Question, Pieces]]:
    """Thoughts that end in a comparison or a small sum, and the answer."""
    kind = BY_NAME[rng.choice(HEAD)]
    rows = list[tuple[Question, Pieces]]()
    for _ in range(ends):
        names, values = draw_names(rng, 2, 5), operands(kind, step, rng)
        question = ask(kind, names, values, "", rng)
        value_of = dict(zip(names, values, strict=True))
        pieces = [(";" + _restated(question, value_of), 0.0)]
        if kind.answer == "name":
            first, second = (float(value_of[name]) for name in question.asked)
            pieces += [(":", 0.0), (sign(first, second)[1:], 1.0)]
        pieces += [("</think>", 0.0), *_answer(question)]
        rows.append((question, pieces))
    return rows


def _coded_ends(rng: random.Random, ends: int = 3) -> list[tuple[Question, Pieces]]:
    """Readings, the program that a question needs, its output and the answer."""
    kind = BY_NAME[rng.choice(CODED)]
    rows = list[tuple[Question, Pieces]]()
    for _ in range(ends):
        content = _content(kind, rng)
        question = ask(kind, content.names, content.values, content.shape, rng)
        value_of = dict(zip(content.names, content.values, strict=True))
        restated = ";" + _restated(question, value_of) if kind.operands else ""
        pieces = [
            (_reading(content, rng) + restated + "</think><code>```python\n", 0.0),
            (question.program, 1.0),
            (f"\n```</code><interpreter>{question.answer}</interpreter>", 0.0),
            *_answer(question),
        ]
        rows.append((question, pieces))
    return rows


def _content(kind: Kind, rng: random.Random) -> Content:
    """Names and values with enough to ask for: a circle has one radius."""
    while True:
        family = rng.choice(kind.families)
        content = sample_content(family, rng, "train", count=kind.entries, made_up=0.3)
        if len(content.names) >= kind.operands:
            return content


def _restated(question: Question, value_of: dict[str, str]) -> str:
    return ",".join(f"{name}={value_of[name]}" for name in question.asked)


def _reading(content: Content, rng: random.Random) -> str:
    """A transcription as thoughts have it, at places made up."""

    def place() -> str:
        return f"<loc_{rng.randrange(LOCATION_ROWS * LOCATION_COLUMNS):03d}>"

    named = not (content.shape or content.source.startswith("digits"))
    parts = [
        f"{place() if named else ''}{name}={place()}{value}"
        for name, value in zip(content.names, content.values, strict=True)
    ]
    return (content.shape + " " if content.shape else "") + ",".join(parts)


def _answer(question: Question) -> Pieces:
    return [("<answer>\\boxed{", 0.0), (question.answer, 1.0), ("}</answer>", 0.0)]


def operands(kind: Kind, step: int, rng: random.Random) -> list[str]:
    """Two different values: real ones, or made-up digits that often differ in one place only."""
    while True:
        if kind.style == "two_digit":
            values = [str(rng.randint(2, 99)) for _ in range(2)]
        elif step < SMALL_FIRST and rng.random() < 0.8:
            low, high = rng.choice(((1, 9), (10, 99)))
            values = [str(rng.randint(low, high)) for _ in range(2)]
        elif rng.random() < 0.5:
            values, _ = draw_values(rng, "train", 2)
        else:
            values = _made_up(rng)
        if float(values[0]) != float(values[1]):
            return values


def _made_up(rng: random.Random) -> list[str]:
    digits = rng.choice((1, 2, 2, 3, 3, 4))
    numbers = [str(rng.randint(10 ** (digits - 1), 10**digits - 1)) for _ in range(2)]
    if rng.random() < 0.3:
        place = rng.randrange(digits)
        numbers[1] = numbers[0][:place] + rng.choice("123456789") + numbers[0][place + 1 :]
    point = 1 < digits < 4 and rng.random() < 0.4
    return [n[:-1] + "." + n[-1] if point else n for n in numbers]
