r"""We-Math testmini (We-Math/We-Math, CC BY-NC 4.0): 1,740 questions, the steps of 525 problems.

The folder holds ``testmini.json`` and the pictures under its ``image_path``. Official scoring
(``evaluation/four_dimensional_metrics.py``): the text behind the last "Answer", without ``<>:.``,
must begin with the gold letter. The four-dimensional figures compare a problem with its own steps:
insufficient knowledge (steps and problem wrong), inadequate generalization (steps right, problem
wrong), complete mastery, and rote memorization (a step wrong, problem right; "loose": all steps
wrong). Score = (N - 0.5 IG - RM - IK) / N over the N = 525 problems.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from air_reasoning.answers import Verdict
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
from air_reasoning.json_io import read_json
from air_reasoning.types import Answer, Task

SOURCE = "https://github.com/We-Math/We-Math"
DOWNLOAD = "download data/testmini.json with data/2steps and data/3steps of We-Math/We-Math"
COUNT = 1740
PROBLEMS = 525
KNOWN: dict[str, Callable[[list[bool]], bool]] = {"strict": all, "loose": any}
"""Whether a problem's steps count as known."""
_KEYS = ("ID", "key", "question", "option", "answer", "image_path")
_OPTION = re.compile(r"^\s*([A-H])\s*[.．、:]?\s*")


def load(folder: Path, split: str = "testmini", *, images: bool = True) -> list[Task]:
    """Questions in the file's order; ids are ``ID:key``, as in ``2steps_1:2steps_multi``.

    Raises:
        DataError: the file or a picture is missing, a key is, or the count is not 1,740.
    """
    path = folder / f"{split}.json"
    if not path.is_file():
        raise DataError(f"{path}: not there; {DOWNLOAD} into one folder")
    rows = read_json(path)
    need_count(rows, COUNT, path, DOWNLOAD)
    for number, row in enumerate(rows):
        need_keys(row, _KEYS, f"{path}: item {number}", DOWNLOAD)
    if images:
        check_pictures(folder, [row["image_path"] for row in rows], DOWNLOAD)
    return [_task(row, folder if images else None) for row in rows]


def official_letter(response: str) -> str:
    """``B`` for ``Answer: B. 400``; "" where no letter follows the last "Answer"."""
    tail = re.sub(r"[<>:.]", "", response.split("Answer")[-1].strip()).strip()
    return tail[0] if tail and tail[0] in "ABCDEFGH" else ""


def official_verdict(task: Task, text: str) -> Verdict:
    """The letter behind the last "Answer", or the first letter of the text."""
    letter = official_letter(text)
    return Verdict(
        correct=letter == task.answer.value,
        method="choice" if letter else "none",
        extracted=letter or None,
        route="fallback" if letter else "none",
    )


def tally(results: Results) -> list[Tally]:
    """By problem of which every step was answered: which of the four dimensions it falls into."""
    problems = dict[str, dict[str, bool]]()
    for task, correct in results:
        problems.setdefault(str(task.meta["problem"]), {})[str(task.meta["step"])] = correct
    return [
        _dimensions([right for step, right in steps.items() if step != "multi"], steps["multi"])
        for steps in problems.values()
        if "multi" in steps and len(steps) > 2
    ]


def _dimensions(steps: list[bool], whole: bool) -> Tally:
    counts = {"n": 1, "IG": all(steps) and not whole, "IK": not all(steps) and not whole}
    for name, known in KNOWN.items():
        counts[f"CM {name}"] = whole and known(steps)
        counts[f"RM {name}"] = whole and not known(steps)
    return {name: float(count) for name, count in counts.items()}


def four_dimensional(sums: Tally) -> dict[str, float | None]:
    """The official figures; rote memorization is a share of the problems that are right."""
    n, generalization, knowledge = sums["n"], sums["IG"], sums["IK"]
    figures: dict[str, float | None] = {
        "problems with all steps, of 525": n / PROBLEMS,
        "insufficient knowledge": knowledge / n,
        "inadequate generalization": generalization / n,
    }
    for name in KNOWN:
        mastery, rote = sums[f"CM {name}"], sums[f"RM {name}"]
        figures[f"complete mastery ({name})"] = mastery / n
        figures[f"rote memorization ({name})"] = quotient(rote, mastery + rote)
        figures[f"score ({name})"] = (n - 0.5 * generalization - rote - knowledge) / n
    return figures


def _task(row: Mapping[str, Any], folder: Path | None) -> Task:
    options = [part.strip() for part in str(row["option"]).split(";") if part.strip()]
    question = "\n".join([str(row["question"]), *options])
    steps, _, step = str(row["key"]).partition("_")
    return item_task(
        "wemath",
        f"{row['ID']}:{row['key']}",
        question=f"{question}\nEnd with: Answer: the letter of the option",
        answer=Answer(value=str(row["answer"]).strip(), type="choice", rule="wemath"),
        picture=None if folder is None else folder / str(row["image_path"]),
        source=SOURCE,
        license="CC BY-NC 4.0",
        download=DOWNLOAD,
        kind=f"{steps}, {'whole' if step == 'multi' else 'one step'}",
        choices=[_OPTION.sub("", option) for option in options],
        meta={
            "problem": f"{steps} {row['ID']}",
            "step": step,
            "subject": row.get("knowledge concept", ""),
        },
    )


def task_of_output(row: Mapping[str, Any]) -> Task:
    """The item that a row of an official output file carries itself."""
    return _task({"option": "", "question": "", "image_path": "", **row}, None)


ADAPTER = Adapter(
    name="wemath",
    title="We-Math",
    splits=("testmini",),
    load=load,
    official=official_verdict,
    official_extraction=official_verdict,
    outputs=OutputFields(id=("ID+key",), extraction=("processed_answer", "extraction")),
    task_of_output=task_of_output,
    figures=OwnFigures(tally=tally, of=four_dimensional),
    download=DOWNLOAD,
)
