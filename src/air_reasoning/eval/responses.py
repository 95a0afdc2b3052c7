"""Files of responses made elsewhere, as rows: one mapping an item, whatever the layout.

    rows = read_responses(Path("output_bard.json.gz"))
    rows[0]["response"]

Read are JSON (an object by item, or a list), JSON lines, CSV, parquet, each also gzipped, and run
folders of ``air eval``. A row without a key of its own gets the object's key as ``id``.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from air_reasoning.answers import answer_text
from air_reasoning.errors import DataError
from air_reasoning.eval.benchmarks.rows import Row, read_rows
from air_reasoning.json_io import from_json
from air_reasoning.run_reader import read_trajectories
from air_reasoning.types import Trajectory


def read_responses(path: Path) -> list[Row]:
    """All rows in the file's order.

    Raises:
        DataError: absent, unreadable, not the format that its name says, or without rows.
    """
    if (path / "trajectories").is_dir():
        rows = list(_run_rows(path))
    elif path.is_dir():  # one file a variant, as DynaMath's scripts write
        files = sorted(file for file in path.iterdir() if file.is_file())
        rows = [{"variant": n, **row} for n, file in enumerate(files, 1) for row in read_rows(file)]
    else:
        rows = read_rows(path)
    if not rows:
        raise DataError(f"{path}: holds no responses")
    return rows


def first_value(row: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    """The value under the first of ``keys`` that the row has; None if there is none.

    ``* x`` is any key that ends in `` x``, ``a.b`` is inside the object ``a``, ``a+b`` is both
    joined by a colon and ``a@b`` both by an at (b is 1 if absent). Empty text counts as absent
    while another key may have something.
    """
    empty = None
    for key in keys:
        value = _value(row, key)
        if value is not None and value != "":
            return value
        empty = value if value is not None else empty
    return empty


def _value(row: Mapping[str, Any], key: str) -> Any:
    if key.startswith("*"):
        return next((row[name] for name in row if name.endswith(key[1:])), None)
    if "+" in key:
        parts = [row.get(part) for part in key.split("+")]
        return None if None in parts else ":".join(str(part) for part in parts)
    if "@" in key:
        first, _, second = key.partition("@")
        value = row.get(first)
        whole = value is None or "@" in str(value)
        return value if whole else f"{value}@{row.get(second, 1)}"
    if key not in row and "." in key:
        outer, _, inner = key.partition(".")
        inside = row.get(outer)
        return inside.get(inner) if isinstance(inside, dict) else None
    return row.get(key)


def _run_rows(path: Path) -> Iterator[Row]:
    """Final trajectories of an evaluation; those lost by our fault are no responses."""
    for row in read_trajectories(path):
        if "decoding" not in row or row["record"].get("unscored"):
            continue
        trajectory = from_json(Trajectory, row["trajectory"], f"{path}/trajectories")
        task_id = str(row["task"]["id"])
        yield {
            "id": task_id.partition("/")[2] or task_id,
            "response": answer_text(trajectory),
            "extraction": row.get("extracted") or "",
            "repeat": row["record"].get("repeat", 0),
            "pass": f"{row['name']}, {row['decoding']}, code {row['code']}",
        }
