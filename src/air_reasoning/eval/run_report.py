"""``air run report``: one self-contained page about any run folder, whatever command wrote it."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from air_reasoning.eval import from_run
from air_reasoning.eval.report import ReportData, write_report
from air_reasoning.json_io import read_json
from air_reasoning.run_index import RunIndex, read_record
from air_reasoning.run_query import Filter, count, page
from air_reasoning.run_reader import read_metrics, read_status

EXAMPLES_FROM = 400
"""Trajectories, the last ones, among which telling examples and groups are looked for."""


def write_run_report(run: Path, out: Path) -> Path:
    """Write the report of ``run`` to ``out`` and return it.

    Shows the measured table where the run has a ``summary.json``, the curves where it has metrics,
    and examples and groups of its last ``EXAMPLES_FROM`` trajectories.

    Raises:
        DataError: no run there, a line that is not JSON, or ``out`` cannot be written.
    """
    status, metrics = read_status(run), read_metrics(run)
    summary = read_json(run / "summary.json") if (run / "summary.json").exists() else {}
    with RunIndex(run) as index:
        index.catch_up()
        newest = page(index.connection, Filter(sort="-n"), limit=EXAMPLES_FROM)
        there = count(index.connection, Filter())
        rows = [row for row in map(_record_of(run), reversed(newest)) if "task" in row]
    facts = {
        "command": f"air {status.get('command', '')}",
        "state": status.get("state"),
        "steps": metrics[-1].get("step") if metrics else None,
        "trajectories": there,
        **status.get("fingerprint", {}),
    }
    data = ReportData(
        title=f"{run.resolve().name}: air {status.get('command', '')}",
        checkpoints=summary.get("checkpoints") or {},
        curves={run.resolve().name: metrics} if metrics else {},
        examples=from_run.telling_examples(rows),
        groups=from_run.groups(_of_groups(rows)),
        facts={name: value for name, value in facts.items() if value not in (None, "")},
        notes=_notes(status, there, len(newest)),
    )
    write_report(out, data)
    return out


def _record_of(run: Path) -> Any:
    return lambda row: read_record(run, row)


def _of_groups(rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Records that were compared with their group, which an evaluation's were not."""
    return [row for row in rows if row.get("advantage") is not None]


def _notes(status: Mapping[str, Any], there: int, looked_at: int) -> list[str]:
    notes = [f"Written by `air run report`; the run was {status.get('state')} at that time."]
    if there > looked_at:
        notes.append(f"Examples are from the last {looked_at} of {there} trajectories.")
    return notes
