"""LLaMA-Factory's ``dataset_info.json``: which file, which columns, which names of roles."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from air_reasoning.data.formats.record import Row
from air_reasoning.json_io import read_json

_ROLES = {
    "user_tag": "user", "assistant_tag": "assistant", "observation_tag": "observation",
    "function_tag": "function_call", "system_tag": "system",
}  # fmt: skip


@dataclass(kw_only=True, slots=True, frozen=True)
class Described:
    """``columns`` are theirs -> ours; ``roles`` the same; where a message has role and content."""

    columns: dict[str, str] = field(default_factory=dict[str, str])
    roles: dict[str, str] = field(default_factory=dict[str, str])
    role_tag: str = "from"
    content_tag: str = "value"
    sharegpt: bool = False

    def standard(self, row: Row) -> Row:
        """The row under the standard names."""
        row = {self.columns.get(name, name): value for name, value in row.items()}
        if self.sharegpt and isinstance(row.get("messages"), list):
            row["messages"] = [self._message(m) for m in cast(list[Any], row["messages"])]
        return row

    def _message(self, message: Any) -> Any:
        if not isinstance(message, dict):
            return message
        fields = cast(Row, message)
        role = fields.get(self.role_tag, fields.get("role"))
        content = fields.get(self.content_tag, fields.get("content"))
        return {"role": self.roles.get(str(role), role), "content": content}


def described_files(folder: Path) -> dict[Path, Described]:
    """The data files that a ``dataset_info.json`` in ``folder`` describes; {} without one."""
    info = folder / "dataset_info.json"
    if not (folder.is_dir() and info.is_file()):
        return {}
    entries = read_json(info)
    found: dict[Path, Described] = {}
    for entry in cast(Row, entries).values() if isinstance(entries, dict) else ():
        name = cast(Row, entry).get("file_name") if isinstance(entry, dict) else None
        if isinstance(name, str) and (folder / name).is_file():
            found[folder / name] = _described(cast(Row, entry))
    return found


def _described(entry: Row) -> Described:
    columns = cast(dict[str, str], entry.get("columns") or {})
    standard = {"prompt": "instruction", "query": "input", "response": "output"}
    sharegpt = entry.get("formatting") == "sharegpt"
    names = {} if sharegpt else standard
    tags = cast(dict[str, str], entry.get("tags") or {})
    default = {"user_tag": "human", "assistant_tag": "gpt"}
    return Described(
        columns={theirs: names.get(ours, ours) for ours, theirs in columns.items()},
        roles={tags.get(tag, default.get(tag, role)): role for tag, role in _ROLES.items()},
        role_tag=tags.get("role_tag", "from"), content_tag=tags.get("content_tag", "value"),
        sharegpt=sharegpt,
    )  # fmt: skip
