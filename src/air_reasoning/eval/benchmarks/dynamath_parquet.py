"""DynaMath_Sample as it is published: ten parquet files with the pictures inside.

Columns: ``id`` ("1" to "501"), ``question``, ``ground_truth``, ``answer_type``, ``subject``,
``level`` (or ``knowledge_level``), ``decoded_image`` (or ``image``: ``{"bytes", "path"}``). The
files are ``sampleN-*.parquet`` or ``sample_variantN-*.parquet``, in the folder or its ``data/``.
Pictures are unpacked once, into ``unpacked/variant_N/`` beside the files.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from air_reasoning.errors import DataError
from air_reasoning.eval.benchmarks.rows import read_rows
from air_reasoning.files import atomic_write

Rows = dict[str, dict[str, Any]]
_NAME = re.compile(r"sample(?:_variant)?_?(\d+)[-.].*parquet")
_FROM = {"answer": ("ground_truth", "answer"), "level": ("level", "knowledge_level")}


def parquet_files(folder: Path) -> dict[int, list[Path]]:
    """Files by variant, in order; none if there is no such file."""
    found = dict[int, list[Path]]()
    for path in sorted([*folder.glob("*.parquet"), *folder.glob("data/*.parquet")]):
        if match := _NAME.fullmatch(path.name):
            found.setdefault(int(match[1]), []).append(path)
    return found


def read_variant(
    folder: Path, number: int, files: list[Path], images: bool
) -> tuple[Path, Path, Rows]:
    """Where the pictures are, the first file, and rows by seed as ``dataset.json`` has them.

    Raises:
        DataError: broken, a row without id or (with ``images``) picture, or nowhere to unpack.
    """
    place, rows = folder / "unpacked" / f"variant_{number}", Rows()
    for path in files:
        for index, row in enumerate(read_rows(path)):
            if "id" not in row:
                raise DataError(f"{path}: row {index} has no id; is this the published file?")
            key = str(row["id"])
            name = f"image/image{int(key) if key.isdigit() else len(rows)}.png"
            if images and not (place / name).is_file():
                _unpack(place / name, row, f"{path}: id {key}")
            renamed = {new: _first(row, old) for new, old in _FROM.items()}
            rows[key] = {**row, **renamed, "image": name}
    return place, files[0], rows


def _first(row: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((row[name] for name in names if row.get(name) is not None), "")


def _unpack(path: Path, row: Mapping[str, Any], where: str) -> None:
    for name in ("decoded_image", "image"):
        value = row.get(name)
        data = value.get("bytes") if isinstance(value, dict) else value
        if isinstance(data, bytes):
            return atomic_write(path, data, durable=False)
    raise DataError(f"{where}: no picture inside; expected bytes in decoded_image")
