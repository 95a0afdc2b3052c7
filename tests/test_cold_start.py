"""The cold start: scripts by mode, played in the real sandbox; kept, weighted, rejected, stored."""

import asyncio
import doctest
import random
from collections import Counter
from dataclasses import replace

import pytest

from air_reasoning.data import cold_start, scripts
from air_reasoning.data.cold_start import (
    ColdStartConfig,
    build_samples,
    choose_mode,
    read_samples,
    spread,
    write_samples,
)
from air_reasoning.data.scripts import with_fault, write_script
from air_reasoning.engine import open_local
from air_reasoning.errors import DataError
from air_reasoning.task_files import read_tasks, write_tasks
from air_reasoning.types import Answer, Part, Task

PROGRAM = "print(round(6*7,2))"


def made_task(**meta):
    return Task(
        id="t", prompt=[Part(kind="text", text="Multiply A by B.")], images=[],
        answer=Answer(value="42", type="float", precision=2),
        meta={
            "difficulty": "hard", "kind": "product", "program": PROGRAM,
            "reasoning": "<loc_001>A=<loc_002>6,B=<loc_003>7;A=6,B=7", **meta,
        },
    )  # fmt: skip


THOUGHT = "<think><loc_001>A=<loc_002>6,B=<loc_003>7;A=6,B=7</think>"
CELL = f"<code>```python\n{PROGRAM}\n```</code>"
FAULTY = f"<code>```python\n{PROGRAM[:-1]}\n```</code>"
ANSWER = "<answer>\\boxed{42}</answer>"


class Faults(random.Random):
    """Always the first fault: a bracket is left out."""

    def randrange(self, *args):
        return 0


@pytest.mark.parametrize(
    ("mode", "turns"),
    [
        ("direct", [THOUGHT + ANSWER]),
        ("code", [THOUGHT + CELL, ANSWER]),
        ("repair", [THOUGHT + FAULTY, CELL, ANSWER]),
        ("give_up", [THOUGHT + FAULTY, ANSWER]),
    ],
)
def test_the_turns_of_each_mode(mode, turns):
    assert write_script(made_task(), mode, Faults()).turns == turns


def test_the_faults():
    program = "import math\nprint(round(math.pi*2,1))"
    assert {with_fault(program, random.Random(seed)) for seed in range(30)} == {
        "import math\nprint(round(math.pi*2,1)",
        "import math\nprint(x+round(math.pi*2,1))",
        "print(round(math.pi*2,1))",
    }


def test_a_task_from_elsewhere_is_refused_by_name():
    task = replace(made_task(), meta={"program": "print(1)"})
    with pytest.raises(DataError, match=r"task t has no meta\.reasoning: .*'air tasks make'"):
        write_script(task, "direct", random.Random(0))


def test_doctests():
    assert doctest.testmod(scripts).failed == 0
    assert doctest.testmod(cold_start).failed == 0


def test_modes_are_drawn_in_their_shares_and_code_more_often_for_later_kinds():
    config = ColdStartConfig(code=0.4, repair=0.1, give_up=0.1, kind_spread=0.5)
    kinds = {"hard": ["area", "product", "sum"]}
    rng, drawn = random.Random(0), {}
    for kind in kinds["hard"]:
        task = made_task(kind=kind)
        drawn[kind] = Counter(choose_mode(task, kinds, config, rng) for _ in range(4000))
    shares = {kind: counts["code"] / 4000 for kind, counts in drawn.items()}
    assert shares == pytest.approx({"area": 0.2, "product": 0.4, "sum": 0.6}, abs=0.03)
    assert drawn["product"]["repair"] / 4000 == pytest.approx(0.1, abs=0.02)


def play(model, tasks, config):
    async def run():
        async with open_local(model) as engine:
            return await build_samples(tasks, engine.renderer, engine.sandboxes, config, "none")

    return asyncio.run(run())


ONLY = {
    "direct": ColdStartConfig(code=0, repair=0, give_up=0),
    "code": ColdStartConfig(code=1, repair=0, give_up=0, kind_spread=0),
    "repair": ColdStartConfig(code=0, repair=1, give_up=0, kind_spread=0),
}


def weighted(model, sample):
    """(text of a run of tokens, weight), runs of equal weight joined."""
    from air_reasoning.models.load import load_model

    decode = load_model(model).tokenizer.decode
    ids = [i for segment in sample.trajectory.segments for i in segment.token_ids]
    weights = spread(sample.weights)
    assert len(weights) == len(ids)
    runs: list[tuple[list[int], float]] = []
    for token_id, weight in zip(ids, weights, strict=True):
        if runs and runs[-1][1] == weight:
            runs[-1][0].append(token_id)
        else:
            runs.append(([token_id], weight))
    return [(decode(run), weight) for run, weight in runs]


