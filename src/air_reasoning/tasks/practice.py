r"""Practice for the head, in text alone: the ends of many direct solutions in one row.

A comparison is one bit. Alone in a solution it drowns among the tokens around it: shown one a row,
a small model was at chance after 48,000 comparisons; shown twelve a row, it was right on 89 % of
two-digit pairs after 19,000 and on 93 % of real values after 77,000 (one seed). So each row asks
one question and then ends many thoughts with it:

    Which is larger, A or B?   ;A=24,B=68:<</think><answer>\boxed{B}</answer>;fir=9,C=3.5:>...

Values are those of training tables and made-up digits; there is no picture.
"""

import random
from dataclasses import dataclass

from air_reasoning.tasks.content import sign
from air_reasoning.tasks.questions import BY_NAME, Kind, ask
from air_reasoning.tasks.tables import draw_names, draw_values

KINDS = ("larger", "larger", "smaller", "smaller", "add", "difference")
SMALL_FIRST = 400
"""Steps in which most numbers to compare have one or two digits."""


@dataclass(kw_only=True, slots=True, frozen=True)
class PracticeRow:
    """``pieces`` are (text, weight in the loss), in order: given operands 0, judgement 1."""

    question: str
    pieces: list[tuple[str, float]]


def practice_row(step: int, rng: random.Random, ends: int = 8) -> PracticeRow:
    """``ends`` ends of direct solutions to one question; the same ``rng`` state, the same row."""
    kind = BY_NAME[rng.choice(KINDS)]
    question, pieces = "", list[tuple[str, float]]()
    for _ in range(ends):
        names, values = draw_names(rng, 2, 5), operands(kind, step, rng)
        asked = ask(kind, names, values, "", rng)
        question = question or asked.text
        value_of = dict(zip(names, values, strict=True))
        restated = ",".join(f"{name}={value_of[name]}" for name in asked.asked)
        pieces.append((f";{restated}", 0.0))
        if kind.answer == "name":
            first, second = (float(value_of[name]) for name in asked.asked)
            pieces += [(":", 0.0), (sign(first, second)[1:], 1.0)]
        pieces += [("</think><answer>\\boxed{", 0.0), (asked.answer, 1.0), ("}</answer>", 0.0)]
    return PracticeRow(question=question, pieces=pieces)


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
