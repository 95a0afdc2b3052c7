"""Questions to the index of a run: a page of trajectories, how many there are, one group, one key.

page(index.connection, Filter(correct="wrong", code="used", sort="-reward"), offset=0, limit=100)
"""

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, get_args, get_type_hints

from air_reasoning.errors import ConfigError
from air_reasoning.run_index import FACETS, has_trigrams
from air_reasoning.run_rows import COLUMNS

SORTABLE = (
    *("n", "step", "reward", "advantage", "tokens", "turns", "calls", "failed", "correct"),
    *("task", "grp", "stop", "kind", "difficulty", "seconds", "name"),
)
MAX_SEARCHED = 200
"""Characters of a searched text that the index is asked for; the rest is compared in the texts."""
RARE = 5_000
"""Texts that hold all that is searched for; if they are more, the index is not asked which."""
_HOLDING = "SELECT rowid FROM trigrams WHERE trigrams MATCH ?"
_CORRECT = {"right": "correct = 1", "wrong": "correct = 0", "unscored": "correct IS NULL"}
_CODE = {"used": "calls > 0", "none": "calls = 0 AND banned = 0", "banned": "banned = 1"}
_ERROR = {"failed": "failed > 0", "clean": "failed = 0"}


@dataclass(kw_only=True, slots=True, frozen=True)
class Filter:
    """What to show; an empty text or None does not restrict. ``text`` ignores ASCII case.

    ``sort`` is a column of ``SORTABLE``, with ``-`` before it for the largest first. ``key`` finds
    one trajectory by its id.
    """

    correct: str = ""
    code: str = ""
    error: str = ""
    stop: str = ""
    name: str = ""
    kind: str = ""
    difficulty: str = ""
    task: str = ""
    group: str = ""
    key: str = ""
    text: str = ""
    step_min: float | None = None
    step_max: float | None = None
    reward_min: float | None = None
    reward_max: float | None = None
    sort: str = "n"


def parse_filter(query: Mapping[str, str]) -> Filter:
    """A filter from the parameters of an address; unknown ones are somebody else's.

    Raises:
        ConfigError: a value that is none of those that exist, or no number.
    """
    values = dict[str, Any]()
    hints = get_type_hints(Filter)
    for field in fields(Filter):
        text = query.get(field.name, "")
        if not text:
            continue
        if float in get_args(hints[field.name]):
            try:
                values[field.name] = float(text)
            except ValueError:
                raise ConfigError(f"{field.name}: expected a number, found {text!r}") from None
        else:
            values[field.name] = text
    chosen = Filter(**values)
    for name, known in (("correct", _CORRECT), ("code", _CODE), ("error", _ERROR)):
        value = getattr(chosen, name)
        if value and value not in known:
            raise ConfigError(f"{name}: expected one of {', '.join(known)}, found {value!r}")
    if chosen.sort.removeprefix("-") not in SORTABLE:
        raise ConfigError(f"sort: expected one of {', '.join(SORTABLE)}, found {chosen.sort!r}")
    return chosen


def page(
    connection: sqlite3.Connection, chosen: Filter, *, offset: int = 0, limit: int = 100
) -> list[dict[str, Any]]:
    """Rows ``offset`` to ``offset + limit`` of what the filter leaves, in its order."""
    where, values = _where(connection, chosen)
    column = chosen.sort.removeprefix("-")
    order = "DESC" if chosen.sort.startswith("-") else "ASC"
    names = ", ".join(f"rows.{name}" for name in ("n", *COLUMNS))
    rows = connection.execute(
        f"SELECT {names} FROM rows {where} "
        f"ORDER BY rows.{column} {order}, rows.n {order} LIMIT ? OFFSET ?",
        [*values, limit, offset],
    )
    return [dict(row) for row in rows]


def count(connection: sqlite3.Connection, chosen: Filter) -> int:
    """How many rows the filter leaves."""
    where, values = _where(connection, chosen)
    return connection.execute(f"SELECT count(*) FROM rows {where}", values).fetchone()[0]


def find(connection: sqlite3.Connection, key: str) -> dict[str, Any] | None:
    """The row of one trajectory, or None."""
    rows = page(connection, Filter(key=key), limit=1)
    return rows[0] if rows else None


def facets(connection: sqlite3.Connection) -> dict[str, Any]:
    """What there is to choose from: values of ``FACETS`` with counts (60 at most), and ranges."""
    found: dict[str, Any] = {}
    for name in FACETS:
        rows = connection.execute(
            "SELECT value, count FROM facets WHERE name = ? ORDER BY count DESC LIMIT 60", [name]
        )
        found[name] = [[value, number] for value, number in rows]
    for name in ("step", "reward"):  # one end each, so that the column's index answers
        ends = [f"(SELECT {end}({name}) FROM rows)" for end in ("min", "max")]
        found[name] = list(connection.execute(f"SELECT {', '.join(ends)}").fetchone())
    return found


def _where(connection: sqlite3.Connection, chosen: Filter) -> tuple[str, list[Any]]:
    terms, values = list[str](), list[Any]()
    for value, known in ((chosen.correct, _CORRECT), (chosen.code, _CODE), (chosen.error, _ERROR)):
        if value:
            terms.append(known[value])
    for column, value in (
        *(("stop", chosen.stop), ("name", chosen.name), ("kind", chosen.kind)),
        *(("difficulty", chosen.difficulty), ("task", chosen.task), ("grp", chosen.group)),
        ("key", chosen.key),
    ):
        if value:
            terms.append(f"rows.{column} = ?")
            values.append(value)
    for column in ("step", "reward"):
        for end, sign in (("min", ">="), ("max", "<=")):
            if (value := getattr(chosen, f"{column}_{end}")) is not None:
                terms.append(f"rows.{column} {sign} ?")
                values.append(value)
    join = ""
    if chosen.text:
        join = "JOIN texts ON texts.n = rows.n"
        parts = _trigrams(chosen.text)
        if "\0" in chosen.text:  # where SQLite's patterns end
            terms.append("0")
        elif parts and has_trigrams(connection) and _is_rare(connection, parts):
            terms.append(f"rows.n IN ({_HOLDING})")
            values.append(parts)
        terms.append("texts.text LIKE ? ESCAPE '\\'")
        escaped = chosen.text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        values.append(f"%{escaped}%")
    return f"{join} {'WHERE ' + ' AND '.join(terms) if terms else ''}", values


def _is_rare(connection: sqlite3.Connection, parts: str) -> bool:
    """Whether few texts hold them all; of many, reading them in order finds a page sooner."""
    held = connection.execute(f"SELECT count(*) FROM ({_HOLDING} LIMIT {RARE})", [parts])
    return held.fetchone()[0] < RARE


def _trigrams(text: str) -> str:
    """What has to be in a text that holds ``text``: ``"pri" "rin" "int"`` for ``print``."""
    parts = dict.fromkeys(text[i : i + 3] for i in range(min(len(text), MAX_SEARCHED) - 2))
    return " ".join('"' + part.replace('"', '""') + '"' for part in parts)
