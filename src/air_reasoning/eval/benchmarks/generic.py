"""A benchmark of one's own: a JSON lines, JSON or parquet file of questions and answers.

    {"id": "1", "question": "How many?", "image": "a.png", "answer": "3"}

Also read: ``images`` (a list), ``choices`` (then the answer is a letter or an option's text),
``type`` (int, float, choice, list, expr, text), ``precision``, ``unit``, ``tolerance``, ``kind``.
Pictures are beside the file. A folder stands for the one such file in it. Official scoring is
``strict``.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from air_reasoning.errors import DataError
from air_reasoning.eval.benchmarks.adapter import (
    Adapter,
    OutputFields,
    item_task,
    lettered,
    need_keys,
    picture_ref,
    strict_extraction,
    strict_verdict,
)
from air_reasoning.eval.benchmarks.rows import read_rows
from air_reasoning.types import Answer, AnswerType, Part, Task

_ENDINGS = (".jsonl", ".json", ".parquet", ".csv")
DOWNLOAD = "give a file of rows with id, question and answer"


def load(folder: Path, split: str = "", *, images: bool = True) -> list[Task]:
    """The file's rows in order.

    Raises:
        DataError: no or several files, a row without its keys, an id twice, an unknown type, a
            missing picture.
    """
    path = _file(folder, split)
    tasks = dict[str, Task]()
    for number, row in enumerate(read_rows(path), 1):
        where = f"{path}: row {number}"
        need_keys(row, ("id", "question", "answer"), where, DOWNLOAD)
        if str(row["id"]) in tasks:
            raise DataError(f"{where}: id {row['id']!r} is there twice; ids must be unique")
        tasks[str(row["id"])] = _task(row, path.parent if images else None, where)
    return list(tasks.values())


def _file(folder: Path, split: str) -> Path:
    if folder.is_file():
        return folder
    files = sorted(
        path
        for path in folder.glob(f"{split or '*'}.*")
        if path.suffix in _ENDINGS or path.suffixes[-2:-1] in [[e] for e in _ENDINGS]
    )
    if len(files) != 1:
        found = ", ".join(path.name for path in files) or "none"
        raise DataError(f"{folder}: expected one file of questions, found {found}; name the file")
    return files[0]


def _task(row: Mapping[str, Any], folder: Path | None, where: str) -> Task:
    choices = [str(choice) for choice in row.get("choices") or []]
    kind = row.get("type") or ("choice" if choices else "expr")
    if kind not in get_args(AnswerType):
        raise DataError(
            f"{where}: type {kind!r}; expected one of {', '.join(get_args(AnswerType))}"
        )
    precision, tolerance = row.get("precision"), row.get("tolerance")
    task = item_task(
        "generic",
        str(row["id"]),
        question="\n".join([str(row["question"]), *lettered(choices)]),
        answer=Answer(
            value=str(row["answer"]), type=kind, unit=str(row.get("unit") or ""),
            precision=None if precision is None else int(precision),
            tolerance=None if tolerance is None else float(tolerance),
        ),
        picture=None,
        source=str(row.get("source") or ""),
        license=str(row.get("license") or ""),
        download=DOWNLOAD,
        kind=str(row.get("kind") or kind),
        choices=choices,
    )  # fmt: skip
    names = [row["image"]] if row.get("image") else list(row.get("images") or [])
    if folder is not None and names:
        task.images = [picture_ref(folder / str(name), "put it beside the file") for name in names]
        task.prompt = [*(Part(kind="image", image=n) for n in range(len(names))), *task.prompt]
    return task


ADAPTER = Adapter(
    name="generic",
    title="Questions of one's own",
    splits=("",),
    load=load,
    official=strict_verdict,
    official_extraction=strict_extraction,
    outputs=OutputFields(id=("id",)),
    download=DOWNLOAD,
)
