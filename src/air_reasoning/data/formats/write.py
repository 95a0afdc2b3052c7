"""Tasks and solutions as rows of other programs' formats, and what a format has no field for.

What does not fit goes, as JSON, into a column ``air`` that other programs pass over; only
``air data import`` reads it. What not even that can hold is counted as lost.
"""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from air_reasoning.data.formats.dialogue import to_messages
from air_reasoning.data.formats.record import CARRIED, Row, marked_text, prompt_parts
from air_reasoning.errors import ConfigError
from air_reasoning.json_io import dump_line, to_json
from air_reasoning.types import ImageRef, Segment, Task, Trajectory

FormatName = Literal["verl", "trl", "swift", "llamafactory", "easyr1", "retool"]
Show = Callable[[ImageRef], Any]
"""How a format holds a picture: ``{"bytes", "path"}``, or a path after a copy was made."""


@dataclass(kw_only=True, slots=True, frozen=True)
class Example:
    """What one row is made of; ``trajectory`` is None for a question alone."""

    task: Task
    trajectory: Trajectory | None
    mode: str
    number: int


@dataclass(kw_only=True, slots=True, frozen=True)
class Layout:
    """One format: ``embedded`` pictures are bytes in the row, else paths; ``own`` are its fields.

    ``tool_role`` is the role of outputs; "" where the format holds no outputs as messages.
    """

    name: FormatName
    embedded: bool
    tool_role: str
    solutions: bool = True
    questions: bool = True
    pictures: bool = True


LAYOUTS: dict[str, Layout] = {
    "verl": Layout(name="verl", embedded=True, tool_role="tool"),
    "trl": Layout(name="trl", embedded=True, tool_role="tool"),
    "swift": Layout(name="swift", embedded=False, tool_role="tool_response"),
    "llamafactory": Layout(name="llamafactory", embedded=False, tool_role="observation"),
    "easyr1": Layout(name="easyr1", embedded=True, tool_role="", solutions=False),
    "retool": Layout(
        name="retool", embedded=False, tool_role="", questions=False, pictures=False
    ),
}  # fmt: skip


def to_row(example: Example, layout: Layout, show: Show, *, carry: bool) -> Row:
    """The row of a task or of a solution. Raises ConfigError: the format has no such rows."""
    if example.trajectory is None and not layout.questions:
        raise ConfigError(f"{layout.name} holds solutions only, and there is no samples.jsonl")
    if example.trajectory is not None and not layout.solutions:
        raise ConfigError(f"{layout.name} holds questions only: export with --only tasks")
    pictures = [show(ref) for ref in example.task.images] if layout.pictures else []
    kept = dump_line(carried_fields(example, layout)).decode() if carry else ""
    row = (
        _question_row(example, layout, pictures, kept)
        if example.trajectory is None
        else _solution_row(example, example.trajectory, layout, pictures, show)
    )
    if carry and "extra_info" not in row:
        row[CARRIED] = kept
    return row


def question_of(task: Task, layout: Layout) -> str:
    """The text with its placeholders, as the format writes it."""
    if not layout.pictures:
        return "".join(part.text for part in task.prompt if part.kind == "text")
    return marked_text(task.prompt)


def _question_row(example: Example, layout: Layout, pictures: list[Any], kept: str) -> Row:
    task = example.task
    question, gold = question_of(task, layout), task.answer.value
    messages = [{"role": "user", "content": question}]
    if system := str(task.meta.get("system", "")):
        messages.insert(0, {"role": "system", "content": system})
    match layout.name:
        case "verl":
            extra = {"index": example.number, "split": str(task.meta.get("split", "train"))}
            return {
                "data_source": task.source or "air", "prompt": messages, "images": pictures,
                "ability": str(task.meta.get("ability") or task.meta.get("kind") or "math"),
                "reward_model": {"style": "rule", "ground_truth": gold},
                "extra_info": {**extra, CARRIED: kept} if kept else extra,
            }  # fmt: skip
        case "trl":
            parts = [
                {"type": "image", "text": None} if part.kind == "image" else
                {"type": "text", "text": part.text} for part in task.prompt
            ]  # fmt: skip
            prompt: list[Row] = [{"role": "user", "content": parts}]
            if system:
                prompt.insert(0, {"role": "system", "content": [{"type": "text", "text": system}]})
            return {"prompt": prompt, "images": pictures, "solution": gold}
        case "swift":
            return {"messages": messages, "images": pictures, "solution": gold}
        case "llamafactory":
            said = {"role": "assistant", "content": f"<answer>\\boxed{{{gold}}}</answer>"}
            return {"messages": [*messages, said], "images": pictures}
        case _:
            return {"problem": question, "answer": gold, "images": pictures}


