"""``air data validate``: everything about a data set that would silently spoil a training.

Tasks and samples are read one by one; a finding names the place, the item, and what is wrong.
Another program's files are imported into a temporary folder first, so that the same is looked at
whatever the format; their ids then end in the number of the row.
"""

import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast

from air_reasoning.answers import answer_text, check_answer
from air_reasoning.config import Display
from air_reasoning.data.importing import REJECTED_NAME, SAMPLES_NAME, import_data
from air_reasoning.data.leakage import Evaluations
from air_reasoning.data.near_duplicates import plain_text, signature
from air_reasoning.data.reexecute import Replayed, replay_samples
from air_reasoning.data.sample_files import stream_samples
from air_reasoning.display import progress
from air_reasoning.errors import DataError
from air_reasoning.files import atomic_file
from air_reasoning.images import image_hash, open_image
from air_reasoning.json_io import dump_line, read_jsonl
from air_reasoning.task_files import TASKS_NAME, task_from_json
from air_reasoning.turn_format import AIR, parse_turn
from air_reasoning.types import Task, Trajectory

Problem = Literal[
    "row", "broken_line", "missing_image", "broken_image", "changed_image", "placeholders",
    "answer", "choices", "duplicate_id", "duplicate", "leak", "unclosed_tag", "no_answer",
    "wrong_answer", "output_without_cell", "replay",
]  # fmt: skip
MEANING: dict[Problem, str] = {
    "row": "a row that no task could be made of",
    "broken_line": "a line that is not what the file says it is",
    "missing_image": "a picture file is not there",
    "broken_image": "a picture cannot be decoded",
    "changed_image": "a picture is not the one that its name says",
    "placeholders": "pictures and their places in the prompt do not match",
    "answer": "the scorer does not accept the gold answer as its own answer",
    "choices": "the gold answer is none of the choices",
    "duplicate_id": "two tasks have one id",
    "duplicate": "the same question about the same pictures as an earlier task",
    "leak": "nearly the same item is in a benchmark that was given",
    "unclosed_tag": "a tag that is opened and not closed, or closed and not opened",
    "no_answer": "a solution without an answer after its last output",
    "wrong_answer": "a solution whose answer is not the gold one",
    "output_without_cell": "an output that no cell stands before",
    "replay": "a cell that, run again, does not print its stored output",
}
_MOST_DETAIL = 400


@dataclass(kw_only=True, slots=True, frozen=True)
class Finding:
    """``item`` is the id of a task or trajectory; ``detail`` says what was found."""

    where: str
    item: str
    problem: Problem
    detail: str


@dataclass(kw_only=True, slots=True)
class Validated:
    """``findings`` counts them by problem; ``examples`` are the first ones of each."""

    tasks: int = 0
    samples: int = 0
    findings: Counter[str] = field(default_factory=Counter[str])
    examples: dict[str, list[Finding]] = field(default_factory=dict[str, list[Finding]])
    replayed: Replayed = field(default_factory=Replayed)


def validate(
    path: Path,
    *,
    report: Path | None = None,
    benchmarks: list[str] | None = None,
    replay: bool = False,
    images: Path | None = None,
    format_name: str = "auto",
    limit: int | None = None,
    display: Display = "none",
) -> Validated:
    """Look at everything and return the counts.

    Args:
        path: a task folder or file, a data run, or data in any format of ``air data import``.
        report: JSON lines of all findings.
        benchmarks: NAME, NAME:FOLDER or task folders whose items must not be in it.
        replay: run every cell again and compare with the stored output.
        images: where relative picture paths of other formats start.
        format_name: of the rows, where it is another program's data.
        limit: only that many tasks and that many samples.
        display: progress on stderr.

    Raises:
        DataError: nothing there. ConfigError: no such benchmark.
    """
    with ExitStack() as stack:
        folder = path
        found: list[Finding] = []
        if not is_ours(path):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="air-validate-")))
            import_data(path, folder, format_name=format_name, images=images, limit=limit)
            found = list(_rejected(folder / REJECTED_NAME))
        counts = Validated()
        out = stack.enter_context(atomic_file(report)) if report else None

        def add(finding: Finding) -> None:
            if finding.where.startswith(f"{folder}/") and folder != path:
                finding = replace(finding, where=str(path))  # the copy will be gone; ids tell rows
            counts.findings[finding.problem] += 1
            examples = counts.examples.setdefault(finding.problem, [])
            examples += [finding] * (len(examples) < 3)
            if out is not None:
                out.write(dump_line(finding) + b"\n")

        for finding in found:
            add(finding)
        known = Evaluations.load(benchmarks) if benchmarks else None
        with progress(display, None, "tasks") as bar:
            for _, findings in zip(
                range(limit or 2**62), _task_findings(folder, known), strict=False
            ):
                counts.tasks += 1
                for finding in findings:
                    add(finding)
                if counts.tasks % 64 == 0:
                    bar.advance(64)
        if folder.is_dir() and (folder / SAMPLES_NAME).is_file():
            _validate_samples(folder, counts, add, replay, limit, display)
    return counts


def is_ours(path: Path) -> bool:
    """A task folder or a file of tasks."""
    if path.is_dir():
        return (path / TASKS_NAME).is_file()
    if path.suffix != ".jsonl" or not path.is_file():
        return False
    first = next(iter(read_jsonl(path)), ("", {}))[1]
    keys = cast(dict[str, Any], first).keys() if isinstance(first, dict) else ()
    return {"id", "prompt", "answer"} <= set(keys) and "data_source" not in keys


