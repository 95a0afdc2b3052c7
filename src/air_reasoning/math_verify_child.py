r"""math-verify in child processes that can be killed: the last resort of ``answers``.

Eight characters (``9^{9^{9^9}}``) send sympy into an endless computation, and math-verify's own
time-outs use signals, which work on the main thread only. So a few persistent children with a
memory limit answer over pipes; a question that takes longer than the deadline costs a worker its
life (``math_verify_main``), and the next worker is there in milliseconds. Safe from any thread and
event loop: each question takes a child of its own from the pool, or waits for one.
"""

import atexit
import contextlib
import json
import os
import re
import select
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from air_reasoning.errors import PrerequisiteError

DEADLINE_S = 2.0
START_S = 60.0
GRACE_S = 40.0  # for a child that itself gets no processor
MAX_CHARS = 1_000
CHILDREN = max(1, min(4, os.cpu_count() or 1))
REMEMBERED = 4_096
MAX_EXPONENT = 10_000

_TOWER = re.compile(r"\d\s*\^[\s{(]*(\d+)\s*\^[\s{(]*(\d+)")
_EXPONENT = re.compile(r"\^[\s{(]*-?(\d+)")
_FACTORIAL = re.compile(r"(?<![\d.])(\d{4,})\s*!|\([^()!]*\^[^()!]*\)\s*!")


@dataclass(kw_only=True, slots=True)
class _Child:
    """``owner`` is the process that started it: after a fork the child is not ours to speak to."""

    process: subprocess.Popen[bytes]
    owner: int
    ready: bool = False

    @property
    def usable(self) -> bool:
        return self.owner == os.getpid() and self.process.poll() is None


_places = threading.BoundedSemaphore(CHILDREN)
_lock = threading.Lock()
_idle = list[_Child]()
_all = list[_Child]()
_known = OrderedDict[tuple[str, str], bool | None]()


def verify(gold: str, given: str, deadline_s: float = DEADLINE_S) -> bool | None:
    """Whether math-verify takes the two for equal; None if the deadline passed.

    The deadline is in seconds on the clock, of one question; on an overloaded machine a worker may
    have longer, until it had 0.15 of the deadline in processor time. The start of a child (about a
    second, once) is not part of it. What cannot be computed at all (``hopeless``) counts as passed
    at once. Text over ``MAX_CHARS`` is unequal without a look. An error or the end of memory inside
    math-verify is "unequal". The last ``REMEMBERED`` answers are remembered, so that a hostile text
    costs its time once.

    Raises:
        PrerequisiteError: math-verify cannot be imported.
    """
    if len(gold) > MAX_CHARS or len(given) > MAX_CHARS:
        return False
    if hopeless(gold) or hopeless(given):
        return None
    with _lock:
        if (gold, given) in _known:
            _known.move_to_end((gold, given))
            return _known[gold, given]
    with _places:
        reply = _asked(gold, given, deadline_s)
    with _lock:
        _known[gold, given] = reply
        if len(_known) > REMEMBERED:
            _known.popitem(last=False)
    return reply


def hopeless(text: str) -> bool:
    r"""Whether a power or factorial of plain numbers is beyond any computer.

    True for ``9^{9^{9^{9}}}`` and ``(10^{6})!``, False for ``2^{2^{3}}`` and ``x^{100}``.
    """
    if "!" in text and _FACTORIAL.search(text):
        return True
    if any(len(m[1]) > 5 or int(m[1]) > MAX_EXPONENT for m in _EXPONENT.finditer(text)):
        return True
    for match in _TOWER.finditer(text):
        base, exponent = int(match[1]), int(match[2])
        if base > 1 and exponent * base.bit_length() > MAX_EXPONENT.bit_length():
            return True
    return False


def _asked(gold: str, given: str, deadline_s: float) -> bool | None:
    child = _take()
    question = json.dumps({"gold": gold, "given": given, "deadline_s": deadline_s}).encode()
    try:
        assert child.process.stdin is not None
        child.process.stdin.write(question + b"\n")
        child.process.stdin.flush()
        reply = _read_line(child, time.monotonic() + deadline_s + GRACE_S)
    except (BrokenPipeError, EOFError):
        reply = b"ended"
    if reply in (b"1", b"0", b"timeout", b"ended") and child.usable:
        with _lock:
            _idle.append(child)
    else:
        _end(child)
    return None if reply in (b"timeout", None) else reply == b"1"


def _take() -> _Child:
    """A child that nobody else speaks to, once it has said "ready"."""
    with _lock:
        while _idle:
            child = _idle.pop()
            if child.usable:
                return child
            _all.remove(child)
        child = _started()
        _all.append(child)
    try:
        child.ready = _read_line(child, time.monotonic() + START_S) == b"ready"
    except EOFError:
        child.ready = False
    if not child.ready:
        _end(child)
        raise PrerequisiteError(
            "math-verify did not start; it belongs in the same environment: pip install math-verify"
        )
    return child


def _started() -> _Child:
    process = subprocess.Popen(
        [sys.executable, "-I", str(Path(__file__).with_name("math_verify_main.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={"PATH": os.environ.get("PATH", ""), "OMP_NUM_THREADS": "1"},
        start_new_session=True,  # Ctrl-C is for the command, which then ends the child itself
    )
    return _Child(process=process, owner=os.getpid())


def _end(child: _Child) -> None:
    """Kill a child and its worker, which are a session of their own."""
    with _lock:
        if child in _all:
            _all.remove(child)
    if child.owner != os.getpid():
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.process.pid, 9)
    child.process.wait()
    for pipe in (child.process.stdin, child.process.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):  # what was not sent yet matters no more
                pipe.close()


@atexit.register
def _end_all() -> None:
    for child in list(_all):
        _end(child)


def _forget() -> None:
    """In a forked process: the parent's children and locks are not ours."""
    global _places, _lock
    _places, _lock = threading.BoundedSemaphore(CHILDREN), threading.Lock()
    _idle.clear()
    _all.clear()


os.register_at_fork(after_in_child=_forget)


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
