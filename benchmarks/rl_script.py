"""What both sides of ``rl.py`` train on, and what their model is made to write.

The model's forward pass runs as it is; only the token that is chosen from its logits is fixed. So
both sides do the same work on the same tokens, and how often code is called is set and not learnt.
Imports neither torch nor anything of ours.
"""

import json
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

OPEN, CLOSE = "<code>```python\n", "\n```</code>"
ANSWERS = ("144", "151")
QUESTION = "What is the product of A and B?"


def turns(member: int, calls: int, tokens: int) -> list[str]:
    """Texts of one trajectory's turns: about ``tokens`` one-token letters, ``calls`` cells.

    Even members are right, odd ones wrong, so that no group is constant.
    """
    parts = calls + 1
    filler = " ".join("ABCDEFGH"[(member + i) % 8] for i in range(max(1, tokens // parts // 2)))
    cell = f"<think>{filler}</think>{OPEN}print(12*12){CLOSE}"
    answer = f"<think>{filler}</think><answer>\\boxed{{{ANSWERS[member % 2]}}}</answer>"
    return [cell] * calls + [answer]


def calls_of(member: int, share: float, calls: int) -> int:
    """How often a member calls: ``share`` of the members do, ``calls`` times each."""
    return calls if int((member + 1) * share) > int(member * share) else 0


def peak_bytes() -> int:
    """Highest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def resident_bytes() -> int:
    """Resident memory of this process now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def cpu_seconds() -> float:
    """Processor time of this process, its threads included, and of children that ended."""
    both = (resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def requests() -> Iterator[None]:
    """One for each line on stdin, until it is closed."""
    for _ in sys.stdin:
        yield


def answer(values: dict[str, Any]) -> None:
    """One line of JSON on stdout."""
    sys.__stdout__.write(json.dumps(values) + "\n")
    sys.__stdout__.flush()
