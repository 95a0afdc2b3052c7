"""Score one trajectory: the verdict, what the reward may know, and the record for the tables.

scored = score_trajectory(task, trajectory)
scored.verdict.correct, scored.outcome.calls, scored.record.tokens
"""

from dataclasses import dataclass

from air_reasoning.answers import Verdict, answer_text, check_answer, extract_answer
from air_reasoning.metrics import Record
from air_reasoning.turn_format import AIR, TurnFormat
from air_reasoning.types import Outcome, Segment, StopReason, Task, Trajectory

MAX_ANSWER = 200


@dataclass(kw_only=True, slots=True, frozen=True)
class Scored:
    """Three views of one trajectory.

    Where ``record.unscored`` (our sandbox or sampler failed) the outcome means nothing: drop the
    trajectory and count it.
    """

    verdict: Verdict
    outcome: Outcome
    record: Record


def score_trajectory(
    task: Task, trajectory: Trajectory, *, repeat: int = 0, form: TurnFormat = AIR
) -> Scored:
    """Compare with the gold answer and count.

    Only text that the model wrote after the last tool output is read. A call is an executed cell;
    it failed unless its status is ``ok``. ``difficulty`` and ``kind`` come from the task's
    ``meta``.
    """
    verdict = check_answer(task.answer, answer_text(trajectory), task.choices)
    return scored_with(task, trajectory, verdict, repeat=repeat, form=form)


def scored_with(
    task: Task, trajectory: Trajectory, verdict: Verdict, *, repeat: int = 0, form: TurnFormat = AIR
) -> Scored:
    """The same around a verdict from elsewhere, a benchmark's official one say."""
    statuses = [e.status for e in trajectory.executions if e.status != "lost"]
    failed = sum(status != "ok" for status in statuses)
    format_ok = well_formed(trajectory, form)
    outcome = Outcome(
        verdict.correct, len(statuses), failed, format_ok, code_banned=trajectory.code_banned
    )
    record = Record(
        task_id=task.id,
        repeat=repeat,
        difficulty=str(task.meta.get("difficulty", "")),
        kind=str(task.meta.get("kind", "")),
        correct=verdict.correct,
        calls=len(statuses),
        failed_calls=failed,
        turns=1 + sum(segment.kind == "output" for segment in trajectory.segments),
        tokens=trajectory.usage.model,
        stop=trajectory.stop.value,
        route=verdict.route,
        format_ok=format_ok,
        code_banned=trajectory.code_banned,
        unscored=trajectory.stop.our_fault,
        timed_out=verdict.timed_out,
        subject=str(task.meta.get("subject", "")),
        answer=(verdict.extracted or "")[:MAX_ANSWER],
        prompt_tokens=trajectory.usage.prompt + trajectory.usage.output,
        seconds=trajectory.timing.get("total", 0.0),
    )
    return Scored(verdict=verdict, outcome=outcome, record=record)


def well_formed(trajectory: Trajectory, form: TurnFormat = AIR) -> bool:
    """Whether it ended with exactly one answer and every tag it opened is closed.

    The answer is an ``<answer>`` segment or, where there is none, one box in the text after the
    last tool output.
    """
    if trajectory.stop is not StopReason.ANSWERED:
        return False
    written = [segment for segment in trajectory.segments if segment.trainable]
    answers = [segment for segment in written if segment.kind == "answer"]
    if not answers:
        text = answer_text(trajectory)
        one_answer = text.count("boxed{") == 1 and extract_answer(text).route == "boxed"
    else:
        one_answer = len(answers) == 1 and _closed(answers[0], form.answer)
    cells_closed = all(_closed(s, form.code) for s in written if s.kind == "code")
    return one_answer and cells_closed and _thoughts_closed(written, form)


def _closed(segment: Segment, tags: tuple[str, str]) -> bool:
    text = segment.text.strip()
    return text.startswith(tags[0]) and text.endswith(tags[1])


def _thoughts_closed(written: list[Segment], form: TurnFormat) -> bool:
    """Thoughts may go on after a tool output, so their tags balance over the whole trajectory."""
    thoughts = "".join(s.text for s in written if s.kind == "think")
    plain = "".join(s.text for s in written if s.kind == "text")
    stray = any(tag in plain for tag in (*form.think, *form.code, *form.answer, *form.output))
    return not stray and thoughts.count(form.think[0]) == thoughts.count(form.think[1])
