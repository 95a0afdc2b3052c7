"""Other programs' rows, written out literally, in and out; what cannot be held is named."""

import base64
import doctest
import io
import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from air_reasoning.cli import main
from air_reasoning.data import importing
from air_reasoning.data.exporting import export_data
from air_reasoning.data.formats import dialogue, record
from air_reasoning.data.formats.containers import read_rows
from air_reasoning.data.formats.read import detect
from air_reasoning.data.formats.record import RowError, prompt_parts
from air_reasoning.data.importing import import_data
from air_reasoning.data.sample_files import stream_samples
from air_reasoning.errors import ConfigError, DataError
from air_reasoning.images import save_blob
from air_reasoning.json_io import dump_line, to_json
from air_reasoning.task_files import read_tasks, task_writer
from air_reasoning.types import Answer, Part, Task, Trajectory

RED, BLUE = Image.new("RGB", (8, 6), "red"), Image.new("RGB", (5, 5), "blue")


def png(image=RED) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def imported(tmp_path: Path, rows, name="data.jsonl", **more):
    """(task, segments or None) of every row taken over, and the counts."""
    (tmp_path / "photo.png").write_bytes(png())
    file = tmp_path / name
    if name.endswith(".json"):
        file.write_text(json.dumps(rows))
    elif name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(rows), file)
    else:
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    counts = import_data(file, tmp_path / "out", **more)
    tasks = read_tasks(tmp_path / "out")
    if not counts.samples:
        return [(task, None) for task in tasks], counts
    pairs = stream_samples(tmp_path / "out")
    return [(task, sample.trajectory.segments) for task, sample in pairs], counts


def texts(segments):
    return [(s.kind, s.code or s.text) for s in segments]


VERL = {
    "data_source": "hiyouga/geometry3k",
    "prompt": [
        {"role": "system", "content": "Think first."},
        {"role": "user", "content": "<image>Find x."},
    ],
    "images": [{"bytes": png(), "path": None}], "ability": "math",
    "reward_model": {"style": "rule", "ground_truth": "3"},
    "extra_info": {"index": 7, "split": "train", "answer": "3", "question": "Find x."},
}  # fmt: skip


def test_verl_parquet_with_embedded_pictures(tmp_path):
    ((task, _),), counts = imported(tmp_path, [VERL], "train.parquet")
    assert counts.format == "verl"
    assert task.prompt == [Part(kind="image"), Part(kind="text", text="Find x.")]
    assert task.answer == Answer(value="3", type="int")
    assert task.source == "hiyouga/geometry3k"
    assert (task.meta["index"], task.meta["split"], task.meta["system"]) == (
        7,
        "train",
        "Think first.",
    )
    assert (task.images[0].width, task.images[0].height) == (8, 6)


def test_trl_conversational_prompt_and_completion(tmp_path):
    prompt = [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "How many?"}]}
    ]
    row = {"prompt": prompt, "images": ["photo.png"], "solution": "$\\boxed{12.5}$"}
    said = {
        **row,
        "completion": [{"role": "assistant", "content": "<answer>\\boxed{12.5}</answer>"}],
    }
    ((task, segments), *_), counts = imported(tmp_path, [said])
    assert counts.format == "trl"
    assert (task.answer.value, task.answer.type) == ("12.5", "float")
    assert texts(segments) == [("answer", "<answer>\\boxed{12.5}</answer>")]
    ((task, segments),), _ = imported(tmp_path, [row])
    assert task.prompt[0].kind == "image"
    assert segments is None


SWIFT = {
    "messages": [
        {"role": "user", "content": "<image>Area?"},
        {"role": "assistant", "content": "<think>compute</think>"},
        {"role": "tool_call", "content": '{"name": "python", "arguments": {"code": "print(3*4)"}}'},
        {"role": "tool_response", "content": "12"},
        {"role": "assistant", "content": "<answer>\\boxed{12}</answer>"},
    ],
    "images": ["photo.png"], "solution": "12",
}  # fmt: skip


def test_swift_tool_calls_become_cells_with_their_outputs(tmp_path):
    ((task, segments),), counts = imported(tmp_path, [SWIFT])
    assert counts.format == "swift"
    assert texts(segments) == [
        ("think", "<think>compute</think>"), ("code", "print(3*4)"),
        ("output", "<interpreter>12</interpreter>"), ("answer", "<answer>\\boxed{12}</answer>"),
    ]  # fmt: skip
    assert segments[1].text == "<code>```python\nprint(3*4)\n```</code>"
    assert (segments[2].execution.status, segments[2].execution.stdout) == ("ok", "12")
    assert task.answer.value == "12"


