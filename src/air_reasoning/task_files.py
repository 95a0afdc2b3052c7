"""A task folder: ``tasks.jsonl``, one task a line, and ``blobs/<sha256>.png``, each picture once.

Paths inside ``tasks.jsonl`` are relative to it, so that the folder can be moved. Hand-written files
may be shorter than what is written here: ``{"id": "1", "prompt": "How many?", "images":
["photo.jpg"], "answer": "3"}`` is a task, pictures first.
"""

import itertools
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from PIL import Image

from air_reasoning.errors import DataError
from air_reasoning.files import atomic_file
from air_reasoning.images import as_rgb, image_hash, open_image, save_blob
from air_reasoning.json_io import dump_line, from_json, read_jsonl
from air_reasoning.types import ImageRef, Task

TASKS_NAME = "tasks.jsonl"
BLOBS_NAME = "blobs"
AddTask = Callable[[Task, Sequence[Image.Image]], None]


def write_tasks(
    folder: Path, tasks: Iterable[Task], pixels: Mapping[str, Image.Image] | None = None
) -> int:
    """Write a task folder and return the number of tasks; an earlier ``tasks.jsonl`` is replaced.

    Args:
        folder: made if absent.
        tasks: may be a generator; one task at a time is held.
        pixels: pictures by ``ImageRef.sha256``; a picture that is not here is read from its path.

    Raises:
        DataError: a duplicated id, a picture that is neither given nor on disk, or a full disk;
            the earlier ``tasks.jsonl`` is kept.
    """
    count = 0
    with task_writer(folder) as add:
        for task in tasks:
            given = pixels or {}
            add(task, [given.get(ref.sha256) or open_image(ref.path) for ref in task.images])
            count += 1
    return count


@contextmanager
def task_writer(folder: Path) -> Generator[AddTask]:
    """Write tasks as they are made; ``tasks.jsonl`` appears when the block ends well.

        with task_writer(Path("tasks/train")) as add:
            add(task, [picture])

    The references of ``task.images`` are made from the pictures given; those of the task are only
    compared in number, so a generator may leave out hashes by giving ``images=[]``.
    """
    seen: set[str] = set()
    with atomic_file(folder / TASKS_NAME) as file:

        def add(task: Task, images: Sequence[Image.Image]) -> None:
            if task.id in seen:
                raise DataError(f"{folder / TASKS_NAME}: two tasks have the id {task.id!r}")
            seen.add(task.id)
            if task.images and len(task.images) != len(images):
                raise DataError(
                    f"task {task.id!r}: {len(task.images)} references but {len(images)} pictures"
                )
            refs = [_relative(save_blob(as_rgb(image), folder / BLOBS_NAME)) for image in images]
            task = replace(task, images=refs)
            _check_parts(task, f"task {task.id!r}")
            file.write(dump_line(task) + b"\n")

        yield add


def read_tasks(path: str | Path, limit: int | None = None) -> list[Task]:
    """Tasks of a folder or of a ``.jsonl`` file, in order, picture paths made absolute.

    Args:
        path: the folder, or the file itself.
        limit: read only that many.

    Raises:
        DataError: nothing there, no task in it, a bad line, an id used twice, a prompt that shows a
            picture the task does not have, or a picture file that is missing.
    """
    return list(itertools.islice(stream_tasks(path), limit))


def stream_tasks(path: str | Path) -> Iterator[Task]:
    """The same one by one, holding only the ids: for files that are larger than the memory."""
    path = Path(path)
    file = path / TASKS_NAME if path.is_dir() else path
    lines: dict[str, int] = {}
    for where, data in read_jsonl(file):
        task = task_from_json(data, where, file.absolute().parent)
        if task.id in lines:
            earlier = where.rpartition(":")[0] + f":{lines[task.id]}"
            raise DataError(f"{where}: the id {task.id!r} is already used at {earlier}")
        lines[task.id] = int(where.rpartition(":")[2])
        yield task
    if not lines:
        raise DataError(f"{file}: holds no task; make some with `air tasks make`")


def task_from_json(data: Any, where: str, base: Path) -> Task:
    """One line of a task file in ``base``. Raises DataError: of another shape, or no picture."""
    if isinstance(data, dict):
        data = _spelled_out(cast(dict[str, Any], data), where, base)
    task = from_json(Task, data, where)
    _check_parts(task, where)
    return replace(task, images=[_absolute(ref, base, where) for ref in task.images])


def _spelled_out(data: dict[str, Any], where: str, base: Path) -> dict[str, Any]:
    """Short forms to full ones: text as prompt, paths as images, a value as answer."""
    data = dict(data)
    images = data.setdefault("images", [])
    count = 0
    if isinstance(images, list):
        paths = cast(list[Any], images)
        count = len(paths)
        data["images"] = [
            _measured(item, where, base) if isinstance(item, str) else item for item in paths
        ]
    if isinstance(prompt := data.get("prompt"), str):
        pictures = [{"kind": "image", "image": index} for index in range(count)]
        data["prompt"] = [*pictures, {"kind": "text", "text": prompt}]
    if isinstance(answer := data.get("answer"), str | int | float):
        data["answer"] = {"value": str(answer)}
    return data


def _measured(path: str, where: str, base: Path) -> ImageRef | dict[str, Any]:
    try:
        image = open_image(base / path)
    except DataError as error:
        raise DataError(f"{where}: {error}") from None
    size = {"width": image.width, "height": image.height}
    return {"sha256": image_hash(image), **size, "path": path}


def _check_parts(task: Task, where: str) -> None:
    if not task.prompt:
        raise DataError(f"{where}: prompt: must not be empty")
    for index, part in enumerate(task.prompt):
        if part.kind == "image" and not 0 <= part.image < len(task.images):
            raise DataError(
                f"{where}: prompt[{index}].image: is {part.image}, "
                f"but the task has {len(task.images)} pictures (counted from 0)"
            )


def _relative(ref: ImageRef) -> ImageRef:
    return replace(ref, path=f"{BLOBS_NAME}/{ref.sha256}.png")


def _absolute(ref: ImageRef, base: Path, where: str) -> ImageRef:
    path = base / ref.path
    if not path.is_file():
        raise DataError(f"{where}: picture {path} is missing; bring it back or make the tasks anew")
    return replace(ref, path=str(path))
