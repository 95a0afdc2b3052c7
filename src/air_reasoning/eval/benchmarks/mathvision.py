r"""MATH-Vision (mathllm/MATH-V, MIT): the official folder layout in, official and strict scoring.

The folder holds ``testmini.jsonl`` and/or ``test.jsonl`` and ``images/``. Official scoring follows
``evaluation/evaluate.py`` of that repository, quirks included: the tail letter, the "answer is"
phrases, the greedy box, lower-casing, equality of values rounded to two decimals (so 1/55 passes
for 1/60), and an option's text counting like its letter. ``strict`` is ``answers.check_answer``.
Every item is test data.
"""

import re
from pathlib import Path
from typing import Any

from air_reasoning.answers import Verdict
from air_reasoning.arithmetic import evaluate
from air_reasoning.errors import DataError
from air_reasoning.eval.benchmarks.adapter import (
    Adapter,
    OutputFields,
    check_pictures,
    item_task,
    lettered,
    need_count,
    need_keys,
)
from air_reasoning.json_io import read_jsonl
from air_reasoning.types import Answer, Task

SOURCE = "https://github.com/mathllm/MATH-V"
LICENSE = "MIT"
COUNTS = {"testmini": 304, "test": 3040}
DOWNLOAD = (
    "download data/testmini.jsonl (or test.jsonl) and images/ of github.com/mathllm/MATH-V "
    "into one folder and pass that folder"
)

_KEYS = ("id", "question", "options", "answer", "level", "subject", "image")
_PHRASES = ("the final answer is", "the answer is", "the correct answer is", "the answer should be")
_UNITS = ("{m}^3", "m^3", "{units}", "units", "{km}", "km")
_ROUND_LETTER, _BRACED_LETTER = re.compile(r"\(([a-e])\)"), re.compile(r"\{([a-e])\}")
_UNREADABLE = re.compile(r"[π√]|(?<!\\)sqrt")
_SENTENCE = re.compile(r"\.(?!\d)")


def load(folder: Path, split: str = "testmini", *, images: bool = True) -> list[Task]:
    """The tasks of one split, in the file's order.

    The picture comes first (one composite picture an item; ``<image2>`` in a question names a part
    of it and stays in the text), then the question and lettered options. ``meta`` has ``split``
    ("test"), ``subject``, ``level``, ``kind`` (choice or free) and ``benchmark``.

    Raises:
        DataError: the folder, the file or a picture is missing or broken, a line lacks a key, or
            the number of items is not the official one.
    """
    path = folder / f"{split}.jsonl"
    if split not in COUNTS:
        raise DataError(f"MATH-Vision has no split {split!r}; expected one of {', '.join(COUNTS)}")
    if not path.is_file():
        raise DataError(f"{path}: not there; to get it, {DOWNLOAD}")
    rows = list[dict[str, Any]]()
    for where, row in read_jsonl(path):
        need_keys(row, _KEYS, where, DOWNLOAD)
        rows.append(row)
    need_count(rows, COUNTS[split], path, DOWNLOAD)
    if images:
        check_pictures(folder, [row["image"] for row in rows], DOWNLOAD)
    return [_task(row, folder if images else None) for row in rows]


def official_correct(task: Task, text: str) -> bool:
    """The verdict of the official script on a raw response."""
    return official_equal(task.answer.value, official_answer(text), task.choices)


def official_verdict(task: Task, text: str) -> Verdict:
    """``official_correct`` in the shape of ``check_answer``."""
    given = official_answer(text)
    return _verdict(official_equal(task.answer.value, given, task.choices), given)


def official_extraction(task: Task, text: str) -> Verdict:
    """The official comparison of a stored ``model_answer``."""
    correct = official_equal(task.answer.value, text, task.choices)
    return _verdict(correct, text)


def _verdict(correct: bool, given: str) -> Verdict:
    found = bool(given.strip())
    return Verdict(
        correct=correct,
        method="string" if found else "none",
        extracted=given if found else None,
        route="fallback" if found else "none",
    )


def official_answer(response: str) -> str:
    """``model_answer`` as the official script derives it: lower case, no spaces."""
    answer = response.strip()
    for letter in "ABCDE":
        ends = (f" {letter}.", f" ({letter}).")
        starts = (f"{letter}\n", f"({letter})\n", f"({letter}) {letter}\n")
        if answer.endswith(ends) or answer.startswith(starts):
            answer = letter
    tail = answer.split("is ")[-1].rstrip(".")
    if _is_float(tail):
        answer = tail
    if "oxed{" not in answer:
        for phrase in (p for lower in _PHRASES for p in (lower, lower.replace("the", "The"))):
            if phrase in answer:
                answer = answer.split(phrase)[-1].strip().split("\n")[0].split(". ")[0]
    elif answer.count("oxed{") > 1:
        answer = "\\boxed{" + answer.split("oxed{")[-1]
    answer = _BRACED_LETTER.sub(r"\1", _ROUND_LETTER.sub(r"\1", _canonical(answer)))
    return answer.rstrip(".").lstrip(":").strip()


