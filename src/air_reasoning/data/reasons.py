"""Why something is not kept: a closed list, each with its meaning, and the funnel made of it.

``summary.json`` of ``air data cold-start`` and ``air data filter`` holds the funnel under
``"funnel"`` (a list of ``{"stage", "count"}`` in order) and the reasons under ``"rejected"``
(reason -> count); ``read_funnel`` gives both back and ``funnel_text`` shows them.
"""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, cast

from air_reasoning.display import table
from air_reasoning.json_io import read_json


class Rejection(StrEnum):
    """The one reason why a sample (cold start) or a task (filter) is not kept."""

    BROKEN_PICTURE = "broken_picture"
    # The teacher's text
    REFUSED = "refused"
    REQUEST_REFUSED = "request_refused"
    CUT_OFF = "cut_off"
    NO_ANSWER = "no_answer"
    WRONG_ANSWER = "wrong_answer"
    # The rewritten solution
    REWRITE_REFUSED = "rewrite_refused"
    REWRITE_CUT_OFF = "rewrite_cut_off"
    MALFORMED = "malformed"
    NO_CODE = "no_code"
    ANSWER_BEFORE_CODE = "answer_before_code"
    CELL_ERROR = "cell_error"
    CELL_TIMEOUT = "cell_timeout"
    CELL_KILLED = "cell_killed"
    VACUOUS_CODE = "vacuous_code"
    NO_OUTPUT = "no_output"
    REWRITE_WRONG = "rewrite_wrong"
    CONTRADICTS_OUTPUT = "contradicts_output"
    # Right, but not wanted
    SPARE = "spare"
    OVER_DIRECT_SHARE = "over_direct_share"
    # The filter
    DUPLICATE = "duplicate"
    EVALUATION_LEAK = "evaluation_leak"
    UNANSWERABLE = "unanswerable"
    PICTURE_MISMATCH = "picture_mismatch"
    GOLD_DISPUTED = "gold_disputed"
    NO_VERDICT = "no_verdict"
    ALWAYS_SOLVED = "always_solved"
    NEVER_SOLVED = "never_solved"
    BELOW_BAND = "below_band"
    ABOVE_BAND = "above_band"


MEANING = {
    Rejection.BROKEN_PICTURE: "a picture of the task is missing or broken; nothing was asked",
    Rejection.REFUSED: "the teacher declined, or wrote nothing",
    Rejection.REQUEST_REFUSED: "the endpoint refused this request (content filter, picture size)",
    Rejection.CUT_OFF: "the teacher's text hit max_tokens",
    Rejection.NO_ANSWER: "no final answer in the teacher's text",
    Rejection.WRONG_ANSWER: "the teacher's answer is not the gold one",
    Rejection.REWRITE_REFUSED: "the rewriter declined, or wrote nothing",
    Rejection.REWRITE_CUT_OFF: "the rewritten solution hit max_tokens",
    Rejection.MALFORMED: "a tag is left open, or there is not exactly one answer",
    Rejection.NO_CODE: "no cell, though the task is marked needs_code",
    Rejection.ANSWER_BEFORE_CODE: "the answer stands in the prose before the computation",
    Rejection.CELL_ERROR: "a cell raised (syntax errors too) and no later cell repaired it",
    Rejection.CELL_TIMEOUT: "a cell ran out of time",
    Rejection.CELL_KILLED: "a cell was killed (memory, output or process limits)",
    Rejection.VACUOUS_CODE: "the code computes nothing: it prints what was written into it",
    Rejection.NO_OUTPUT: "no cell that worked showed anything",
    Rejection.REWRITE_WRONG: "the rewritten solution's answer is not the gold one",
    Rejection.CONTRADICTS_OUTPUT: "text goes on from an invented number that the real output lacks",
    Rejection.SPARE: "right, but its task has keep_per_task samples already",
    Rejection.OVER_DIRECT_SHARE: "a right code-free sample beyond direct_share",
    Rejection.DUPLICATE: "nearly the same question about nearly the same picture is kept",
    Rejection.EVALUATION_LEAK: "nearly the same item is in a benchmark that was given",
    Rejection.UNANSWERABLE: "the judge cannot answer it from question and picture",
    Rejection.PICTURE_MISMATCH: "the judge says that question and picture do not belong together",
    Rejection.GOLD_DISPUTED: "the judge's own answer is not the gold one",
    Rejection.NO_VERDICT: "the judge gave no verdict that can be read",
    Rejection.ALWAYS_SOLVED: "every roll-out is right",
    Rejection.NEVER_SOLVED: "no roll-out is right",
    Rejection.BELOW_BAND: "solved more rarely than the band",
    Rejection.ABOVE_BAND: "solved more often than the band",
}


def funnel(stages: Mapping[str, int], rejected: Mapping[str, int]) -> dict[str, Any]:
    """The two entries of ``summary.json``; reasons in the order of ``Rejection``."""
    ordered = {reason.value: rejected[reason] for reason in Rejection if rejected.get(reason)}
    return {
        "funnel": [{"stage": stage, "count": count} for stage, count in stages.items()],
        "rejected": ordered,
    }


def read_funnel(run: Path) -> dict[str, Any] | None:
    """``{"funnel": [...], "rejected": {...}}`` of a data run; None where there is none.

    Raises:
        DataError: ``summary.json`` is not JSON.
    """
    file = run / "summary.json"
    if not file.is_file():
        return None
    summary = cast(dict[str, Any], read_json(file))
    if "funnel" not in summary:
        return None
    return {"funnel": summary["funnel"], "rejected": summary.get("rejected", {})}


def funnel_text(data: Mapping[str, Any]) -> str:
    """The stages with the share of the first one, then the reasons with their meaning."""
    stages = cast(list[dict[str, Any]], data["funnel"])
    first = max(1, int(stages[0]["count"])) if stages else 1
    rows = [
        {"stage": s["stage"], "count": s["count"], "share": f"{100 * s['count'] / first:.1f} %"}
        for s in stages
    ]
    reasons = [
        {"rejected": reason, "count": count, "meaning": MEANING[Rejection(reason)]}
        for reason, count in cast(dict[str, int], data["rejected"]).items()
    ]
    return "\n\n".join(part for part in (table(rows), table(reasons)) if part)
