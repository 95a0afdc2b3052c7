r"""LogicVista (Yijia-Xiao/LogicVista, Apache-2.0): 448 items, most options in the picture.

The folder holds ``dataset.json`` (or the shorter ``dataset_fields.json``) and ``images/``. Official
scoring (``eval/extract_accuracy_new.py``): a language model names the letters that the raw answer
chooses ("zzzzz" for none), lower-cased and sorted they must be those of the gold answer. Here rules
read the letters; where only the option's text was answered, the options in the question are used if
``dataset.json`` is there. One gold answer is empty and one is the digit 3, as published.
"""

import ast
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from air_reasoning.answers import Verdict, check_answer
from air_reasoning.errors import DataError
from air_reasoning.eval.benchmarks.adapter import Adapter, OutputFields, item_task
from air_reasoning.json_io import read_json
from air_reasoning.types import Answer, Task

SOURCE = "https://github.com/Yijia-Xiao/LogicVista"
DOWNLOAD = "download data/dataset.json and data/images/ of github.com/Yijia-Xiao/LogicVista"
COUNT = 448
NONE = "zzzzz"
MAX_CHARS = 8_000

_GROUP = (
    r"((?:option|choice|image|figure|set|ball|box|diagram|letter|proposals?|answers?)?\W{0,4}"
    r"(?-i:[A-I])(?![\w'’])(?:\W{1,3}(?:and|or|&)?\W{0,3}(?-i:[A-I])(?![\w'’]))*)"
    r"(?!\s+(?!and|or)[a-z]{2,})"
)
_STATED = re.compile(
    r"\b(?:answers?|options?|choices?|conclusion|statement|set|figure|image|one)\b[^.\n]{0,60}?"
    r"(?:\b(?:is|are|be|belongs to)\b|:)\s*" + _GROUP,
    re.I,
)
_SELECTED = re.compile(
    r"\b(?:select|choose|chose|pick|belongs? to|which is|option)\s+" + _GROUP, re.I
)
_TAIL = re.compile(r"answer\s*:\s*([^:]{0,60})$", re.I)
_TAIL_LETTER = re.compile(r"(?<![a-z'])([a-z])(?![a-z'])", re.I)
_LEADING = re.compile(r"^\W*([A-I])\s*(?:[).:,\-]|$|\n)")
_LISTED = re.compile(r"(?:^|\s)\(?([A-I])[).:]")
_ALONE = re.compile(r"(?<![A-Za-z'’])([A-Z])(?![A-Za-z'’])")
_OPTION = re.compile(r"\(?\b([A-I])\)\s*(.*?)(?=\s*\(?\b[A-I]\)|$)", re.S)
# Statements are to be judged so in every item of that kind.
_JUDGED = (("insufficient information", "c"), ("true", "a"), ("false", "b"))


def load(folder: Path, split: str = "test", *, images: bool = True) -> list[Task]:
    """All 448 items in the file's order.

    Raises:
        DataError: the file or a picture is missing, or the number of items is not 448.
    """
    del split
    names = ("dataset.json", "dataset_fields.json")
    path = next((folder / name for name in names if (folder / name).is_file()), None)
    if path is None:
        raise DataError(f"{folder / names[0]}: not there; {DOWNLOAD} into one folder")
    rows = read_json(path)
    if not isinstance(rows, dict) or len(rows) != COUNT:
        raise DataError(f"{path}: expected an object of {COUNT} items; {DOWNLOAD} again")
    return [_task(key, row, folder if images else None, path) for key, row in rows.items()]


def official_verdict(task: Task, text: str) -> Verdict:
    """From the raw answer, letters read by rules."""
    letters = read_letters(text, str(task.meta.get("question", "")))
    return _same_letters(task, letters)


def official_extraction(task: Task, text: str) -> Verdict:
    """From letters: the official CSV's Python list (``['a', 'c']``), or ``A, C`` and the like."""
    try:
        letters = [str(letter) for letter in ast.literal_eval(text[:MAX_CHARS])]
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        letters = read_letters(text)
    return _same_letters(task, letters)


def strict_verdict(task: Task, text: str) -> Verdict:
    """One letter by this project's own extraction; several letters as a set."""
    if "," not in task.answer.value:
        return check_answer(task.answer, text, [])
    return official_verdict(task, text)