def official_equal(gold: str, given: str, choices: list[str]) -> bool:
    """Equal to the gold answer or to the text of the gold option."""
    texts = [gold]
    if choices:
        texts.append(choices[ord(gold) - ord("A")])
    return any(_official_same(text.lower(), given.lower()) for text in texts)


def _official_same(gold: str, given: str) -> bool:
    if not gold.strip() or not given.strip():
        return False
    if gold.strip() == given.strip():
        return True
    if _rounded_items(gold) == _rounded_items(given):
        return True
    a, b = evaluate(_calculable(gold)), evaluate(_calculable(given))
    return a is not None and b is not None and round(float(a), 2) == round(float(b), 2)


def _rounded_items(text: str) -> str:
    """``(6.0,7.0)`` for ``(2*3,5+2)``; text unchanged where an item has no value."""
    items = text[1:-1].split(",")
    if len(items) < 2 or text[0] + text[-1] not in ("()", "[]"):
        return text
    values = [evaluate(_calculable(item)) for item in items]
    rounded = [str(round(float(value), 2)) for value in values if value is not None]
    return text[0] + ",".join(rounded) + text[-1] if len(rounded) == len(items) else text


def _calculable(text: str) -> str:
    r"""What the official LaTeX parser takes for the expression: it stops where its grammar ends.

    So ``\frac{1}{4}}.theansweris`` counts as 1/4, and ``1:4`` is a division.
    """
    text = text.replace("$", "").replace("\\displaystyle", "").replace(":", "/")
    if _UNREADABLE.search(text):
        return ""
    text = _SENTENCE.split(text)[0]
    depth = 0
    for index, char in enumerate(text):
        depth += (char == "{") - (char == "}")
        if depth < 0:
            return text[:index]
    return text.strip()


def _canonical(text: str) -> str:
    """The official normal form: the (greedy) box's content after the last ``=``, unitless."""
    text = text.lower().replace("{}", "")
    boxed = re.findall(r"oxed{(.*)}", text, re.S)
    text = boxed[-1] if boxed else text
    closing, opening = text.find("}"), text.find("{")
    if closing != -1 and (opening == -1 or closing < opening):
        text = text[:closing]
    text = text.split("=")[-1].split("\\approx")[-1]
    for old, new in ((" ", ""), ("\\,", ""), ("∞", "\\infty"), ("+\\infty", "\\infty")):
        text = text.replace(old, new)
    text = text.replace("\\\\", "\\").replace("\n", "").replace("\\text", "").replace("\\mbox", "")
    for command in ("\\left", "\\right", "^{\\circ}", "^\\circ", *_UNITS):
        text = text.replace(command, "")
    for old, new in (("\\!", ""), ("tfrac", "frac"), ("dfrac", "frac"), ("\\$", ""), ("$", "")):
        text = text.replace(old, new)
    text = text.replace("\\%", "").replace("{.", "{0.")
    text = "0" + text if text.startswith(".") else text
    if "sqrt" in text:
        text = re.sub(r"\\sqrt([^{])", r"\\sqrt{\1}", text)
        text = re.sub(r"\\frac([^{])([^{])", r"\\frac{\1}{\2}", text)
    if text == "0.5":
        return "\\frac{1}{2}"
    slash = re.fullmatch(r"(0|-?[1-9]\d*)/(0|-?[1-9]\d*)", text)
    return f"\\frac{{{slash[1]}}}{{{slash[2]}}}" if slash else text


def _is_float(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _task(row: dict[str, Any], folder: Path | None) -> Task:
    choices = [str(option) for option in row["options"]]
    kind = "choice" if choices else "expr"
    return item_task(
        "mathvision",
        str(row["id"]),
        question=_question(row, choices),
        answer=Answer(value=str(row["answer"]).strip(), type=kind, rule="mathvision"),
        picture=None if folder is None else folder / str(row["image"]),
        source=SOURCE,
        license=LICENSE,
        download=DOWNLOAD,
        kind="choice" if choices else "free",
        choices=choices,
        meta={"subject": row["subject"], "level": row["level"]},
    )


def _question(row: dict[str, Any], choices: list[str]) -> str:
    text = str(row["question"])
    if text.count("<image") == 1:
        text = text.replace("<image1>", "").strip()
    return "\n".join([text, *lettered(choices)])


ADAPTER = Adapter(
    name="mathvision",
    title="MATH-Vision",
    splits=("testmini", "test"),
    load=load,
    official=official_verdict,
    official_extraction=official_extraction,
    outputs=OutputFields(id=("id",), extraction=("model_answer", "extraction")),
    download=DOWNLOAD,
)
