"""Validation finds each planted fault, and nothing in what is sound; stats count what is there."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from air_reasoning.cli import main
from air_reasoning.data import reexecute
from air_reasoning.data.formats.dialogue import text_segments
from air_reasoning.data.reexecute import same_output
from air_reasoning.data.stats import data_stats, stats_text
from air_reasoning.data.validate import validate
from air_reasoning.json_io import dump_line, read_jsonl
from air_reasoning.task_files import task_writer
from air_reasoning.types import Answer, Part, Segment, StopReason, Task, Trajectory

GOOD = (
    "<think>go</think><code>```python\nprint(6*7)\n```</code><interpreter>42</interpreter>"
    "<answer>\\boxed{42}</answer>"
)


def task(name, text="What is six times seven?", **more):
    given = {"images": [], "answer": Answer(value="42", type="int")} | more
    return Task(
        id=name, prompt=[Part(kind="image"), Part(kind="text", text=f"{text} ({name})")], **given
    )


def picture(shade):
    image = Image.new("RGB", (60, 40), (shade, 255 - shade, 90))
    for x in range(0, 60, 7):
        image.putpixel((x, (x * shade) % 40), (0, 0, 0))
    return image


def folder_of(path: Path, tasks, samples=()) -> Path:
    with task_writer(path) as add:
        for number, one in enumerate(tasks):
            add(one, [picture(10 + 20 * number)])
    lines = []
    for name, text in samples:
        made = Trajectory(
            id=f"{name}/s", task_id=name, group_id=name, segments=text_segments(text),
            stop=StopReason.ANSWERED,
        )  # fmt: skip
        lines.append(dump_line({"task_id": name, "mode": "code", "trajectory": made}))
    if lines:
        (path / "samples.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    return path


def edited(folder: Path, number: int, change) -> None:
    rows = [row for _, row in read_jsonl(folder / "tasks.jsonl")]
    change(rows[number])
    (folder / "tasks.jsonl").write_bytes(b"".join(dump_line(row) + b"\n" for row in rows))


def test_sound_data_has_no_finding_also_when_its_cells_are_run_again(tmp_path):
    folder = folder_of(tmp_path / "a", [task("a"), task("b")], [("a", GOOD), ("b", GOOD)])
    counts = validate(folder, replay=True)
    assert not counts.findings
    assert (counts.tasks, counts.samples, counts.replayed.cells) == (2, 2, 2)


def test_each_fault_of_tasks_is_found_once(tmp_path):
    names = [
        "sound",
        "broken",
        "changed",
        "missing",
        "unshown",
        "literal",
        "answer",
        "choices",
        "twice",
    ]
    odd = {
        "answer": {"answer": Answer(value="")},
        "choices": {"answer": Answer(value="D", type="choice"), "choices": ["one", "two"]},
    }
    folder = folder_of(tmp_path / "a", [task(name, **odd.get(name, {})) for name in names])
    path = [row["images"][0]["path"] for _, row in read_jsonl(folder / "tasks.jsonl")]
    (folder / path[1]).write_bytes(b"\x89PNG no more")
    picture(99).save(folder / path[2])
    (folder / path[3]).unlink()
    edited(folder, 4, lambda row: row.update(prompt=[{"kind": "text", "text": "no picture"}]))
    edited(folder, 5, lambda row: row["prompt"][1].update(text="see <image> there"))
    first = (folder / "tasks.jsonl").read_bytes().splitlines()[0]
    with (folder / "tasks.jsonl").open("ab") as file:
        file.write(first + b"\n")
        file.write(first.replace(b'"id":"sound"', b'"id":"again"') + b"\n")
        file.write(b'{"id":"x","prompt":[]}\n')
    counts = validate(folder, report=tmp_path / "report.jsonl")
    assert dict(counts.findings) == {
        "broken_image": 1, "changed_image": 1, "missing_image": 1, "placeholders": 2, "answer": 1,
        "choices": 1, "duplicate_id": 1, "duplicate": 2, "broken_line": 1,
    }  # fmt: skip
    report = [row for _, row in read_jsonl(tmp_path / "report.jsonl")]
    assert len(report) == 11
    found = {(row["item"], row["problem"]) for row in report}
    assert ("literal", "placeholders") in found
    assert ("again", "duplicate") in found


FAULTS = {
    "unclosed_tag": GOOD.replace("</think>", ""),
    "no_answer": GOOD.partition("<answer>")[0] + "<think>hm</think>",
    "wrong_answer": GOOD.replace("{42}", "{41}"),
    "output_without_cell": "<think>a</think>" + GOOD,
    "replay": GOOD.replace("6*7", "6*8"),
}


@pytest.mark.parametrize("problem", FAULTS)
def test_each_fault_of_a_solution_is_found(tmp_path, problem):
    folder = folder_of(
        tmp_path / "a", [task("a"), task("b")], [("a", GOOD), ("b", FAULTS[problem])]
    )
    if problem == "output_without_cell":
        rows = [row for _, row in read_jsonl(folder / "samples.jsonl")]
        del rows[1]["trajectory"]["segments"][2]  # the cell
        (folder / "samples.jsonl").write_bytes(b"".join(dump_line(row) + b"\n" for row in rows))
    counts = validate(folder, replay=problem == "replay")
    assert dict(counts.findings) == {problem: 1}
    assert counts.examples[problem][0].item == "b/s"


def test_a_cell_that_failed_must_fail_the_same_way(tmp_path):
    failing = GOOD.replace("print(6*7)", "print(1/0)").replace(
        ">42</interpreter>", ">ZeroDivisionError: division by zero</interpreter>"
    )
    other = failing.replace(
        "ZeroDivisionError: division by zero", "NameError: name 'x' is not defined"
    )
    folder = folder_of(tmp_path / "a", [task("a"), task("b")], [("a", failing), ("b", other)])
    counts = validate(folder, replay=True)
    assert dict(counts.findings) == {"replay": 1}
    assert "ZeroDivisionError" in counts.examples["replay"][0].detail


def test_outputs_are_read_in_the_tags_of_every_preset():
    for opening, closing in (
        ("<interpreter>", "</interpreter>"),
        ("<sandbox_output>", "</sandbox_output>"),
    ):
        output = Segment(kind="output", text=f"{opening}42{closing}")
        assert reexecute.stored_text(output) == "42"


@pytest.mark.parametrize(
    ("stored", "now", "same"),
    [
        ("3.0000000001", "3.0", True), ("3.01", "3.0", False), ("a  \nb", "a\nb\n", True),
        ("<f at 0x7f00aa11bb22>", "<f at 0x7f99ff11bb33>", True), ("[1 image]", "", True),
        ("Traceback (most recent call last):\n  x\nKeyError: 'a'", "KeyError: 'a'", True),
        ("ab\n... 9 characters cut ...\nyz", "ab and more yz", True), ("", "(no output)", True),
        ("1 2", "1 2 3", False),
    ],
)  # fmt: skip
def test_outputs_that_say_the_same(stored, now, same):
    assert same_output(stored, now) is same
    assert reexecute.same_output(stored, stored)


def test_evaluation_items_are_found_in_training_data(tmp_path):
    training = folder_of(
        tmp_path / "train", [task("a"), task("b", "How long is the red line here?")]
    )
    shown = replace(task("b", "How long is the red line here?"), id="item")
    with task_writer(tmp_path / "test") as add:
        add(shown, [picture(30)])
    counts = validate(training, benchmarks=[str(tmp_path / "test")])
    assert dict(counts.findings) == {"leak": 1}
    assert counts.examples["leak"][0].item == "b"
    assert "item" in counts.examples["leak"][0].detail


def test_a_benchmark_of_which_one_split_has_pictures_is_known_by_them(tmp_path, benchmark_folder):
    folder = benchmark_folder("mathvision")
    row = {"problem": "<image>Another question?", "answer": "3", "images": ["4.jpg"]}
    (tmp_path / "mine.jsonl").write_text(json.dumps(row) + "\n")
    place = f"mathvision:{folder}"
    counts = validate(tmp_path / "mine.jsonl", images=folder / "images", benchmarks=[place])
    assert dict(counts.findings) == {"leak": 1}
    (finding,) = counts.examples["leak"]
    assert finding.where == str(tmp_path / "mine.jsonl")
    assert finding.item == "mine-0000001"
    assert "mathvision/4, by picture" in finding.detail


def test_other_formats_are_validated_with_the_place_of_each_row(tmp_path, capsys):
    rows = [
        {"problem": "<image>How many?", "answer": "3", "images": ["gone.png"]},
        {"problem": "What is 1+1?", "answer": "2", "images": []},
        {"problem": "What is 1 + 1?", "answer": "2", "images": []},
        {"problem": "What is 1 + 1?", "answer": "2", "images": []},
    ]
    file = tmp_path / "easy.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["data", "validate", str(file), "--display", "none"]) == 3
    out = capsys.readouterr().out
    assert f"missing_image  {file}:1" in out
    assert "duplicate" in out
    file.write_text(json.dumps(rows[1]) + "\n")
    assert main(["data", "validate", str(file), "--display", "none"]) == 0
    assert "nothing found" in capsys.readouterr().out


def test_stats_count_tasks_solutions_and_refused_rows(tmp_path):
    tasks = [task("a", meta={"difficulty": "easy", "split": "train"}), task("b", source="x")]
    folder = folder_of(tmp_path / "a", tasks, [("a", GOOD), ("b", "<answer>\\boxed{42}</answer>")])
    stats = data_stats(folder)
    assert (stats.tasks, stats.samples) == (2, 2)
    assert stats.named["difficulty"] == {"easy": 1}
    assert stats.cells == {1: 1, 0: 1}
    assert stats.statuses == {"ok": 1}
    assert stats.sizes == {"up to 64": 2}
    text = stats_text(stats, folder)
    assert "2 tasks, 2 samples" in text
    assert "cells a solution" in text
    (tmp_path / "r.jsonl").write_text(
        '{"problem": "a?", "answer": "1"}\n{"problem": "", "answer": "1"}\n'
    )
    assert data_stats(tmp_path / "r.jsonl").refused == {"no_question": 1}


def test_stats_of_a_data_run_begin_with_its_funnel(tmp_path):
    folder = folder_of(tmp_path / "a", [task("a")], [("a", GOOD)])
    summary = {
        "funnel": [{"stage": "textual solutions", "count": 4}, {"stage": "kept", "count": 1}],
        "rejected": {"no_answer": 3},
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    text = stats_text(data_stats(folder), folder)
    assert text.startswith("stage")
    assert "no_answer" in text
