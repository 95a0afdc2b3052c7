"""From records of a run folder to what a report shows.

A record of ``trajectories/`` as the flows write it (all keys but the first two may be absent):

    {"task": Task, "trajectory": Trajectory, "record": metrics.Record, "extracted": "12.5",
     "name": "cold_start", "decoding": "sampled", "code": "allow",
     "reward": types.Reward, "advantage": 0.4, "step": 120}
"""

from collections.abc import Iterable, Mapping
from typing import Any

from air_reasoning.eval import tables
from air_reasoning.eval.report import Example

Row = Mapping[str, Any]


def example(row: Row) -> Example:
    """One record as an example; ``label`` says which checkpoint, decoding and step it is of."""
    scored, reward = row.get("record") or {}, row.get("reward") or {}
    parts = list[str]()
    if name := row.get("name"):
        parts.append(tables.display_name(str(name)))
    if decoding := row.get("decoding"):
        parts.append(tables.DECODINGS.get(str(decoding), str(decoding)))
    if row.get("code") == "forbid":
        parts.append("code forbidden")
    if row.get("step") is not None:
        parts.append(f"step {row['step']}")
    return Example(
        task=row["task"],
        trajectory=row["trajectory"],
        correct=scored.get("correct") if not scored.get("unscored") else None,
        extracted=row.get("extracted"),
        reward=reward.get("total"),
        terms=reward.get("terms") or {},
        advantage=row.get("advantage"),
        label=", ".join(parts),
    )


def telling_examples(rows: Iterable[Row], limit: int = 8) -> list[Example]:
    """A small selection in which each differs from the others in what happened.

    Takes turns over the cases (right with code, right without, wrong with, wrong without, a failing
    cell, a limit hit, code forbidden), each time the first trajectory of a kind of task not yet
    shown, if there is one.
    """
    cases = dict[tuple[Any, ...], list[Row]]()
    for row in rows:
        cases.setdefault(_case(row), []).append(row)
    chosen, shown = list[Row](), set[str]()
    while len(chosen) < limit and any(cases.values()):
        for waiting in cases.values():
            if waiting and len(chosen) < limit:
                new = next((r for r in waiting if _kind(r) not in shown), waiting[0])
                waiting.remove(new)
                shown.add(_kind(new))
                chosen.append(new)
    return [example(row) for row in chosen]


def groups(rows: Iterable[Row], limit: int = 3) -> list[list[Example]]:
    """The last groups that have right and wrong members, members in the order of their records."""
    members = dict[str, list[Row]]()
    for row in rows:
        members.setdefault(row["trajectory"]["group_id"], []).append(row)
    mixed = [
        [example(row) for row in group]
        for group in members.values()
        if len({bool(_record(row).get("correct")) for row in group}) == 2
    ]
    return mixed[-limit:]


def _case(row: Row) -> tuple[Any, ...]:
    record = _record(row)
    return (
        bool(record.get("correct")),
        record.get("calls", 0) > 0,
        record.get("failed_calls", 0) > 0,
        record.get("stop", "answered"),
        bool(record.get("code_banned")),
    )


def _kind(row: Row) -> str:
    return str(_record(row).get("kind", ""))


def _record(row: Row) -> Mapping[str, Any]:
    return row.get("record") or {}
