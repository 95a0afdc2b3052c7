"""Reading a run folder, also one that is being written; the format is told in ``run_dir``.

Torch-free and without side effects: this is all that the viewer and the report need.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from air_reasoning.json_io import read_json, read_jsonl


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Lines of ``metrics.jsonl`` in order (none yet: an empty list); a torn last one is left out.

    Raises:
        DataError: a line that is not JSON.
    """
    file = path / "metrics.jsonl"
    return [data for _, data in read_jsonl(file, torn_end=True)] if file.exists() else []


def read_trajectories(path: Path) -> Iterator[dict[str, Any]]:
    """Trajectory records in order, picture paths absolute; a torn last line is left out.

    Raises:
        DataError: a line that is not JSON.
    """
    for part in trajectory_parts(path):
        for _, data in read_jsonl(part, torn_end=True):
            yield _located(data, path.absolute())


def read_status(path: Path) -> dict[str, Any]:
    """``status.json``: ``state``, ``command``, ``fingerprint``, ``updated`` and what a flow added.

    Raises:
        DataError: the folder holds no run, or its status is not JSON.
    """
    return cast(dict[str, Any], read_json(path / "status.json"))


def trajectory_parts(path: Path) -> list[Path]:
    """Files of trajectory records, in the order of writing."""
    return sorted((path / "trajectories").glob("part-*.jsonl"))


def is_image_ref(data: dict[str, Any]) -> bool:
    """Whether this JSON object is a ``types.ImageRef``."""
    return data.keys() == {"sha256", "width", "height", "path"}


def _located(value: Any, base: Path) -> Any:
    """``value`` with the paths of pictures made absolute."""
    if isinstance(value, list):
        items = cast(list[Any], value)
        if items and not isinstance(items[0], dict | list):
            return items  # token ids and the like
        return [_located(item, base) for item in items]
    if not isinstance(value, dict):
        return value
    data = cast(dict[str, Any], value)
    if is_image_ref(data):
        return {**data, "path": str(base / data["path"]) if data["path"] else ""}
    return {key: _located(inner, base) for key, inner in data.items()}
