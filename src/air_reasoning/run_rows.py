"""What the index of a run keeps of each record: a row to filter and sort by, a text to search.

row, text = index_row(record)
row["correct"], row["tokens"]
"""

from collections.abc import Mapping
from typing import Any

TEXT_CHARS = 8_000
"""Characters of a trajectory that text search looks at; the page says so."""

COLUMNS: dict[str, str] = {
    "key": "TEXT UNIQUE",
    "part": "INTEGER",
    "offset": "INTEGER",
    "length": "INTEGER",
    "step": "INTEGER",
    "correct": "INTEGER",
    "calls": "INTEGER",
    "failed": "INTEGER",
    "turns": "INTEGER",
    "tokens": "INTEGER",
    "banned": "INTEGER",
    "version": "INTEGER",
    "reward": "REAL",
    "advantage": "REAL",
    "seconds": "REAL",
    "stop": "TEXT",
    "kind": "TEXT",
    "difficulty": "TEXT",
    "name": "TEXT",
    "task": "TEXT",
    "grp": "TEXT",
    "repeat": "INTEGER",
    "picture": "TEXT",
    "question": "TEXT",
    "gold": "TEXT",
    "extracted": "TEXT",
    "reason": "TEXT",
}
"""What a row holds; ``correct`` is null where nothing was scored. ``grp`` is the group's id."""


def index_row(record: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """The columns of one record, and the text that is searched; absent parts become null."""
    trajectory = record.get("trajectory") or record
    task, scored = record.get("task") or {}, record.get("record") or {}
    reward = record.get("reward")
    question = "".join(part.get("text", "") for part in task.get("prompt", ()))
    pictures = task.get("images") or [{}]
    answer = task.get("answer") or {}
    row = {
        "key": trajectory.get("id"),
        "step": record.get("step"),
        "correct": None if scored.get("unscored") else _flag(scored.get("correct")),
        "calls": scored.get("calls"),
        "failed": scored.get("failed_calls"),
        "turns": scored.get("turns"),
        "tokens": scored.get("tokens"),
        "banned": int(bool(trajectory.get("code_banned"))),
        "version": trajectory.get("policy_version"),
        "reward": reward.get("total") if isinstance(reward, dict) else reward,
        "advantage": record.get("advantage"),
        "seconds": (trajectory.get("timing") or {}).get("total"),
        "stop": trajectory.get("stop"),
        "kind": scored.get("kind") or (task.get("meta") or {}).get("kind"),
        "difficulty": scored.get("difficulty") or (task.get("meta") or {}).get("difficulty"),
        "name": _pass_name(record),
        "task": trajectory.get("task_id") or task.get("id"),
        "grp": trajectory.get("group_id"),
        "repeat": scored.get("repeat"),
        "picture": pictures[0].get("sha256"),
        "question": question[:240],
        "gold": str(answer.get("value", ""))[:120],
        "extracted": None if record.get("extracted") is None else str(record["extracted"])[:120],
        "reason": record.get("reason"),
    }
    texts = (segment.get("text", "") for segment in trajectory.get("segments", ()))
    return row, _first_chars([question, *texts])


def _pass_name(record: Mapping[str, Any]) -> str | None:
    """Which pass of an evaluation: ``cold_start / sampled / code forbidden``."""
    names = [str(record[name]) for name in ("name", "decoding") if record.get(name)]
    if record.get("code") == "forbid":
        names.append("code forbidden")
    return " / ".join(names) or None


def _flag(value: Any) -> int | None:
    return None if value is None else int(bool(value))


def _first_chars(texts: list[str]) -> str:
    kept, left = list[str](), TEXT_CHARS
    for text in texts:
        kept.append(text[:left])
        left -= len(text)
        if left <= 0:
            break
    return "\n".join(kept)
