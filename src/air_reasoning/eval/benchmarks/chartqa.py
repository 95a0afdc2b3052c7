r"""ChartQA test (vis-nlp/ChartQA, GPL-3.0): 1,250 human and 1,250 augmented questions.

The folder (or its ``test/``) holds ``test_human.json``, ``test_augmented.json`` and ``png/``.
Relaxed accuracy: within 5 % of a target that is not zero if both are numbers, else equal but for
case. A percent sign divides its own side by 100; thousands commas make no number; years get the 5
%, too. ``strict`` compares by value, years exactly.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from air_reasoning.answers import Verdict, extract_answer
from air_reasoning.errors import DataError
from air_reasoning.eval.benchmarks.adapter import (
    Adapter,
    OutputFields,
    OwnFigures,
    Tally,
    accuracy_by_kind,
    check_pictures,
    item_task,
    need_count,
    need_keys,
    tally_by_kind,
)
from air_reasoning.json_io import read_json
from air_reasoning.types import Answer, Task

SOURCE = "https://github.com/vis-nlp/ChartQA"
DOWNLOAD = "download ChartQA Dataset/test (test_human.json, test_augmented.json, png/)"
PARTS = ("human", "augmented")
COUNT = 1250
TOLERANCE = 0.05
_KEYS = ("imgname", "query", "label")


def load(folder: Path, split: str = "test", *, images: bool = True) -> list[Task]:
    """Human questions, then augmented ones; ids are ``human-0`` and so on, in the file's order.

    Raises:
        DataError: a file or picture is missing, a key is, or a part has not 1,250 questions.
    """
    folder = folder / split if (folder / split).is_dir() else folder
    tasks = list[Task]()
    for part in PARTS:
        path = folder / f"test_{part}.json"
        if not path.is_file():
            raise DataError(f"{path}: not there; {DOWNLOAD} into one folder")
        rows = read_json(path)
        need_count(rows, COUNT, path, DOWNLOAD)
        for number, row in enumerate(rows):
            need_keys(row, _KEYS, f"{path}: item {number}", DOWNLOAD)
        if images:
            check_pictures(folder, [f"png/{row['imgname']}" for row in rows], DOWNLOAD)
        tasks += [
            _task(row, part, number, folder if images else None) for number, row in enumerate(rows)
        ]
    return tasks


def relaxed_equal(target: str, given: str) -> bool:
    """``relaxed_equal("0.5", "51%")`` is True, ``relaxed_equal("1,000", "1000")`` False."""
    a, b = _number(target), _number(given)
    if b is not None and a:
        return abs(b - a) / abs(a) <= TOLERANCE
    return given.lower() == target.lower()


def official_verdict(task: Task, text: str) -> Verdict:
    """This project's extraction, since the benchmark has none, then relaxed accuracy."""
    whole = text.strip()
    found = whole if len(whole.split()) <= 2 else extract_answer(text, "float").text or whole
    return official_extraction(task, found)


def official_extraction(task: Task, text: str) -> Verdict:
    """Relaxed accuracy of an answer."""
    text = text.strip()
    return Verdict(
        correct=relaxed_equal(task.answer.value, text) if text else False,
        method="relaxed" if text else "none",
        extracted=text or None,
        route="fallback" if text else "none",
    )


def figures(sums: Tally) -> dict[str, float | None]:
    """Human and augmented apart, and their mean, which papers report."""
    parts = accuracy_by_kind(sums)
    known = [value for value in parts.values() if value is not None]
    return {**parts, "mean of both": sum(known) / 2 if len(known) == 2 else None}


def _number(text: str) -> float | None:
    try:
        return float(text.rstrip("%")) / 100 if text.endswith("%") else float(text)
    except ValueError:
        return None


def _task(row: Mapping[str, Any], part: str, number: int, folder: Path | None) -> Task:
    label = str(row["label"])
    return item_task(
        "chartqa",
        f"{part}-{number}",
        question=str(row["query"]),
        answer=Answer(
            value=label, type="text" if _number(label) is None else "float", rule="chartqa"
        ),
        picture=None if folder is None else folder / "png" / str(row["imgname"]),
        source=SOURCE,
        license="GPL-3.0",
        download=DOWNLOAD,
        kind=part,
    )


ADAPTER = Adapter(
    name="chartqa",
    title="ChartQA",
    splits=("test",),
    load=load,
    official=official_verdict,
    official_extraction=official_extraction,
    outputs=OutputFields(id=("id",), extraction=("extraction", "prediction", "answer")),
    figures=OwnFigures(tally=tally_by_kind, of=figures),
    download=DOWNLOAD,
)
