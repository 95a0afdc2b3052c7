"""Samples with their tasks as a stream: files that are larger than the memory."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from air_reasoning.data.cold_start import SAMPLES_NAME, ColdStartSample
from air_reasoning.errors import DataError
from air_reasoning.json_io import from_json, parse_json, read_jsonl
from air_reasoning.task_files import TASKS_NAME, task_from_json
from air_reasoning.types import ImageRef, Segment, Task

_ID_FIRST = re.compile(rb'\s*\{\s*"id"\s*:\s*"((?:[^"\\]|\\.)*)"')


def stream_samples(
    folder: Path, name: str = SAMPLES_NAME
) -> Iterator[tuple[Task, ColdStartSample]]:
    """Every sample with its task, in the order of the samples; picture paths are absolute.

    Tasks are found by their place in the file: only places are held.

    Raises:
        DataError: no such files, broken lines, or a sample without its task.
    """
    places = task_places(folder / TASKS_NAME)
    base = folder.absolute()
    with (folder / TASKS_NAME).open("rb") as tasks:
        for where, data in read_jsonl(folder / name):
            sample = sample_from_json(data, where)
            place = places.get(hash(sample.task_id))
            if place is None:
                raise DataError(f"{where}: no task {sample.task_id!r} in {folder / TASKS_NAME}")
            tasks.seek(place)
            task = task_from_json(parse_json(tasks.readline(), where), where, base)
            yield task, _absolute(sample, base)


def sample_from_json(data: Any, where: str) -> ColdStartSample:
    """One line of a sample file. Raises DataError: of another shape."""
    return from_json(ColdStartSample, data, where)


def task_places(file: Path) -> dict[int, int]:
    """Hash of each task's id -> where its line starts. Raises DataError: no such file."""
    if not file.is_file():
        raise DataError(f"{file}: no such file; samples lie beside their tasks")
    places: dict[int, int] = {}
    with file.open("rb") as lines:
        at = 0
        for line in lines:
            if line.strip():
                places[hash(_id(line, file))] = at
            at += len(line)
    return places


def _id(line: bytes, file: Path) -> str:
    found = _ID_FIRST.match(line)
    if found is not None and b"\\" not in found[1]:
        return found[1].decode()
    data = parse_json(line, str(file))
    return str(cast(dict[str, Any], data).get("id"))


def _absolute(sample: ColdStartSample, base: Path) -> ColdStartSample:
    segments = [_with_paths(segment, base) for segment in sample.trajectory.segments]
    return replace(sample, trajectory=replace(sample.trajectory, segments=segments))


def _with_paths(segment: Segment, base: Path) -> Segment:
    if not segment.images:
        return segment
    images = [_found(ref, base) for ref in segment.images]
    execution = segment.execution and replace(segment.execution, images=images)
    return replace(segment, images=images, execution=execution)


def _found(ref: ImageRef, base: Path) -> ImageRef:
    return replace(ref, path=str(base / ref.path)) if ref.path else ref
