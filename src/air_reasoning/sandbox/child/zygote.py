"""The parent of all sessions: a Python process that has everything imported and only forks.

Run by path in a fresh interpreter with an empty environment. It reads no model text and no reply of
a session. With the supervisor it shares

- the *control* socket: each message asks for a session and carries two descriptors, the session's
  *talk* socket (handed to the child, which alone uses it) and its *life* socket;
- per session the life socket: words ``interrupt`` and ``kill`` come in, ``started``,
  ``interrupted``, ``killed``, ``exited N`` and ``failed REASON`` go out. Closing it means ``kill``.

When the supervisor is gone it kills every session, removes the folder and ends.
"""

import contextlib
import gc
import importlib
import itertools
import json
import os
import select
import signal
import socket
import sys
import time
from pathlib import Path
from typing import NamedTuple, NoReturn

if __name__ == "__main__":  # run by path: make the relative imports work (PEP 366)
    sys.path.insert(0, str(Path(__file__).parent.parent))
    __package__ = "child"

from . import kernel, runner
from .folder import remove
from .jail import Jail, Limits
from .tiers import find_tier, probe

TALK_FD = 3
END_S = 5.0
QUOTA_S = 0.25
ALLOCATOR = ("PYTHONMALLOC", "GLIBC_TUNABLES")


class Child(NamedTuple):
    """One running session."""

    pid: int
    life: int
    number: int


class Zygote:
    """The loop over the control socket, the life sockets and SIGCHLD."""

    def __init__(
        self, jail: Jail, caps: runner.Caps, control: socket.socket, supervisor: int
    ) -> None:
        """``supervisor``: a pidfd. Another fork of it may hold a copy of the control socket."""
        self._jail = jail
        self._session = runner.Session(caps)  # what every session begins with
        self._session.become_main()
        self._control = control
        self._supervisor = supervisor
        self._children: dict[int, Child] = {}  # by pid
        self._by_life: dict[int, Child] = {}
        self._numbers = itertools.count(1)
        self._wake, wake_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_end, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _wake_only)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._poll = select.epoll()
        for fd in (control.fileno(), self._wake, supervisor):
            self._poll.register(fd, select.EPOLLIN)

    def serve(self) -> None:
        """Until the supervisor closes the control socket or ends."""
        self._control.send(json.dumps({"tier": self._jail.tier}).encode())
        looked = time.monotonic()
        while True:
            watched = self._jail.tier != "A" and self._children
            for fd, _ in self._poll.poll(QUOTA_S if watched else -1):
                if fd == self._supervisor:
                    return
                if fd == self._wake:
                    os.read(fd, 4096)
                    self._reap()
                elif fd in self._by_life:
                    self._obey(self._by_life[fd])
                elif fd == self._control.fileno() and not self._open_session():
                    return
            if watched and time.monotonic() - looked > QUOTA_S:
                looked = time.monotonic()
                self._enforce_quotas()

    def _open_session(self) -> bool:
        message, fds, _, _ = socket.recv_fds(self._control, 64, 2)
        if not message:
            return False
        talk, life = fds
        number = next(self._numbers)
        try:
            self._jail.before_fork(number)
            pid = kernel.fork()
        except OSError as error:
            _say(life, f"failed cannot start a session process: {error}")
            os.close(life)
        else:
            if pid == 0:
                self._become_session(talk, life, number)
            child = Child(pid, life, number)
            self._children[pid] = self._by_life[life] = child
            self._poll.register(life, select.EPOLLIN)
        os.close(talk)
        return True

    def _become_session(self, talk: int, life: int, number: int) -> NoReturn:
        """In the child: confine, let go of everything that is not the session's, run cells."""
        try:
            os.setsid()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            descriptors = self._session.begin()
            self._jail.confine(number)
            _say(life, "started")
            os.dup2(talk, TALK_FD, inheritable=False)
            _keep_only([TALK_FD, *descriptors])
            life = -1
            runner.serve(TALK_FD, self._session)
        except BaseException as error:
            _say(life, f"failed {type(error).__name__}: {error}")
        finally:
            os._exit(1)

    def _obey(self, child: Child) -> None:
        try:
            word = os.read(child.life, 64)
        except BlockingIOError:  # an event of the descriptor's previous owner
            return
        except OSError:
            word = b""
        if word == b"interrupt":
            os.kill(child.pid, signal.SIGINT)
            _say(child.life, "interrupted")
        else:
            _kill(child.pid)
            if word:  # it runs no more; to take its namespaces apart may take the kernel longer
                _say(child.life, "killed")
            else:  # closed: there will be nothing more to read
                self._forget(child.life)

    def _reap(self) -> bool:
        """Bury what died, with everything that it left. False once no child is left at all."""
        try:
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                child = self._children.pop(ended[0], None)
                if child:
                    self._jail.bury(child.number, child.pid)
                    _say(child.life, f"exited {os.waitstatus_to_exitcode(ended[1])}")
                    self._forget(child.life)
                    os.close(child.life)
        except ChildProcessError:
            return False
        return True

    def _forget(self, life: int) -> None:
        """Stop listening. Closing alone is not enough while a fork still holds a copy."""
        if self._by_life.pop(life, None):
            self._poll.unregister(life)

    def _enforce_quotas(self) -> None:
        for child in self._children.values():
            if self._jail.over_quota(child.number):
                _kill(child.pid)

    def close(self) -> None:
        """End all sessions and what they left."""
        end = time.monotonic() + END_S
        for pid in self._children:
            _kill(pid)
        while self._reap() and time.monotonic() < end:
            time.sleep(0.001)


