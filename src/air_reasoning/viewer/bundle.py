"""``air view bundle``: the viewer with its data as files, for any file server; nothing to run.

    air view bundle runs -o site && python -m http.server -d site

A bundle is a snapshot: it does not follow, runs no cell, and holds at most ``limit`` trajectories
of each run, the last ones. Token texts are in it where the run's tokenizer is at hand.
"""

import shutil
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

from air_reasoning.errors import ConfigError, DataError, PrerequisiteError
from air_reasoning.files import atomic_file, atomic_write
from air_reasoning.json_io import dump_line, parse_json
from air_reasoning.run_index import RunIndex, read_bytes
from air_reasoning.run_query import Filter, count, facets, page
from air_reasoning.viewer.app import STATIC
from air_reasoning.viewer.compare import compare
from air_reasoning.viewer.metrics import metric_columns
from air_reasoning.viewer.security import POLICY
from air_reasoning.viewer.store import Store, run_details
from air_reasoning.viewer.token_texts import token_texts

MAX_COMPARED = 8
"""Runs that are compared pair by pair; more would be too many pairs."""


def write_bundle(root: Path, out: Path, *, limit: int = 1000) -> dict[str, int]:
    """Write the bundle of all runs at and below ``root`` into ``out``, a new or empty folder.

    Returns:
        ``runs``, ``trajectories`` and how many trajectories were ``left_out``.

    Raises:
        DataError: no run there, or a line that is not JSON. ConfigError: ``out`` holds something.
    """
    store = Store(root)
    runs = [run for run in store.runs() if run.get("state") != "unreadable"]
    if not runs:
        raise DataError(f"{root}: holds no run; start one with `air quickstart`")
    if out.exists() and any(out.iterdir()):
        raise ConfigError(f"{out}: is not empty; choose another folder with -o")
    shutil.copytree(STATIC, out, dirs_exist_ok=True)
    _point_to_files(out / "index.html")
    data = out / "data"
    _write(data / "runs.json", [{**run, "live": False} for run in runs])
    counts = {"runs": len(runs), "trajectories": 0, "left_out": 0}
    indexes = [store.index(store.run(run["name"])) for run in runs]
    for number, index in enumerate(indexes):
        index.catch_up()
        written = _write_run(index, data / str(number), data / "blobs", limit)
        counts["trajectories"] += written
        counts["left_out"] += count(index.connection, Filter()) - written
    _write_pairs(indexes[:MAX_COMPARED], data / "compare")
    store.close()
    return counts


def _point_to_files(page_file: Path) -> None:
    """The page of a bundle: data from files, and the policy in the page, as no server sends it."""
    text = page_file.read_text(encoding="utf-8")
    policy = POLICY.replace("; frame-ancestors 'none'", "")  # has no meaning in a page
    text = text.replace(
        '<meta name="air-data" content="">',
        f'<meta name="air-data" content="data/">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
    )
    atomic_write(page_file, text)


def _write_run(index: RunIndex, folder: Path, blobs: Path, limit: int) -> int:
    run = index.run
    _write(folder / "run.json", run_details(run) | {"live": False})
    _write(folder / "metrics.json", metric_columns(run))
    _write(folder / "facets.json", facets(index.connection))
    rows = page(index.connection, Filter(sort="-n"), limit=limit)[::-1]
    _write(folder / "rows.json", rows)
    numbers = [row["n"] for row in rows]
    marks = ", ".join("?" * len(numbers))
    texts = index.connection.execute(f"SELECT n, text FROM texts WHERE n IN ({marks})", numbers)
    _write(folder / "texts.json", {str(n): text for n, text in texts})
    for row in rows:
        _write_trajectory(run, row, folder, blobs)
    return len(rows)


def _write_trajectory(run: Path, row: dict[str, Any], folder: Path, blobs: Path) -> None:
    part = run / "trajectories" / f"part-{row['part']:04d}.jsonl"
    line = b"".join(read_bytes(part, row["offset"], row["length"]))
    with atomic_file(folder / "trajectories" / f"{row['n']}.json", durable=False) as file:
        file.write(b'{"row":' + dump_line(row) + b',"record":' + line + b"}")
    record = parse_json(line, f"{part}: byte {row['offset']}")
    try:
        texts = token_texts(run, record.get("trajectory") or record)
        _write(folder / "tokens" / f"{row['n']}.json", {**texts, "tokenizer": ""})
    except PrerequisiteError as error:
        _write(folder / "tokens" / f"{row['n']}.json", {"error": str(error)})
    for name in _pictures(record):
        target = blobs / name
        if not target.exists() and (run / "blobs" / name).is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(run / "blobs" / name, target)


def _pictures(value: Any) -> set[str]:
    """File names of all pictures that a record refers to."""
    if isinstance(value, list):
        inner = value if value and isinstance(value[0], dict | list) else []
        return {name for item in inner for name in _pictures(item)}
    if not isinstance(value, dict):
        return set()
    if "sha256" in value and value.get("path"):
        return {f"{value['sha256']}.png"}
    return {name for item in value.values() for name in _pictures(item)}


def _write_pairs(indexes: Sequence[RunIndex], folder: Path) -> None:
    for (i, a), (j, b) in permutations(enumerate(indexes), 2):
        _write(folder / f"{i}-{j}.json", compare(a, b, kind="all", limit=5000))


def _write(path: Path, value: Any) -> None:
    atomic_write(path, dump_line(value), durable=False)
