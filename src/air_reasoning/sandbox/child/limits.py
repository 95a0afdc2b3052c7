"""What a session process may use, set after the fork and before any model text is read.

This is the place where a jail belongs: ``confine`` is the last thing of ours that runs before the
cells do. Today it sets resource limits and ties the session's life to its parent's. It does **not**
stop a cell from reading the host's files, using the network, or signalling processes of the same
user; see ``air_reasoning.sandbox.process`` for the whole list.
"""

import ctypes
import os
import resource
import signal
from pathlib import Path
from typing import NamedTuple

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
MIB = 1 << 20
SPARE_TASKS = 512

_prctl = ctypes.CDLL(None, use_errno=True).prctl
# prctl is variadic and reads longs.
_prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4


class Limits(NamedTuple):
    """Of one process of a session; ``tasks`` are the user's processes and threads, None: any."""

    memory_mb: int
    file_mb: int = 64
    open_files: int = 64
    tasks: int | None = None


def confine(limits: Limits, parent: int) -> None:
    """Limit this process, and let it die with ``parent``.

    Not enforced by the kernel for root: the number of processes. Not limited at all: the sum over a
    session's processes, the number of files and the disk they take together.

    Raises:
        OSError: a limit cannot be set.
    """
    adopt_orphans()  # so that a daemonised child stays below its session
    _set(PR_SET_NO_NEW_PRIVS, 1)
    _set(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)
    _limit(resource.RLIMIT_AS, limits.memory_mb * MIB)
    _limit(resource.RLIMIT_FSIZE, limits.file_mb * MIB)
    _limit(resource.RLIMIT_NOFILE, limits.open_files)
    _limit(resource.RLIMIT_CORE, 0)
    if limits.tasks is not None:
        _limit(resource.RLIMIT_NPROC, limits.tasks)


def task_limit() -> int | None:
    """Processes and threads that the user may have: today's and some more. None for root.

    The kernel counts per user, not per session, and does not hold root to it.
    """
    if os.getuid() == 0:
        return None
    own = [path for path in Path("/proc").glob("[0-9]*/task") if _is_ours(path)]
    return SPARE_TASKS + sum(_count(path) for path in own)


def _is_ours(path: Path) -> bool:
    try:
        return path.stat().st_uid == os.getuid()
    except OSError:
        return False


def _count(folder: Path) -> int:
    try:
        return len(list(folder.iterdir()))
    except OSError:
        return 0


def adopt_orphans() -> None:
    """Become the parent of every descendant that loses its own, instead of process 1."""
    _set(PR_SET_CHILD_SUBREAPER, 1)


def prefer_for_oom_kill() -> None:
    """Let the kernel take this process and its children before the trainer when memory is gone."""
    Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def _limit(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(kind, (value, value))


def _set(option: int, value: int) -> None:
    if _prctl(option, value, 0, 0, 0):
        code = ctypes.get_errno()
        raise OSError(code, f"prctl({option}): {os.strerror(code)}")
