import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from air_reasoning.errors import DataError
from air_reasoning.images import image_hash, load_ref, save_blob
from air_reasoning.task_files import read_tasks, task_writer, write_tasks
from air_reasoning.types import Answer, ImageRef, Part, Task


def task(id: str, *refs: ImageRef) -> Task:
    return Task(
        id=id,
        prompt=[
            *(Part(kind="image", image=i) for i in range(len(refs))),
            Part(kind="text", text="?"),
        ],
        images=list(refs),
        answer=Answer(value="3.5", type="float", precision=1),
        meta={"split": "test", "program": "1+2.5"},
    )


def lines(folder: Path, *values: object) -> Path:
    file = folder / "tasks.jsonl"
    file.write_text("".join(json.dumps(value) + "\n" for value in values))
    return file


def test_a_folder_can_be_moved_and_read(tmp_path: Path, picture: Image.Image):
    ref = ImageRef(sha256=image_hash(picture), width=6, height=4, path="")
    given = [task("a", ref), task("b", ref), task("c")]
    assert write_tasks(tmp_path / "old", iter(given), {ref.sha256: picture}) == 3
    assert len(list((tmp_path / "old" / "blobs").iterdir())) == 1
    (tmp_path / "old").rename(tmp_path / "new")

    tasks = read_tasks(tmp_path / "new")
    assert [t.id for t in tasks] == ["a", "b", "c"]
    path = tmp_path / "new" / "blobs" / f"{ref.sha256}.png"
    assert tasks[0].images == [replace(ref, path=str(path))]
    assert image_hash(load_ref(tasks[0].images[0])) == ref.sha256
    assert tasks[2] == given[2]
    assert read_tasks(tmp_path / "new" / "tasks.jsonl", limit=2) == tasks[:2]


def test_pictures_are_taken_from_where_they_are(tmp_path: Path, picture: Image.Image):
    ref = save_blob(picture, tmp_path / "elsewhere")
    write_tasks(tmp_path / "tasks", [task("a", ref)])
    assert read_tasks(tmp_path / "tasks")[0].images[0].sha256 == ref.sha256
    assert '"path":"blobs/' in (tmp_path / "tasks" / "tasks.jsonl").read_text()


def test_a_failing_generator_keeps_the_earlier_file(tmp_path: Path):
    write_tasks(tmp_path, [task("a")])
    with pytest.raises(DataError, match="two tasks have the id 'b'"):
        write_tasks(tmp_path, [task("b"), task("b")])
    assert [t.id for t in read_tasks(tmp_path)] == ["a"]


def test_tasks_are_written_as_they_are_made(tmp_path: Path, picture: Image.Image):
    with task_writer(tmp_path) as add:
        made = Task(
            id="a",
            prompt=[Part(kind="image"), Part(kind="text", text="?")],
            images=[],
            answer=Answer(value="1"),
        )
        add(made, [picture.convert("L")])
        with pytest.raises(DataError, match="1 references but 2 pictures"):
            add(task("b", ImageRef(sha256="", width=0, height=0, path="")), [picture, picture])
    assert load_ref(read_tasks(tmp_path)[0].images[0]).size == (6, 4)


def test_hand_written_tasks_may_be_short(tmp_path: Path, picture: Image.Image):
    picture.save(tmp_path / "photo.bmp")
    file = lines(tmp_path, {"id": "1", "prompt": "How many?", "images": ["photo.bmp"], "answer": 3})
    (read,) = read_tasks(file)
    assert read.prompt == [Part(kind="image", image=0), Part(kind="text", text="How many?")]
    assert read.answer == Answer(value="3")
    assert read.images[0].sha256 == image_hash(picture)
    assert read.images[0].path == str(tmp_path / "photo.bmp")


GOOD = {"id": "1", "prompt": "?", "images": [], "answer": "1"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], r"tasks\.jsonl: holds no task; make some with `air tasks make`"),
        ([GOOD, GOOD], r"tasks\.jsonl:2: the id '1' is already used at .*tasks\.jsonl:1"),
        ([GOOD | {"awnser": 1}], r"tasks\.jsonl:1: awnser: unknown key; did you mean answer\?"),
        ([GOOD | {"prompt": []}], r"tasks\.jsonl:1: prompt: must not be empty"),
        ([GOOD | {"images": ["no.png"]}], r"tasks\.jsonl:1: .*no\.png: no such picture"),
        ([GOOD | {"images": "no.png"}], r"tasks\.jsonl:1: images: expected a list"),
        ([GOOD | {"images": 3}], r"tasks\.jsonl:1: images: expected a list, found 3"),
        ([[1]], r"tasks\.jsonl:1: expected an object"),
        (
            [GOOD | {"prompt": [{"kind": "image", "image": 1}]}],
            r"tasks\.jsonl:1: prompt\[0\]\.image: is 1, but the task has 0 pictures",
        ),
        (
            [GOOD | {"images": [{"sha256": "a", "width": 1, "height": 1, "path": "blobs/a.png"}]}],
            r"tasks\.jsonl:1: picture .*blobs/a\.png is missing",
        ),
    ],
)
def test_bad_tasks_are_named_with_file_and_line(tmp_path: Path, values: list[object], message: str):
    lines(tmp_path, *values)
    with pytest.raises(DataError, match=message):
        read_tasks(tmp_path)


def test_absent_and_broken_files_are_named(tmp_path: Path):
    with pytest.raises(DataError, match="no such file"):
        read_tasks(tmp_path)
    (tmp_path / "tasks.jsonl").write_text('{"id": "1"\n')
    with pytest.raises(DataError, match=r"tasks\.jsonl:1: not valid JSON"):
        read_tasks(tmp_path)
