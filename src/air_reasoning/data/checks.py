"""The checks of the cold start: from what the teacher wrote and what really ran to one reason.

Order matters, since each sample is rejected for exactly one reason: what stopped it first.
"""

import re
from collections.abc import Sequence
from typing import Literal

from air_reasoning.answer_values import parse_number
from air_reasoning.answers import Verdict, answer_text, check_answer, compare, extract_answer
from air_reasoning.data.computing import computes, literals
from air_reasoning.data.reasons import Rejection
from air_reasoning.data.solution import Solution, declined, task_text
from air_reasoning.sandbox.base import is_void
from air_reasoning.scoring import well_formed
from air_reasoning.turn_format import TurnFormat, parse_turn, render_execution
from air_reasoning.types import Execution, StopReason, Task, Trajectory

FailedCells = Literal["reject", "repaired"]
_NUMBER = re.compile(r"(?<![\w.,])[-+−]?(?:\d[\d,]*\.\d+|\d[\d,]*|\.\d+)(?![\w]|[.,]\d)")
_STATED = re.compile(
    r"\b(?:answer|result)\s*(?:is|are|=|:|≈|would be|will be|must be)\s*:?\s*([^\n]{1,80})|"
    r"\\boxed\s*\{([^{}]*)\}",
    re.IGNORECASE,
)


def thought_rejection(task: Task, text: str, finish: str) -> tuple[Rejection | None, Verdict]:
    """Stage 1: why a textual solution is dropped, None if it is right."""
    verdict = check_answer(task.answer, text, task.choices)
    reason: Rejection | None = None
    if finish != "stop":
        reason = Rejection.CUT_OFF
    elif verdict.correct and verdict.route != "fallback":
        reason = None
    elif declined(text):
        reason = Rejection.REFUSED
    elif verdict.route in ("none", "fallback"):
        reason = Rejection.NO_ANSWER  # a number somewhere in the last line is no answer
    else:
        reason = Rejection.WRONG_ANSWER
    return reason, verdict


def early_rejection(
    task: Task, solution: Solution, reply: str, finish: str, form: TurnFormat
) -> Rejection | None:
    """Stage 2, before anything is run: whether it is a solution with code in the right order."""
    if finish != "stop":
        return Rejection.REWRITE_CUT_OFF
    if not solution.cells:
        return Rejection.REWRITE_REFUSED if declined(reply) else Rejection.NO_CODE
    if _unclosed(solution.turns[-1], form):
        return Rejection.MALFORMED
    if answered_before(task, solution, form):
        return Rejection.ANSWER_BEFORE_CODE
    if any(map(is_void, solution.cells)) or not any(map(computes, solution.cells)):
        return Rejection.VACUOUS_CODE
    return None


def replay_rejection(
    task: Task,
    solution: Solution,
    trajectory: Trajectory,
    form: TurnFormat,
    failed_cells: FailedCells,
) -> Rejection | None:
    """Stage 2, after the cells ran: whether it holds with the real outputs.

    Not for a trajectory that we lost (``stop.our_fault``).
    """
    executions = trajectory.executions
    if failure := _failure(executions, failed_cells):
        return failure
    if trajectory.stop is not StopReason.ANSWERED:
        return Rejection.MALFORMED
    worked = [e for e in executions if e.status == "ok"]
    if not any(e.stdout.strip() or e.value is not None or e.images for e in worked):
        return Rejection.NO_OUTPUT
    verdict = check_answer(task.answer, answer_text(trajectory), task.choices)
    if not verdict.correct:
        return Rejection.REWRITE_WRONG
    if not well_formed(trajectory, form):
        return Rejection.MALFORMED
    if contradicts(solution, executions):
        return Rejection.CONTRADICTS_OUTPUT
    return None


