"""The child's side of ``math_verify_child``: a question a line, ``1``, ``0`` or ``timeout`` back.

It imports math-verify once and then forks workers that have it already: a worker that thinks too
long is killed and replaced in milliseconds, without another import. Run by path, so it imports
nothing of this package.
"""

import json
import os
import resource
import select
import signal
import sys
import time
from dataclasses import dataclass
from typing import Any

MEMORY_BYTES = 1 << 30
FAIR_SHARE = 0.15
PATIENCE = 10
POLL_S = 0.05


@dataclass(slots=True)
class Worker:
    """A forked process and the pipes to it."""

    pid: int
    questions: int
    answers: int

    def end(self) -> None:
        """Kill it, whatever it is doing."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.questions)
        os.close(self.answers)


def main() -> None:
    """Answer until the parent closes the pipe."""
    out = os.dup(1)
    os.dup2(2, 1)  # whatever a library prints must not become an answer
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    import math_verify  # a second of imports, before the limit on memory

    _equal(math_verify, "x+1", "\\frac{1}{2}")  # the parsers load with the first question
    worker = _fork(math_verify)
    os.write(out, b"ready\n")
    for line in sys.stdin.buffer:
        answer = _ask(worker, line, float(json.loads(line)["deadline_s"]))
        os.write(out, answer + b"\n")
        if answer in (b"timeout", b"ended"):
            worker.end()
            worker = _fork(math_verify)
    worker.end()


def _ask(worker: Worker, line: bytes, deadline_s: float) -> bytes:
    """The worker's answer; ``timeout``, or ``ended`` if the memory limit stopped it.

    On a machine that is overloaded the deadline passes before the worker has had its turn, and a
    right answer would be called late: so it is not stopped before it had ``FAIR_SHARE`` of the
    deadline in processor time, ``PATIENCE`` times the deadline at most.
    """
    started, before = time.monotonic(), _cpu_seconds(worker.pid)
    try:
        os.write(worker.questions, line)
    except BrokenPipeError:
        return b"ended"
    wait = deadline_s
    while not select.select([worker.answers], [], [], wait)[0]:
        late = time.monotonic() - started > PATIENCE * deadline_s
        if late or _cpu_seconds(worker.pid) - before >= FAIR_SHARE * deadline_s:
            return b"timeout"
        wait = POLL_S
    return os.read(worker.answers, 1) or b"ended"


def _cpu_seconds(pid: int) -> float:
    """Processor time of a process so far; infinite where the system does not tell."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123
            user, system = file.read().rpartition(b")")[2].split()[11:13]
    except OSError:
        return float("inf")
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _fork(math_verify: Any) -> Worker:
    from_main, to_worker = os.pipe()
    from_worker, to_main = os.pipe()
    pid = os.fork()
    if pid:
        os.close(from_main)
        os.close(to_main)
        return Worker(pid, to_worker, from_worker)
    os.close(to_worker)
    os.close(from_worker)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    with os.fdopen(from_main, "rb") as questions:
        for line in questions:
            question = json.loads(line)
            equal = _equal(math_verify, question["gold"], question["given"])
            os.write(to_main, b"1" if equal else b"0")
    os._exit(0)


def _equal(math_verify: Any, gold: str, given: str) -> bool:
    """Its own time-outs off: they need signals, and the main process has the clock."""
    try:
        parsed = [
            math_verify.parse(f"${text.strip('$')}$", parsing_timeout=0) for text in (gold, given)
        ]
        return bool(math_verify.verify(*parsed, timeout_seconds=0))
    except Exception:
        return False


main()
