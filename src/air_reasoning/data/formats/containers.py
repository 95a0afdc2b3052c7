"""Files that hold rows: JSON lines, JSON arrays, CSV, parquet, arrow; and folders of them.

Everything is read as a stream and written as a stream: a file may be larger than the memory.
"""

import csv
import json
import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, cast

from air_reasoning.data.formats.record import Row
from air_reasoning.errors import DataError, PrerequisiteError
from air_reasoning.files import atomic_file
from air_reasoning.json_io import dump_line, parse_json, read_json, read_jsonl

BATCH = 512
_CHUNK = 1 << 20
_KNOWN = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".arrow")
_BESIDE = ("dataset_info.json", "dataset_dict.json", "state.json", "export.json", "summary.json")


def data_files(path: Path) -> list[Path]:
    """The files of a dataset in reading order: one file, or those of a folder, sorted.

    Of a folder that a HF ``DatasetDict`` was saved in, all splits; of one with several kinds of
    files, those of the first kind in the order parquet, arrow, JSON lines, JSON, CSV.

    Raises:
        DataError: nothing there, or nothing of a known kind.
    """
    if path.is_file():
        if path.suffix not in _KNOWN:
            raise DataError(f"{path}: unknown kind of file; known are {', '.join(_KNOWN)}")
        return [path]
    for suffix in (".parquet", ".arrow", ".jsonl", ".ndjson", ".json", ".csv", ".tsv"):
        found = sorted(file for file in path.rglob(f"*{suffix}") if file.name not in _BESIDE)
        if found:
            return found
    raise DataError(f"{path}: holds no data files ({', '.join(_KNOWN)}); check the path")


def read_rows(path: Path) -> Iterator[tuple[str, Row]]:
    """(where, row) of a file: ``file:line`` for texts, ``file:row`` else, counted from 1.

    Raises:
        DataError: not readable as what its suffix says, or a row that is no object.
    """
    match path.suffix:
        case ".jsonl" | ".ndjson":
            rows: Iterator[tuple[str, Any]] = read_jsonl(path)
        case ".json":
            rows = _read_array(path)
        case ".csv" | ".tsv":
            rows = _read_csv(path)
        case _:
            rows = _read_arrow(path)
    for where, row in rows:
        if not isinstance(row, dict):
            raise DataError(f"{where}: expected an object, found {str(row)[:60]!r}")
        yield where, cast(Row, row)


def _read_array(path: Path) -> Iterator[tuple[str, Any]]:
    """The items of one large JSON array, decoded one by one from chunks of a megabyte."""
    decoder, space, number = json.JSONDecoder(), re.compile(r"[\s,]*"), 0
    with path.open(encoding="utf-8") as file:
        text = file.read(_CHUNK).lstrip("\ufeff \t\r\n")
        if not text.startswith("["):
            if text.startswith("{") and path.stat().st_size < 1 << 26:
                yield from _read_single(path)
                return
            raise DataError(f"{path}: expected an array of objects")
        at = 1
        while True:
            at = space.match(text, at).end()  # type: ignore[union-attr]
            try:
                if at < len(text) and text[at] == "]":
                    return
                value, end = decoder.raw_decode(text, at)
            except json.JSONDecodeError as error:
                more = file.read(max(_CHUNK, len(text) - at))
                if not more:
                    raise DataError(
                        f"{path}: item {number + 1}: not valid JSON ({error})"
                    ) from None
                text, at = text[at:] + more, 0
                continue
            number, at = number + 1, end
            yield f"{path}:{number}", value


def _read_single(path: Path) -> Iterator[tuple[str, Any]]:
    """A file of one object: one row, JSON lines under another name, or rows under one key."""
    lines = path.read_bytes().strip().split(b"\n")
    if len(lines) > 1 and lines[0].rstrip().endswith(b"}"):
        for number, line in enumerate(lines, start=1):
            yield f"{path}:{number}", parse_json(line, f"{path}:{number}")
        return
    data = read_json(path)
    lists = [v for v in cast(Row, data).values() if isinstance(v, list)]
    rows = cast(list[Any], lists[0]) if len(lists) == 1 and lists[0] else [data]
    rows = rows if isinstance(rows[0], dict) else [data]
    for number, row in enumerate(rows, start=1):
        yield f"{path}:{number}", row


