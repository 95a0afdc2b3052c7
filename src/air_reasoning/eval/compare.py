"""``air eval compare``: two evaluations on the same items: differences, and which items flipped.

    compared = compare_runs(read_side(Path("runs/a")), read_side(Path("runs/b")))
    compared.passes["greedy, code allow"]["all"].difference

A side is a run folder of ``air eval``, or a file that ``air eval score --json`` wrote. Items are
matched by pass (decoding and code), task and repeat; what only one side has is counted and left
out. A difference is accuracy of B minus accuracy of A with a 95 % t interval over tasks, and
McNemar's exact p. What can move a score and differs (``summary.provenance``) is a warning, never
silent.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from air_reasoning.errors import ConfigError, DataError
from air_reasoning.eval.summary import GROUPS
from air_reasoning.eval.tables import PlainTable, points_text
from air_reasoning.json_io import from_json, read_json, read_jsonl
from air_reasoning.metrics import Paired, Record, paired
from air_reasoning.run_reader import read_trajectories

MAX_FLIPS = 200
_FREE = ("model",)  # what a comparison is usually about
Passes = dict[str, dict[tuple[str, int], Record]]


@dataclass(kw_only=True, slots=True)
class Side:
    """One evaluation: its records by pass, task and repeat, and what its figures depend on."""

    name: str
    passes: Passes
    provenance: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(kw_only=True, slots=True)
class Flip:
    """An item that only one side has right."""

    where: str
    task_id: str
    repeat: int
    kind: str
    better: str
    answer_a: str
    answer_b: str


@dataclass(kw_only=True, slots=True)
class Compared:
    """``passes``: for each pass, "all" and every group, B minus A. ``warnings`` are sentences."""

    a: str
    b: str
    passes: dict[str, dict[str, Paired]]
    flips: list[Flip]
    unmatched: tuple[int, int]
    warnings: list[str]


def read_side(path: Path) -> Side:
    """A run folder, or a file of verdicts.

    Raises:
        DataError: neither, broken, or without a scored item.
    """
    passes, facts = _run_passes(path) if path.is_dir() else (_file_passes(path), {})
    if not passes:
        raise DataError(f"{path}: no evaluation there; expected a run of air eval or its verdicts")
    return Side(name=path.resolve().name, passes=passes, provenance=facts)


def _run_passes(path: Path) -> tuple[Passes, Mapping[str, Any]]:
    passes = Passes()
    for row in read_trajectories(path):
        if "decoding" in row:
            record = from_json(Record, row["record"], f"{path}/trajectories: record")
            here = passes.setdefault(f"{row['decoding']}, code {row['code']}", {})
            here[record.task_id, record.repeat] = record
    summary = path / "summary.json"
    return passes, read_json(summary).get("provenance", {}) if summary.is_file() else {}


def _file_passes(path: Path) -> Passes:
    """Lines of ``air eval score --json``; the n-th line of one id is its n-th repeat."""
    records, seen = dict[tuple[str, int], Record](), Counter[str]()
    for where, row in read_jsonl(path):
        if not isinstance(row, dict) or not {"id", "correct"} <= row.keys():
            raise DataError(f"{where}: expected id and correct, as air eval score --json writes")
        key = str(row["id"])
        records[key, seen[key]] = Record(
            task_id=key,
            repeat=seen[key],
            correct=bool(row["correct"]),
            answer=str(row.get("extracted") or ""),
        )
        seen[key] += 1
    return {"scored": records} if records else {}


def compare_runs(a: Side, b: Side) -> Compared:
    """Pair the two item by item. Raises ConfigError: they share no item."""
    shared = [name for name in a.passes if name in b.passes]
    if not any(a.passes[name].keys() & b.passes[name].keys() for name in shared):
        raise ConfigError(
            f"{a.name} ({', '.join(a.passes)}) and {b.name} ({', '.join(b.passes)}) share no item; "
            "were they made on the same benchmark, decoding and code?"
        )
    names = (a.name, b.name) if a.name != b.name else (f"{a.name} (A)", f"{b.name} (B)")
    return Compared(
        a=names[0],
        b=names[1],
        passes={name: _differences(a.passes[name], b.passes[name]) for name in shared},
        flips=[flip for name in shared for flip in _flips(name, a.passes[name], b.passes[name])],
        unmatched=(_only(a.passes, b.passes), _only(b.passes, a.passes)),
        warnings=differing(a.provenance, b.provenance),
    )


def differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """One sentence for everything that can move a score and is not the same."""
    if not a or not b:
        return ["one side does not say what its figures depend on (prompt, limits, versions)"]
    keys = [key for key in dict.fromkeys([*a, *b]) if key not in _FREE]
    return [f"{key}: {a.get(key)} and {b.get(key)}" for key in keys if a.get(key) != b.get(key)]


def compare_tables(compared: Compared) -> list[PlainTable]:
    """Differences by group, a table a pass, then the items that flipped."""
    tables = [
        PlainTable(
            title=f"{compared.b} minus {compared.a}: {name}",
            heads=["", "points", f"only {compared.b}", f"only {compared.a}", "McNemar p", "n"],
            rows=[_row(group, pair) for group, pair in pairs.items() if pair.n],
        )
        for name, pairs in compared.passes.items()
    ]
    shown = compared.flips[:MAX_FLIPS]
    title = f"Items that flipped: {len(compared.flips)}"
    title += f", the first {MAX_FLIPS}" if len(shown) < len(compared.flips) else ""
    heads = ["item", "pass", "kind", "right only in", f"answer of {compared.a}"]
    tables.append(
        PlainTable(
            title=title,
            heads=[*heads, f"answer of {compared.b}"],
            rows=[
                [f"{f.task_id} #{f.repeat}", f.where, f.kind, f.better, f.answer_a, f.answer_b]
                for f in shown
            ],
        )
    )
    return [table for table in tables if table.rows]


def _row(group: str, pair: Paired) -> list[str]:
    points = points_text(pair.difference.to_json())
    return [group, points, str(pair.only_a), str(pair.only_b), f"{pair.p_value:.2g}", str(pair.n)]


def _differences(
    a: Mapping[tuple[str, int], Record], b: Mapping[tuple[str, int], Record]
) -> dict[str, Paired]:
    """B is the first of each pair, so that positive is better."""
    differences = {"all": paired(b.values(), a.values())}
    for part, of in GROUPS:
        for name in sorted({of(record) for record in b.values()} - {""}):
            inside = [record for record in b.values() if of(record) == name]
            differences[f"{part[:-1]}: {name}"] = paired(inside, a.values())
    return differences


def _flips(
    where: str, a: Mapping[tuple[str, int], Record], b: Mapping[tuple[str, int], Record]
) -> list[Flip]:
    return [
        Flip(
            where=where, task_id=key[0], repeat=key[1], kind=x.kind or b[key].kind,
            better="B" if b[key].correct else "A", answer_a=x.answer, answer_b=b[key].answer,
        )
        for key, x in a.items()
        if key in b
        and not (x.unscored or b[key].unscored)
        and x.correct != b[key].correct
    ]  # fmt: skip


def _only(a: Passes, b: Passes) -> int:
    return sum(len(records.keys() - b.get(name, {}).keys()) for name, records in a.items())


def verdict_lines(compared: Compared) -> Sequence[str]:
    """What the command prints above its tables."""
    lines = [f"A: {compared.a}", f"B: {compared.b}"]
    if any(compared.unmatched):
        lines.append(
            f"items only in A: {compared.unmatched[0]}, only in B: {compared.unmatched[1]}"
        )
    return lines
