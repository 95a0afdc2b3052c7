"""Plain text about run folders and task folders: what is there, how it went, one trajectory."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from air_reasoning.display import table
from air_reasoning.errors import DataError
from air_reasoning.run_reader import find_runs, read_metrics, read_status, read_trajectories
from air_reasoning.task_files import read_tasks

HEADLINE = ("accuracy", "code_share", "tool_success", "reward/correct")
_RULE = "-" * 72


def run_listing(folder: Path) -> str:
    """The runs in ``folder`` (or the run that it is), one a row, with state and last metrics.

    Raises:
        DataError: no run there.
    """
    rows = [_run_row(run, folder) for run in find_runs(folder)]
    if not rows:
        raise DataError(f"{folder}: holds no run; start one with `air quickstart`")
    return table(rows)


def show_trajectory(folder: Path, wanted: str) -> str:
    """Every record whose trajectory or task has this id, segment by segment.

    Raises:
        DataError: none has; the message names some ids that are there.
    """
    ids: list[str] = []
    shown: list[str] = []
    for run in find_runs(folder):
        for record in read_trajectories(run):
            trajectory = record.get("trajectory", record)
            names = (str(trajectory.get("id", "")), str(trajectory.get("task_id", "")))
            ids.append(names[0])
            if wanted in names:
                shown.append("\n".join(_trajectory_lines(record, trajectory)))
    if not shown:
        known = ", ".join(ids[:5]) or "there are none"
        raise DataError(f"{folder}: no trajectory {wanted!r}; known ids: {known}")
    return f"\n{_RULE}\n".join(shown)


def task_listing(folder: Path) -> str:
    """How many tasks there are by source, kind, difficulty and split.

    Raises:
        DataError: as ``read_tasks``.
    """
    names = ("kind", "difficulty", "split")
    tasks = read_tasks(folder)
    counts = Counter(
        (task.source, *(str(task.meta.get(name, "")) for name in names)) for task in tasks
    )
    rows = [
        {**dict(zip(("source", *names), key, strict=True)), "tasks": count}
        for key, count in sorted(counts.items())
    ]
    return f"{table(rows)}\n\n{len(tasks)} tasks"


def _run_row(run: Path, folder: Path) -> dict[str, object]:
    status, metrics = read_status(run), read_metrics(run)
    last = metrics[-1] if metrics else {}
    return {
        "run": str(run.relative_to(folder)) if run != folder else run.name,
        "command": status.get("command", ""),
        "state": status.get("state", ""),
        "step": last.get("step"),
        **{name: last.get(name) for name in HEADLINE},
        "updated": str(status.get("updated", ""))[:19].replace("T", " "),
    }


def _trajectory_lines(record: dict[str, Any], trajectory: dict[str, Any]) -> Iterator[str]:
    stop, banned = trajectory.get("stop"), trajectory.get("code_banned")
    yield f"{trajectory.get('id')}  task {trajectory.get('task_id')}  stopped: {stop}" + (
        "  (code banned)" if banned else ""
    )
    for name in ("step", "correct", "reward", "advantage"):
        if name in record:
            yield f"{name}: {record[name]}"
    for segment in trajectory.get("segments", []):
        yield f"\n[{segment['kind']}]"
        yield _safe(segment["text"])
        execution = segment.get("execution") or {}
        if execution.get("status") not in (None, "ok"):
            yield f"(cell ended with: {execution['status']})"
        for image in segment.get("images", []):
            yield f"(picture {image['width']}x{image['height']}: {image['path'] or 'not kept'})"


def _safe(text: str) -> str:
    """Model text without control characters, which could rewrite the terminal."""
    return "".join(sign if sign.isprintable() or sign in "\n\t" else "?" for sign in text)