def test_llamafactory_with_its_own_column_and_role_names(tmp_path):
    (tmp_path / "photo.png").write_bytes(png())
    row = {
        "talk": [
            {"who": "human", "says": "<image>How many?"},
            {"who": "gpt", "says": "Three. <answer>3</answer>"},
        ],
        "pics": ["photo.png"], "instructions": "be brief",
    }  # fmt: skip
    (tmp_path / "sheet.json").write_text(json.dumps([row]))
    entry = {
        "file_name": "sheet.json", "formatting": "sharegpt",
        "columns": {"messages": "talk", "images": "pics", "system": "instructions"},
        "tags": {"role_tag": "who", "content_tag": "says"},
    }  # fmt: skip
    (tmp_path / "dataset_info.json").write_text(json.dumps({"mine": entry}))
    counts = import_data(tmp_path, tmp_path / "out")
    ((task, sample),) = stream_samples(tmp_path / "out")
    assert counts.format == "llamafactory"
    assert task.answer == Answer(value="3", type="int")
    assert task.meta["system"] == "be brief"
    assert texts(sample.trajectory.segments) == [
        ("text", "Three. "), ("answer", "<answer>3</answer>"),
    ]  # fmt: skip


def test_llamafactory_alpaca(tmp_path):
    row = {"instruction": "Add.", "input": "2 and 3", "output": "The answer is 5"}
    ((task, segments),), _ = imported(tmp_path, [row], "alpaca.json")
    assert task.prompt[0].text == "Add.\n2 and 3"
    assert (task.answer.value, segments[0].text) == ("5", "The answer is 5")


def test_easyr1(tmp_path):
    row = {"problem": "<image>Which?\n(A) 1 (B) 2", "answer": "B", "images": ["photo.png"]}
    ((task, _),), counts = imported(tmp_path, [row])
    assert (counts.format, task.answer.type, task.prompt[1].text) == (
        "easyr1",
        "choice",
        "Which?\n(A) 1 (B) 2",
    )


RETOOL = (
    "Let me compute.\n<code>\n```python\ntotal = sum([1, 2, 3])\nprint(total)\n```\n</code>\n"
    "<interpreter>\n6\n</interpreter>\nSo it is 6.\n<answer>\\boxed{6}</answer>"
)


def test_retool_with_its_wrapped_question(tmp_path):
    wrapped = (
        "Solve the following problem.\n\n*user question:*\nWhat is 1+2+3?\n\n*Remember*: box it."
    )
    row = {
        "messages": [{"role": "user", "content": wrapped}, {"role": "assistant", "content": RETOOL}]
    }
    ((task, segments),), counts = imported(tmp_path, [row])
    assert counts.format == "retool"
    assert task.prompt == [Part(kind="text", text="What is 1+2+3?")]
    assert [s.kind for s in segments] == ["text", "code", "output", "text", "answer"]
    assert segments[1].code.strip() == "total = sum([1, 2, 3])\nprint(total)"
    assert segments[2].execution.stdout == "6"
    assert task.answer.value == "6"


def test_thyme_with_sandbox_output(tmp_path):
    said = (
        "<think>Crop it.<code>```python\nprint('crop.png')\n```</code>"
        "<sandbox_output>crop.png</sandbox_output> I see a B.</think><answer>B</answer>"
    )
    row = {"image": ["photo.png"], "question": "<image>\nWhich letter?", "response": said}
    ((task, segments),), counts = imported(tmp_path, [row])
    assert counts.format == "thyme"
    assert [s.kind for s in segments] == ["think", "code", "output", "think", "answer"]
    assert segments[2].text == "<interpreter>crop.png</interpreter>"
    assert task.prompt[1].text == "Which letter?"
    assert task.answer == Answer(value="B", type="choice")


RESULT = "Code execution result: stdout:\n```\n2.5\n```\nstderr: \nImages:\n<image>"


def test_deepeyesv2_results_are_outputs_of_the_user_role(tmp_path):
    rows = {
        "messages": [
            {"role": "system", "content": "You may use image_1."},
            {"role": "user", "content": "<image>Mean?"},
            {"role": "assistant", "content": "<think>go</think><code>print(2.5)</code>"},
            {"role": "user", "content": RESULT},
            {"role": "assistant", "content": "<answer>\\boxed{2.5}</answer>"},
        ],
        "images": ["photo.png", "photo.png"],
    }  # fmt: skip
    ((task, segments),), counts = imported(tmp_path, [rows])
    assert counts.format == "deepeyesv2"
    assert len(task.images) == 1
    output = segments[2]
    assert output.kind == "output"
    assert len(output.images) == 1
    assert "2.5" in output.execution.stdout
    assert "<image>" not in output.text


