"""``air eval score``: verdicts on responses that were made elsewhere.

    scored = score_file(find_adapter("mathvista"), Path("output_bard.json.gz"), Path("mathvista"))
    scored.accuracy.value, scored.agreement

Every row is one verdict; rows of one item (repeats) count by themselves and widen the interval.
Items without a row are counted and named, and are in no figure.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from air_reasoning.answers import Verdict
from air_reasoning.errors import ConfigError, DataError
from air_reasoning.eval.benchmarks.adapter import Adapter, Scorer, official_id, official_scorer
from air_reasoning.eval.judge import SideModels, check_roles, with_models
from air_reasoning.eval.known import data_folder
from air_reasoning.eval.responses import first_value, read_responses
from air_reasoning.eval.side_model import SideModel
from air_reasoning.intervals import Metric, share
from air_reasoning.json_io import dump_line
from air_reasoning.types import Task

Mode = Literal["official", "strict"]
Start = Literal["extraction", "response"]
_TRUE = {
    **{"1": True, "true": True, "correct": True},
    **{"0": False, "false": False, "fail": False},
}
_VERDICT_KEYS = ("true_false", "correct", "match?", "judgement", "result")


@dataclass(kw_only=True, slots=True, frozen=True)
class ScoredItem:
    """One row's verdict; ``stored`` is the one that the file itself holds, None if it has none."""

    id: str
    task: Task
    verdict: Verdict
    stored: bool | None = None

    def to_json(self) -> dict[str, Any]:
        """``{"id", "correct", "extracted", "method"}``, and ``timed_out`` where it is true."""
        line: dict[str, Any] = {
            "id": self.id,
            "correct": self.verdict.correct,
            "extracted": self.verdict.extracted,
            "method": self.verdict.method,
        }
        return line | ({"timed_out": True} if self.verdict.timed_out else {})


@dataclass(kw_only=True, slots=True)
class ScoredFile:
    """All verdicts on one file, and what they come to."""

    items: list[ScoredItem]
    split: str
    missing: int = 0
    figures: Mapping[str, Metric] = field(default_factory=dict[str, Metric])
    notes: list[str] = field(default_factory=list[str])

    @property
    def accuracy(self) -> Metric:
        """Share of correct rows with its 95 % interval over items."""
        return share([i.verdict.correct for i in self.items], [i.id for i in self.items])

    @property
    def agreement(self) -> tuple[int, int]:
        """(rows where the file's own verdict is ours, rows that have one)."""
        pairs = [(i.stored, i.verdict.correct) for i in self.items if i.stored is not None]
        return sum(stored == ours for stored, ours in pairs), len(pairs)


def score_file(
    adapter: Adapter,
    responses: Path,
    data: Path | None = None,
    *,
    mode: Mode = "official",
    start: Start = "response",
    split: str = "",
    models: SideModels | None = None,
) -> ScoredFile:
    """Score every row of a file of responses.

    Args:
        adapter: the benchmark.
        responses: see ``eval.responses``.
        data: the benchmark's folder; pictures need not be there. None: ``$AIR_BENCHMARKS``, or the
            gold answers in the rows themselves where the official layout has them.
        mode: the benchmark's own rules, or this project's.
        start: from the stored extraction, or from the raw response.
        split: empty: the smallest one in the folder that holds all items of the file.
        models: a judge of free-form answers, an extractor, where the benchmark officially has one.

    Raises:
        DataError: a file is missing or broken, a row has no id or is of no item of the benchmark,
            or lacks what ``start`` asks for. ConfigError: no data and no gold answers in the rows.
    """
    rows = read_responses(responses)
    scorer, note = _scorer(adapter, rows, mode, start)
    helpers = models.all if models else []
    if models and helpers:
        judge, extractor = models.judge is not None, models.extractor is not None
        check_roles(adapter, judge=judge, extractor=extractor, strict=mode == "strict")
        scorer = with_models(adapter, scorer, models, extracted=start == "extraction")
    keys = adapter.outputs.id
    ids = [_id(row, keys, responses, number) for number, row in enumerate(rows, 1)]
    split, tasks = _tasks(adapter, data_folder(adapter, data), rows, ids, split, responses)
    wanted = adapter.outputs.extraction if start == "extraction" else adapter.outputs.response
    _need_any(rows, wanted, start, responses)
    texts = [_text(first_value(row, wanted)) for row in rows]
    verdicts = _verdicts(scorer, [tasks[key] for key in ids], texts, helpers)
    items = [
        ScoredItem(id=key, task=tasks[key], verdict=verdict, stored=_stored(row))
        for key, row, verdict in zip(ids, rows, verdicts, strict=True)
    ]
    figures = (
        adapter.figures([(i.task, i.verdict.correct) for i in items]) if adapter.figures else {}
    )
    missing = len(tasks.keys() - set(ids))
    notes = [note] if note else []
    if mode == "official" and adapter.judged_by_model and not helpers:
        notes += [adapter.judged_by_model] if start == "response" or adapter.extract else []
    return ScoredFile(items=items, split=split, missing=missing, figures=figures, notes=notes)


