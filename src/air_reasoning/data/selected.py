"""What a filter leaves: kept tasks with their marks, the rejected with reasons, summary, report."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from air_reasoning.data.filter_config import FilterConfig
from air_reasoning.data.filter_report import write_filter_report
from air_reasoning.data.kept import REJECTED_NAME, ledger_costs
from air_reasoning.data.leakage import Evaluations
from air_reasoning.data.ledger import Ledger
from air_reasoning.data.pass_rates import marks
from air_reasoning.data.reasons import Rejection, funnel, funnel_text
from air_reasoning.data.self_sampling import Found
from air_reasoning.files import atomic_file
from air_reasoning.json_io import dump_line
from air_reasoning.run_dir import RunDir
from air_reasoning.task_files import write_tasks
from air_reasoning.types import Task

VERDICTS_NAME = "verdicts.jsonl"
_BEFORE_ALL = (Rejection.BROKEN_PICTURE, Rejection.DUPLICATE, Rejection.EVALUATION_LEAK)


def write_selected(
    found: Sequence[Found],
    config: FilterConfig,
    evaluations: Evaluations,
    ledger: Ledger,
    run: RunDir,
) -> None:
    """Kept tasks with their marks, the rejected with reasons, summary and report."""
    kept = [replace(f.task, meta=_meta(f, config)) for f in found if _is_kept(f)]
    write_tasks(run.path, kept)
    with atomic_file(run.path / REJECTED_NAME) as file:
        for item in found:
            if item.reason is not None:
                told = {"task_id": item.task.id, "reason": item.reason, **item.told}
                file.write(dump_line(told | _numbers(item) | _said(item)) + b"\n")
    judged = [item for item in found if item.verdict is not None]
    if judged:
        with atomic_file(run.path / VERDICTS_NAME) as file:
            for item in judged:
                assert item.verdict is not None
                told = {"task_id": item.task.id, "verdict": item.verdict.rejection or "fit"}
                file.write(dump_line(told | {"gold": item.task.answer.value} | _said(item)) + b"\n")
    summary = _summary(found, kept, config, evaluations, ledger)
    run.write_summary(summary)
    write_filter_report(run.path, summary, found, config)
    print(funnel_text(summary))
    print(
        f"\nkept {len(kept)} of {len(found)} tasks; "
        + ", ".join(f"{name} {n}" for name, n in summary["marks"].items())
    )
    print(f"{run.path / 'report.html'}\ntrain on them: air rl -o tasks={run.path}")


def _is_kept(item: Found) -> bool:
    """Lost roll-outs leave the others to decide; without any, the task waits."""
    waits = item.lost and item.rates.p is None
    return item.reason is None and not waits


def _meta(item: Found, config: FilterConfig) -> dict[str, Any]:
    meta = item.task.meta | _numbers(item) | marks(item.rates, config.margin)
    if "needs_code" in item.task.meta and meta["needs_code"] != item.task.meta["needs_code"]:
        meta["needs_code_before"] = item.task.meta["needs_code"]
    return meta


def _numbers(item: Found) -> dict[str, Any]:
    rates = item.rates
    if rates.p is None:
        return {}
    return {
        "p_code": rates.p_code, "p_text": rates.p_text,
        "k_code": rates.k_code, "k_text": rates.k_text,
    }  # fmt: skip


def _said(item: Found) -> dict[str, Any]:
    if item.verdict is None:
        return {}
    return {"judge_answer": item.verdict.own_answer, "judge_reason": item.verdict.reason}


def _summary(
    found: Sequence[Found],
    kept: Sequence[Task],
    config: FilterConfig,
    evaluations: Evaluations,
    ledger: Ledger,
) -> dict[str, Any]:
    counts: dict[str, int] = {}
    for item in found:
        if item.reason is not None:
            counts[item.reason] = counts.get(item.reason, 0) + 1
    stages = {"tasks": len(found)}
    stages["new and whole"] = stages["tasks"] - sum(counts.get(reason, 0) for reason in _BEFORE_ALL)
    if config.judge is not None:
        stages["passed by the judge"] = stages["new and whole"] - sum(
            item.verdict is None or item.verdict.rejection == item.reason is not None
            for item in found
            if item.reason not in _BEFORE_ALL
        )
    stages["kept"] = len(kept)
    disputed = [f for f in found if f.verdict and f.verdict.rejection is Rejection.GOLD_DISPUTED]
    judged = sum(f.verdict is not None for f in found)
    names = ("needs_code", "code_helps", "code_hurts")
    return {
        **funnel(stages, counts),
        "marks": {name: sum(bool(task.meta.get(name)) for task in kept) for name in names},
        "judge": {
            "judged": judged,
            "disputed": len(disputed),
            "disagreement": len(disputed) / judged if judged else None,
        },
        "lost": sum(item.lost for item in found),
        "benchmarks": evaluations.counts,
        "cost": ledger_costs(ledger),
    }
