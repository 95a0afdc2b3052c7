"""``air data import``: any known format to a task folder, with its solutions beside the tasks.

    rows -> records -> pictures stored by content -> tasks.jsonl, samples.jsonl, rejected.jsonl

A row that cannot be taken over is counted with its reason and goes to ``rejected.jsonl``; a file
that is not what it says is an error. One row at a time is held.
"""

import re
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from air_reasoning.answers import extract_answer
from air_reasoning.config import Display
from air_reasoning.data.formats.containers import data_files, read_rows
from air_reasoning.data.formats.described import described_files
from air_reasoning.data.formats.read import READERS, detect
from air_reasoning.data.formats.record import (
    PLACEHOLDER,
    Picture,
    Record,
    Row,
    RowError,
)
from air_reasoning.display import progress
from air_reasoning.errors import ConfigError, DataError
from air_reasoning.files import atomic_file, atomic_write
from air_reasoning.images import decode_image, open_image, save_blob
from air_reasoning.json_io import dump_line, dump_pretty
from air_reasoning.task_files import BLOBS_NAME, TASKS_NAME
from air_reasoning.types import ImageRef, Segment, StopReason, Task, Trajectory

SAMPLES_NAME = "samples.jsonl"
REJECTED_NAME = "rejected.jsonl"
_KNOWN_PICTURES = 4096


@dataclass(kw_only=True, slots=True)
class Imported:
    """Counts of one import; ``unread`` are columns that no field was found for."""

    format: str
    rows: int = 0
    tasks: int = 0
    samples: int = 0
    rejected: Counter[str] = field(default_factory=Counter[str])
    unread: Counter[str] = field(default_factory=Counter[str])


def records(
    path: Path, format_name: str = "auto", limit: int | None = None
) -> Iterator[tuple[str, str, Record | RowError]]:
    """(where, format, record or why not) of every row of a file or folder.

    Raises:
        DataError: no data there, broken files, or rows of no known format.
    """
    if format_name not in ("auto", *READERS):
        raise ConfigError(f"--format {format_name}: expected auto or one of {', '.join(READERS)}")
    count, described = 0, described_files(path)
    for file in [*described] or data_files(path):
        name = ""
        for where, row in read_rows(file):
            if described:
                row = described[file].standard(row)
            name = name or _format_of(file, where, row, format_name, bool(described))
            yield where, name, _read(READERS[name], row)
            count += 1
            if count == limit:
                return


def _format_of(file: Path, where: str, row: Row, wanted: str, described: bool) -> str:
    """The format of a file by its first row. Raises DataError: none that is known."""
    if wanted != "auto":
        return wanted
    if described:
        return "llamafactory"
    if {"id", "prompt", "answer"} <= row.keys() and isinstance(row["answer"], dict):
        raise DataError(f"{where}: this is a task folder already; it needs no import")
    name = "csv" if file.suffix in (".csv", ".tsv") else detect(row)
    if name is None:
        raise DataError(
            f"{where}: no known format has the keys {', '.join(row)}; name it with --format, "
            f"one of {', '.join(READERS)}"
        )
    return name


def _read(read: Any, row: Row) -> Record | RowError:
    try:
        return read(row)
    except RowError as error:
        return error
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        return RowError("layout", f"{type(error).__name__}: {error}")
    except DataError as error:  # our own column, or a tool call, is broken
        return RowError("layout", str(error))


class PictureStore:
    """Pictures of rows as references: each file is decoded once, and stored by its content."""

    def __init__(self, folder: Path, bases: list[Path]) -> None:
        """``bases`` are the folders in which relative paths are looked for, in order."""
        self._folder, self._bases = folder, bases
        self._known: OrderedDict[Path, ImageRef] = OrderedDict()

    def refs(self, pictures: list[Picture]) -> list[ImageRef]:
        """References relative to the folder. Raises RowError: missing or broken."""
        return [self._ref(picture) for picture in pictures]

    def _ref(self, picture: Picture) -> ImageRef:
        if isinstance(picture, bytes):
            try:
                return self._kept(decode_image(picture, "embedded picture"))
            except DataError as error:
                raise RowError("broken_image", str(error)) from None
        path = next((p for b in self._bases if (p := b / picture).is_file()), None)
        if path is None:
            raise RowError(
                "missing_image", f"{picture} is in none of {', '.join(map(str, self._bases))}"
            )
        if (ref := self._known.get(path)) is None:
            try:
                ref = self._kept(open_image(path))
            except DataError as error:
                raise RowError("broken_image", str(error)) from None
            self._known[path] = ref
            if len(self._known) > _KNOWN_PICTURES:
                self._known.popitem(last=False)
        return ref

    def _kept(self, image: Any) -> ImageRef:
        ref = save_blob(image, self._folder / BLOBS_NAME)
        return replace(ref, path=f"{BLOBS_NAME}/{ref.sha256}.png")


@dataclass(slots=True)
class _Ids:
    """Ids that are given once. Held as hashes: eight bytes and a set entry each."""

    stem: str
    seen: set[int] = field(default_factory=set[int])

    def take(self, wanted: str, number: int) -> tuple[str, bool]:
        """(an id, whether the wanted one was there before)."""
        if not wanted:
            return f"{self.stem}-{number:07d}", False
        again = hash(wanted) in self.seen
        self.seen.add(hash(wanted))
        return wanted, again


