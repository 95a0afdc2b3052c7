"""math-verify in a child process that can be killed: the last resort of ``answers``.

Eight characters (``9^{9^{9^9}}``) send sympy into an endless computation, and math-verify's own
time-outs use signals, which work on the main thread only. So one persistent child with a memory
limit answers over pipes; a question that takes longer than the deadline costs the child its life,
and the next child is started at once. Safe from any thread: questions queue up behind a lock.
"""

import atexit
import contextlib
import json
import os
import select
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from air_reasoning.errors import PrerequisiteError

DEADLINE_S = 2.0
START_S = 60.0
MAX_WAIT = 10  # times the deadline, on the clock, for a child that gets no processor
MAX_CHARS = 1_000


@dataclass(kw_only=True, slots=True)
class _Child:
    """``owner`` is the process that started it: after a fork the child is not ours to speak to."""

    process: subprocess.Popen[bytes]
    owner: int
    ready: bool = False

    @property
    def usable(self) -> bool:
        return self.owner == os.getpid() and self.process.poll() is None


_lock = threading.Lock()
_child: _Child | None = None


def verify(gold: str, given: str, deadline_s: float = DEADLINE_S) -> bool | None:
    """Whether math-verify takes the two for equal; None if the deadline passed.

    The deadline is in seconds of the child's processor time, the same as the clock's on a machine
    that is not overloaded. Text over ``MAX_CHARS`` is unequal without a look. The child's start
    (about a second, once) is not part of the deadline. An error or the end of memory inside
    math-verify is "unequal".

    Raises:
        PrerequisiteError: math-verify cannot be imported.
    """
    if len(gold) > MAX_CHARS or len(given) > MAX_CHARS:
        return False
    question = json.dumps({"gold": gold, "given": given}).encode() + b"\n"
    with _lock:
        child = _ready_child()
        try:
            _write(child, question)
            reply = _reply(child, deadline_s)
        except (BrokenPipeError, EOFError):  # the memory limit ended it
            _stop()
            return False
        if reply is None:
            _stop()
            _start()
            return None
        return reply == b"1"


def _ready_child() -> _Child:
    """The running child, started if this process has none, once it has said "ready"."""
    child = _child if _child is not None and _child.usable else _start()
    if child.ready:
        return child
    try:
        child.ready = _read_line(child, time.monotonic() + START_S) == b"ready"
    except EOFError:
        child.ready = False
    if not child.ready:
        _stop()
        raise PrerequisiteError(
            "math-verify did not start; it belongs in the same environment: pip install math-verify"
        )
    return child


def _start() -> _Child:
    global _child
    process = subprocess.Popen(
        [sys.executable, "-I", str(Path(__file__).with_name("math_verify_main.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={"PATH": os.environ.get("PATH", ""), "OMP_NUM_THREADS": "1"},
        start_new_session=True,  # Ctrl-C is for the command, which then ends the child itself
    )
    _child = _Child(process=process, owner=os.getpid())
    return _child


def _stop() -> None:
    global _child
    child, _child = _child, None
    if child is None or child.owner != os.getpid():
        return
    child.process.kill()
    child.process.wait()
    for pipe in (child.process.stdin, child.process.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):  # what was not sent yet matters no more
                pipe.close()


atexit.register(_stop)


def _write(child: _Child, line: bytes) -> None:
    assert child.process.stdin is not None
    child.process.stdin.write(line)
    child.process.stdin.flush()


def _reply(child: _Child, deadline_s: float) -> bytes | None:
    """The answer, or None once the child has had ``deadline_s`` seconds of processor for it.

    Not of the clock: otherwise a verdict would depend on what else the machine is doing.
    """
    started, before = time.monotonic(), _cpu_seconds(child)
    left = deadline_s
    while left > 0 and time.monotonic() - started < MAX_WAIT * deadline_s:
        reply = _read_line(child, time.monotonic() + max(left, 0.02))
        if reply is not None:
            return reply
        used = _cpu_seconds(child)
        if used is None or before is None:
            return None
        left = deadline_s - (used - before)
    return None


def _cpu_seconds(child: _Child) -> float | None:
    """Processor time of the child so far; None where the system does not tell."""
    try:
        stat = Path(f"/proc/{child.process.pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return None
    user, system = stat.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _read_line(child: _Child, until: float) -> bytes | None:
    """One line without its end; None at the deadline. Raises EOFError if the child is gone."""
    assert child.process.stdout is not None
    descriptor, line = child.process.stdout.fileno(), b""
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([descriptor], [], [], max(0.0, until - time.monotonic()))
        if not ready:
            return None
        piece = os.read(descriptor, 4096)
        if not piece:
            raise EOFError
        line += piece
    return line[:-1]
