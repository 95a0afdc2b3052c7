"""Selection for RL: duplicates, evaluation items, the judge, pass rates, marks, the picture."""

import doctest
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance

from air_reasoning.config import Resolved, RunOptions
from air_reasoning.data import near_duplicates, pass_rates, self_sampling
from air_reasoning.data.filter_config import FilterConfig
from air_reasoning.data.judging import read_verdict
from air_reasoning.data.leakage import Evaluations
from air_reasoning.data.near_duplicates import Index, look, same_picture, signature
from air_reasoning.data.reasons import Rejection, read_funnel
from air_reasoning.data.rl_filter import run_filter
from air_reasoning.errors import BudgetReached, ConfigError, DataError
from air_reasoning.task_files import read_tasks, write_tasks

RIGHT, WRONG = "<answer>\\boxed{12}</answer>", "<answer>\\boxed{13}</answer>"


def bars(seed: int, size=(240, 160)) -> Image.Image:
    """A chart of five bars; another seed has the same layout and other heights."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(image)
    draw.rectangle((20, 10, 22, size[1] - 20), fill="black")
    for n, height in enumerate(rng.integers(20, size[1] - 40, 5)):
        left = 35 + 40 * n
        bottom = size[1] - 20
        draw.rectangle((left, bottom - int(height), left + 25, bottom), fill="steelblue")
    return image


def write(folder: Path, items: dict[str, tuple[Image.Image | None, str]], **meta) -> Path:
    """A task folder: id -> (picture, question); the answer of every item is 12."""
    source = folder.with_name(f"{folder.name}-in")
    source.mkdir(parents=True)
    lines = []
    for name, (picture, question) in items.items():
        images = []
        if picture is not None:
            images = [f"{name}.png"]
            picture.save(source / images[0])
        answer = {"value": "12", "type": "int"}
        lines.append(
            {"id": name, "prompt": question, "images": images, "answer": answer, "meta": meta}
        )
    file = source / "tasks.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    write_tasks(folder, read_tasks(file))
    return folder


def run(folder: Path, **settings):
    options = settings.pop("options", {})
    resolved = Resolved(value=FilterConfig.model_validate(settings), provenance={})
    run_filter(resolved, RunOptions(**{"run_dir": folder, "display": "none"} | options))


def ends(folder: Path) -> dict[str, str]:
    rejected = [json.loads(line) for line in (folder / "rejected.jsonl").read_text().splitlines()]
    kept = {task.id: "kept" for task in read_tasks(folder)}
    return {row["task_id"]: row["reason"] for row in rejected} | kept


def policy(teacher) -> dict:
    return {"url": teacher.url, "retry_wait_s": 0.01, "max_connections": 4}


def test_a_cap_on_roll_outs(teacher, tmp_path, monkeypatch):
    monkeypatch.setattr(self_sampling, "PART", 2)
    teacher.replies = {"code": [RIGHT, WRONG], "text": [WRONG]}
    names = [f"t{n}" for n in range(6)]
    tasks = write(
        tmp_path / "tasks", {n: (bars(i), QUESTION.format(n)) for i, n in enumerate(names)}
    )
    prices = {"input_price": 1.0, "output_price": 4.0}  # $0.003 a request, $0.024 a part
    settings = {"tasks": tasks, "k_code": 2, "k_text": 2, "endpoint": policy(teacher) | prices}
    with pytest.raises(BudgetReached, match=r"\$0\.0480 of \$0\.05 .* may cost \$0\.0240"):
        run(tmp_path / "run", **settings, budget={"max_cost": 0.05})
    assert len(teacher.requests) == 16
    run(tmp_path / "run", **settings, budget={"max_cost": 0.08})
    assert len(teacher.requests) == 24
    assert set(ends(tmp_path / "run").values()) == {"kept"}


QUESTION = "How many of the bars are taller than the third one? (item {})"
# id -> answers with code, answers without, what becomes of it, its marks
POLICY = {
    "never": ("0000", "0000", "never_solved", None),
    "always": ("1111", "1111", "always_solved", None),
    "needs": ("1101", "0000", "kept", (True, True, False)),
    "helps": ("1111", "1100", "kept", (False, True, False)),
    "hurts": ("1000", "1110", "kept", (False, False, True)),
    "even": ("1100", "0011", "kept", (False, False, False)),
}


def test_pass_rates_band_and_marks(teacher, tmp_path):
    for name, (code, text, _, _) in POLICY.items():
        for stage, rolled in (("code", code), ("text", text)):
            answers = [RIGHT if right == "1" else WRONG for right in rolled]
            teacher.replies[f"{name}/{stage}"] = answers
    tasks = write(
        tmp_path / "tasks", {n: (bars(i), QUESTION.format(n)) for i, n in enumerate(POLICY)}
    )
    settings = {"tasks": tasks, "k_code": 4, "k_text": 4, "endpoint": policy(teacher)}
    run(tmp_path / "run", **settings)
    assert ends(tmp_path / "run") == {name: end for name, (_, _, end, _) in POLICY.items()}
    for task in read_tasks(tmp_path / "run"):
        code, text, _, wanted = POLICY[task.id]
        rates = task.meta["p_code"], task.meta["p_text"]
        assert rates == (code.count("1") / 4, text.count("1") / 4)
        named = ("needs_code", "code_helps", "code_hurts")
        assert tuple(task.meta[name] for name in named) == wanted
        assert Path(task.images[0].path).is_relative_to(tmp_path / "run" / "blobs")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["marks"] == {"needs_code": 1, "code_helps": 2, "code_hurts": 1}
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Pass rates of all tasks rolled out: 6 tasks" in page
    assert "every roll-out is right" in page
    asked = len(teacher.requests)
    assert asked == 6 * 8
    # Another band is another selection from the same roll-outs.
    run(tmp_path / "run", **settings, band=(0.25, 0.6))
    assert Counter(ends(tmp_path / "run").values()) == {
        "kept": 3, "never_solved": 1, "always_solved": 1, "above_band": 1,
    }  # fmt: skip
    assert len(teacher.requests) == asked


def test_the_same_picture_in_other_pixels_and_another_chart_of_the_same_layout(tmp_path):
    chart = bars(1)
    chart.save(tmp_path / "a.jpg", quality=60)
    changed = [
        Image.open(tmp_path / "a.jpg"),
        chart.resize((180, 120)),
        ImageEnhance.Contrast(chart).enhance(0.97),
    ]
    assert all(same_picture(look(chart), look(image)) for image in changed)
    assert not any(same_picture(look(chart), look(bars(seed))) for seed in range(2, 60))
    blank = look(Image.new("RGB", (50, 50), "white"))
    assert not same_picture(blank, blank)


def test_duplicates(tmp_path):
    first, again = bars(1), bars(1).resize((200, 133))
    question = "What is the total height of the bars that are taller than 40 units?"
    items = {
        "first": (first, question),
        "exact": (first, question),
        "reworded": (again, question.upper().replace("?", " , please?")),
        "other number": (first, question.replace("40", "50")),
        "other picture": (bars(2), question),
        "other question": (first, "Which bar is the tallest one?"),
        "words": (None, "A train runs 120 km in 3 hours. How fast is it on average?"),
        "words again": (None, "A train runs 120 km in 3 hours; how fast is it, on average?"),
        "words 2": (None, "A train runs 120 km in 4 hours. How fast is it on average?"),
    }
    tasks = write(tmp_path / "tasks", items)
    run(tmp_path / "run", tasks=tasks, k_code=0, k_text=0)
    found = {name for name, end in ends(tmp_path / "run").items() if end == "duplicate"}
    assert found == {"exact", "reworded", "words again"}
    lines = (tmp_path / "run" / "rejected.jsonl").read_text().splitlines()
    assert {json.loads(line)["of"] for line in lines} == {"first", "words"}


def test_a_broken_picture_stops_nobody(tmp_path):
    tasks = write(tmp_path / "tasks", {"a": (bars(1), "How many?"), "b": (bars(2), "How many?")})
    Path(read_tasks(tasks)[0].images[0].path).write_bytes(b"no picture")
    run(tmp_path / "run", tasks=tasks, k_code=0, k_text=0)
    assert ends(tmp_path / "run") == {"a": "broken_picture", "b": "kept"}


def test_evaluation_items(tmp_path):
    long = "In the chart, how many bars are both taller than the first and shorter than the last?"
    held_out = write(
        tmp_path / "held_out",
        {"e1": (bars(1), "How many bars?"), "e2": (bars(2), long)}, split="test",
    )  # fmt: skip
    items = {
        "same": (bars(1), "How many bars?"),
        "picture": (bars(1).resize((220, 147)), "What colour are they?"),
        "question": (bars(9), long),
        "short question": (bars(8), "How many bars?"),
    }
    tasks = write(tmp_path / "tasks", items)
    settings = {"tasks": tasks, "k_code": 0, "k_text": 0}
    run(tmp_path / "run", **settings, duplicates={"benchmarks": [str(held_out)]})
    lines = (tmp_path / "run" / "rejected.jsonl").read_text().splitlines()
    told = {row["task_id"]: (row["reason"], row["of"], row["by"]) for row in map(json.loads, lines)}
    name = str(held_out)
    assert told == {
        "same": ("evaluation_leak", f"{name}/e1", "question and picture"),
        "picture": ("evaluation_leak", f"{name}/e1", "picture"),
        "question": ("evaluation_leak", f"{name}/e2", "question"),
    }
    assert [task.id for task in read_tasks(tmp_path / "run")] == ["short question"]
    with pytest.raises(DataError, match="task e1 is marked split: test"):
        run(tmp_path / "other", tasks=held_out)
    with pytest.raises(ConfigError, match="mathvista needs its folder"):
        Evaluations.load(["mathvista"])


def test_a_real_benchmark_is_found_in_training_data(benchmark_folder, tmp_path):
    folder = benchmark_folder("mathvision")
    known = Evaluations.load([f"mathvision:{folder}"])
    (count,) = known.counts.values()
    assert count >= 304
    from air_reasoning.data.leakage import benchmark_tasks

    for item in benchmark_tasks(f"mathvision:{folder}")[:20]:
        leak = known.find(signature(item))
        assert leak is not None
        assert leak.by == "question and picture"


def verdict(**said) -> str:
    data = {"answerable": True, "matches_picture": True, "own_answer": "12", "agrees": True}
    return "I look at it. {not json} " + json.dumps(data | {"reason": "as I see it"} | said)


JUDGED = {
    "fine": (verdict(), "kept"),
    "agrees by rule": (verdict(agrees=False, own_answer="12.0"), "kept"),
    "unanswerable": (verdict(answerable=False), "unanswerable"),
    "other picture": (verdict(matches_picture=False), "picture_mismatch"),
    "disputed": (verdict(agrees=False, own_answer="14"), "gold_disputed"),
    "rambles": ("It looks fine to me.", "no_verdict"),
}


def test_the_judge(teacher, tmp_path):
    teacher.replies = {f"{n.replace(' ', '_')}/judge": [said] for n, (said, _) in JUDGED.items()}
    tasks = write(
        tmp_path / "tasks",
        {n: (bars(i), QUESTION.format(n.replace(" ", "_"))) for i, n in enumerate(JUDGED)},
    )
    prices = {"input_price": 1.0, "output_price": 4.0}
    settings = {
        "tasks": tasks, "k_code": 0, "k_text": 0,
        "judge": {"endpoint": policy(teacher) | prices, "max_tokens": 1000},
    }  # fmt: skip
    with pytest.raises(BudgetReached, match=r"-o budget\.max_cost=DOLLARS"):
        run(tmp_path / "run", **settings, budget={"max_cost": 0.01})
    run(tmp_path / "run", **settings)
    assert ends(tmp_path / "run") == {name: end for name, (_, end) in JUDGED.items()}
    assert set(teacher.whole.values()) == {1}
    assert sum(teacher.whole.values()) == len(JUDGED)
    lines = (tmp_path / "run" / "verdicts.jsonl").read_text().splitlines()
    told = {row["task_id"]: (row["verdict"], row["judge_answer"]) for row in map(json.loads, lines)}
    assert len(told) == 6
    assert told["agrees by rule"] == ("fit", "12.0")
    lines = (tmp_path / "run" / "rejected.jsonl").read_text().splitlines()
    disputed = next(row for row in map(json.loads, lines) if row["task_id"] == "disputed")
    assert (disputed["judge_answer"], disputed["judge_reason"]) == ("14", "as I see it")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["judge"] == {"judged": 6, "disputed": 1, "disagreement": 1 / 6}
    assert [row["count"] for row in read_funnel(tmp_path / "run")["funnel"]] == [6, 6, 2, 2]
    assert "Gold answers that the judge disputes" in (tmp_path / "run" / "report.html").read_text()
    run(tmp_path / "run", **settings, drop_disputed=False)
    assert ends(tmp_path / "run")["disputed"] == "kept"
    assert sum(teacher.whole.values()) == len(JUDGED)


def test_a_verdict_is_the_last_object_that_has_all_keys(tmp_path):
    tasks = write(tmp_path / "tasks", {"a": (None, "How many?")})
    (task,) = read_tasks(tasks)
    first, last = verdict(answerable=False), verdict(agrees=False, own_answer="7")
    assert read_verdict(task, f"{first} On second thought: {last}").rejection is (
        Rejection.GOLD_DISPUTED
    )
    assert read_verdict(task, f'{last} {{"answerable": true}}').own_answer == "7"


def test_an_index_of_many_charts_keeps_them_apart():
    """Made tasks of one kind: the same words, the same layout, other values."""
    from air_reasoning.tasks.make import TasksConfig, make_tasks

    index, found = Index(), []
    for task, image in make_tasks(TasksConfig(count=200, matplotlib=0.0, seed=3)):
        item = near_duplicates.Signature(
            id=task.id, text=near_duplicates.plain_text(task.prompt[1].text),
            numbers=(), runs=frozenset(), looks=(look(image),),
        )  # fmt: skip
        if (of := index.find(item)) is not None:
            found.append((task.id, of))
        index.add(item)
    assert not found


def test_doctests():
    assert doctest.testmod(near_duplicates).failed == 0
    assert doctest.testmod(pass_rates).failed == 0
