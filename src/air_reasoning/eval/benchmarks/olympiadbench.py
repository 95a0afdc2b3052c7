r"""OlympiadBench (OpenBMB/OlympiadBench, MIT): 8,476 problems in 18 files, ten of them open-ended.

The folder holds the files, as in ``OE_MM_maths_en_COMP.json`` (also in a folder of that name or in
``data/``), and ``images/``. A split is a file. Official scoring (``inference/judge.py``) is
``olympiad_judge``; proofs (``TP_...``) are judged by people, so they are refused.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from air_reasoning.answers import Verdict
from air_reasoning.errors import DataError
from air_reasoning.eval.benchmarks.adapter import (
    BY_KIND,
    Adapter,
    OutputFields,
    check_pictures,
    item_task,
    need_count,
    need_keys,
    picture_ref,
)
from air_reasoning.eval.benchmarks.olympiad_judge import official_answer, official_equal
from air_reasoning.json_io import read_json
from air_reasoning.types import Answer, Part, Task

SOURCE = "https://github.com/OpenBMB/OlympiadBench"
DOWNLOAD = "download data.zip of OpenBMB/OlympiadBench and unpack it"
COUNTS = {
    "OE_MM_maths_en_COMP": 150,
    "OE_MM_maths_zh_CEE": 1910,
    "OE_MM_maths_zh_COMP": 56,
    "OE_MM_physics_en_COMP": 456,
    "OE_MM_physics_zh_CEE": 1483,
    "OE_TO_maths_en_COMP": 674,
    "OE_TO_maths_zh_CEE": 1240,
    "OE_TO_maths_zh_COMP": 408,
    "OE_TO_physics_en_COMP": 236,
    "OE_TO_physics_zh_CEE": 115,
}
_KEYS = ("id", "question", "final_answer", "answer_type")
MAX_PICTURES = 9


def load(folder: Path, split: str = "", *, images: bool = True) -> list[Task]:
    """The problems of one file, in order; a context (physics) comes before its question.

    Raises:
        DataError: the file or a picture is missing, a key is, or the count is not the official one.
    """
    split = split or next(iter(COUNTS))
    if split not in COUNTS:
        why = "proofs are judged by people" if split.startswith("TP") else "no such file"
        raise DataError(f"OlympiadBench {split!r}: {why}; expected one of {', '.join(COUNTS)}")
    name = f"{split}.json"
    places = (folder / name, folder / split / name, folder / "data" / name)
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise DataError(f"{folder / name}: not there; {DOWNLOAD}")
    rows = read_json(path)
    need_count(rows, COUNTS[split], path, DOWNLOAD)
    for number, row in enumerate(rows):
        need_keys(row, _KEYS, f"{path}: item {number}", DOWNLOAD)
    root = path.parent.parent if path.parent.name == split else path.parent
    if images:
        names = [f"images/{picture}" for row in rows for picture in _pictures(row)]
        check_pictures(root, names, DOWNLOAD)
    return [_task(row, split, root if images else None) for row in rows]


def official_verdict(task: Task, text: str) -> Verdict:
    """From the raw response: "So the final answer is", boxes, or the last line."""
    return official_extraction(task, official_answer(text, chinese="_zh_" in task.meta["file"]))


def official_extraction(task: Task, text: str) -> Verdict:
    """The official judge of one answer; its expressions are compared in a killable child."""
    equal = official_equal(text, task.answer.value, task.meta["tolerances"])
    found = bool(text.strip())
    return Verdict(
        correct=equal is True,
        method="math_verify" if found else "none",
        extracted=text if found else None,
        timed_out=equal is None,
        route="fallback" if found else "none",
    )


def _pictures(row: Mapping[str, Any]) -> list[str]:
    numbered = [row.get(f"image_{n}") for n in range(1, MAX_PICTURES + 1)]
    names = [str(name) for name in [*numbered, *(row.get("images") or [])] if name]
    return [name if "." in name else f"{name}.jpg" for name in names]


def _tolerances(row: Mapping[str, Any]) -> list[float]:
    """One for each answer; the official default is 1e-8."""
    if "Tuple" in str(row["answer_type"]) or not row.get("error"):
        return [1e-8]
    return [float(part) if part.strip() else 1e-8 for part in str(row["error"]).split(",")]


def _task(row: Mapping[str, Any], split: str, root: Path | None) -> Task:
    unit = str(row.get("unit") or "")
    text = "\n".join(str(part) for part in (row.get("context"), row["question"]) if part)
    if unit:
        text += f"\nThe unit of the answer is {unit}."
    answers = row["final_answer"] or [""]
    task = item_task(
        "olympiadbench",
        str(row["id"]),
        question=text,
        answer=Answer(value=str(answers[0]), type="expr", unit=unit, rule="olympiadbench"),
        picture=None,
        source=SOURCE,
        license="MIT",
        download=DOWNLOAD,
        kind=str(row["answer_type"]),
        meta={
            "file": split,
            "tolerances": _tolerances(row),
            "subject": row.get("subfield", ""),
            "multiple": bool(row.get("is_multiple_answer")),
        },
    )
    if root is not None:
        task.images = [picture_ref(root / "images" / name, DOWNLOAD) for name in _pictures(row)]
        shown = [Part(kind="image", image=n) for n in range(len(task.images))]
        task.prompt = [*shown, *task.prompt]
    return task


ADAPTER = Adapter(
    name="olympiadbench",
    title="OlympiadBench",
    splits=tuple(COUNTS),
    load=load,
    official=official_verdict,
    official_extraction=official_extraction,
    outputs=OutputFields(id=("id",), extraction=("extraction", "answer")),
    figures=BY_KIND,
    download=DOWNLOAD,
)
