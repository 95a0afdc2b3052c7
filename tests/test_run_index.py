import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from air_reasoning import run_index
from air_reasoning.errors import ConfigError
from air_reasoning.run_index import UNREADABLE, RunIndex
from air_reasoning.run_query import Filter, count, facets, find, page, parse_filter
from air_reasoning.run_rows import index_row


def record(name: str, step: int = 1, **fields: Any) -> dict[str, Any]:
    scored = {"correct": True, "calls": 1, "failed_calls": 0, "tokens": 9, "turns": 2}
    scored |= fields.pop("record", {})
    return {
        "step": step,
        "task": {"id": "t", "prompt": [{"kind": "text", "text": "How many?"}], "images": []},
        "trajectory": {
            "id": name, "task_id": "t", "group_id": "g", "stop": "answered",
            "segments": [{"kind": "think", "text": "100 % of a_b", "token_ids": [1, 2]}],
        },
        "record": scored,
        "reward": {"total": 0.5, "terms": {"correct": 1.0}},
        "advantage": 0.25,
        **fields,
    }  # fmt: skip


def write(run: Path, *records: dict[str, Any] | str, part: int = 0, mode: str = "a") -> None:
    file = run / "trajectories" / f"part-{part:04d}.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open(mode) as out:
        for one in records:
            out.write(one if isinstance(one, str) else json.dumps(one) + "\n")


def keys(index: RunIndex, **chosen: Any) -> list[str]:
    return [row["key"] for row in page(index.connection, Filter(**chosen))]


def test_rows_are_found_where_their_lines_are(tmp_path: Path):
    write(tmp_path, record("a"), record("b", step=2))
    write(tmp_path, record("ü", step=3), part=1)
    with RunIndex(tmp_path) as index:
        done, there = index.catch_up()
        assert done == there > 0
        row = find(index.connection, "ü")
        assert row is not None
        assert (row["part"], row["offset"], row["step"], row["reward"]) == (1, 0, 3, 0.5)
        for name in ("a", "b"):
            row = find(index.connection, name)
            assert row is not None
            file = tmp_path / "trajectories" / "part-0000.jsonl"
            line = file.read_bytes()[row["offset"] : row["offset"] + row["length"]]
            assert json.loads(line)["trajectory"]["id"] == name


def test_the_index_follows_a_growing_run_and_waits_for_whole_lines(tmp_path: Path):
    write(tmp_path, record("a"), '{"trajectory": {"id": "b"')
    with RunIndex(tmp_path) as index:
        done, there = index.catch_up()
        assert done < there
        assert keys(index) == ["a"]
        write(tmp_path, "}}\n", record("c"))
        assert len(set(index.catch_up())) == 1
        assert keys(index) == ["a", "b", "c"]
    with RunIndex(tmp_path) as index:  # nothing is read again
        assert index.catch_up(seconds=0)[0] == there + len(json.dumps(record("c"))) + 4
        assert keys(index) == ["a", "b", "c"]


@pytest.mark.parametrize("how", ["shorter", "other file", "part gone"])
def test_a_rewritten_run_is_indexed_anew(tmp_path: Path, how: str):
    write(tmp_path, record("a"), record("b"))
    write(tmp_path, record("c"), part=1)
    with RunIndex(tmp_path) as index:
        index.catch_up()
        file = tmp_path / "trajectories" / "part-0000.jsonl"
        match how:
            case "shorter":
                write(tmp_path, record("a"), mode="w")
            case "other file":
                (tmp_path / "new").write_text(
                    json.dumps(record("x" * 40)) + "\n" + file.read_text()
                )
                (tmp_path / "new").replace(file)
            case _:
                (tmp_path / "trajectories" / "part-0001.jsonl").unlink()
        index.catch_up()
        expected = {"shorter": ["a", "c"], "other file": ["x" * 40, "a", "b", "c"]}
        assert keys(index) == expected.get(how, ["a", "b"])
        assert facets(index.connection)["stop"] == [["answered", len(keys(index))]]


def test_a_broken_index_is_made_again(tmp_path: Path):
    write(tmp_path, record("a"))
    (tmp_path / "index.sqlite").write_bytes(
        b"not a database, but long enough to be read as one" * 99
    )
    with RunIndex(tmp_path) as index:
        index.catch_up()
        assert keys(index) == ["a"]


def test_a_broken_line_is_named_and_the_others_are_there(tmp_path: Path):
    odd: dict[str, Any] = record("odd") | {"trajectory": {"id": "odd", "segments": [None]}}
    write(tmp_path, record("a"), "{broken}\n", "null\n", odd, "\0\0\n", record("b"))
    with RunIndex(tmp_path) as index:
        done, there = index.catch_up()
        assert done == there
        broken = page(index.connection, Filter(stop=UNREADABLE))
        assert [row["correct"] for row in broken] == [None] * 4
        assert "part-0000.jsonl: byte" in broken[0]["reason"]
        assert "not valid JSON" in broken[0]["reason"]
        assert keys(index, stop="answered") == ["a", "b"]


