"""The two stages of the cold start for program-made tasks.

Stage 1 is a textual solution; stage 2 replaces its computation by the task's program. Some scripts
fail on purpose, so that reinforcement learning has something to improve.
"""

import random
from dataclasses import dataclass
from typing import Literal

from air_reasoning.errors import DataError
from air_reasoning.types import Task

Mode = Literal["direct", "code", "repair", "give_up"]


@dataclass(kw_only=True, slots=True, frozen=True)
class Script:
    """What a scripted teacher says, turn by turn."""

    mode: Mode
    turns: list[str]


def write_script(task: Task, mode: Mode, rng: random.Random) -> Script:
    """The teacher's turns for one task.

    ``direct`` answers in the first turn; ``code`` computes; ``repair`` calls with a fault and then
    without; ``give_up`` answers after the failed call.

    Raises:
        DataError: the task was not made by ``air tasks make``.
    """
    try:
        reasoning, program = task.meta["reasoning"], task.meta["program"]
    except KeyError as error:
        raise DataError(
            f"task {task.id} has no meta.{error.args[0]}: this cold start needs tasks made by "
            "'air tasks make'"
        ) from None
    thought = f"<think>{reasoning}</think>"
    answer = f"<answer>\\boxed{{{task.answer.value}}}</answer>"
    match mode:
        case "direct":
            turns = [thought + answer]
        case "code":
            turns = [thought + cell(program), answer]
        case "repair":
            turns = [thought + cell(with_fault(program, rng)), cell(program), answer]
        case "give_up":
            turns = [thought + cell(with_fault(program, rng)), answer]
    return Script(mode=mode, turns=turns)


def cell(code: str) -> str:
    r"""A code cell in the ``air`` format.

    >>> cell("print(1)")
    '<code>```python\nprint(1)\n```</code>'
    """
    return f"<code>```python\n{code}\n```</code>"


def with_fault(program: str, rng: random.Random) -> str:
    """The program with one of the faults that small models make.

    Nearly always it fails; where it still prints something (a name behind an untaken ``if``), the
    sample is rejected as ``cell_outcome``.
    """
    match rng.randrange(3):
        case 0:
            return program.removesuffix(")")
        case 1:
            return program.replace("print(", "print(x+", 1)
        case _ if program.startswith("import "):
            return program.partition("\n")[2]
        case _:
            return program.replace("print(", "print((", 1)