def test_geo170k(tmp_path):
    row = {
        "image": "photo.png",
        "conversations": [
            {"from": "human", "value": "<image>\nFind the angle. Choices: A:10 B:20"},
            {"from": "gpt", "value": "It is 20 degrees.\nAnswer: B"},
        ],
    }  # fmt: skip
    ((task, segments),), counts = imported(tmp_path, [row], "qa_tuning.json")
    assert counts.format == "geo170k"
    assert task.answer == Answer(value="B", type="choice")
    assert segments[0].text == "It is 20 degrees.\nAnswer: B"


def test_a_table_of_questions_and_a_folder_of_pictures(tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(png())
    (tmp_path / "pictures" / "b.png").write_bytes(png(BLUE))
    (tmp_path / "q.csv").write_text(
        "Image,Question,Answer,Choices,Tolerance,Level\n"
        'a.png,"How long, in cm?",12.5,,0.2,hard\n'
        "a.png;b.png,Which is red?,first,first|second,,\n"
        ",What is 2+2?,4,,,easy\n"
        "gone.png,What?,4,,,\n"
    )
    counts = import_data(
        tmp_path / "q.csv", tmp_path / "out", images=tmp_path / "pictures", split="train"
    )
    first, second, third = read_tasks(tmp_path / "out")
    assert first.answer == Answer(value="12.5", type="float", tolerance=0.2)
    assert first.meta == {"level": "hard", "split": "train"}
    assert (len(second.images), second.choices, second.answer.value) == (
        2,
        ["first", "second"],
        "first",
    )
    assert third.images == []
    assert dict(counts.rejected) == {"missing_image": 1}
    (line,) = (tmp_path / "out" / "rejected.jsonl").read_text().splitlines()
    assert json.loads(line)["where"] == f"{tmp_path / 'q.csv'}:5"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"images": []}, "placeholders"),
        ({"images": ["https://example.org/a.png"]}, "remote_image"),
        ({"images": [base64.b64encode(b"x").decode()]}, "missing_image"),
        ({"images": ["data:image/png;base64,AAAA"]}, "broken_image"),
        ({"answer": ""}, "no_answer"),
        ({"problem": "<image>"}, "no_question"),
        ({"problem": ["a"]}, "layout"),
    ],
)
def test_a_row_that_cannot_be_taken_over_is_counted_with_its_reason(tmp_path, change, reason):
    good = {"problem": "<image>How many?", "answer": "3", "images": ["photo.png"]}
    _, counts = imported(tmp_path, [good, good | change, good])
    assert (counts.rows, counts.tasks, dict(counts.rejected)) == (3, 2, {reason: 1})


def test_the_split_is_told_by_the_row_the_option_or_the_name_of_the_file(tmp_path):
    row = {"problem": "How many?", "answer": "3"}
    for name, split in (
        ("test-00000-of-00001.jsonl", "test"),
        ("a_val.jsonl", "dev"),
        ("contest.jsonl", "train"),
    ):
        ((task, _),), _ = imported(tmp_path, [row], name)
        assert task.meta["split"] == split
    ((task, _),), _ = imported(tmp_path, [row], "test.jsonl", split="train")
    assert task.meta["split"] == "train"
    ((task, _),), _ = imported(tmp_path, [VERL], "test.parquet")
    assert task.meta["split"] == "train"
    assert doctest.testmod(importing).failed == 0


def test_a_long_text_in_place_of_a_path_is_a_picture_in_base64(tmp_path):
    noise = Image.effect_noise((80, 80), 90).convert("RGB")
    text = base64.b64encode(png(noise)).decode()
    assert len(text) > 4096
    row = {"image": [text], "question": "Which?", "response": "<think>a</think><answer>B</answer>"}
    ((task, _),), counts = imported(tmp_path, [row])
    assert (counts.format, task.images[0].width) == ("thyme", 80)


def test_a_task_folder_needs_no_import(tmp_path, full):
    with pytest.raises(DataError, match="is a task folder already"):
        import_data(full / "tasks.jsonl", tmp_path / "again")