def _rejected(path: Path) -> Iterator[Finding]:
    for _, row in read_jsonl(path):
        reason = row["reason"]
        problem = cast(Problem, reason if reason in MEANING else "row")
        yield Finding(
            where=row["where"], item="", problem=problem, detail=f"{reason}: {row['detail']}"
        )


def _task_findings(folder: Path, known: Evaluations | None) -> Iterator[list[Finding]]:
    """The findings of every task, one list a task."""
    file = folder / TASKS_NAME if folder.is_dir() else folder
    ids, seen = set[int](), dict[int, int]()
    for number, (where, data) in enumerate(read_jsonl(file)):
        try:
            task = task_from_json(data, where, file.absolute().parent)
        except DataError as error:
            yield [_line_finding(where, data, str(error))]
            continue
        found = list(_look_at(task))
        if hash(task.id) in ids:
            found.append(("duplicate_id", task.id))
        ids.add(hash(task.id))
        content = hash((plain_text(_question(task)), *(ref.sha256 for ref in task.images)))
        if (earlier := seen.setdefault(content, number)) != number:
            found.append(("duplicate", f"of task number {earlier + 1}"))
        if known is not None and not any(p in ("missing_image", "broken_image") for p, _ in found):
            leak = known.find(signature(task))
            if leak is not None:
                found.append(("leak", f"{leak.of}, by {leak.by}"))
        yield [
            Finding(where=where, item=task.id, problem=p, detail=d[:_MOST_DETAIL]) for p, d in found
        ]


def _line_finding(where: str, data: Any, message: str) -> Finding:
    problem: Problem = "broken_line"
    if "is missing; bring it back" in message:
        problem = "missing_image"
    elif "but the task has" in message:
        problem = "placeholders"
    name = str(cast(dict[str, Any], data).get("id", "")) if isinstance(data, dict) else ""
    return Finding(where=where, item=name, problem=problem, detail=message[:_MOST_DETAIL])


def _question(task: Task) -> str:
    return "\n".join([*(p.text for p in task.prompt if p.kind == "text"), *task.choices])


def _look_at(task: Task) -> Iterator[tuple[Problem, str]]:
    """What is wrong with one task by itself."""
    for ref in task.images:
        try:
            image = open_image(ref.path)
        except DataError as error:
            yield "broken_image", str(error)
            continue
        if image_hash(image) != ref.sha256:
            yield "changed_image", f"{ref.path} has other pixels than its hash says"
    shown = [part.image for part in task.prompt if part.kind == "image"]
    if missing := set(range(len(task.images))).difference(shown):
        yield "placeholders", f"pictures {sorted(missing)} are not in the prompt"
    if any("<image>" in part.text for part in task.prompt if part.kind == "text"):
        yield "placeholders", "<image> stands in the text"
    answer = task.answer
    given = f"<answer>\\boxed{{{answer.value}}}</answer>"
    if not check_answer(answer, given, task.choices).correct:
        problem: Problem = "choices" if task.choices else "answer"
        yield problem, f"{answer.value!r} of type {answer.type}"


def _validate_samples(
    folder: Path, counts: Validated, add: Any, replay: bool, limit: int | None, display: Display
) -> None:
    with progress(display, None, "samples") as bar:
        samples = stream_samples(folder)
        for _, (task, sample) in zip(range(limit or 2**62), samples, strict=False):
            counts.samples += 1
            for problem, detail in sample_problems(task, sample.trajectory):
                name = sample.trajectory.id or task.id
                add(
                    Finding(
                        where=str(folder / SAMPLES_NAME), item=name, problem=problem, detail=detail
                    )
                )
            if counts.samples % 64 == 0:
                bar.advance(64)
    if replay:
        with progress(display, None, "cells run again") as bar:
            for name, detail in replay_samples(folder, counts.replayed, limit, bar):
                where = str(folder / SAMPLES_NAME)
                add(Finding(where=where, item=name, problem="replay", detail=detail[:_MOST_DETAIL]))


def sample_problems(task: Task, trajectory: Trajectory) -> Iterator[tuple[Problem, str]]:
    """What is wrong with a solution, without running it."""
    segments = trajectory.segments
    for i, segment in enumerate(segments):
        if segment.kind == "output" and (i == 0 or segments[i - 1].kind != "code"):
            yield "output_without_cell", f"segment {i}"
    for detail in _open_tags(trajectory):
        yield "unclosed_tag", detail
    verdict = check_answer(task.answer, answer_text(trajectory), task.choices)
    if verdict.extracted is None:
        yield "no_answer", f"stopped: {trajectory.stop}"
    elif not verdict.correct:
        yield "wrong_answer", f"{verdict.extracted!r} is not {task.answer.value!r}"


def _open_tags(trajectory: Trajectory) -> Iterator[str]:
    """Tags that do not match; a thought may go on after an output."""
    written = [segment for segment in trajectory.segments if segment.trainable]
    thoughts = "".join(segment.text for segment in written)
    opened, closed = (thoughts.count(tag) for tag in AIR.think)
    if opened != closed:
        yield f"{opened} of {AIR.think[0]} and {closed} of {AIR.think[1]}"
    for segment in written:
        if segment.kind in ("code", "answer"):
            pieces = parse_turn(segment.text, AIR)
            if not all(piece.closed for piece in pieces if piece.kind == segment.kind):
                yield f"{segment.kind} is not closed: {segment.text[:60]!r}"
        elif segment.kind == "text":
            for tag in (*AIR.code, *AIR.output, *AIR.answer):
                if tag in segment.text:
                    yield f"{tag} stands alone: {segment.text[:60]!r}"