def _verdicts(
    scorer: Scorer, tasks: Sequence[Task], texts: Sequence[str], models: Sequence[SideModel]
) -> list[Verdict]:
    """One a row; side by side where a model is waited for."""
    if not models:
        return [scorer(task, text) for task, text in zip(tasks, texts, strict=True)]
    with ThreadPoolExecutor(models[0].max_connections) as pool:
        try:
            return list(pool.map(scorer, tasks, texts))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _scorer(
    adapter: Adapter, rows: Sequence[Mapping[str, Any]], mode: Mode, start: Start
) -> tuple[Scorer, str]:
    if mode == "strict":
        return (adapter.strict if start == "response" else adapter.strict_extraction), ""
    if start == "response":
        return official_scorer(adapter), ""
    if adapter.for_outputs is not None:
        return adapter.for_outputs(rows)
    return adapter.official_extraction, ""


def _tasks(
    adapter: Adapter,
    folder: Path | None,
    rows: Sequence[Mapping[str, Any]],
    ids: Sequence[str],
    split: str,
    responses: Path,
) -> tuple[str, dict[str, Task]]:
    """Split and its items by official id."""
    if folder is None:
        return split or adapter.splits[0], _tasks_of_rows(adapter, rows, ids, responses)
    error: DataError | None = None
    unknown = sorted(set(ids))
    for name in [split] if split else adapter.splits:
        try:
            tasks = {official_id(t): t for t in adapter.load(folder, name, images=False)}
        except DataError as absent:
            error = error or absent
            continue
        unknown = sorted(set(ids) - tasks.keys())
        if not unknown:
            return name, tasks
        plain = unknown[0].lstrip("0")
        why = f"write it without zeros, {plain!r}" if plain in tasks else "is it the right split?"
        error = DataError(
            f"{responses}: {len(unknown)} ids are of no item of {adapter.title} {name}, first "
            f"{unknown[0]!r}; {why}"
        )
    assert error is not None
    raise error


def _tasks_of_rows(
    adapter: Adapter, rows: Sequence[Mapping[str, Any]], ids: Sequence[str], responses: Path
) -> dict[str, Task]:
    if adapter.task_of_output is None:
        raise ConfigError(
            f"--data: {adapter.title} needs its folder, whose gold answers are not in the "
            f"responses; {adapter.download}, then --data FOLDER or AIR_BENCHMARKS"
        )
    try:
        return {key: adapter.task_of_output(row) for key, row in zip(ids, rows, strict=True)}
    except (KeyError, ValueError, SyntaxError, TypeError) as error:
        raise ConfigError(
            f"{responses}: no gold answer in its rows ({error!r}); pass the benchmark's folder "
            "with --data"
        ) from None


def _id(row: Mapping[str, Any], keys: tuple[str, ...], path: Path, number: int) -> str:
    value = first_value(row, (*keys, "id"))
    if value is None:
        raise DataError(f"{path}: row {number} has no id; expected key {' or '.join(keys)}")
    text = str(value)
    return text.partition("/")[2] if "/" in text and not text.endswith("/") else text


def _need_any(
    rows: Sequence[Mapping[str, Any]], keys: tuple[str, ...], start: Start, path: Path
) -> None:
    if all(first_value(row, keys) is None for row in rows):
        raise DataError(
            f"{path}: no row has {' or '.join(keys)}, so nothing can be scored from the {start}; "
            f"use --from {'response' if start == 'extraction' else 'extraction'}"
        )


def _text(value: Any) -> str:
    if isinstance(value, dict | list):
        return dump_line(value).decode()
    return "" if value is None else str(value)


def _stored(row: Mapping[str, Any]) -> bool | None:
    value = first_value(row, _VERDICT_KEYS)
    return None if value is None else _TRUE.get(str(value).casefold())
