"""A rewritten solution as turns: prose with one cell each, the outputs that were made up set apart.

    solution = read_solution(reply, AIR)
    solution.turns       # ["<think>..</think><code>..</code>", "<answer>..</answer>"]
    solution.invented    # ["21.9"]: what the rewriter believed the first cell to print

The turns are played through the real turn loop (``replay``), which puts the real output in.
"""

import re
from dataclasses import dataclass, field

from air_reasoning.turn_format import TurnFormat, parse_turn
from air_reasoning.types import Task

NO_CODE = "NO_CODE"
_SOLUTION = re.compile(r"<solution>(.*?)(?:</solution>|\Z)", re.DOTALL)
_DECLINED = re.compile(
    r"\bI(?:'m| am) (?:sorry|unable|not able)\b|\bI (?:can(?:no|')t|won't)\b|\bas an AI\b|"
    r"\b(?:can(?:no|')t|unable to) (?:help|assist|comply|answer)\b",
    re.IGNORECASE,
)


@dataclass(kw_only=True, slots=True)
class Solution:
    """``turns`` end with a cell each, but for the last one; ``invented`` has an entry a cell.

    ``prose`` and ``cells`` are bare texts, ``prose[i]`` what stands before ``cells[i]``, the last
    entry what follows all cells.
    """

    turns: list[str] = field(default_factory=list[str])
    invented: list[str] = field(default_factory=list[str])
    prose: list[str] = field(default_factory=list[str])
    cells: list[str] = field(default_factory=list[str])


def without_reasoning(text: str, form: TurnFormat) -> str:
    """The reply without the hidden reasoning that some services put before it.

    What is in the tag stays where nothing comes after it.

    >>> from air_reasoning.turn_format import AIR
    >>> without_reasoning("<think>hm</think>It is 4.", AIR)
    'It is 4.'
    """
    opening, closing = form.think
    head, found, rest = text.partition(closing)
    if found and head.lstrip().startswith(opening) and rest.strip():
        return rest.strip()
    return text.strip()


def declined(text: str) -> bool:
    """Whether a reply is no attempt: empty, or a short apology."""
    return not text.strip() or (len(text) < 600 and bool(_DECLINED.search(text)))


def read_solution(reply: str, form: TurnFormat) -> Solution | None:
    """The solution between ``<solution>`` tags, else the whole reply; None: it says NO_CODE.

    Never raises: what is malformed stays so and fails its checks.
    """
    found = _SOLUTION.findall(reply)
    text = found[-1] if found else without_reasoning(reply, form)
    if text.strip().strip("`*. ") == NO_CODE:
        return None
    solution, rest = Solution(), text.strip()
    while True:
        pieces = parse_turn(rest, form)
        cell = next((p for p in pieces if p.kind == "code" and p.closed), None)
        if cell is None:
            solution.turns.append(rest)
            solution.prose.append(rest)
            return solution
        solution.turns.append(rest[: cell.end].lstrip())
        solution.prose.append(rest[: cell.start])
        solution.cells.append(cell.body)
        invented, rest = _made_up(rest[cell.end :], form)
        solution.invented.append(invented)


def _made_up(text: str, form: TurnFormat) -> tuple[str, str]:
    """The output that was written behind a cell, and what follows it; other tags are taken too."""
    for opening, closing in (form.output, ("<output>", "</output>"), ("```output\n", "```")):
        if text.lstrip().startswith(opening):
            inside, _, rest = text.lstrip().removeprefix(opening).partition(closing)
            return inside.strip(), rest
    return "", text


def direct_turn(thought: str, answer: str, form: TurnFormat) -> str:
    r"""A code-free solution in the tags: the teacher's text is the thought.

    >>> from air_reasoning.turn_format import AIR
    >>> direct_turn("2 and 2 are 4.\n\\boxed{4}", "4", AIR)
    '<think>2 and 2 are 4.</think><answer>\\boxed{4}</answer>'
    """
    lines = thought.strip().splitlines()
    if len(lines) > 1 and "boxed{" in lines[-1]:
        lines.pop()
    body = "\n".join(lines).strip()
    return (
        f"{form.think[0]}{body}{form.think[1]}{form.answer[0]}\\boxed{{{answer}}}{form.answer[1]}"
    )


def task_text(task: Task) -> str:
    """All text that the problem itself holds: question and choices."""
    return "\n".join([*(p.text for p in task.prompt if p.kind == "text"), *task.choices])
