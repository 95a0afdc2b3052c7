r"""MathVista testmini (lupantech/MathVista, CC BY-SA 4.0, for tests only): 1,000 items.

The folder holds ``testmini.json`` (an object by pid) and ``images/``. Official scoring follows
``evaluation/calculate_score.py``: a choice is a letter in brackets, a bare letter, or else the
option at the smallest edit distance (so anything chooses something); integers are cut off
(``int(float(x))``), floats rounded to the item's precision, lists compared as text. Before that the
official ``extract_answer.py`` takes the response as it is where it is an option or a number, and
asks a language model otherwise; rules stand in for that model (``prose_choice``, ``prose_number``).
Gold errors are kept.

The script's first version parsed integers with ``int(x)``, which has no value for "5.0". A file
whose own stored predictions show that version (null for such an extraction) is scored by it.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from air_reasoning.answers import Method, Verdict
from air_reasoning.errors import DataError
from air_reasoning.eval.benchmarks.adapter import (
    Adapter,
    OutputFields,
    Scorer,
    check_pictures,
    item_task,
    lettered,
    need_count,
    need_keys,
)
from air_reasoning.eval.benchmarks.prose_choice import read_choice, read_last_question
from air_reasoning.eval.benchmarks.prose_number import read_number
from air_reasoning.json_io import read_json
from air_reasoning.types import Answer, AnswerType, Task

SOURCE = "https://github.com/lupantech/MathVista"
DOWNLOAD = "download data/testmini.json and images.zip of MathVista (AI4Math/MathVista) and unpack"
COUNTS = {"testmini": 1000}
_KEYS = ("question", "image", "choices", "precision", "answer", "question_type", "answer_type")
_LETTER = re.compile(r"\(([a-zA-Z])\)")
_TYPES: dict[str, AnswerType] = {"integer": "int", "float": "float", "list": "list"}
MAX_EDIT_CHARS = 2_000

_HINTS = {
    "choice": "provide the correct option letter, e.g., A, B, C, D, at the end.",
    "int": "requiring an integer answer and provide the final value, e.g., 1, 2, 3, at the end.",
    "list": "requiring a Python list as an answer and provide the final list, "
    "e.g., [1, 2, 3], [1.2, 1.3, 1.4], at the end.",
    1: "requiring a floating-point number with one decimal place and provide the final value, "
    "e.g., 1.2, 1.3, 1.4, at the end.",
    2: "requiring a floating-point number with two decimal places and provide the final value, "
    "e.g., 1.23, 1.34, 1.45, at the end.",
}


def load(folder: Path, split: str = "testmini", *, images: bool = True) -> list[Task]:
    """The items in the file's order; the prompt is the official query (hint, question, choices).

    Raises:
        DataError: the file or a picture is missing, a key is, or the count is not 1,000.
    """
    if split not in COUNTS:
        raise DataError(f"MathVista {split!r} has no public answers; expected {', '.join(COUNTS)}")
    path = folder / f"{split}.json"
    if not path.is_file():
        raise DataError(f"{path}: not there; {DOWNLOAD} into one folder")
    rows = read_json(path)
    need_count(rows, COUNTS[split], path, DOWNLOAD)
    for pid, row in rows.items():
        need_keys(row, _KEYS, f"{path}: pid {pid}", DOWNLOAD)
    if images:
        check_pictures(folder, [row["image"] for row in rows.values()], DOWNLOAD)
    return [_task(pid, row, folder if images else None) for pid, row in rows.items()]


def official_verdict(task: Task, text: str) -> Verdict:
    """From the raw response: official shortcuts, then rules in place of the extractor model."""
    return official_extraction(task, extract(task, text))


def official_extraction(task: Task, text: str, *, whole_integers: bool = False) -> Verdict:
    """The official rules on an extraction; ``whole_integers`` is the script's first version."""
    prediction, method = normalize_extraction(task, text, whole_integers=whole_integers)
    correct = prediction is not None and prediction == task.answer.value
    found = bool(text.strip()) and prediction is not None
    return Verdict(
        correct=correct,
        method=method if found else "none",
        extracted=text if found else None,
        route="fallback" if found else "none",
    )


def extract(task: Task, response: str) -> str:
    """A response's short answer, as ``extract_answer.py`` asks a language model for it."""
    question = str(task.meta["question"])
    if not response:
        return ""
    if short := plain_answer(task, response):
        return short
    if continued := read_last_question(response, question):
        return continued
    if task.choices:
        return read_choice(response, question, task.choices)
    return response if task.answer.type == "list" else read_number(response, question)


def normalize_extraction(
    task: Task, text: str, *, whole_integers: bool = False
) -> tuple[str | None, Method]:
    """The official prediction and the rule that gave it; None where it has no value.

    For a choice it is the option's text: ``(B)`` and ``B`` are the second option,
    ``8.4`` is the nearest of ``["7.5", "8.5"]``.
    """
    match task.answer.type:
        case "choice":
            return _nearest_choice(text.strip(), task.choices)
        case "int":
            return _integer(text, whole=whole_integers), "number"
        case "float":
            return _rounded(text, task.answer.precision or 0), "number"
        case _:
            return text, "string"


