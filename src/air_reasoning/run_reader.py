"""Reading a run folder, also one that is being written; the format is told in ``run_dir``.

Torch-free and without side effects: this is all that the viewer and the report need.
"""

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from air_reasoning.errors import DataError
from air_reasoning.json_io import read_json, read_jsonl

SCHEMA = 1
"""Version of the format. A reader takes this and earlier ones, and says so about a later one."""


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Lines of ``metrics.jsonl`` in order (none yet: an empty list); a torn last one is left out.

    Raises:
        DataError: a line that is not a JSON object.
    """
    file = path / "metrics.jsonl"
    lines = read_jsonl(file, torn_end=True) if file.exists() else ()
    return [json_object(data, where) for where, data in lines]


def read_trajectories(path: Path) -> Iterator[dict[str, Any]]:
    """Trajectory records in order, picture paths absolute; a torn last line is left out.

    Raises:
        DataError: a line that is not JSON.
    """
    for part in trajectory_parts(path):
        for _, data in read_jsonl(part, torn_end=True):
            yield located(data, path.absolute())


def read_status(path: Path) -> dict[str, Any]:
    """``status.json``: ``state``, ``command``, ``fingerprint``, ``updated`` and what a flow added.

    Raises:
        DataError: the folder holds no run, its status is not JSON, or it is of a later schema.
    """
    file = path / "status.json"
    status = json_object(read_json(file), str(file))
    schema = status.get("schema", 1)
    if not isinstance(schema, int) or schema > SCHEMA:
        raise DataError(
            f"{path}: written in schema {schema}, this version reads up to {SCHEMA}; upgrade air"
        )
    return status


def json_object(data: Any, where: str) -> dict[str, Any]:
    """``data``, which has to be a JSON object. Raises DataError."""
    if not isinstance(data, dict):
        raise DataError(f"{where}: expected an object, found {type(data).__name__}; remove it")
    return cast(dict[str, Any], data)


def is_owned(path: Path) -> bool:
    """Whether a process owns the run now. The state may say ``running`` after a kill; the lock not.

    Takes nothing away from the owner and makes no file.
    """
    try:
        handle = os.open(path / ".lock", os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False


def find_runs(folder: Path, depth: int = 6) -> list[Path]:
    """Run folders at and below ``folder``, by path; what a run itself writes is not searched."""
    found = list[Path]()
    for place, inner, files in os.walk(folder):
        below = len(Path(place).relative_to(folder).parts)
        inner[:] = sorted(name for name in inner if below < depth and _may_hold_runs(name))
        if "status.json" in files:
            found.append(Path(place))
    return found


def _may_hold_runs(name: str) -> bool:
    return not name.startswith(".") and name not in (
        "blobs",
        "checkpoints",
        "trajectories",
        "model",
    )


def trajectory_parts(path: Path) -> list[Path]:
    """Files of trajectory records, in the order of writing."""
    return sorted((path / "trajectories").glob("part-*.jsonl"))


def is_image_ref(data: dict[str, Any]) -> bool:
    """Whether this JSON object is a ``types.ImageRef``."""
    return data.keys() == {"sha256", "width", "height", "path"}


def located(value: Any, base: Path) -> Any:
    """``value`` with the paths of pictures made absolute."""
    if isinstance(value, list):
        items = cast(list[Any], value)
        if items and not isinstance(items[0], dict | list):
            return items  # token ids and the like
        return [located(item, base) for item in items]
    if not isinstance(value, dict):
        return value
    data = cast(dict[str, Any], value)
    if is_image_ref(data):
        return {**data, "path": str(base / data["path"]) if data["path"] else ""}
    return {key: located(inner, base) for key, inner in data.items()}
