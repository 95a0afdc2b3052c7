"""``air eval compare`` on literal records: pairs, flips, groups, and warnings."""

import json

import pytest

from air_reasoning.cli import main
from air_reasoning.errors import ConfigError, DataError
from air_reasoning.eval.compare import Side, compare_runs, compare_tables, differing, read_side
from air_reasoning.metrics import Record


def side(name, verdicts, where="greedy, code allow", **facts):
    records = {
        (task, 0): Record(task_id=task, correct=correct, kind=task[0], subject="s", answer=name)
        for task, correct in verdicts.items()
    }
    return Side(name=name, passes={where: records}, provenance=facts)


A = {"x1": True, "x2": False, "y1": False, "y2": True, "only_a": True}
B = {"x1": True, "x2": True, "y1": True, "y2": False, "z": True}


def test_pairs_groups_and_flips():
    compared = compare_runs(side("a", A, seed=0), side("b", B, seed=0))
    pairs = compared.passes["greedy, code allow"]
    assert (pairs["all"].n, pairs["all"].only_a, pairs["all"].only_b) == (4, 2, 1)
    assert pairs["all"].difference.value == 0.25  # B minus A
    assert pairs["kind: x"].difference.value == 0.5
    assert pairs["kind: y"].difference.value == 0
    assert [(f.task_id, f.better) for f in compared.flips] == [
        ("x2", "B"),
        ("y1", "B"),
        ("y2", "A"),
    ]
    assert compared.unmatched == (1, 1)
    assert compared.warnings == []
    table, flips = compare_tables(compared)
    assert table.rows[0][0] == "all"
    assert flips.title == "Items that flipped: 3"


def test_what_differs_is_a_warning_but_not_the_model():
    a = {"model": "m1", "max_new_tokens": 256, "version torch": "2.9", "back end": "local"}
    b = {"model": "m2", "max_new_tokens": 512, "version torch": "2.9", "back end": "endpoint"}
    assert differing(a, b) == ["max_new_tokens: 256 and 512", "back end: local and endpoint"]
    assert "does not say" in differing({}, b)[0]


def test_unscored_records_are_in_no_pair():
    a, b = side("a", {"x": False}), side("b", {"x": True})
    a.passes["greedy, code allow"]["x", 0] = Record(task_id="x", unscored=True)
    with_other = compare_runs(a, b)
    assert with_other.passes["greedy, code allow"]["all"].n == 0
    assert with_other.flips == []


def test_nothing_shared_is_an_error():
    with pytest.raises(ConfigError, match="share no item"):
        compare_runs(side("a", A), side("b", B, where="sampled, code allow"))


def test_command_on_files_of_verdicts(tmp_path, capsys):
    for name, verdicts in (("a", A), ("b", B)):
        lines = [json.dumps({"id": k, "correct": v, "extracted": "1"}) for k, v in verdicts.items()]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    words = ["eval", "compare", str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr()
    assert "| all | +25.0" in printed.out
    assert "warning: these differ" in printed.err
    assert "Items that flipped: 3" in (tmp_path / "out" / "report.html").read_text()
    assert (tmp_path / "out" / "table.md").read_text() == printed.out


def test_a_file_that_is_no_evaluation(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"a": 1}\n')
    with pytest.raises(DataError, match=r"x\.jsonl:1: expected id and correct"):
        read_side(tmp_path / "x.jsonl")
    with pytest.raises(DataError, match="no evaluation there"):
        read_side(tmp_path)