def import_data(
    path: Path,
    out: Path,
    *,
    format_name: str = "auto",
    images: Path | None = None,
    split: str = "",
    limit: int | None = None,
    display: Display = "none",
) -> Imported:
    """Read everything at ``path`` and write the folder ``out``; returns the counts.

    Args:
        path: a file or folder of data.
        out: gets tasks.jsonl, samples.jsonl (of solutions), rejected.jsonl, import.json, blobs/.
        format_name: one of ``READERS``, or auto: by the keys of the first row of each file.
        images: where relative picture paths start; tried before the data's own folder.
        split: written to each task's ``meta["split"]`` that has none; training refuses "test".
            "": by the name of the file or its folder (``test-00000-of-00001.parquet``), else train.
        limit: only that many rows.
        display: progress on stderr, with rows a second.

    Raises:
        DataError: nothing there, files that are not what they say, or not one row taken over.
    """
    base = path if path.is_dir() else path.parent
    store = PictureStore(out, [*([images] if images else []), base, base.parent])
    counts, ids = Imported(format=format_name), _Ids(path.stem)
    with ExitStack() as stack:
        bar = stack.enter_context(progress(display, None, "rows"))
        tasks = stack.enter_context(atomic_file(out / TASKS_NAME))
        samples = stack.enter_context(atomic_file(out / SAMPLES_NAME))
        rejected = stack.enter_context(atomic_file(out / REJECTED_NAME))
        for where, name, record in records(path, format_name, limit):
            counts.format, counts.rows = name, counts.rows + 1
            try:
                own = split or split_of_file(where)
                task, trajectory, again = _stored(record, store, ids, counts.rows, own)
            except RowError as error:
                counts.rejected[error.reason] += 1
                row = {"where": where, "reason": error.reason, "detail": error.detail}
                rejected.write(dump_line(row) + b"\n")
                continue
            if not again:
                tasks.write(dump_line(task) + b"\n")
                counts.tasks += 1
            if trajectory is not None:
                assert isinstance(record, Record)
                samples.write(dump_line(_sample(record, trajectory)) + b"\n")
                counts.samples += 1
            counts.unread.update(record.unread if isinstance(record, Record) else ())
            if counts.rows % 256 == 0:
                bar.advance(256)
        if not counts.tasks:
            raise DataError(f"{path}: not one row could be taken over: {dict(counts.rejected)}")
    if not counts.samples:
        (out / SAMPLES_NAME).unlink()
    atomic_write(out / "import.json", dump_pretty(counts))
    return counts


_SPLIT = re.compile(r"(?:^|[-_.])(train|test|testmini|validation|valid|val|dev)(?:[-_.]|$)")
_SPLITS = {"valid": "dev", "val": "dev", "validation": "dev", "testmini": "test"}


@cache
def _split_of_path(file: str) -> str:
    folder, _, name = file.lower().rpartition("/")
    found = _SPLIT.search(name)
    inside = _SPLIT.fullmatch(folder.rpartition("/")[2])
    word = found[1] if found else inside[1] if inside else "train"
    return _SPLITS.get(word, word)


def split_of_file(where: str) -> str:
    """The split that a file's own name tells, or that its folder is called; else train.

    >>> split_of_file("a/test-00000-of-00001.parquet:7"), split_of_file("a/validation/x.arrow:1")
    ('test', 'dev')
    """
    return _split_of_path(where.rpartition(":")[0])


def _stored(
    record: Record | RowError, store: PictureStore, ids: _Ids, number: int, split: str
) -> tuple[Task, Trajectory | None, bool]:
    """Task and trajectory with stored pictures, and whether the task was there already."""
    if isinstance(record, RowError):
        raise record
    images = store.refs(record.pictures)
    solution = record.solution
    if solution is not None and record.output_pictures:
        solution = _with_pictures(solution, store.refs(record.output_pictures))
    name, again = ids.take(record.id, number)
    if again and not (record.carried and solution is not None):
        name, again = f"{name}-{number:07d}", False
    meta = record.meta
    back = split == "train" and bool(record.carried)  # it comes back as it went out
    if "split" not in meta and not back:
        meta = {**meta, "split": split}
    task = Task(
        id=name, prompt=record.prompt, images=images, answer=record.answer, choices=record.choices,
        source=record.source, license=record.license, meta=meta,
    )  # fmt: skip
    if solution is None:
        return task, None, again
    trajectory = Trajectory(
        id=f"{name}/{number}", task_id=name, group_id=name, segments=solution,
        stop=_stop(solution),
    )  # fmt: skip
    return task, trajectory, again


def _stop(segments: list[Segment]) -> StopReason:
    last = max((i for i, s in enumerate(segments) if s.kind == "output"), default=-1)
    text = "".join(s.text for s in segments[last + 1 :] if s.kind in ("text", "answer"))
    found = extract_answer(text).route != "none" or any(s.kind == "answer" for s in segments)
    return StopReason.ANSWERED if found else StopReason.VOID_TURN


def _with_pictures(segments: list[Segment], refs: list[ImageRef]) -> list[Segment]:
    """Each placeholder in an output takes the next picture."""
    rest = iter(refs)
    out: list[Segment] = []
    for segment in segments:
        count = segment.text.count(PLACEHOLDER) if segment.kind == "output" else 0
        if count:
            shown = [next(rest) for _ in range(count)]
            execution = segment.execution and replace(segment.execution, images=shown)
            text = segment.text.replace(PLACEHOLDER, "")
            segment = replace(segment, text=text, images=shown, execution=execution)
        out.append(segment)
    return out


def _sample(record: Record, trajectory: Trajectory) -> dict[str, Any]:
    """As ``air data cold-start`` writes samples."""
    mode = "code" if trajectory.executions else "direct"
    return {
        "task_id": trajectory.task_id, "mode": record.carried.get("mode", mode),
        "trajectory": trajectory, "weights": [],
    }  # fmt: skip