def _solution_row(
    example: Example, trajectory: Trajectory, layout: Layout, pictures: list[Any], show: Show
) -> Row:
    question = question_of(example.task, layout)
    system = str(example.task.meta.get("system", ""))
    if layout.name == "retool":
        said = "".join(segment.text for segment in trajectory.segments)
        messages = [{"role": "user", "content": question}, {"role": "assistant", "content": said}]
        return {"messages": messages}
    messages, _ = to_messages(
        question, trajectory.segments, tool_role=layout.tool_role, system=system
    )
    shown = [show(ref) for segment in _outputs(trajectory) for ref in segment.images]
    row: Row = {"messages": messages, "images": [*pictures, *shown]}
    if layout.name == "swift":
        row["solution"] = example.task.answer.value
    return row


def _outputs(trajectory: Trajectory) -> list[Segment]:
    return [segment for segment in trajectory.segments if segment.kind == "output"]


def carried_fields(example: Example, layout: Layout) -> Row:
    """Everything of the task (and of executions) that the format's own fields do not hold."""
    task = example.task
    kept: Row = {"id": task.id, "answer": to_json(task.answer)}
    given = {
        "choices": task.choices, "source": task.source, "license": task.license, "meta": task.meta,
    }  # fmt: skip
    kept |= {name: to_json(value) for name, value in given.items() if value}
    if layout.pictures and not _reads_back(task, layout):
        kept["prompt"] = to_json(task.prompt)
    if example.trajectory is None:
        return kept | ({"question_only": True} if layout.name == "llamafactory" else {})
    executions = [_bare(segment) for segment in _outputs(example.trajectory)]
    return kept | {"mode": example.mode, "executions": executions}


def _reads_back(task: Task, layout: Layout) -> bool:
    text = question_of(task, layout)
    if layout.name == "trl":
        text = "".join("<image>" if p.kind == "image" else p.text for p in task.prompt)
    pictures = sum(part.kind == "image" for part in task.prompt)
    if not text.strip() or pictures != len(task.images):
        return False
    return prompt_parts(text, pictures) == task.prompt


def _bare(segment: Segment) -> Row | None:
    """An execution without its pictures, which are in the row."""
    if segment.execution is None:
        return None
    return {name: value for name, value in to_json(segment.execution).items() if name != "images"}


def lost_fields(example: Example, layout: Layout, *, carry: bool) -> list[str]:
    """Names of what the row does not hold in any way."""
    task, trajectory = example.task, example.trajectory
    lost: list[str] = []
    if task.images and not layout.pictures:
        lost.append("pictures")
    if not carry:
        answer = task.answer
        given = {
            "answer.type": answer.type != "text", "answer.precision": answer.precision is not None,
            "answer.tolerance": answer.tolerance is not None, "answer.unit": answer.unit,
            "answer.rule": answer.rule, "choices": task.choices, "license": task.license,
            "source": task.source and layout.name != "verl", "meta": task.meta,
            "executions (status, time)": trajectory is not None and trajectory.executions,
        }  # fmt: skip
        lost += [name for name, value in given.items() if value]
    if trajectory is not None:
        tokens = any(segment.token_ids for segment in trajectory.segments)
        lost += ["token_ids", "logprobs and weights"] if tokens else []
    return lost


def copied(ref: ImageRef, folder: Path) -> Path:
    """The picture in ``folder``, linked where the file system can, else copied."""
    target = folder / f"{ref.sha256}.png"
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        try:
            os.link(ref.path, target)
        except OSError:
            shutil.copyfile(ref.path, target)
    return target
