r"""DynaMath (DynaMath/DynaMath, MIT): 501 seed questions in ten drawn variants each.

The folder holds ``variant_1/`` ... ``variant_10/``, each with the ``dataset.json`` (an object "1"
to "501") and ``image/`` that the official generator writes; or one ``dataset.json``, which is
variant 1; or the parquet files of DynaMath_Sample (``dynamath_parquet``). Official scoring
(``evaluation/*_json_eval.py``): the response is JSON with "short answer"; a float is right within
0.001 (``2π`` has a value), a letter if it is among the first three characters, a text if it
contains the gold answer. Average accuracy is over all variants, worst case over seeds that are
right in every variant.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from air_reasoning.answers import Verdict, check_answer
from air_reasoning.errors import DataError
from air_reasoning.eval.benchmarks.adapter import (
    Adapter,
    OutputFields,
    OwnFigures,
    Results,
    Tally,
    check_pictures,
    item_task,
    need_count,
    need_keys,
    quotient,
)
from air_reasoning.eval.benchmarks.dynamath_parquet import parquet_files, read_variant
from air_reasoning.json_io import read_json
from air_reasoning.types import Answer, AnswerType, Task

SOURCE = "https://github.com/DynaMath/DynaMath"
DOWNLOAD = (
    "download data/*.parquet of DynaMath/DynaMath_Sample into it, or make variants with "
    "dataset_generator/ of github.com/DynaMath/DynaMath, each dataset.json and image/ in a folder "
    "variant_1 to variant_10"
)
SEEDS = 501
VARIANTS = 10
TOLERANCE = 0.001
_KEYS = ("question", "answer", "answer_type")
_TYPES: dict[str, AnswerType] = {"float": "float", "multiple choice": "choice"}
_GUIDE = (
    '\nAnswer in JSON with the keys "solution" (the steps) and "short answer" (a letter for a '
    "choice, a number with three decimals for a number)."
)


def load(folder: Path, split: str = "test", *, images: bool = True) -> list[Task]:
    """Every variant's questions; ids are ``SEED@VARIANT``.

    Raises:
        DataError: nothing there, a variant left out between others, a picture or a key missing, or
            a variant that has not 501 questions.
    """
    del split
    tasks = list[Task]()
    for number, (part, path, rows) in _variants(folder, images).items():
        need_count(list(rows), SEEDS, path, DOWNLOAD)
        for key, row in rows.items():
            need_keys(row, _KEYS, f"{path}: {key}", DOWNLOAD)
        if images:
            check_pictures(part, [_picture(key, row) for key, row in rows.items()], DOWNLOAD)
        tasks += [_task(key, row, number, part if images else None) for key, row in rows.items()]
    return tasks


Variant = tuple[Path, Path, Mapping[str, Mapping[str, Any]]]


def _variants(folder: Path, images: bool) -> dict[int, Variant]:
    """By number: where its pictures are, the file of its rows, the rows by seed."""
    parts = {n: folder / f"variant_{n}" for n in range(1, VARIANTS + 1)}
    found = {n: part for n, part in parts.items() if (part / "dataset.json").is_file()}
    if not found and (folder / "dataset.json").is_file():
        found = {1: folder}
    files = {} if found else parquet_files(folder)
    if not found and not files:
        raise DataError(f"{folder}: no variant_1/dataset.json and no parquet; {DOWNLOAD}")
    numbers = sorted(found or files)
    if numbers != list(range(1, len(numbers) + 1)):
        left_out = min(set(range(1, numbers[-1])) - set(numbers))
        raise DataError(f"{folder}: variant {left_out} is not there; {DOWNLOAD}")
    if found:
        jsons = {n: part / "dataset.json" for n, part in found.items()}
        return {n: (found[n], path, read_json(path)) for n, path in jsons.items()}
    return {n: read_variant(folder, n, files[n], images) for n in numbers}


def short_answer(response: str) -> str:
    """``short answer`` of the JSON, or of the outermost braces once backslashes are removed.

    Else the last line without its last character; JSON without that key answers nothing.
    """
    start, end = response.find("{"), response.rfind("}")
    body = response[start : end + 1].replace("\\", "") if 0 <= start < end else response
    for text in (response, body):
        try:
            data = json.loads(text, strict=False)
        except (ValueError, RecursionError):
            continue
        if not isinstance(data, dict):
            return ""
        return str(cast(dict[str, Any], data).get("short answer")).replace("\\", "")
    return body.split("\n")[-1][:-1]


def official_verdict(task: Task, text: str) -> Verdict:
    """From the raw response."""
    return official_extraction(task, short_answer(text))


def official_extraction(task: Task, text: str) -> Verdict:
    """From the short answer."""
    gold = task.answer.value
    match task.answer.type:
        case "float":
            value = _value(text)
            correct = value is not None and abs(value - float(gold)) <= TOLERANCE
        case "choice":
            correct = text == gold if len(text) == 1 else gold in text[:3]
        case _:
            correct = gold in text
    found = bool(text.strip()) and text != "None"
    return Verdict(
        correct=bool(correct and found),
        method=("number" if task.answer.type == "float" else "string") if found else "none",
        extracted=text if found else None,
        route="fallback" if found else "none",
    )


def strict_verdict(task: Task, text: str) -> Verdict:
    """The short answer, or what this project extracts, compared by value; texts must be equal."""
    answer = short_answer(text) if "short answer" in text else ""
    return check_answer(task.answer, answer or text, task.choices)


def _value(text: str) -> float | None:
    """The first word as a number; with π, what stands before it times π."""
    word = text if text.isdigit() else text.split(" ")[0]
    try:
        return float(word.split("π")[0]) * math.pi if "π" in word else float(word)
    except ValueError:
        return None


def tally(results: Results) -> list[Tally]:
    """By seed: its variants, those that are right, and whether all are."""
    seeds = dict[str, list[bool]]()
    for task, correct in results:
        seeds.setdefault(str(task.meta["seed"]), []).append(correct)
    return [
        {"n": len(right), "right": sum(right), "seeds": 1, "whole": all(right)}
        for right in seeds.values()
    ]


def figures(sums: Tally) -> dict[str, float | None]:
    """Average over all variants, worst case over seeds, and how far they agree (their quotient)."""
    average, worst = sums["right"] / sums["n"], sums["whole"] / sums["seeds"]
    return {
        "average accuracy": average,
        "worst-case accuracy": worst,
        "reasoning robustness": quotient(worst, average),
        "variants a seed": sums["n"] / sums["seeds"],
    }


def _picture(key: str, row: Mapping[str, Any]) -> str:
    return str(row.get("image") or f"image/image{key}.png")


def _task(key: str, row: Mapping[str, Any], variant: int, folder: Path | None) -> Task:
    kind = _TYPES.get(str(row["answer_type"]), "text")
    question = str(row["question"])
    if kind == "float":
        question += " Please answer in a floating-point number."
    return item_task(
        "dynamath",
        f"{key}@{variant}",
        question=question + _GUIDE,
        answer=Answer(
            value=str(row["answer"]), type=kind, rule="dynamath",
            tolerance=TOLERANCE if kind == "float" else None,
        ),
        picture=None if folder is None else folder / _picture(key, row),
        source=SOURCE,
        license="MIT",
        download=DOWNLOAD,
        kind=str(row["answer_type"]),
        meta={
            "seed": key,
            "variant": variant,
            "subject": row.get("subject", ""),
            "level": row.get("level", row.get("knowledge level", "")),
        },
    )  # fmt: skip


ADAPTER = Adapter(
    name="dynamath",
    title="DynaMath",
    splits=("test",),
    load=load,
    official=official_verdict,
    official_extraction=official_extraction,
    strict=strict_verdict,
    outputs=OutputFields(
        id=("id@variant",), extraction=("response.short answer", "short answer", "extraction")
    ),
    figures=OwnFigures(tally=tally, of=figures),
    download=DOWNLOAD,
)
