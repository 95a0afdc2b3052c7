"""Short names for what a run was made from, so that a run on other inputs is never continued.

A path says nothing about content: a file may be replaced, and a folder may be moved.
"""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from air_reasoning.errors import DataError
from air_reasoning.json_io import dump_line
from air_reasoning.types import Task


def content_identity(rows: Iterable[Any]) -> str:
    """16 hexadecimal digits of the SHA-256 over the rows as JSON lines."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(dump_line(row))
    return digest.hexdigest()[:16]


def tasks_identity(tasks: Sequence[Task]) -> str:
    """What is asked, of which pictures, and the answers, in order; not where the files are."""
    return content_identity(
        [t.id, t.prompt, t.answer, t.choices, [ref.sha256 for ref in t.images]] for t in tasks
    )


def model_identity(folder: Path) -> str:
    """Name and content hash of a checkpoint: sizes, and the first MiB of each weight file.

    Raises:
        DataError: a folder, but of no model; told before a run folder is claimed for it.
    """
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise DataError(
            f"{folder}/config.json: missing, so {folder} is no model folder; expected a checkpoint"
        )
    digest = hashlib.sha256()
    for file in sorted([*folder.glob("*.safetensors"), *folder.glob("*.json")]):
        digest.update(f"{file.name} {file.stat().st_size}\n".encode())
        with file.open("rb") as opened:
            digest.update(opened.read(2**20))
    return f"{folder.resolve().name} {digest.hexdigest()[:16]}"
