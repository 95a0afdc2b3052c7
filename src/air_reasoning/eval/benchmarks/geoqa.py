r"""GeoQA test, as Geo170K lays it out (pipilurj/G-LLaVA): 754 choices among four options.

The folder holds ``test_questions.jsonl`` (or ``test_question.jsonl``), ``test_answers.jsonl`` and
``images/``. Official scoring (``scripts/geo_acc_calculate.py``): the first of five phrasings that
names a letter from A to D, else "is X" in the last sentence. The training files of Geo170K are not
read here: this is the test split, which training refuses.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from air_reasoning.answers import Verdict
from air_reasoning.errors import DataError
from air_reasoning.eval.benchmarks.adapter import (
    Adapter,
    OutputFields,
    check_pictures,
    item_task,
    need_count,
    need_keys,
)
from air_reasoning.json_io import read_jsonl
from air_reasoning.types import Answer, Task

SOURCE = "https://github.com/pipilurj/G-LLaVA"
DOWNLOAD = "download test_questions.jsonl, test_answers.jsonl and images.zip of Luckyjhg/Geo170K"
COUNT = 754
_PHRASES = [
    re.compile(pattern)
    for pattern in (
        r"Answer:([A-D])",
        r"the correct answer is option ([A-D])",
        r"option ([A-D]) is selected",
        r"the answer is option ([A-D])",
        r"the answer is \(([A-D])\)",
    )
]
_LAST = re.compile(r"is ([A-D])")
_CHOICE = re.compile(r"\(?\b([A-D])[).:]\s*(.*?)(?=\s*\(?\b[A-D][).:]|$)", re.S)


def load(folder: Path, split: str = "test", *, images: bool = True) -> list[Task]:
    """Questions in the file's order; ids are ``question_id``.

    Raises:
        DataError: a file or picture is missing, a key is, an answer is, or there are not 754.
    """
    del split
    names = ("test_questions.jsonl", "test_question.jsonl")
    path = next((folder / name for name in names if (folder / name).is_file()), None)
    answers = folder / "test_answers.jsonl"
    if path is None or not answers.is_file():
        raise DataError(f"{answers if path else folder / names[0]}: not there; {DOWNLOAD}")
    gold = dict[str, str]()
    for where, row in read_jsonl(answers):
        need_keys(row, ("question_id", "text"), where, DOWNLOAD)
        gold[str(row["question_id"])] = str(row["text"]).strip()
    rows = list[Mapping[str, Any]]()
    for where, row in read_jsonl(path):
        need_keys(row, ("question_id", "image", "text"), where, DOWNLOAD)
        if str(row["question_id"]) not in gold:
            raise DataError(f"{where}: question {row['question_id']} has no line in {answers}")
        rows.append(row)
    need_count(rows, COUNT, path, DOWNLOAD)
    if images:
        check_pictures(folder, [f"images/{row['image']}" for row in rows], DOWNLOAD)
    return [_task(row, gold[str(row["question_id"])], folder if images else None) for row in rows]


def official_letter(text: str) -> str:
    """``C`` for ``So the answer is (C).``; "" where no phrasing fits."""
    for phrase in _PHRASES:
        if match := phrase.search(text):
            return match[1]
    parts = text.split(".")
    match = _LAST.search(parts[-2].strip()) if len(parts) > 1 else None
    return match[1] if match is not None else ""


def official_verdict(task: Task, text: str) -> Verdict:
    """From the raw response."""
    return official_extraction(task, official_letter(text))


def official_extraction(task: Task, text: str) -> Verdict:
    """A letter."""
    text = text.strip()
    return Verdict(
        correct=text == task.answer.value,
        method="choice" if text else "none",
        extracted=text or None,
        route="fallback" if text else "none",
    )


def _task(row: Mapping[str, Any], gold: str, folder: Path | None) -> Task:
    question = str(row["text"]).replace("<image>", "").strip()
    _, _, options = question.partition("Choices")
    return item_task(
        "geoqa",
        str(row["question_id"]),
        question=question,
        answer=Answer(value=gold, type="choice", rule="geoqa"),
        picture=None if folder is None else folder / "images" / str(row["image"]),
        source=SOURCE,
        license="as GeoQA: for research",
        download=DOWNLOAD,
        kind="choice",
        choices=[text.strip() for _, text in _CHOICE.findall(options)],
    )


ADAPTER = Adapter(
    name="geoqa",
    title="GeoQA (Geo170K)",
    splits=("test",),
    load=load,
    official=official_verdict,
    official_extraction=official_extraction,
    outputs=OutputFields(id=("question_id",), response=("text", "response")),
    download=DOWNLOAD,
)