def test_the_same_id_again_gets_a_key_of_its_own(tmp_path: Path):
    write(tmp_path, record("a"), record("a", step=2), {"note": "no trajectory"})
    with RunIndex(tmp_path) as index:
        index.catch_up()
        assert keys(index)[:2] == ["a", "a~2"]
        assert keys(index)[2].startswith("0-")


def test_a_huge_record_is_read_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(run_index, "HUGE_LINE", 1000)
    big = record("big")
    big["trajectory"]["segments"][0]["text"] = "long " * 1000
    write(tmp_path, record("a"), big)
    with RunIndex(tmp_path) as index:
        index.catch_up()
        assert keys(index, text="long long") == ["big"]


def test_text_is_found_as_it_is_written(tmp_path: Path):
    other = record("b")
    other["trajectory"]["segments"][0]["text"] = "1000 x of axb"
    write(tmp_path, record("a"), other)
    with RunIndex(tmp_path) as index:
        index.catch_up()
        assert keys(index, text="100 %") == ["a"]
        assert keys(index, text="A_B") == ["a"]
        assert keys(index, text="how MANY") == ["a", "b"]
        assert keys(index, text="f ax") == ["b"]  # inside words
        assert keys(index, text='"x OR many"') == []  # no query language
        assert keys(index, text="?") == ["a", "b"]  # shorter than what the index knows


def test_text_of_a_rewritten_run_is_forgotten(tmp_path: Path):
    write(tmp_path, record("a"))
    with RunIndex(tmp_path) as index:
        index.catch_up()
        assert keys(index, text="a_b") == ["a"]
        write(tmp_path, mode="w")
        index.catch_up()
        assert keys(index, text="a_b") == []


def test_without_trigrams_text_is_found_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(run_index, "_TRIGRAMS", "CREATE VIRTUAL TABLE trigrams USING nothing(x)")
    write(tmp_path, record("a"))
    with RunIndex(tmp_path) as index:
        index.catch_up()
        assert keys(index, text="a_b") == ["a"]


def test_filters_and_order(tmp_path: Path):
    write(
        tmp_path,
        record("right"),
        record(
            "wrong", step=2, record={"correct": False, "failed_calls": 1}, reward={"total": -0.3}
        ),
        record("free", step=3, record={"calls": 0}, reward={"total": 1.0}),
        record("lost", record={"unscored": True}),
    )
    with RunIndex(tmp_path) as index:
        index.catch_up()
        assert keys(index, correct="right") == ["right", "free"]
        assert keys(index, correct="unscored") == ["lost"]
        assert keys(index, error="failed") == ["wrong"]
        assert keys(index, code="none") == ["free"]
        assert keys(index, sort="-reward")[:1] == ["free"]
        assert keys(index, reward_min=-0.5, reward_max=0.0, step_min=2) == ["wrong"]
        assert count(index.connection, Filter(correct="right")) == 2
        assert facets(index.connection)["step"] == [1, 3]
        assert [1, 2] in facets(index.connection)["correct"]


def test_a_filter_from_an_address_is_checked():
    assert parse_filter({"correct": "wrong", "step_min": "2", "run": "x"}) == Filter(
        correct="wrong", step_min=2.0
    )
    for wrong in ({"correct": "maybe"}, {"sort": "1; DROP TABLE rows"}, {"step_min": "two"}):
        with pytest.raises(ConfigError, match="expected"):
            parse_filter(wrong)


def test_a_row_of_an_evaluation_and_of_a_bare_trajectory():
    row, text = index_row({"name": "m", "decoding": "greedy", "code": "forbid", "trajectory": {}})
    assert row["name"] == "m / greedy / code forbidden"
    assert text == ""
    row, text = index_row({"id": "x", "segments": [{"text": "hello"}]})
    assert (row["key"], row["correct"], text) == ("x", None, "\nhello")


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_indexed_elsewhere(tmp_path: Path):
    write(tmp_path, record("a"))
    tmp_path.chmod(0o500)
    with RunIndex(tmp_path) as index:
        index.catch_up()
        assert keys(index) == ["a"]
    tmp_path.chmod(0o700)


def test_many_processes_write_one_run_and_lose_nothing(tmp_path: Path):
    code = (
        "import sys; from pathlib import Path; from air_reasoning.run_dir import RunDir\n"
        "with RunDir.join(Path(sys.argv[1])) as run:\n"
        "    for i in range(300):\n"
        "        run.write_trajectory({'trajectory': {'id': f'{sys.argv[2]}-{i}'}, 'x': 'y' * i})\n"
    )
    (tmp_path / "status.json").write_text('{"state": "running", "schema": 1}')
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(n)]) for n in range(3)
    ]
    with RunIndex(tmp_path) as index:
        while any(process.poll() is None for process in processes):
            index.catch_up()
        assert [process.returncode for process in processes] == [0, 0, 0]
        index.catch_up()
        expected = {f"{n}-{i}" for n in range(3) for i in range(300)}
        assert {row["key"] for row in page(index.connection, Filter(), limit=1000)} == expected
    assert json.loads((tmp_path / "status.json").read_text())["state"] == "running"
