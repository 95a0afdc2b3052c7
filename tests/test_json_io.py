import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from air_reasoning.errors import DataError
from air_reasoning.json_io import (
    dump_line,
    dump_pretty,
    from_json,
    parse_json,
    read_json,
    read_jsonl,
    to_json,
)
from air_reasoning.types import (
    Answer,
    Execution,
    ImageRef,
    Part,
    Segment,
    StopReason,
    Task,
    Trajectory,
    Usage,
)

REF = ImageRef(sha256="ab", width=2, height=1, path="blobs/ab.png")
TRAJECTORY = Trajectory(
    id="t1",
    task_id="a",
    group_id="g",
    prompt_ids=[1, 2],
    segments=[
        Segment(kind="code", text="1/0", token_ids=[5], logprobs=[-0.25], code="1/0"),
        Segment(
            kind="output",
            text="ZeroDivisionError",
            images=[REF],
            execution=Execution(status="error", error={"type": "ZeroDivisionError"}),
        ),
    ],
    stop=StopReason.MAX_TURNS,
    usage=Usage(model=1),
    timing={"total": 1.5},
)


def test_a_trajectory_survives_the_way_to_disk_and_back():
    data = to_json(TRAJECTORY)
    assert data["stop"] == "max_turns"
    assert data["segments"][1]["images"] == [
        {"sha256": "ab", "width": 2, "height": 1, "path": "blobs/ab.png"}
    ]
    back = from_json(Trajectory, data, "f:1")
    assert back == TRAJECTORY
    assert back.stop is StopReason.MAX_TURNS


@given(st.text(), st.lists(st.integers(0, 2**31)), st.floats(allow_nan=False, allow_infinity=False))
def test_any_text_ids_and_numbers_survive(text: str, ids: list[int], number: float):
    segment = Segment(kind="text", text=text, token_ids=ids, logprobs=[number])
    assert from_json(Segment, parse_json(dump_line(segment), "x"), "x") == segment


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": 3}, r"f\.jsonl:7: id: expected text, found 3"),
        ({"stop": "tired"}, r"f\.jsonl:7: stop: expected one of answered, max_turns, .*'tired'"),
        ({"code_banned": 1}, r"code_banned: expected true or false, found 1"),
        ({"policy_version": True}, r"policy_version: expected a whole number, found True"),
        ({"prompt_ids": [1, "2"]}, r"prompt_ids\[1\]: expected a whole number, found '2'"),
        ({"prompt_ids": "12"}, r"prompt_ids: expected a list, found '12'"),
        ({"timing": {"total": None}}, r"timing\.total: expected a number, found None"),
        ({"usage": {"modle": 1}}, r"usage\.modle: unknown key; did you mean model\?"),
        ({"segments": [{"kind": "code"}]}, r"segments\[0\]: Segment needs the key text"),
        (
            {
                "segments": [
                    {"kind": "code", "text": "", "images": [{**to_json(REF), "width": "2"}]}
                ]
            },
            r"segments\[0\]\.images\[0\]\.width: expected a whole number, found '2'",
        ),
        ({"segments": [3]}, r"segments\[0\]: expected an object with the keys of Segment"),
    ],
)
def test_what_does_not_fit_is_named_with_line_and_key(change: dict[str, Any], message: str):
    with pytest.raises(DataError, match=message):
        from_json(Trajectory, to_json(TRAJECTORY) | change, "f.jsonl:7")


def test_what_orjson_does_not_know():
    assert to_json({"a": Path("x/y"), "b": {2, 1}, "c": np.float32(0.5), 3: (1, 2)}) == {
        "a": "x/y",
        "b": [1, 2],
        "c": 0.5,
        "3": [1, 2],
    }
    assert to_json([math.nan, math.inf]) == [None, None]
    with pytest.raises(TypeError):
        to_json(object())


def test_lone_surrogates_are_written_as_their_escape():
    execution = Execution(status="ok", stdout="a\ud800b")
    assert to_json({"e": [execution]})["e"][0]["stdout"] == r"a\ud800b"
    assert to_json(StopReason.ANSWERED) == "answered"


def test_files_of_lines(tmp_path: Path):
    file = tmp_path / "a.jsonl"
    file.write_bytes(b'{"a":1}\n\n{"a":2}\n{"a":')
    assert list(read_jsonl(file, torn_end=True)) == [
        (f"{file}:1", {"a": 1}),
        (f"{file}:3", {"a": 2}),
    ]
    with pytest.raises(DataError, match=r"a\.jsonl:4: not valid JSON"):
        list(read_jsonl(file))
    with pytest.raises(DataError, match="no such file"):
        list(read_jsonl(tmp_path / "b.jsonl"))


def test_whole_files(tmp_path: Path):
    (tmp_path / "a.json").write_bytes(dump_pretty({"a": 1}))
    assert (tmp_path / "a.json").read_text() == '{\n  "a": 1\n}\n'
    assert read_json(tmp_path / "a.json") == {"a": 1}
    with pytest.raises(DataError, match=r"b\.json: cannot be read"):
        read_json(tmp_path / "b.json")


def test_defaults_fill_what_is_absent():
    task = from_json(
        Task, {"id": "1", "prompt": [{"kind": "text"}], "images": [], "answer": {"value": "3"}}, "x"
    )
    assert task == Task(id="1", prompt=[Part(kind="text")], images=[], answer=Answer(value="3"))
    half = from_json(Answer, {"value": "3", "precision": None, "tolerance": 1}, "x")
    assert half.tolerance == 1.0
    assert isinstance(half.tolerance, float)
