"""What every benchmark's file provides, and the pieces that they share.

An adapter is the value ``ADAPTER`` of ``eval/benchmarks/NAME.py``; its functions are plain ones of
that file. ``eval/known.py`` finds it by name.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from air_reasoning.answers import Verdict, check_answer, compare, extract_answer
from air_reasoning.errors import DataError
from air_reasoning.images import image_hash, open_image
from air_reasoning.intervals import Metric, bootstrap
from air_reasoning.types import Answer, ImageRef, Part, Task

Row = Mapping[str, Any]
Scorer = Callable[[Task, str], Verdict]
Results = Sequence[tuple[Task, bool]]
Tally = Mapping[str, float]
Figures = Mapping[str, float | None]


class Load(Protocol):
    """Folder and split to tasks; without ``images`` no picture need be there."""

    def __call__(self, folder: Path, split: str, *, images: bool = True) -> list[Task]:
        """Raises DataError naming what is missing and where to get it."""
        ...


@dataclass(kw_only=True, slots=True, frozen=True)
class OutputFields:
    """Keys of an official output file, the first that is there counts; ``*`` stands for a name."""

    id: tuple[str, ...]
    response: tuple[str, ...] = ("response",)
    extraction: tuple[str, ...] = ("extraction",)


def strict_verdict(task: Task, text: str) -> Verdict:
    """This project's own extraction and comparison."""
    return check_answer(task.answer, text, task.choices)


def strict_extraction(task: Task, text: str) -> Verdict:
    """This project's own comparison of an answer that was extracted elsewhere."""
    correct, method, timed_out = compare(task.answer, text, task.choices)
    found = bool(text.strip())
    return Verdict(
        correct=correct,
        method=method,
        extracted=text if found else None,
        timed_out=timed_out,
        route="fallback" if found else "none",
    )


@dataclass(kw_only=True, slots=True, frozen=True)
class OwnFigures:
    """Official figures besides accuracy, from (task, correct) pairs.

    ``tally`` counts within each independent unit (an item, or all that belongs to one problem);
    ``of`` makes figures of the sums. So the interval can draw whole units.
    """

    tally: Callable[[Results], list[Tally]]
    of: Callable[[Tally], Figures]

    def __call__(self, results: Results) -> dict[str, Metric]:
        """Each figure with its bootstrap interval over units."""
        return bootstrap(self.tally(results), self.of)


def tally_by_kind(results: Results) -> list[Tally]:
    """Items and right ones by ``meta["kind"]``: ``{"n human": 1, "right human": 0}``."""
    return [
        {f"n {task.meta['kind']}": 1.0, f"right {task.meta['kind']}": float(correct)}
        for task, correct in results
    ]


def accuracy_by_kind(sums: Tally) -> dict[str, float | None]:
    """Accuracy of each kind that ``tally_by_kind`` met; None where a resample has none of it."""
    kinds = [name.removeprefix("n ") for name in sums if name.startswith("n ")]
    return {kind: quotient(sums[f"right {kind}"], sums[f"n {kind}"]) for kind in kinds}


def quotient(a: float, b: float) -> float | None:
    """``a / b``, or None for nothing by nothing."""
    return a / b if b else None


BY_KIND = OwnFigures(tally=tally_by_kind, of=accuracy_by_kind)


