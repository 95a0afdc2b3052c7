"""Which tier of isolation this host allows, found by trying each one to its end in a child.

``probe`` asks every layer for itself, for ``air sandbox check``.
"""

import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import kernel, seccomp
from .folder import remove
from .jail import FIRST_USER, Jail, Limits, Refusal


def find_tier(settings: dict[str, Any]) -> str:
    """The strongest tier that works, or the one that is asked for in ``settings["tier"]``.

    Raises:
        Refusal: none works and ``settings["unsafe"]`` is not set.
    """
    wanted = settings["tier"]
    reasons: dict[str, str] = {}
    for tier in candidates() if wanted == "auto" else [wanted]:
        reason = why_not(tier, settings)
        if not reason:
            return tier
        reasons[tier] = reason
    if settings["unsafe"] and wanted == "auto":
        return "unsafe"
    told = "; ".join(f"tier {tier}: {reason}" for tier, reason in reasons.items())
    raise Refusal(
        f"no isolation here ({told}). See `air sandbox check`; only sandbox.unsafe=true runs "
        "model-written code without any"
    )


def candidates() -> list[str]:
    """Tiers worth a try, strongest first."""
    return ["A", "B" if os.getuid() == 0 else "C"]


def why_not(tier: str, settings: dict[str, Any]) -> str:
    """Why this tier cannot be had; empty if it can. Leaves nothing behind."""
    if tier not in candidates():
        who = "root" if os.getuid() == 0 else "an ordinary user"
        return f"{tier} is not for {who}"
    folder = Path(settings["root"], f"try-{tier}")
    folder.mkdir(mode=0o711)
    Path(settings["root"]).chmod(0o711)
    limits = Limits(**settings["limits"])
    try:
        return _in_a_child(lambda: _whole_way(tier, limits, str(folder)))
    finally:
        remove(folder)


def _whole_way(tier: str, limits: Limits, folder: str) -> None:
    jail = Jail(tier, limits, folder, os.open("/proc", os.O_PATH))
    jail.enter()
    jail.close_gates()
    jail.before_fork(0)
    if reason := _in_a_child(lambda: jail.confine(0)):
        raise OSError(reason)


def _in_a_child(work: Callable[[], None]) -> str:
    """What ``work`` failed with, in a fork of this process; empty if it did not."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException as error:
            text = str(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
            os.write(write, text.encode("utf-8", "replace")[:1000])
        else:
            os.write(write, b"well")
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        told = pipe.read().decode("utf-8", "replace")
    status = os.waitpid(pid, 0)[1]
    if told == "well":
        return ""
    return told or f"the trial ended with {os.waitstatus_to_exitcode(status)}"


def probe(folder: str) -> dict[str, str]:
    """Layer or tier -> why it cannot be had here; empty if it can."""
    limits = {"memory_mb": 1024, "disk_mb": 64, "tasks": 64, "cpu_s": 60}
    settings = {"root": folder, "limits": limits}
    layers = {name: _in_a_child(work) for name, work in _layers().items()}
    return layers | {f"tier {tier}": why_not(tier, settings) for tier in ("A", "B", "C")}


def _layers() -> dict[str, Callable[[], None]]:
    inside = 0 if os.getuid() == 0 else kernel.NEWUSER
    try:
        landlock = f"Landlock, version {kernel.landlock_version()}"
    except OSError:
        landlock = "Landlock"
    return {
        "user namespace": lambda: kernel.unshare(kernel.NEWUSER),
        "mount namespace": lambda: kernel.unshare(inside | kernel.NEWNS),
        "process namespace": lambda: kernel.unshare(inside | kernel.NEWPID),
        "network namespace": lambda: kernel.unshare(inside | kernel.NEWNET),
        "IPC namespace": lambda: kernel.unshare(inside | kernel.NEWIPC),
        landlock: lambda: _ignore(kernel.landlock_version()),
        "seccomp filter": _try_filter,
        "resource limits": lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)),
        "another user": _try_user,
    }


def _ignore(value: object) -> None:
    """A result that only its absence would tell something."""


def _try_filter() -> None:
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    kernel.Filter(seccomp.program(processes=True)).install()


def _try_user() -> None:
    kernel.become(FIRST_USER if os.getuid() == 0 else -1)
