"""A judge model's verdict on a task: answerable, about its picture, and is the gold answer right?

The reply is one JSON object (``judge.jinja`` asks for it). The judge solves the task before it
compares, and its own answer is compared once more by our rules: a gold answer is disputed only if
both say so.
"""

import json
import re
from dataclasses import dataclass
from typing import Any, cast

from air_reasoning.answers import check_answer
from air_reasoning.data.prompts import Prompts
from air_reasoning.data.reasons import Rejection
from air_reasoning.data.solution import without_reasoning
from air_reasoning.data.writer import RequestRefused, Writer
from air_reasoning.types import Task

_OBJECT = re.compile(r"\{[^{}]*\}")


@dataclass(kw_only=True, slots=True, frozen=True)
class TaskVerdict:
    """What the judge said of one task; ``rejection`` None: fit for training."""

    rejection: Rejection | None
    own_answer: str = ""
    reason: str = ""


async def judge_task(task: Task, writer: Writer, prompts: Prompts, votes: int) -> TaskVerdict:
    """The verdict of most of ``votes`` replies; ties go to the worse one.

    Raises:
        SamplerError, BudgetReached: as ``Writer.ask``.
    """
    text = prompts.render("judge", task, gold=task.answer.value)
    verdicts = list[TaskVerdict]()
    for vote in range(votes):
        try:
            reply = await writer.ask(f"judge/{task.id}/{vote}", text, task)
        except RequestRefused as error:
            return TaskVerdict(rejection=Rejection.REQUEST_REFUSED, reason=str(error)[:300])
        verdicts.append(read_verdict(task, without_reasoning(reply.text, prompts.form)))
    passed = [v for v in verdicts if v.rejection is None]
    failed = [v for v in verdicts if v.rejection is not None]
    return passed[0] if len(passed) > len(failed) else failed[0]


def read_verdict(task: Task, reply: str) -> TaskVerdict:
    """The last JSON object of a reply that has all keys; else ``no_verdict``."""
    data = next((d for d in map(_parsed, reversed(_OBJECT.findall(reply))) if d), None)
    if data is None:
        return TaskVerdict(rejection=Rejection.NO_VERDICT, reason=reply.strip()[-200:])
    own, reason = str(data["own_answer"]), str(data.get("reason", ""))[:500]
    rejection: Rejection | None = None
    if data["answerable"] is not True:
        rejection = Rejection.UNANSWERABLE
    elif task.images and data["matches_picture"] is not True:
        rejection = Rejection.PICTURE_MISMATCH
    elif data["agrees"] is not True:
        same = check_answer(task.answer, f"\\boxed{{{own}}}", task.choices).correct
        rejection = None if same else Rejection.GOLD_DISPUTED
    return TaskVerdict(rejection=rejection, own_answer=own, reason=reason)


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        data: Any = json.loads(text)
    except ValueError:
        return None
    wanted = {"answerable", "matches_picture", "own_answer", "agrees"}
    return cast(dict[str, Any], data) if wanted <= data.keys() else None