def read_letters(raw: str, question: str = "") -> list[str]:
    """The letters that a raw answer chooses: lower case, sorted, ``["zzzzz"]`` for none.

    ``read_letters("The answer is A and B.")`` is ``["a", "b"]``. In this order: one character;
    behind a last "answer:"; "the answer is", "select"; a letter in front, unless it begins a list
    of options; all capital letters that stand alone; the text of an option of the question.
    """
    text = raw.split("ASSISTANT:")[1] if "ASSISTANT:" in raw else raw
    text = re.sub(r"[\u200b\ufeff]", "", text).strip()[:MAX_CHARS]
    if len(text) <= 1:
        known = text.lower() in "abcde" or text.isdigit()
        return [text.lower()] if known else [NONE]
    tail = _TAIL.search(text)
    if tail is not None:
        letters = _TAIL_LETTER.findall(tail[1][:40])
        if letters or not tail[1].strip():
            return _sorted(letters)
    stated = list(_STATED.finditer(text)) or list(_SELECTED.finditer(text))
    if stated:
        return _sorted(_ALONE.findall(stated[-1][1]))
    leading = _LEADING.match(text)
    if leading is not None and len(set(_LISTED.findall(text))) < 3:
        return [leading[1].lower()]
    letters = [letter for letter in _ALONE.findall(text) if letter != "I"]
    return _sorted(letters) if letters else _by_text(text, question)


def _sorted(letters: list[str]) -> list[str]:
    return sorted({letter.lower() for letter in letters}) or [NONE]


def _by_text(text: str, question: str) -> list[str]:
    """The option whose words the answer repeats; "true" and "false" are options A and B."""
    said = " ".join(text.casefold().split()).strip(" .")
    for letter, option in _OPTION.findall(question):
        words = " ".join(option.casefold().split()).strip(" .,")
        if words and (words == said or (len(words) > 3 and words in said)):
            return [letter.lower()]
    for word, letter in _JUDGED:
        if re.search(rf"\b{word}\b", said[:120]):
            return [letter]
    return [NONE]


def _same_letters(task: Task, letters: list[str]) -> Verdict:
    gold = sorted(part.lower() for part in task.answer.value.split(", "))
    given = sorted(letter.lower() for letter in letters)
    extracted = ", ".join(given)
    none = given in ([NONE], [""], [])
    return Verdict(
        correct=gold == given,
        method="none" if none else "choice",
        extracted=None if none else extracted,
        route="none" if none else "fallback",
    )


def _task(key: str, row: Mapping[str, Any], folder: Path | None, path: Path) -> Task:
    for name in ("imagename", "answer"):
        if name not in row:
            raise DataError(f"{path}: {key}: key {name!r} is missing; {DOWNLOAD} again")
    question = str(row.get("question", ""))
    skills = row.get("skill") or ["?"]
    return item_task(
        "logicvista",
        key,
        question=question,
        answer=Answer(value=str(row["answer"]), type="choice", rule="logicvista"),
        picture=None if folder is None else folder / "images" / str(row["imagename"]),
        source=SOURCE,
        license="Apache-2.0",
        download=DOWNLOAD,
        kind=str(skills[0]),
        meta={
            "question": question,
            "capability": row.get("capability", row.get("broad_capability")),
        },
    )


def task_of_output(row: Mapping[str, Any]) -> Task:
    """The gold answer that a row of an official results file carries."""
    answer = ", ".join(ast.literal_eval(str(row["true answer"]))).upper()
    data = {"imagename": "", "answer": answer, "skill": ast.literal_eval(row["reasoning skill"])}
    return _task(str(row["id"]), data, None, Path("responses"))


ADAPTER = Adapter(
    name="logicvista",
    title="LogicVista",
    splits=("test",),
    load=load,
    official=official_verdict,
    official_extraction=official_extraction,
    strict=strict_verdict,
    outputs=OutputFields(
        id=("id",), response=("* answer raw", "answer"), extraction=("* answer extracted",)
    ),
    task_of_output=task_of_output,
    judged_by_model="letters are read by rules; officially GPT-4 names them",
    extracted_by_model=True,
    download=DOWNLOAD,
)