def _failure(executions: Sequence[Execution], failed_cells: FailedCells) -> Rejection | None:
    """The first failure that counts: any, or only one that no later cell repaired."""
    reasons = {"timeout": Rejection.CELL_TIMEOUT, "killed": Rejection.CELL_KILLED}
    for place, execution in enumerate(executions):
        if execution.status == "ok":
            continue
        later = executions[place + 1 :]
        repaired = any(e.status == "ok" and not e.state_lost for e in later)
        if failed_cells == "repaired" and repaired and execution.status == "error":
            continue
        return reasons.get(execution.status, Rejection.CELL_ERROR)
    return None


def answered_before(task: Task, solution: Solution, form: TurnFormat) -> bool:
    """Whether the gold answer stands in the prose before the first cell, or an answer does.

    A number counts as the answer unless the problem itself or the code holds it: what is read from
    a picture and goes into the computation may be named before. One digit alone counts only behind
    an equals sign. For names and choices only a stated answer counts ("the answer is B", a box):
    they are named when the picture is read.
    """
    before = solution.prose[0]
    if any(piece.kind == "answer" for piece in parse_turn(before, form)):
        return True
    for match in _STATED.finditer(before):
        stated = (match[1] or match[2] or "").strip()
        first = extract_answer(f"\\boxed{{{stated.rstrip('.')}}}").text
        if stated and compare(task.answer, first.split(". ")[0], task.choices)[0]:
            return True
    gold = parse_number(task.answer.value)
    if gold is None or task.answer.type in ("choice", "text", "list"):
        return False
    given = {abs(n) for n in numbers(task_text(task))}
    given |= {n for cell in solution.cells for n in literals(cell)}
    marks = {
        match.start(): before[: match.start()].rstrip()[-1:] for match in _NUMBER.finditer(before)
    }
    return any(
        compare(task.answer, text, task.choices)[0]
        and abs(value) not in given
        and (len(text) > 1 or mark in ("=", "≈"))
        for (text, value), mark in zip(_numbers(before), marks.values(), strict=True)
    )


def contradicts(solution: Solution, executions: Sequence[Execution]) -> bool:
    """Whether later text quotes a number of a made-up output that the real one lacks.

    Compared at the precision of the quote: 21.9 is what 21.933 says. Numbers that stood in earlier
    prose or in the code are no quotes of the output.
    """
    known: list[float] = []
    for place, (made_up, execution) in enumerate(zip(solution.invented, executions, strict=False)):
        known += numbers(solution.prose[place]) + sorted(literals(solution.cells[place]))
        real = numbers(render_execution(execution, 100_000))
        wrong = [n for n in numbers(made_up) if not _among(n, [*real, *known])]
        later = [*solution.prose[place + 1 :], *solution.cells[place + 1 :]]
        quoted = [pair for text in later for pair in _numbers(text)]
        if any(
            _quotes(text, value, n)
            for n in wrong
            for text, value in quoted
            if not _among(value, [*real, *known], text)
        ):
            return True
        known += real
    return False


def numbers(text: str) -> list[float]:
    """Every number in a text.

    >>> numbers("fir=22.2, 1,200 of 3a")
    [22.2, 1200.0]
    """
    return [value for _, value in _numbers(text)]


def _numbers(text: str) -> list[tuple[str, float]]:
    found = [match[0].replace(",", "").replace("−", "-") for match in _NUMBER.finditer(text)]
    return [(number, float(number)) for number in found]


def _among(value: float, others: Sequence[float], text: str = "") -> bool:
    """Whether it is one of ``others``, or a rounding of one at the digits of ``text``."""
    return any(
        abs(value - other) <= 1e-9 * max(1, abs(other)) or (text and _quotes(text, value, other))
        for other in others
    )


def _quotes(text: str, value: float, other: float) -> bool:
    digits = len(text.partition(".")[2])
    return abs(value - round(other, digits)) <= 1e-9 * max(1, abs(value))


def _unclosed(turn: str, form: TurnFormat) -> bool:
    """A cell that opens and never closes would be shown as text."""
    return any(not piece.closed for piece in parse_turn(turn, form) if piece.kind != "text")
