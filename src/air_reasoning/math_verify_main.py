"""The child's side of ``math_verify_child``: one JSON question a line, ``1`` or ``0`` back.

Run by path, so it imports nothing of this package.
"""

import json
import os
import resource
import sys
from typing import Any

MEMORY_BYTES = 1 << 30


def main() -> None:
    """Answer until the parent closes the pipe."""
    out = os.dup(1)
    os.dup2(2, 1)  # whatever a library prints must not become an answer
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    import math_verify  # a second of imports, before the limit on memory

    _equal(math_verify, "x+1", "\\frac{1}{2}")  # the parsers load with the first question

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    os.write(out, b"ready\n")
    for line in sys.stdin:
        question = json.loads(line)
        equal = _equal(math_verify, question["gold"], question["given"])
        os.write(out, b"1\n" if equal else b"0\n")


def _equal(math_verify: Any, gold: str, given: str) -> bool:
    """Its own time-outs off: they need signals, and the parent has the clock."""
    try:
        parsed = [
            math_verify.parse(f"${text.strip('$')}$", parsing_timeout=0) for text in (gold, given)
        ]
        return bool(math_verify.verify(*parsed, timeout_seconds=0))
    except Exception:
        return False


main()