def test_a_second_question_is_no_output(tmp_path):
    talk = [("user", "a?"), ("assistant", "<code>print(1)</code>"), ("user", "and b?")]
    row = {"messages": [{"role": role, "content": text} for role, text in talk], "solution": "1"}
    with pytest.raises(DataError, match="several_turns"):
        imported(tmp_path, [row])


def test_an_unknown_layout_names_its_keys(tmp_path):
    with pytest.raises(DataError, match="no known format has the keys a, b; name it with --format"):
        imported(tmp_path, [{"a": 1, "b": 2}])
    with pytest.raises(ConfigError, match="expected auto or one of verl"):
        imported(tmp_path, [VERL], "train.parquet", format_name="vrl")


def test_placeholders_in_any_place_and_examples():
    assert prompt_parts("a <image> b <image>", 2) == [
        Part(kind="text", text="a "), Part(kind="image", image=0),
        Part(kind="text", text=" b "), Part(kind="image", image=1),
    ]  # fmt: skip
    with pytest.raises(RowError, match="1 placeholders, 2 pictures"):
        prompt_parts("<image> a", 2)
    assert doctest.testmod(record).failed == 0
    assert doctest.testmod(dialogue).failed == 0
    assert detect({"messages": [], "x": 1}) == "swift"


def test_a_large_json_array_is_read_item_by_item(tmp_path, monkeypatch):
    monkeypatch.setattr("air_reasoning.data.formats.containers._CHUNK", 64)
    rows = [{"question": "ü" * n + '"}],[{', "n": n} for n in range(200)]
    (tmp_path / "a.json").write_text(json.dumps(rows, ensure_ascii=False, indent=1))
    assert [row for _, row in read_rows(tmp_path / "a.json")] == rows
    (tmp_path / "b.json").write_text('[{"a": 1}, {"a"')
    with pytest.raises(DataError, match="item 2: not valid JSON"):
        list(read_rows(tmp_path / "b.json"))