@dataclass(kw_only=True, slots=True, frozen=True)
class Adapter:
    """One benchmark.

    ``official`` scores a raw response, ``official_extraction`` an answer that was extracted before.
    ``extract`` is how a judge model's question gets its short answer. ``for_outputs`` may look at a
    whole official output file first (it may have been made by an earlier version of the official
    script). ``task_of_output`` makes a task from a row of such a file where the rows carry the gold
    answer. ``figures`` are official figures besides accuracy.
    ``judged_by_model`` says what an official language model does that rules do here, and
    ``extracted_by_model`` that it extracts, but for what ``needs_no_model`` returns as it is.
    """

    name: str
    title: str
    splits: tuple[str, ...]
    load: Load
    official: Scorer
    official_extraction: Scorer
    extract: Callable[[Task, str], str] | None = None
    strict: Scorer = strict_verdict
    strict_extraction: Scorer = strict_extraction
    outputs: OutputFields = field(default_factory=lambda: OutputFields(id=("id",)))
    for_outputs: Callable[[Sequence[Row]], tuple[Scorer, str]] | None = None
    task_of_output: Callable[[Row], Task] | None = None
    figures: OwnFigures | None = None
    judged_by_model: str = ""
    extracted_by_model: bool = False
    needs_no_model: Callable[[Task, str], str] | None = None
    download: str = ""


def official_scorer(adapter: Adapter) -> Scorer:
    r"""``adapter.official``, but what stands in ``<answer>`` is an extracted answer already.

    The benchmarks' own rules know no such tag: the letter behind We-Math's last "Answer" or
    DynaMath's JSON is not to be found in ``<answer>\boxed{B}</answer>``.
    """

    def score(task: Task, text: str) -> Verdict:
        if "</answer>" in text:
            found = extract_answer(text, task.answer.type, task.choices)
            if found.route == "answer_tag":
                return replace(adapter.official_extraction(task, found.text), route=found.route)
        return adapter.official(task, text)

    return score


def official_id(task: Task) -> str:
    """The benchmark's own name of an item: ``4`` for ``mathvision/4``."""
    return task.id.partition("/")[2]


def item_task(
    benchmark: str,
    key: str,
    *,
    question: str,
    answer: Answer,
    picture: Path | None,
    source: str,
    license: str,
    download: str,
    kind: str,
    choices: Sequence[str] = (),
    meta: Mapping[str, Any] | None = None,
) -> Task:
    """One test item: its picture first (if any), then the question.

    Raises:
        DataError: the picture is missing or broken.
    """
    images = [] if picture is None else [picture_ref(picture, download)]
    prompt = [Part(kind="image", image=0)] if images else []
    return Task(
        id=f"{benchmark}/{key}",
        prompt=[*prompt, Part(kind="text", text=question)],
        images=images,
        answer=answer,
        choices=list(choices),
        source=source,
        license=license,
        meta={"split": "test", "benchmark": benchmark, "kind": kind, **(meta or {})},
    )


def picture_ref(path: Path, download: str) -> ImageRef:
    """A picture by content. Raises DataError: missing (with what to download) or broken."""
    if not path.is_file():
        raise DataError(f"{path}: picture missing; {download}")
    image = open_image(path)
    return ImageRef(
        sha256=image_hash(image), width=image.width, height=image.height, path=str(path.resolve())
    )


def check_pictures(folder: Path, names: Sequence[str], download: str) -> None:
    """Raises DataError naming how many pictures are missing, and the first."""
    absent = [name for name in names if not (folder / name).is_file()]
    if absent:
        raise DataError(
            f"{folder}: {len(absent)} of {len(names)} pictures are missing, first {absent[0]}; "
            f"{download}"
        )


def need_keys(row: Any, keys: Sequence[str], where: str, download: str) -> None:
    """Raises DataError: ``row`` is no object or lacks a key."""
    for key in keys:
        if not isinstance(row, dict) or key not in row:
            raise DataError(
                f"{where}: key {key!r} is missing; is this the official file? {download}"
            )


def need_count(rows: Sequence[Any], expected: int, path: Path, download: str) -> None:
    """Raises DataError: another number of items than the published one."""
    if len(rows) != expected:
        raise DataError(
            f"{path}: {len(rows)} items, expected {expected}; the copy is incomplete: {download}"
        )


def lettered(choices: Sequence[str]) -> list[str]:
    """``(A) first`` and so on."""
    return [f"({chr(ord('A') + i)}) {choice}" for i, choice in enumerate(choices)]
