"""Text practice for the head, and the sign of a comparison in a thought."""

import contextlib
import doctest
import io
import random
import re

import torch

from air_reasoning.head_practice import practice_loss
from air_reasoning.models.load import load_model
from air_reasoning.tasks import content
from air_reasoning.tasks.practice import SMALL_FIRST, operands, practice_row
from air_reasoning.tasks.questions import BY_NAME

HEAD = "</think><answer>\\boxed{"


def text(row):
    return "".join(piece for piece, _ in row.pieces)


def rows(coded, count=60):
    """Rows of different seeds, of programs or of the head's own work."""
    made = [practice_row(seed * 50, random.Random(seed), programs=0.5) for seed in range(count)]
    return [row for row in made if ("<code>" in text(row)) == coded]


def test_every_end_in_the_head_is_right():
    for row in rows(coded=False):
        ends = text(row).split(";")[1:]
        assert len(ends) == 8
        for end in ends:
            thought, answer = end.removesuffix("}</answer>").split(HEAD)
            (left, a), (right, b) = (part.split("=") for part in thought.split(":")[0].split(","))
            if ":" in thought:
                assert thought[-2:] == (":>" if float(a) > float(b) else ":<")
                larger, smaller = (left, right) if float(a) > float(b) else (right, left)
                assert answer == (smaller if "smaller" in row.question else larger)
            elif "differ" in row.question:
                assert int(answer) == abs(int(a) - int(b))
            else:
                assert int(answer) == int(a) + int(b)


def test_every_program_uses_the_values_read_and_gives_the_answer():
    for row in rows(coded=True):
        ends = text(row).split("</answer>")[:-1]
        assert len(ends) == 3
        for end in ends:
            reading, rest = end.split("</think><code>```python\n")
            program, rest = rest.split("\n```</code><interpreter>")
            output, answer = rest.removesuffix("}").split("</interpreter><answer>\\boxed{")
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(program, {})  # our own program over our own numbers
            assert printed.getvalue().strip() == output == answer
            values = re.findall(r"=(?:<loc_\d+>)?([\d.]+)", reading.split(";")[-1])
            assert all(value in program for value in values)


def test_what_is_given_and_whether_to_call_do_not_count():
    pieces = [
        piece for seed in range(60) for piece in practice_row(0, random.Random(seed), 0.5).pieces
    ]
    weighted = {text for text, weight in pieces if weight}
    assert {">", "<"} <= weighted
    assert not any("code>" in text or "answer" in text or "=" in text for text in weighted)
    programs = {text for text in weighted if "print(" in text}
    assert len(programs) > 10


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
        return practice_loss(loaded, step, rows=4, programs=0.5, seed=0, bf16=False)

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
