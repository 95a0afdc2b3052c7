"""From scored trajectories to the figures of a table, each with its count and 95 % interval.

A ``Record`` is what is left of a trajectory once it is scored. ``summarize`` gives the headline
figures, ``by_kind`` the same per kind of task, ``paired`` the difference of two runs on the same
tasks. Trajectories lost to the sandbox or the sampler are ``unscored``: our fault, in no other
figure. Those sampled with code banned count for accuracy and tokens but in no code share.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from air_reasoning.intervals import (
    UNDEFINED,
    Metric,
    mcnemar,
    mean,
    ratio_share,
    share,
    t95,
)

DIFFICULTIES = ("easy", "medium", "hard")
HEADLINE = (
    *("n", "accuracy", "accuracy_easy", "accuracy_medium", "accuracy_hard"),
    *("accuracy_interleaved", "code_share_easy", "code_share_medium", "code_share_hard"),
    *("code_share_right", "code_share_wrong", "tool_success", "tokens_mean"),
)


@dataclass(kw_only=True, slots=True, frozen=True)
class Record:
    """One scored trajectory.

    ``tokens`` are the model's own (not the tool's); ``calls`` are executed cells and
    ``failed_calls`` those that came back without ``ok``; ``route`` is how the answer was found and
    ``answer`` the answer itself, cut short. ``prompt_tokens`` include what tools gave back;
    ``seconds`` are on the clock.
    """

    task_id: str
    repeat: int = 0
    difficulty: str = ""
    kind: str = ""
    correct: bool = False
    calls: int = 0
    failed_calls: int = 0
    turns: int = 1
    tokens: int = 0
    stop: str = "answered"
    route: str = "none"
    format_ok: bool = True
    code_banned: bool = False
    unscored: bool = False
    timed_out: bool = False
    subject: str = ""
    answer: str = ""
    prompt_tokens: int = 0
    seconds: float = 0.0


def summarize(records: Sequence[Record]) -> dict[str, Metric]:
    """The headline figures (``HEADLINE``) and a few more; undefined ones have ``value`` None.

    ``n`` counts scored trajectories. ``accuracy_interleaved`` is among those that executed code,
    ``code_share_right`` the share of code users among the right ones, ``tool_success`` the share
    of executed cells that came back ``ok``, ``unscored`` the share that was our fault. Nothing here
    depends on the clock: the same trajectories give the same summary.
    """
    scored = [r for r in records if not r.unscored]
    free = [r for r in scored if not r.code_banned]
    summary = {"n": _count(len(scored)), "accuracy": _share(scored, lambda r: r.correct)}
    for name in DIFFICULTIES:
        of = [r for r in scored if r.difficulty == name]
        summary[f"accuracy_{name}"] = _share(of, lambda r: r.correct)
    interleaved = [r for r in scored if r.calls]
    summary["accuracy_interleaved"] = _share(interleaved, lambda r: r.correct)
    summary["code_share"] = _share(free, _uses_code)
    for name in DIFFICULTIES:
        of = [r for r in free if r.difficulty == name]
        summary[f"code_share_{name}"] = _share(of, _uses_code)
    summary["code_share_right"] = _share([r for r in free if r.correct], _uses_code)
    summary["code_share_wrong"] = _share([r for r in free if not r.correct], _uses_code)
    summary["tool_success"] = ratio_share(
        [(r.calls - r.failed_calls, r.calls) for r in scored], [r.task_id for r in scored]
    )
    summary["tokens_mean"] = _mean(scored, lambda r: r.tokens)
    for name in DIFFICULTIES:
        summary[f"tokens_{name}"] = _mean(
            [r for r in scored if r.difficulty == name], lambda r: r.tokens
        )
    summary["calls_mean"] = _mean(free, lambda r: r.calls)
    summary["turns_mean"] = _mean(scored, lambda r: r.turns)
    summary["format_ok"] = _share(scored, lambda r: r.format_ok)
    summary["unscored"] = _share(records, lambda r: r.unscored)
    return summary


def by_kind(records: Sequence[Record]) -> dict[str, dict[str, Metric]]:
    """``summarize`` for each kind of task, kinds in alphabetical order."""
    kinds = sorted({r.kind for r in records})
    return {kind: summarize([r for r in records if r.kind == kind]) for kind in kinds}


def route_shares(records: Sequence[Record]) -> dict[str, Metric]:
    """Share of scored trajectories by the route on which their answer was found."""
    scored = [r for r in records if not r.unscored]
    routes = ("answer_tag", "boxed", "phrase", "fallback", "none")
    return {route: _share(scored, lambda r, route=route: r.route == route) for route in routes}


def stop_shares(records: Sequence[Record]) -> dict[str, Metric]:
    """Share of all trajectories by stop reason, those of our fault included."""
    stops = sorted({r.stop for r in records})
    return {stop: _share(records, lambda r, stop=stop: r.stop == stop) for stop in stops}


def summary_json(summary: dict[str, Metric]) -> dict[str, dict[str, float | None]]:
    """``{name: {"value", "low", "high"}}``, the form of ``summary.json``."""
    return {name: metric.to_json() for name, metric in summary.items()}


def flat(summary: dict[str, Metric], prefix: str) -> dict[str, float]:
    """``{"eval/accuracy": 0.61, ...}`` of the defined values, for ``metrics.jsonl``."""
    return {f"{prefix}/{k}": m.value for k, m in summary.items() if m.value is not None}


@dataclass(kw_only=True, slots=True, frozen=True)
class Paired:
    """Accuracy of ``a`` minus that of ``b`` on what both scored.

    ``only_a`` counts pairs that only ``a`` has right; ``p_value`` is McNemar's exact one. ``n``
    counts pairs, ``tasks`` the tasks they come from; the interval of ``difference`` is over tasks.
    """

    difference: Metric
    n: int
    tasks: int
    only_a: int
    only_b: int
    p_value: float


def paired(a: Iterable[Record], b: Iterable[Record]) -> Paired:
    """Compare two runs pair by pair, matched by (task id, repeat); unmatched records are left out.

    With several repeats of a task the p-value takes its pairs for independent, which is optimistic;
    the interval does not.
    """
    theirs = {(r.task_id, r.repeat): r for r in b if not r.unscored}
    pairs = [
        (r, theirs[r.task_id, r.repeat])
        for r in a
        if not r.unscored and (r.task_id, r.repeat) in theirs
    ]
    differences = dict[str, list[int]]()
    for x, y in pairs:
        differences.setdefault(x.task_id, []).append(int(x.correct) - int(y.correct))
    only_a = sum(x.correct and not y.correct for x, y in pairs)
    only_b = sum(y.correct and not x.correct for x, y in pairs)
    return Paired(
        difference=_difference([sum(d) / len(d) for d in differences.values()]),
        n=len(pairs),
        tasks=len(differences),
        only_a=only_a,
        only_b=only_b,
        p_value=mcnemar(only_a, only_b),
    )


def _difference(values: Sequence[float]) -> Metric:
    n = len(values)
    if n == 0:
        return UNDEFINED
    centre = math.fsum(values) / n
    if n == 1:
        return Metric(value=centre, low=None, high=None, n=1)
    deviation = math.sqrt(math.fsum((v - centre) ** 2 for v in values) / (n - 1) / n)
    half = t95(n - 1) * deviation
    return Metric(value=centre, low=centre - half, high=centre + half, n=n)


def _uses_code(record: Record) -> bool:
    return record.calls > 0


def _count(n: int) -> Metric:
    return Metric(value=n, low=n, high=n, n=n)


def _share(records: Sequence[Record], hit: Callable[[Record], bool]) -> Metric:
    return share([hit(r) for r in records], [r.task_id for r in records])


def _mean(records: Sequence[Record], of: Callable[[Record], float]) -> Metric:
    return mean([of(r) for r in records], [r.task_id for r in records])