def test_the_weights_of_a_computed_answer(tiny_model):
    samples, counts = play(tiny_model, [made_task()], ONLY["code"])
    assert counts == {"kept/code": 1}
    assert weighted(tiny_model, samples[0]) == [
        ("<think><loc_001>A=<loc_002>6,B=<loc_003>7", 0.3),
        (f";A=6,B=7</think>{CELL}", 1.0),
        ("<interpreter>42</interpreter>", 0.0),
        (f"{ANSWER}<|im_end|>", 1.0),
    ]


@pytest.mark.parametrize(("difficulty", "weight"), [("easy", 4.0), ("medium", 1.0), ("hard", 0.3)])
def test_a_direct_answer_counts_by_difficulty_but_its_decision_fully(
    tiny_model, difficulty, weight
):
    samples, _ = play(tiny_model, [made_task(difficulty=difficulty)], ONLY["direct"])
    runs = weighted(tiny_model, samples[0])
    if weight == 1.0:
        assert runs[1:] == [(f";A=6,B=7</think>{ANSWER}<|im_end|>", 1.0)]
    else:
        assert runs[1:] == [
            (";A=6,B=7</think><answer>", 1.0), ("\\boxed{42}</answer><|im_end|>", weight),
        ]  # fmt: skip


def test_a_wrong_answer_and_a_fault_that_did_not_fail_are_rejected_and_counted(tiny_model):
    wrong = replace(made_task(), answer=Answer(value="43", type="int"))
    assert play(tiny_model, [wrong], ONLY["code"]) == ([], {"rejected/wrong_answer": 1})
    # No fault can be put into a program without brackets: its "faulty" cell works.
    unbreakable = made_task(program="42")
    assert play(tiny_model, [unbreakable], ONLY["repair"]) == ([], {"rejected/cell_outcome": 1})


def test_a_cold_start_repeats_itself(tiny_model, cold_start_data):
    config = ColdStartConfig(code=0.3, repair=0.2, give_up=0.2)
    stored = [sample for _, sample in read_samples(cold_start_data)]
    samples, counts = play(tiny_model, read_tasks(cold_start_data), config)
    assert [s.mode for s in samples] == [s.mode for s in stored]
    assert [s.weights for s in samples] == [s.weights for s in stored]
    assert sum(counts.values()) == 20
    for again, first in zip(samples, stored, strict=True):
        ids = [[s.token_ids for s in sample.trajectory.segments] for sample in (again, first)]
        assert ids[0] == ids[1]


def test_samples_come_back_from_their_file(cold_start_data, tmp_path):
    pairs = read_samples(cold_start_data)
    assert {sample.mode for _, sample in pairs} == {"direct", "code", "repair", "give_up"}
    write_tasks(tmp_path, [task for task, _ in pairs])
    write_samples(tmp_path, [sample for _, sample in pairs])
    assert [sample for _, sample in read_samples(tmp_path)] == [sample for _, sample in pairs]


def test_outputs_never_count(cold_start_data):
    for _, sample in read_samples(cold_start_data):
        weights = iter(spread(sample.weights))
        for segment in sample.trajectory.segments:
            own = [next(weights) for _ in segment.token_ids]
            assert any(own) == (segment.kind != "output")
        assert next(weights, None) is None


def test_a_missing_file_a_missing_task_and_a_broken_line(cold_start_data, tmp_path):
    pairs = read_samples(cold_start_data)
    write_tasks(tmp_path, [task for task, _ in pairs[1:]])
    with pytest.raises(DataError, match=r"samples.jsonl is missing: 'air "):
        read_samples(tmp_path)
    write_samples(tmp_path, [sample for _, sample in pairs])
    with pytest.raises(DataError, match=rf"samples.jsonl:1: no task {pairs[0][0].id} in "):
        read_samples(tmp_path)
    (tmp_path / "samples.jsonl").write_text('{"task_id": "x", "mode": \n')
    with pytest.raises(DataError, match=r"samples.jsonl:1"):
        read_samples(tmp_path)
    (tmp_path / "samples.jsonl").write_text('{"task_id": 3}\n')
    with pytest.raises(DataError, match=r"samples.jsonl:1: task_id: expected"):
        read_samples(tmp_path)
