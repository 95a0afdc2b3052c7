"""Text practice for the head, and the sign of a comparison in a thought."""

import doctest
import random

import pytest
import torch

from air_reasoning.head_practice import practice_loss
from air_reasoning.models.load import load_model
from air_reasoning.tasks import content
from air_reasoning.tasks.practice import SMALL_FIRST, operands, practice_row
from air_reasoning.tasks.questions import BY_NAME


def ends(row):
    """The row's text, cut at the start of each thought's end."""
    return "".join(text for text, _ in row.pieces).split(";")[1:]


@pytest.mark.parametrize("seed", range(40))
def test_every_end_of_a_row_is_right(seed):
    row = practice_row(seed * 50, random.Random(seed))
    assert len(ends(row)) == 8
    for end in ends(row):
        thought, answer = end.removesuffix("}</answer>").split("</think><answer>\\boxed{")
        (left, a), (right, b) = (part.split("=") for part in thought.split(":")[0].split(","))
        if ":" in thought:
            assert thought[-2:] == (":>" if float(a) > float(b) else ":<")
            larger, smaller = (left, right) if float(a) > float(b) else (right, left)
            assert answer == (smaller if "smaller" in row.question else larger)
        elif "differ" in row.question:
            assert int(answer) == abs(int(a) - int(b))
        else:
            assert int(answer) == int(a) + int(b)


def test_only_what_the_head_has_to_make_counts():
    weighted = {
        text for seed in range(30) for text, w in practice_row(0, random.Random(seed)).pieces if w
    }
    assert {">", "<"} <= weighted
    assert not any("=" in text or "answer" in text for text in weighted)


def test_small_numbers_come_first():
    rng, kind = random.Random(0), BY_NAME["larger"]
    early = [operands(kind, 0, rng) for _ in range(300)]
    late = [operands(kind, SMALL_FIRST, rng) for _ in range(300)]

    def small(pairs):
        return sum(all(v.isdigit() and len(v) < 3 for v in pair) for pair in pairs) / len(pairs)

    assert small(early) > 0.75 > 0.6 > small(late)


def test_the_loss_depends_on_seed_and_step_alone_and_teaches(tiny_model):
    loaded = load_model(tiny_model)

    def loss(step):
        return practice_loss(loaded, step, rows=4, seed=0, bf16=False)

    first = loss(3)
    assert torch.equal(first, loss(3))
    assert not torch.equal(first, loss(4))
    first.backward()
    with torch.no_grad():
        for parameter in loaded.model.parameters():
            if parameter.grad is not None:
                parameter -= 0.05 * parameter.grad
    assert loss(3) < first


def test_the_examples_of_the_docstrings():
    assert doctest.testmod(content).failed == 0
