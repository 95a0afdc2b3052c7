"""What a cold start leaves: kept samples beside their tasks, the rejected with reasons, the funnel.

The selection by ``direct_share`` is made here, from all finished tasks, so that it can be made anew
with another share at no cost.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from air_reasoning.data.cold_start import SAMPLES_NAME, ColdStartSample
from air_reasoning.data.cold_start_config import TwoStageConfig
from air_reasoning.data.items import NAME as ITEMS_NAME
from air_reasoning.data.items import Items
from air_reasoning.data.ledger import Ledger
from air_reasoning.data.reasons import Rejection, funnel, funnel_text
from air_reasoning.files import atomic_file
from air_reasoning.json_io import dump_line, from_json, read_jsonl
from air_reasoning.run_dir import RunDir
from air_reasoning.run_reader import trajectory_parts
from air_reasoning.task_files import TASKS_NAME
from air_reasoning.types import Task, Trajectory

REJECTED_NAME = "rejected.jsonl"
ENDINGS = (TASKS_NAME, SAMPLES_NAME, REJECTED_NAME, ITEMS_NAME)
"""Files of the run that --overwrite removes. The ledger stays: what was paid is not thrown away."""


STAGES = ("textual solutions", "right", "rewritten or code-free", "passed all checks", "kept")
"""Of the funnel, in order."""


def write_kept(
    run: RunDir, items: Items, ledger: Ledger, tasks: Sequence[Task], config: TwoStageConfig
) -> None:
    """Write ``samples.jsonl``, ``tasks.jsonl``, ``rejected.jsonl`` and the summary; print it."""
    surplus = _surplus(run, items, config)
    counts: Counter[str] = Counter()
    reached: Counter[str] = Counter()
    kept_tasks: set[str] = set()
    with (
        atomic_file(run.path / SAMPLES_NAME) as samples,
        atomic_file(run.path / REJECTED_NAME) as rejected,
        atomic_file(run.path / TASKS_NAME) as kept,
    ):
        for row in _finished_rows(run, items):
            task_id, trajectory = row["task"]["id"], row["trajectory"]
            surplus_here = trajectory["id"] in surplus
            reason = Rejection.OVER_DIRECT_SHARE.value if surplus_here else row["reason"]
            counts[reason or row["mode"]] += 1
            reached.update(_stages_reached(row, kept=not reason))
            if reason:
                rejected.write(dump_line(_rejected(row, reason)) + b"\n")
                continue
            where = f"{run.path}/trajectories: {trajectory['id']}"
            sample = ColdStartSample(
                task_id=task_id,
                mode=row["mode"],
                trajectory=from_json(Trajectory, trajectory, where),
            )
            samples.write(dump_line(sample) + b"\n")
            if task_id not in kept_tasks:
                kept_tasks.add(task_id)
                kept.write(dump_line(row["task"]) + b"\n")
    done = sum(task.id in items.done for task in tasks)
    summary = {
        **funnel({stage: reached[stage] for stage in STAGES}, counts),
        "kept": {mode: counts[mode] for mode in ("code", "repair", "direct")},
        "tasks": {
            "all": len(tasks), "finished": done, "lost": len(items.lost), "kept": len(kept_tasks),
        },
        "cost": ledger_costs(ledger),
    }  # fmt: skip
    run.write_summary(summary)
    print(_text(run, summary, config))


def _stages_reached(row: dict[str, Any], *, kept: bool) -> Iterator[str]:
    """The stages of the funnel that a sample got to; ``row["mode"]`` says that it passed all."""
    yield "textual solutions"
    if row["stage"] == "thought" and row["reason"] != Rejection.SPARE:
        return
    yield "right"
    if row["stage"] == "thought":
        return
    ran = any(segment["execution"] for segment in row["trajectory"]["segments"])
    if ran or row["mode"]:
        yield "rewritten or code-free"
    if row["mode"]:
        yield "passed all checks"
    if kept:
        yield "kept"


def _rejected(row: dict[str, Any], reason: str) -> dict[str, Any]:
    place = {"task_id": row["task"]["id"], "sample": row["sample"], "stage": row["stage"]}
    return {
        "id": row["trajectory"]["id"], **place, "reason": reason, "extracted": row["extracted"],
    }  # fmt: skip


def _finished_rows(run: RunDir, items: Items) -> Iterator[dict[str, Any]]:
    """Rows as they are in the folder, picture paths relative to it."""
    for part in trajectory_parts(run.path):
        for _, row in read_jsonl(part, torn_end=True):
            if row["task"]["id"] in items.done:
                yield row


def _surplus(run: RunDir, items: Items, config: TwoStageConfig) -> set[str]:
    """Ids of the code-free samples beyond their share, drawn by a hash of their id."""
    with_code = items.counts["code"] + items.counts["repair"]
    if with_code == 0:
        return set()  # of nothing but easy tasks all are kept; the summary says so
    share = config.direct_share
    wanted = math.floor(with_code * share / (1 - share) + 1e-9)
    direct = [row["trajectory"]["id"] for row in _finished_rows(run, items) if _is_direct(row)]
    direct.sort(key=lambda name: hashlib.sha256(f"{config.seed} {name}".encode()).digest())
    return set(direct[wanted:])


def _is_direct(row: dict[str, Any]) -> bool:
    return row["mode"] == "direct"


def ledger_costs(ledger: Ledger) -> dict[str, Any]:
    """Dollars, responses and tokens of a run, for its summary."""
    counts = ledger.counts
    roles = {role: round(cost, 6) for role, cost in ledger.cost_of.items()}
    return {
        "dollars": round(ledger.spent, 6),
        "dollars_by_role": roles,
        "responses": counts["replies"],
        "from_cache": counts["free"],
        "prompt_tokens": counts["prompt_tokens"],
        "cached_tokens": counts["cached_tokens"],
        "written_tokens": counts["written"],
        "lost_requests": counts["lost"],
        "in_flight_when_ended": counts["in_flight"],
    }


def _text(run: RunDir, summary: dict[str, Any], config: TwoStageConfig) -> str:
    kept, cost, tasks = summary["kept"], summary["cost"], summary["tasks"]
    total = sum(kept.values())
    share = kept["direct"] / total if total else 0.0
    lines = [
        funnel_text(summary),
        "",
        f"{tasks['finished']} of {tasks['all']} tasks finished, {tasks['lost']} lost; "
        f"kept {kept['code']} with code, {kept['repair']} with a repair, {kept['direct']} without "
        f"code ({share:.0%}, at most {config.direct_share:.0%} wanted)",
        f"${cost['dollars']:.4f} for {cost['responses']} responses, "
        f"{cost['prompt_tokens']} tokens sent, {cost['written_tokens']} written",
    ]
    if total and kept["direct"] == total:
        lines.append("no sample with code was kept, so all code-free ones were")
    if lost := cost["lost_requests"] + cost["in_flight_when_ended"]:
        lines.append(f"{lost} requests ended without a response; a provider may have billed them")
    lines.append(f"train on it: air sft -o data={run.path}")
    return "\n".join(lines)
