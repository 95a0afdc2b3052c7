"""Two runs, or two passes of one, on the items that both have: what changed, which items flipped.

Items are paired by (task, repeat), and by decoding and code where both are evaluations and no pass
is named. Of an item that a training saw several times the newest trajectory counts.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from air_reasoning.errors import ConfigError
from air_reasoning.json_io import to_json
from air_reasoning.metrics import Record, paired
from air_reasoning.run_admission import fingerprint_changes
from air_reasoning.run_index import RunIndex
from air_reasoning.run_reader import read_status

SHOWN = ("key", "correct", "calls", "tokens", "reward", "extracted", "step")
KINDS = ("flips", "only_a", "only_b", "both_right", "both_wrong", "all")
Row = dict[str, Any]
Item = tuple[str, int, str]


def compare(
    a: RunIndex,
    b: RunIndex,
    *,
    pass_a: str = "",
    pass_b: str = "",
    kind: str = "flips",
    limit: int = 500,
) -> dict[str, Any]:
    """Counts, paired difference (a minus b) with interval and McNemar's p, settings, items.

    Returns:
        ``counts`` by kind; ``paired`` as ``metrics.Paired``; ``unpaired`` items of either run;
        ``changes`` of settings; ``items`` of the wanted kind, at most ``limit``, of ``total``.

    Raises:
        ConfigError: no such kind.
    """
    if kind not in KINDS:
        raise ConfigError(f"kind: expected one of {', '.join(KINDS)}, found {kind!r}")
    by_pass = not (pass_a or pass_b)
    ours, theirs = _items(a, pass_a, by_pass), _items(b, pass_b, by_pass)
    both = [(ours[item], theirs[item]) for item in ours if item in theirs]
    scored = [(x, y) for x, y in both if x["correct"] is not None and y["correct"] is not None]
    kinds = [_kind(x, y) for x, y in scored]
    wanted = [pair for pair, is_kind in zip(scored, kinds, strict=True) if _fits(is_kind, kind)]
    return {
        "counts": {name: kinds.count(name) for name in KINDS[1:-1]},
        "paired": to_json(paired([_record(x) for x, _ in scored], [_record(y) for _, y in scored])),
        "unpaired": [len(ours) - len(both), len(theirs) - len(both)],
        "unscored": len(both) - len(scored),
        "changes": _changes(a.run, b.run) if a.run != b.run else [],
        "items": [_item(x, y) for x, y in wanted[:limit]],
        "total": len(wanted),
    }


def _items(index: RunIndex, pass_name: str, by_pass: bool) -> dict[Item, Row]:
    """Rows by item; later rows replace earlier ones."""
    with index.lock:
        where, values = ("WHERE name = ?", [pass_name]) if pass_name else ("", [])
        names = ("task", "repeat", "name", "question", "gold", "kind", *SHOWN)
        rows = index.connection.execute(
            f"SELECT {', '.join(names)} FROM rows {where} ORDER BY n", values
        )
        return {_key(row, by_pass): dict(row) for row in rows}


def _key(row: Mapping[str, Any], by_pass: bool) -> Item:
    how = " / ".join((row["name"] or "").split(" / ")[1:]) if by_pass else ""
    return row["task"], row["repeat"] or 0, how


def _kind(x: Row, y: Row) -> str:
    match bool(x["correct"]), bool(y["correct"]):
        case True, True:
            return "both_right"
        case True, False:
            return "only_a"
        case False, True:
            return "only_b"
        case _:
            return "both_wrong"


def _fits(kind: str, wanted: str) -> bool:
    return wanted in (kind, "all") or (wanted == "flips" and kind.startswith("only"))


def _record(row: Row) -> Record:
    return Record(
        task_id=row["task"], repeat=row["repeat"] or 0, correct=bool(row["correct"]),
        calls=row["calls"] or 0, kind=row["kind"] or "",
    )  # fmt: skip


def _item(x: Row, y: Row) -> dict[str, Any]:
    shared = {name: x[name] for name in ("task", "repeat", "name", "question", "gold", "kind")}
    return {
        **shared,
        "a": {name: x[name] for name in SHOWN},
        "b": {name: y[name] for name in SHOWN},
    }


def _changes(a: Path, b: Path) -> list[str]:
    """Settings that differ, ``key: a -> b``."""
    first, second = read_status(a), read_status(b)
    return fingerprint_changes(
        {"command": first.get("command"), **first.get("fingerprint", {})},
        {"command": second.get("command"), **second.get("fingerprint", {})},
    )