def _wake_only(signum: int, frame: object) -> None:
    """Without a handler the wake-up descriptor stays silent."""


def _kill(pid: int) -> None:
    """The process and its group; the group may not exist yet, or no more."""
    for kill in (os.kill, os.killpg):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(pid, signal.SIGKILL)


def _keep_only(descriptors: list[int]) -> None:
    """Close everything else but the standard three."""
    before = 2
    for fd in [*sorted(descriptors), 1 << 20]:
        os.closerange(before + 1, fd)
        before = fd


def _say(life: int, text: str) -> None:
    """A message to the supervisor, which may be gone."""
    with contextlib.suppress(OSError):
        os.write(life, text.encode("utf-8", "replace")[:2000])


def main() -> None:
    """``zygote.py SETTINGS``: a JSON object with the control socket's descriptor in it.

    ``zygote.py --probe FOLDER`` only prints what each layer of the jail answers here.
    """
    if sys.argv[1] == "--probe":
        print(json.dumps(probe(sys.argv[2])))
        return
    settings = json.loads(sys.argv[1])
    for name in ALLOCATOR:  # they were for this start
        os.environ.pop(name, None)
    with contextlib.suppress(OSError):  # memory gone: rather we and our children than the trainer
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    control = socket.socket(fileno=settings["control"])
    supervisor = os.pidfd_open(settings["supervisor"])
    jail = Jail(
        find_tier(settings),
        Limits(**settings["limits"]),
        settings["root"],
        os.open("/proc", os.O_PATH),
    )
    sys.path.pop(0)
    jail.enter()
    _import_all(settings["preload"])
    jail.close_gates()
    caps = runner.Caps(**settings["caps"])
    runner.warm_up(caps)
    zygote = Zygote(jail, caps, control, supervisor)
    gc.collect()
    gc.disable()
    gc.freeze()
    try:
        zygote.serve()
    finally:
        zygote.close()
        remove(Path(settings["root"]))


def _import_all(names: list[str]) -> None:
    """What every session shall have; then hide that we were here first."""
    os.environ["MPLCONFIGDIR"] = os.environ["TMPDIR"] = str(Path("tmp").absolute())
    for name in names:
        with contextlib.suppress(*([ModuleNotFoundError] if name.endswith("?") else [])):
            importlib.import_module(name.rstrip("?"))
    for name in [name for name in sys.modules if name.partition(".")[0] == "child"]:
        del sys.modules[name]  # a cell may have a module of this name
    if tempfile := sys.modules.get("tempfile"):
        tempfile.tempdir = None  # type: ignore[attr-defined]
    sys.argv[:] = [""]


if __name__ == "__main__":
    main()