@pytest.fixture
def full(tmp_path) -> Path:
    """Three tasks with everything a task can hold, and two samples."""
    tasks = [
        Task(
            id="a-1", prompt=[Part(kind="image"), Part(kind="text", text="How many?\nSay it.")],
            images=[], source="x/y", license="MIT",
            answer=Answer(value="12.5", type="float", precision=1, tolerance=0.2, unit="cm"),
            meta={"split": "train", "difficulty": "hard", "columns": ["a/b", "c"]},
        ),
        Task(
            id="b", answer=Answer(value="B", type="choice"), choices=["one", "two"], images=[],
            prompt=[
                Part(kind="text", text="First "), Part(kind="image", image=0),
                Part(kind="text", text="\nthen "), Part(kind="image", image=1),
            ],
        ),
        Task(
            id="c", prompt=[Part(kind="text", text="2+2?")], images=[],
            answer=Answer(value="4", type="int"), meta={"system": "be brief"},
        ),
    ]  # fmt: skip
    folder = tmp_path / "full"
    with task_writer(folder) as add:
        for task, images in zip(tasks, ([RED], [RED, BLUE], []), strict=True):
            add(task, images)
    said = (
        "<think>see</think><code>```python\nprint(5*2.5)\nimage_1\n```</code>"
        "<interpreter>12.5</interpreter><think>so</think><answer>\\boxed{12.5}</answer>"
    )
    segments = dialogue.text_segments(said)
    shown = save_blob(BLUE, folder / "blobs")
    shown = replace(shown, path=f"blobs/{shown.sha256}.png")
    execution = replace(segments[2].execution, images=[shown], wall_ms=3.5, tier="full")
    segments[2] = replace(segments[2], images=[shown], execution=execution)
    plain = dialogue.text_segments("<think>4</think><answer>\\boxed{4}</answer>")
    rows = [("a-1", "code", segments), ("c", "direct", plain)]
    lines: list[bytes] = []
    for name, mode, parts in rows:
        made = Trajectory(id=f"{name}/1", task_id=name, group_id=name, segments=parts)
        lines.append(dump_line({"task_id": name, "mode": mode, "trajectory": made}))
    (folder / "samples.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    return folder


def bare(task):
    return to_json(replace(task, images=[replace(ref, path="") for ref in task.images]))


def whole(folder):
    out = []
    for task, sample in stream_samples(folder):
        segments = to_json(sample.trajectory.segments)
        for segment in segments:
            for ref in [*segment["images"], *(segment["execution"] or {"images": []})["images"]]:
                ref["path"] = ""
        out.append((bare(task), sample.mode, segments))
    return out


@pytest.mark.parametrize("name", ["verl", "trl", "swift", "llamafactory", "easyr1"])
def test_tasks_go_out_and_come_back_as_they_were(tmp_path, full, name):
    counts = export_data(full, tmp_path / "there", name, only="tasks")
    import_data(tmp_path / "there", tmp_path / "back")
    assert list(map(bare, read_tasks(tmp_path / "back"))) == list(map(bare, read_tasks(full)))
    assert not counts.lost
    assert counts.carried["choices"] == 1


@pytest.mark.parametrize("name", ["verl", "trl", "swift", "llamafactory"])
def test_solutions_go_out_and_come_back_with_outputs_and_their_pictures(tmp_path, full, name):
    counts = export_data(full, tmp_path / "there", name)
    assert (counts.what, counts.rows) == ("samples", 2)
    import_data(tmp_path / "there", tmp_path / "back")
    assert whole(tmp_path / "back") == whole(full)


def test_retool_holds_no_pictures_and_says_so(tmp_path, full):
    counts = export_data(full, tmp_path / "there", "retool")
    assert dict(counts.lost) == {"pictures": 1}
    (row, _) = (row for _, row in read_rows(tmp_path / "there" / "train.parquet"))
    assert row["messages"][1]["content"].startswith(
        "<think>see</think><code>```python\nprint(5*2.5)"
    )
    import_data(tmp_path / "there", tmp_path / "back")
    assert [mode for _, mode, _ in whole(tmp_path / "back")] == ["code", "direct"]


def test_without_our_column_what_is_lost_is_listed(tmp_path, full):
    counts = export_data(full, tmp_path / "there", "easyr1", only="tasks", carry=False)
    assert counts.lost == {
        "answer.type": 3, "answer.precision": 1, "answer.tolerance": 1, "answer.unit": 1,
        "choices": 1, "license": 1, "source": 1, "meta": 2,
    }  # fmt: skip
    (first, *_) = (row for _, row in read_rows(tmp_path / "there" / "train.parquet"))
    assert set(first) == {"problem", "answer", "images"}
    assert first["problem"] == "<image>\nHow many?\nSay it."
    assert first["images"][0]["bytes"][:4] == b"\x89PNG"


def test_an_export_has_the_fields_that_each_program_reads(tmp_path, full):
    export_data(full, tmp_path / "verl", "verl", only="tasks")
    row = next(read_rows(tmp_path / "verl" / "train.parquet"))[1]
    assert row["prompt"] == [{"role": "user", "content": "<image>\nHow many?\nSay it."}]
    assert row["reward_model"] == {"style": "rule", "ground_truth": "12.5"}
    export_data(full, tmp_path / "swift", "swift", only="tasks")
    row = next(read_rows(tmp_path / "swift" / "data.jsonl"))[1]
    assert Path(row["images"][0]).is_absolute()
    assert Path(row["images"][0]).is_file()
    export_data(full, tmp_path / "lf", "llamafactory")
    messages = next(read_rows(tmp_path / "lf" / "data.json"))[1]["messages"]
    assert [message["role"] for message in messages] == [
        "user",
        "assistant",
        "observation",
        "assistant",
    ]
    info = json.loads((tmp_path / "lf" / "dataset_info.json").read_text())
    assert info["air"]["tags"]["observation_tag"] == "observation"
    export_data(full, tmp_path / "trl", "trl", only="tasks")
    state = json.loads((tmp_path / "trl" / "state.json").read_text())
    assert state["_data_files"] == [{"filename": "data-00000-of-00001.arrow"}]
    features = json.loads((tmp_path / "trl" / "dataset_info.json").read_text())["features"]
    assert features["images"] == {"_type": "Sequence", "feature": {"_type": "Image"}}


def test_the_command_line_imports_and_exports(tmp_path, full, capsys):
    assert (
        main(
            [
                "data",
                "export",
                str(full),
                str(tmp_path / "v"),
                "--format",
                "verl",
                "--display",
                "none",
            ]
        )
        == 0
    )
    assert "2 samples in" in capsys.readouterr().out
    assert main(["data", "export", str(full), str(tmp_path / "v"), "--format", "verl"]) == 2
    assert main(["data", "export", str(full), str(tmp_path / "w"), "--format", "nope"]) == 2
    assert (
        main(["data", "import", str(tmp_path / "v"), str(tmp_path / "b"), "--display", "none"]) == 0
    )
    assert "2 tasks, 2 samples, 0 rejected" in capsys.readouterr().out
