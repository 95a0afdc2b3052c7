"""Who may write into a run folder: one owner at a time, and only to go on with the same run."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from air_reasoning.config import Resume
from air_reasoning.errors import ConfigError, DataError
from air_reasoning.run_reader import read_status

_ENTRIES = (
    *("config.resolved.yaml", "env.json", "status.json", "metrics.jsonl", "events.jsonl"),
    *("trajectories", "blobs", "checkpoints", "summary.json", "report.html"),
    *("index.sqlite", "index.sqlite-journal"),
)
_ABSENT = "(absent)"


def fingerprint_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """``key: old -> new`` for every key that differs, in order."""
    keys = sorted({*old, *new})
    pairs = [(key, old.get(key, _ABSENT), new.get(key, _ABSENT)) for key in keys]
    return [f"{key}: {was!r} -> {now!r}" for key, was, now in pairs if was != now]


def lock_run(path: Path) -> FileLock:
    """Be the owner of the run, or refuse; the system frees the lock when the process ends.

    Raises:
        ConfigError: another process is the owner. DataError: the folder cannot be made or written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path / ".lock")
        lock.acquire(timeout=0.2)  # a reader that looks (is_owned) holds it for an instant
    except Timeout:
        raise ConfigError(
            f"{path}: another process is writing this run; wait for it or choose another --run-dir"
        ) from None
    except OSError as error:
        raise DataError(f"{path}: cannot be a run folder ({error}); choose another") from None
    return lock


def admit(
    path: Path,
    command: str,
    fingerprint: dict[str, Any],
    resume: Resume,
    overwrite: bool,
    parts: tuple[str, ...],
) -> bool:
    """Whether this continues a run; refuses what would mix two.

    Raises:
        ConfigError: the folder holds something else or a run that differs, or ``resume`` forbids
            it. DataError: the status is unreadable.
    """
    if not (path / "status.json").exists():
        if foreign := sorted(p.name for p in path.iterdir() if p.name != ".lock"):
            raise ConfigError(
                f"{path}: holds {foreign[0]} and is no run folder; choose another --run-dir"
            )
        if resume == "must":
            raise ConfigError(f"{path}: holds no run to resume; leave out --resume must")
        return False
    if overwrite:
        _clear(path, parts)
        return False
    if resume == "never":
        raise ConfigError(f"{path}: already holds a run; use --overwrite or another --run-dir")
    status = read_status(path)
    before = {"command": status.get("command"), **status.get("fingerprint", {})}
    if changes := fingerprint_changes(before, {"command": command, **fingerprint}):
        raise ConfigError(
            f"{path}: holds a run with other settings, which are never mixed:\n  "
            + "\n  ".join(changes)
            + "\nSet them back, use --overwrite to start anew, or choose another --run-dir"
        )
    return True


def _clear(path: Path, parts: tuple[str, ...]) -> None:
    """Remove what a run writes, and nothing else."""
    for name in (*parts, *_ENTRIES):
        entry = path / name
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink(missing_ok=True)