def plain_answer(task: Task, response: str) -> str:
    """A response that is nothing but an option or a number, for which no model is asked."""
    if response in task.choices:
        return response
    try:
        if task.answer.type == "int":
            return str(int(response))
        if task.answer.type == "float":
            return str(float(response))
    except ValueError:
        pass
    return ""


def _nearest_choice(text: str, choices: Sequence[str]) -> tuple[str, Method]:
    bracketed = _LETTER.findall(text)
    letter = bracketed[0].upper() if bracketed else text
    if len(letter) == 1 and 0 <= ord(letter) - ord("A") < len(choices):
        return choices[ord(letter) - ord("A")], "choice"
    distances = [edit_distance(letter, choice) for choice in choices]
    index = distances.index(min(distances))
    return choices[index], "choice" if distances[index] == 0 else "nearest"


def _integer(text: str, *, whole: bool) -> str | None:
    try:
        return str(int(text) if whole else int(float(text)))
    except (ValueError, OverflowError):
        return None


def _rounded(text: str, precision: int) -> str | None:
    try:
        return str(round(float(text), precision))
    except (ValueError, OverflowError):
        return None


def edit_distance(a: str, b: str) -> int:
    """Levenshtein distance of texts cut at ``MAX_EDIT_CHARS``; the cut-off rest counts whole."""
    if len(a) < len(b):
        a, b = b, a
    rest = max(0, len(a) - MAX_EDIT_CHARS)
    a, b = a[:MAX_EDIT_CHARS], b[:MAX_EDIT_CHARS]
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (x != y))
    return row[-1] + rest


def for_outputs(rows: Sequence[Mapping[str, Any]]) -> tuple[Scorer, str]:
    """The scorer of extractions for one output file, by the version that its predictions show."""
    cut_off = [row for row in rows if _decimal_for_integer(row)]
    if cut_off and all(row["prediction"] is None for row in cut_off):

        def first_version(task: Task, text: str) -> Verdict:
            return official_extraction(task, text, whole_integers=True)

        return first_version, "integers as in the script's first version, which this file shows"
    return official_extraction, ""


def _decimal_for_integer(row: Mapping[str, Any]) -> bool:
    """An integer item with a stored prediction whose extraction is a decimal number."""
    text = str(row.get("extraction", ""))
    asked = "prediction" in row and row.get("answer_type") == "integer"
    return (
        asked
        and not row.get("choices")
        and _integer(text, whole=True) != _integer(text, whole=False)
    )


def _query(row: Mapping[str, Any], choices: Sequence[str], kind: AnswerType) -> str:
    hint = _HINTS[int(row["precision"] or 1) if kind == "float" else kind]
    lead = "Please answer the question and " if kind == "choice" else "Please answer the question "
    unit = f" (Unit: {row['unit']})" if row.get("unit") else ""
    lines = [f"Hint: {lead}{hint}", f"Question: {row['question']}{unit}"]
    return "\n".join([*lines, *(["Choices:", *lettered(choices)] if choices else [])])


def _task(pid: str, row: Mapping[str, Any], folder: Path | None) -> Task:
    choices = [str(choice) for choice in row["choices"] or []]
    kind = "choice" if choices else _TYPES.get(row["answer_type"], "text")
    metadata = cast(Mapping[str, Any], row.get("metadata") or {})
    precision = int(row["precision"]) if kind == "float" and row["precision"] else None
    return item_task(
        "mathvista",
        str(pid),
        question=_query(row, choices, kind),
        answer=Answer(
            value=str(row["answer"]), type=kind, precision=precision, unit=row.get("unit") or "",
            rule="mathvista",
        ),
        picture=None if folder is None else folder / str(row["image"]),
        source=SOURCE,
        license="CC BY-SA 4.0",
        download=DOWNLOAD,
        kind=str(metadata.get("task", row["question_type"])),
        choices=choices,
        meta={
            "question": row["question"],
            "source_dataset": metadata.get("source", ""),
            "grade": metadata.get("grade", ""),
            "skills": metadata.get("skills", []),
        },
    )  # fmt: skip


def task_of_output(row: Mapping[str, Any]) -> Task:
    """The item that a row of an official output file carries itself."""
    return _task(str(row["pid"]), {"question": "", "image": "", **row}, None)


ADAPTER = Adapter(
    name="mathvista",
    title="MathVista",
    splits=("testmini",),
    load=load,
    official=official_verdict,
    official_extraction=official_extraction,
    outputs=OutputFields(id=("pid", "id"), response=("execution", "response")),
    for_outputs=for_outputs,
    task_of_output=task_of_output,
    judged_by_model="answers are read off prose by rules; officially a GPT model extracts them",
    extracted_by_model=True,
    needs_no_model=plain_answer,
    download=DOWNLOAD,
)
