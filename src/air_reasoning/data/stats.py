"""``air data stats``: what a data set holds, whatever its format, and the funnel of a data run."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from air_reasoning.config import Display
from air_reasoning.data.formats.record import Record
from air_reasoning.data.importing import SAMPLES_NAME, records
from air_reasoning.data.reasons import funnel_text, read_funnel
from air_reasoning.data.sample_files import stream_samples
from air_reasoning.data.validate import is_ours
from air_reasoning.display import progress, table
from air_reasoning.task_files import stream_tasks
from air_reasoning.types import Answer, Execution, Segment

SHOWN = ("source", "family", "kind", "difficulty", "split", "needs_code")
_MOST_ROWS = 12
_BINS = (0, 50, 100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600)


@dataclass(kw_only=True, slots=True)
class Stats:
    """Counts of one data set; lengths are in characters, sizes in pixels."""

    tasks: int = 0
    samples: int = 0
    refused: Counter[str] = field(default_factory=Counter[str])
    named: dict[str, Counter[str]] = field(default_factory=dict[str, Counter[str]])
    answers: Counter[str] = field(default_factory=Counter[str])
    pictures: Counter[str] = field(default_factory=Counter[str])
    sizes: Counter[str] = field(default_factory=Counter[str])
    questions: Counter[int] = field(default_factory=Counter[int])
    solutions: Counter[int] = field(default_factory=Counter[int])
    modes: Counter[str] = field(default_factory=Counter[str])
    cells: Counter[int] = field(default_factory=Counter[int])
    statuses: Counter[str] = field(default_factory=Counter[str])


def data_stats(path: Path, format_name: str = "auto", display: Display = "none") -> Stats:
    """Read everything once, one row at a time; pictures are not opened.

    Raises:
        DataError: nothing there, or broken lines.
    """
    stats = Stats()
    with progress(display, None, "rows") as bar:
        rows = _ours(path, stats) if is_ours(path) else _theirs(path, format_name, stats)
        for number, _ in enumerate(rows, start=1):
            if number % 256 == 0:
                bar.advance(256)
    return stats


def _ours(path: Path, stats: Stats) -> Iterator[None]:
    for task in stream_tasks(path):
        text = "".join(part.text for part in task.prompt if part.kind == "text")
        _count_task(stats, text, len(task.images), task.answer, task.source, task.meta)
        stats.sizes.update(_size(ref.width, ref.height) for ref in task.images)
        yield
    if path.is_dir() and (path / SAMPLES_NAME).is_file():
        for _, sample in stream_samples(path):
            _count_solution(stats, sample.trajectory.segments, sample.mode)
            yield


def _theirs(path: Path, format_name: str, stats: Stats) -> Iterator[None]:
    for _, _, record in records(path, format_name):
        if isinstance(record, Record):
            text = "".join(part.text for part in record.prompt if part.kind == "text")
            shown = len(record.pictures)
            _count_task(stats, text, shown, record.answer, record.source, record.meta)
            if record.solution is not None:
                _count_solution(stats, record.solution, "")
        else:
            stats.refused[record.reason] += 1
        yield


def _count_task(
    stats: Stats, text: str, pictures: int, answer: Answer, source: str, meta: dict[str, Any]
) -> None:
    stats.tasks += 1
    stats.answers[answer.type] += 1
    stats.pictures[str(pictures)] += 1
    stats.questions[_bin(len(text))] += 1
    for name in SHOWN:
        value = source if name == "source" else meta.get(name)
        if value is not None and value != "":
            stats.named.setdefault(name, Counter())[str(value)] += 1


def _count_solution(stats: Stats, segments: Iterable[Segment], mode: str) -> None:
    executed: list[Execution] = [s.execution for s in segments if s.execution is not None]
    stats.samples += 1
    stats.modes[mode or ("code" if executed else "direct")] += 1
    stats.cells[len(executed)] += 1
    stats.statuses.update(execution.status for execution in executed)
    stats.solutions[_bin(sum(len(s.text) for s in segments if s.kind != "output"))] += 1


def _size(width: int, height: int) -> str:
    """The longer side, to powers of two: "up to 512"."""
    return f"up to {1 << (max(width, height) - 1).bit_length()}"


def _bin(length: int) -> int:
    return next(edge for edge in reversed(_BINS) if length >= edge)


def stats_text(stats: Stats, path: Path) -> str:
    """Tables of everything that was counted, the funnel of a data run first."""
    parts: list[str] = []
    if path.is_dir() and (found := read_funnel(path)) is not None:
        parts.append(funnel_text(found))
    refused = sum(stats.refused.values())
    head = f"{stats.tasks} tasks, {stats.samples} samples"
    parts.append(head + (f", {refused} rows that are none" if refused else ""))
    for name, counter in stats.named.items():
        parts.append(_counted(name, counter, stats.tasks))
    parts.append(_counted("answer", stats.answers, stats.tasks))
    parts.append(_counted("pictures a task", stats.pictures, stats.tasks))
    if stats.sizes:
        parts.append(_counted("longer side in pixels", stats.sizes, sum(stats.sizes.values())))
    parts.append(_counted("characters of question, from", _ordered(stats.questions), stats.tasks))
    if stats.samples:
        parts.append(_counted("solution", stats.modes, stats.samples))
        parts.append(_counted("cells a solution", _ordered(stats.cells), stats.samples))
        total = sum(stats.statuses.values())
        parts.append(_counted("cell ended with", stats.statuses, total))
        lengths = _ordered(stats.solutions)
        parts.append(_counted("characters written, from", lengths, stats.samples))
    if refused:
        parts.append(_counted("row refused", stats.refused, refused))
    return "\n\n".join(part for part in parts if part)


def _ordered(counter: Counter[int]) -> dict[str, int]:
    return {str(key): counter[key] for key in sorted(counter)}


def _counted(name: str, counter: Counter[str] | dict[str, int], total: int) -> str:
    """The most frequent values with their shares; the rest in one line."""
    if not counter:
        return ""
    items = counter.most_common() if isinstance(counter, Counter) else list(counter.items())
    shown, rest = items[:_MOST_ROWS], items[_MOST_ROWS:]
    if rest:
        shown.append((f"({len(rest)} others)", sum(count for _, count in rest)))
    return table(
        [{name: key, "count": n, "share": f"{100 * n / max(1, total):.1f} %"} for key, n in shown]
    )