def _read_csv(path: Path) -> Iterator[tuple[str, Row]]:
    csv.field_size_limit(1 << 27)
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ",")
        for row in reader:
            where = f"{path}:{reader.line_num}"
            if None in row:
                raise DataError(f"{where}: more fields than columns; quote commas inside a field")
            yield where, row


def arrow() -> Any:
    """The pyarrow package. Raises PrerequisiteError: not installed."""
    try:
        import pyarrow
        import pyarrow.ipc
        import pyarrow.parquet
    except ImportError as error:
        raise PrerequisiteError(
            "parquet and arrow files need pyarrow: pip install 'air-reasoning[data]'"
        ) from error
    return pyarrow


def _read_arrow(path: Path) -> Iterator[tuple[str, Row]]:
    number = 0
    for batch in _batches(path):
        for row in batch.to_pylist():
            number += 1
            yield f"{path}:{number}", row


def _batches(path: Path) -> Iterator[Any]:
    """Record batches of a few hundred rows, so that embedded pictures do not fill the memory."""
    pyarrow = arrow()
    try:
        if path.suffix == ".parquet":
            with pyarrow.parquet.ParquetFile(path) as file:
                yield from file.iter_batches(batch_size=BATCH)
            return
        with pyarrow.memory_map(str(path)) as source:
            try:
                reader = pyarrow.ipc.open_stream(source)
            except pyarrow.ArrowInvalid:
                reader = pyarrow.ipc.open_file(source)
                batches: Iterator[Any] = (
                    reader.get_batch(i) for i in range(reader.num_record_batches)
                )
            else:
                batches = iter(reader)
            for batch in batches:
                for start in range(0, batch.num_rows, BATCH):
                    yield batch.slice(start, BATCH)
    except pyarrow.ArrowInvalid as error:
        raise DataError(f"{path}: not readable as {path.suffix[1:]} ({error})") from None


class RowWriter(Protocol):
    """Takes rows one by one."""

    def __call__(self, row: Row) -> None:
        """Write one."""
        ...


@contextmanager
def json_lines(path: Path) -> Generator[RowWriter]:
    """One object a line; the file appears when the block ends well."""
    with atomic_file(path) as file:
        yield lambda row: _drop(file.write(dump_line(row) + b"\n"))


@contextmanager
def json_array(path: Path) -> Generator[RowWriter]:
    """One array, an object a line."""
    with atomic_file(path) as file:
        first = True

        def add(row: Row) -> None:
            nonlocal first
            file.write((b"[\n" if first else b",\n") + dump_line(row))
            first = False

        yield add
        file.write(b"[]\n" if first else b"\n]\n")


def _drop(_: object) -> None:
    """A writer returns nothing."""


@contextmanager
def parquet(path: Path, schema: Any) -> Generator[RowWriter]:
    """Row groups of a few hundred rows; the file appears when the block ends well."""
    pyarrow = arrow()
    with atomic_file(path) as file, pyarrow.parquet.ParquetWriter(file, schema) as writer:
        yield from _batched(pyarrow, schema, writer.write_batch)


@contextmanager
def arrow_stream(path: Path, schema: Any) -> Generator[RowWriter]:
    """An arrow stream, as HF ``datasets`` saves them."""
    pyarrow = arrow()
    with atomic_file(path) as file, pyarrow.ipc.new_stream(file, schema) as writer:
        yield from _batched(pyarrow, schema, writer.write_batch)


def _batched(pyarrow: Any, schema: Any, write: Any) -> Iterator[RowWriter]:
    rows: list[Row] = []

    def flush() -> None:
        if rows:
            write(pyarrow.RecordBatch.from_pylist(rows, schema=schema))
            rows.clear()

    def add(row: Row) -> None:
        rows.append(row)
        if len(rows) >= BATCH:
            flush()

    yield add
    flush()
