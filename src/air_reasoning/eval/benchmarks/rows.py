"""Rows of a file: JSON (an object by item, or a list), JSON lines, CSV or parquet, also gzipped."""

import csv
import gzip
import io
import sys
import zlib
from pathlib import Path
from typing import Any, cast

from air_reasoning.errors import DataError, PrerequisiteError
from air_reasoning.json_io import parse_json

Row = dict[str, Any]


def read_rows(path: Path) -> list[Row]:
    """All rows of a file, in order.

    Raises:
        DataError: absent, unreadable, or not the format that its name says.
    """
    data = _bytes(path)
    suffixes = [suffix for suffix in path.suffixes if suffix != ".gz"]
    match suffixes[-1] if suffixes else "":
        case ".jsonl":
            lines = [(i, line) for i, line in enumerate(data.splitlines(), 1) if line.strip()]
            return [_row(parse_json(line, f"{path}:{i}"), f"{path}:{i}") for i, line in lines]
        case ".json":
            return _json_rows(parse_json(data, str(path)), path)
        case ".csv":
            return _csv_rows(data, path)
        case ".parquet":
            return _parquet_rows(data, path)
        case other:
            raise DataError(
                f"{path}: responses end in .json, .jsonl, .csv or .parquet (also .gz), or are a "
                f"run folder; not {other or 'without an ending'}"
            )


def _bytes(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data
    except FileNotFoundError:
        raise DataError(f"{path}: no such file of responses; check the path") from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({error}); copy it again") from None


def _json_rows(data: Any, path: Path) -> list[Row]:
    if isinstance(data, list):
        return [_row(row, f"{path}: item {i}") for i, row in enumerate(cast(list[Any], data))]
    if not isinstance(data, dict):
        raise DataError(f"{path}: expected an object by item or a list of items")
    rows = list[Row]()
    for key, value in cast(dict[str, Any], data).items():
        row = {"response": value} if isinstance(value, str) else _row(value, f"{path}: {key}")
        rows.append({"id": key, **row})
    return rows


def _row(value: Any, where: str) -> Row:
    if not isinstance(value, dict):
        raise DataError(f"{where}: expected an object, found {type(value).__name__}")
    return cast(Row, value)


def _csv_rows(data: bytes, path: Path) -> list[Row]:
    csv.field_size_limit(sys.maxsize)
    try:
        text = io.StringIO(data.decode("utf-8-sig"), newline="")
        return [dict(row) for row in csv.DictReader(text, strict=True)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not CSV in UTF-8 ({error}); export it again") from None


def _parquet_rows(data: bytes, path: Path) -> list[Row]:
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ModuleNotFoundError:
        raise PrerequisiteError("pyarrow is not installed; pip install pyarrow") from None
    try:
        return parquet.read_table(io.BytesIO(data)).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: not parquet ({error})") from None
