"""The run folders that one viewer shows: found by name, summarised, indexed; nothing is written.

A run is asked for by its path below the root and has to be one that was found there, so no request
can name another place.
"""

import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

from air_reasoning.errors import AirError, DataError
from air_reasoning.json_io import read_json, read_jsonl
from air_reasoning.run_index import RunIndex
from air_reasoning.run_reader import (
    find_runs,
    is_owned,
    json_object,
    read_metrics,
    read_status,
    trajectory_parts,
)
from air_reasoning.viewer.metrics import number

HEADLINE = (
    *("accuracy", "reward/total", "code_share", "tool_success", "tokens_mean", "entropy"),
    *("loss/sft", "loss/total"),
)
"""Figures of the list of runs, where a run has them."""
SPARK = ("reward/total", "accuracy", "loss/sft", "loss/total")
SPARK_POINTS = 60
MAX_INDEXES = 16


class Missing(AirError):
    """What was asked for is not there."""


class Store:
    """Runs below ``root``; indexes stay open, the least recently used of many are closed."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self._indexes = OrderedDict[Path, RunIndex]()
        self._summaries = dict[Path, tuple[Any, dict[str, Any]]]()
        self._known = dict[str, Path]()
        self._lock = threading.Lock()

    def name(self, run: Path) -> str:
        """How addresses name a run: its path below the root; ``.`` is the root itself."""
        return run.relative_to(self.root).as_posix()

    def runs(self) -> list[dict[str, Any]]:
        """All runs, the last changed first; one that cannot be read is there with its error."""
        found = [self._summary(run) for run in find_runs(self.root)]
        return sorted(found, key=lambda run: str(run.get("updated", "")), reverse=True)

    def run(self, name: str) -> Path:
        """The folder of a run by its name. Raises Missing."""
        run = self._known.get(name)
        if run is None or not (run / "status.json").is_file():
            self._known = {self.name(run): run for run in find_runs(self.root)}
            run = self._known.get(name)
        if run is not None:
            return run
        raise Missing(f"no run {name!r} below {self.root.name}; it may have been moved")

    def index(self, run: Path) -> RunIndex:
        """The open index of a run."""
        with self._lock:
            if run not in self._indexes:
                self._indexes[run] = RunIndex(run)
                if len(self._indexes) > MAX_INDEXES:
                    _, oldest = self._indexes.popitem(last=False)
                    with oldest.lock:
                        oldest.close()
            self._indexes.move_to_end(run)
            return self._indexes[run]

    def close(self) -> None:
        """Close every index."""
        for index in self._indexes.values():
            index.close()
        self._indexes.clear()

    def _summary(self, run: Path) -> dict[str, Any]:
        """``run_summary``, remembered until one of its files changes."""
        names = ("status.json", "metrics.jsonl", "summary.json")
        seen = [_changed(run / name) for name in names]
        known = self._summaries.get(run)
        if known is None or known[0] != seen:
            known = (seen, run_summary(run))
            self._summaries[run] = known
        live = known[1].get("state") == "running" and is_owned(run)
        return {**known[1], "name": self.name(run), "live": live}


def run_summary(run: Path) -> dict[str, Any]:
    """State, last step, headline figures and a short curve of one run, or why it has none."""
    try:
        return _summary_of(run)
    except DataError as error:
        return {"state": "unreadable", "error": str(error)}
    except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        # One run of another make may not hide all others.
        return {"state": "unreadable", "error": f"{run}: not in the documented format ({error!r})"}


def _summary_of(run: Path) -> dict[str, Any]:
    status, metrics = read_status(run), read_metrics(run)
    summary = read_summary(run)
    last = last_values(metrics)
    headline = {name: last[name] for name in HEADLINE if name in last} or eval_headline(summary)
    spark = next((name for name in SPARK if name in last), None)
    values = [v for line in metrics if (v := number(line.get(spark))) is not None] if spark else []
    return {
        "command": status.get("command", ""),
        "state": status.get("state", ""),
        "updated": status.get("updated", ""),
        "step": metrics[-1].get("step") if metrics else None,
        "headline": headline,
        "spark": {"metric": spark, "values": thinned(values, SPARK_POINTS)},
        "trajectory_bytes": sum(part.stat().st_size for part in trajectory_parts(run)),
    }


def run_details(run: Path) -> dict[str, Any]:
    """Everything about a run but its metrics and trajectories."""
    config = run / "config.resolved.yaml"
    environment = run / "env.json"
    return {
        "status": read_status(run),
        "live": is_owned(run),
        "config": config.read_text(encoding="utf-8") if config.exists() else "",
        "environment": read_json(environment) if environment.exists() else {},
        "summary": read_summary(run),
        "events": read_events(run),
    }


def read_events(run: Path) -> list[dict[str, Any]]:
    """Lines of ``events.jsonl``, in order."""
    file = run / "events.jsonl"
    lines = read_jsonl(file, torn_end=True) if file.exists() else ()
    return [json_object(data, where) for where, data in lines]


def read_summary(run: Path) -> dict[str, Any]:
    """``summary.json``, or nothing yet."""
    file = run / "summary.json"
    return json_object(read_json(file), str(file)) if file.exists() else {}


def last_values(metrics: list[dict[str, Any]]) -> dict[str, float]:
    """The newest defined value of every metric: some are not written at every step."""
    last = dict[str, float]()
    for line in metrics[-200:]:
        last.update({name: v for name, value in line.items() if (v := number(value)) is not None})
    return last


def eval_headline(summary: dict[str, Any]) -> dict[str, float]:
    """Headline figures of an evaluation: those of its last checkpoint, code allowed."""
    checkpoints: dict[str, Any] = summary.get("checkpoints") or {}
    allowed = [name for name in checkpoints if not name.endswith("(code forbidden)")]
    if not checkpoints:
        return {}
    passes = checkpoints[(allowed or list(checkpoints))[-1]]
    figures = passes.get("sampled") or next(iter(passes.values()), {})
    values = {name: (figures.get(name) or {}).get("value") for name in HEADLINE}
    return {name: value for name, value in values.items() if value is not None}


def thinned(values: list[float], points: int) -> list[float]:
    """At most ``points`` of ``values``, evenly spread, the last one always among them."""
    if len(values) <= points:
        return values
    return [values[round(i * (len(values) - 1) / (points - 1))] for i in range(points)]


def _changed(file: Path) -> tuple[int, int] | None:
    try:
        info = file.stat()
    except OSError:
        return None
    return info.st_mtime_ns, info.st_size
