r"""MathVerse testmini (ZrrSkywalker/MathVerse, MIT): 788 problems in five versions, and text-only.

The folder holds ``testmini.json`` (3,940 rows), ``testmini_text_only.json`` (788) and
``images/``. Officially one language model extracts the answer and another judges it 0 or 1, or
``--quick_match`` asks for equal text. Here rules extract (``prose_choice``, ``prose_number``);
a choice is right if its letter is; a free-form answer is right if the texts are equal (quick
match) or, with ``--judge``, if the judge model says so. ``strict`` compares by value, with
"118掳T" read as "118°T".
"""

import ast
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from air_reasoning.answers import Verdict, check_answer, compare, extract_answer
from air_reasoning.errors import DataError
from air_reasoning.eval.benchmarks.adapter import (
    BY_KIND,
    Adapter,
    OutputFields,
    check_pictures,
    item_task,
    need_count,
    need_keys,
)
from air_reasoning.eval.benchmarks.prose import extract_marked, sentences, window
from air_reasoning.eval.benchmarks.prose_choice import read_choice
from air_reasoning.eval.benchmarks.prose_number import read_number
from air_reasoning.json_io import read_json
from air_reasoning.types import Answer, Task

SOURCE = "https://github.com/ZrrSkywalker/MathVerse"
DOWNLOAD = "download testmini.json, testmini_text_only.json and images.zip of AI4Math/MathVerse"
COUNTS = {"testmini": 3940, "testmini_text_only": 788}
_KEYS = ("sample_index", "problem_version", "question", "answer", "question_type")
_CHOICE = re.compile(r"(?:^|\n)\s*([A-H])\s*[:.]\s*(.*?)(?=\n\s*[A-H]\s*[:.]|\Z)", re.S)
_EQUATION = re.compile(r"[A-Za-z](?:\([a-z]\))?\s*=\s*[^=]+$")


def load(folder: Path, split: str = "testmini", *, images: bool = True) -> list[Task]:
    """Rows in the file's order; ids are ``sample_index``; the prompt is the official ``query_cot``.

    Raises:
        DataError: the file or a picture is missing, a key is, or the count is not the official one.
    """
    if split not in COUNTS:
        raise DataError(f"MathVerse has no split {split!r}; expected {', '.join(COUNTS)}")
    path = folder / f"{split}.json"
    if not path.is_file():
        raise DataError(f"{path}: not there; {DOWNLOAD} into one folder")
    rows = read_json(path)
    need_count(rows, COUNTS[split], path, DOWNLOAD)
    for number, row in enumerate(rows):
        need_keys(row, _KEYS, f"{path}: item {number}", DOWNLOAD)
    names = [f"images/{row['image']}" for row in rows if row.get("image")]
    if images:
        check_pictures(folder, names, DOWNLOAD)
    return [_task(row, folder if images else None) for row in rows]


def extract(task: Task, text: str) -> str:
    """The short answer of a raw response, by rules in place of the extractor model."""
    if task.answer.type == "choice":
        return read_choice(text, str(task.meta["question"]), task.choices)
    marked = extract_marked(text)
    if marked:
        return marked
    found = extract_answer(text, "expr")
    if found.route == "phrase":
        return found.text
    for sentence in sentences(window(text)):
        if equation := _EQUATION.search(sentence):
            return equation[0].rstrip(". ")
    return read_number(text, str(task.meta["question"]))


def official_verdict(task: Task, text: str) -> Verdict:
    """Rules extract; letters or texts must be equal (``--quick_match``)."""
    return official_extraction(task, extract(task, text))


def official_extraction(task: Task, text: str) -> Verdict:
    """A stored extraction: equal letter, or equal text."""
    text = text.strip()
    correct = text == task.answer.value
    if task.answer.type == "choice" and not correct:
        correct = read_choice(text, "", task.choices) == task.answer.value
    return Verdict(
        correct=correct,
        method="string" if text else "none",
        extracted=text or None,
        route="fallback" if text else "none",
    )


def strict_verdict(task: Task, text: str) -> Verdict:
    """By value; the letter of a choice or its text."""
    if task.answer.type == "choice":
        return check_answer(task.answer, text, task.choices)
    found = extract(task, text)
    gold = Answer(value=_readable(task.answer.value), type="expr")
    correct, method, timed_out = compare(gold, found, [])
    return Verdict(
        correct=correct, method=method, extracted=found or None, timed_out=timed_out,
        route="fallback" if found else "none",
    )  # fmt: skip


def _readable(gold: str) -> str:
    """A gold value without the marks that no answer writes: mojibake and the bearing's T."""
    gold = gold.replace("掳", "°").strip()
    return re.sub(r"(°|\\circ)\s*T$", r"\1", gold)


def _task(row: Mapping[str, Any], folder: Path | None) -> Task:
    metadata = row.get("metadata") or {}
    if isinstance(metadata, str):  # some copies hold its Python form
        metadata = ast.literal_eval(metadata)
    is_choice = row["question_type"] == "multi-choice"
    choices = [text.strip() for _, text in _CHOICE.findall(row["question"])] if is_choice else []
    picture = folder / "images" / str(row["image"]) if folder and row.get("image") else None
    return item_task(
        "mathverse",
        str(row["sample_index"]),
        question=str(row.get("query_cot") or row["question"]),
        answer=Answer(
            value=str(row["answer"]).strip(), type="choice" if is_choice else "expr",
            rule="mathverse",
        ),
        picture=picture,
        source=SOURCE,
        license="MIT",
        download=DOWNLOAD,
        kind=str(row["problem_version"]),
        choices=choices,
        meta={"question": row["question"], "subject": metadata.get("subject", "")},
    )  # fmt: skip


def task_of_output(row: Mapping[str, Any]) -> Task:
    """The item that a row of an official output file carries itself."""
    return _task({"image": "", **row}, None)


ADAPTER = Adapter(
    name="mathverse",
    title="MathVerse",
    splits=("testmini", "testmini_text_only"),
    load=load,
    official=official_verdict,
    official_extraction=official_extraction,
    strict=strict_verdict,
    extract=extract,
    outputs=OutputFields(id=("sample_index",), response=("model_answer", "response")),
    task_of_output=task_of_output,
    figures=BY_KIND,
    judged_by_model="free-form answers by equal text (--quick_match); officially a model judges",
    extracted_by_model=True,
    download=DOWNLOAD,
)
