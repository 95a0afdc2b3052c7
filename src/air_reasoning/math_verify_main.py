"""The child's side of ``math_verify_child``: one JSON question a line, ``1`` or ``0`` back.

Run by path, so it imports nothing of this package.
"""

import json
import os
import resource
import sys

MEMORY_BYTES = 1 << 30


def main() -> None:
    """Answer until the parent closes the pipe."""
    out = os.dup(1)
    os.dup2(2, 1)  # whatever a library prints must not become an answer
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    from math_verify import parse, verify  # a second of imports, before the limit on memory

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    os.write(out, b"ready\n")
    for line in sys.stdin:
        question = json.loads(line)
        try:
            gold, given = (
                parse(f"${question[key].strip('$')}$", parsing_timeout=0)
                for key in ("gold", "given")
            )
            equal = verify(gold, given, timeout_seconds=0)
        except Exception:
            equal = False
        os.write(out, b"1\n" if equal else b"0\n")


main()
