"""The parent of all sessions: a Python process that has everything imported and only forks.

Run by path in a fresh interpreter with an empty environment. It reads no model text and no reply of
a session. With the supervisor it shares

- the *control* socket: each message asks for a session and carries two descriptors, the session's
  *talk* socket (handed to the child, which alone uses it) and its *life* socket;
- per session the life socket: words ``interrupt`` and ``kill`` come in, ``started``,
  ``interrupted``, ``exited N`` and ``failed REASON`` go out. Its closing means ``kill``.

When the supervisor is gone it kills every session, removes the folder and ends.
"""

import contextlib
import gc
import importlib
import itertools
import json
import os
import select
import shutil
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

if __name__ == "__main__":  # run by path: make the relative imports work (PEP 366)
    sys.path.insert(0, str(Path(__file__).parent.parent))
    __package__ = "child"

from . import limits, runner

TALK_FD = 3
FILES_REMOVED_INLINE = 64
END_S = 5.0


class Child(NamedTuple):
    """One running session."""

    pid: int
    life: int
    folder: Path


class Zygote:
    """The loop over the control socket, the life sockets and SIGCHLD."""

    def __init__(self, settings: dict[str, Any], control: socket.socket) -> None:
        """``settings``: root, supervisor (pid), memory_mb, caps."""
        self._root = Path(settings["root"])
        self._limits = limits.Limits(settings["memory_mb"], tasks=limits.task_limit())
        self._caps = runner.Caps(**settings["caps"])
        self._control = control
        self._pid = os.getpid()
        self._children: dict[int, Child] = {}  # by pid
        self._by_life: dict[int, Child] = {}
        self._removers: set[int] = set()
        self._numbers = itertools.count(1)
        self._wake, wake_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_end, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _wake_only)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        # Another fork of the supervisor may hold a copy of the control socket open.
        self._supervisor = os.pidfd_open(settings["supervisor"])
        self._poll = select.epoll()
        for fd in (control.fileno(), self._wake, self._supervisor):
            self._poll.register(fd, select.EPOLLIN)

    def serve(self) -> None:
        """Until the supervisor closes the control socket or ends."""
        while True:
            for fd, _ in self._poll.poll():
                if fd == self._supervisor:
                    return
                if fd == self._wake:
                    os.read(fd, 4096)
                    self._reap()
                elif fd in self._by_life:
                    self._obey(self._by_life[fd])
                elif fd == self._control.fileno() and not self._open_session():
                    return

    def _open_session(self) -> bool:
        message, fds, _, _ = socket.recv_fds(self._control, 64, 2)
        if not message:
            return False
        talk, life = fds
        folder = self._root / str(next(self._numbers))
        try:
            folder.mkdir(mode=0o700)
            pid = os.fork()
        except OSError as error:
            _say(life, f"failed cannot start a session process: {error}")
            os.close(life)
        else:
            if pid == 0:
                self._become_session(talk, life, folder)
            child = Child(pid, life, folder)
            self._children[pid] = self._by_life[life] = child
            self._poll.register(life, select.EPOLLIN)
        os.close(talk)
        return True

    def _become_session(self, talk: int, life: int, folder: Path) -> NoReturn:
        """In the child: confine, let go of everything that is not the session's, run cells."""
        try:
            os.setsid()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.chdir(folder)
            sys.path.append(str(folder))
            limits.confine(self._limits, self._pid)
            _say(life, "started")
            os.dup2(talk, TALK_FD, inheritable=False)
            os.closerange(TALK_FD + 1, 1 << 20)
            life = -1
            runner.serve(TALK_FD, self._caps)
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
            if not word:  # closed: there will be nothing more to read
                self._forget(child.life)

    def _reap(self) -> None:
        """Bury what died: first its group, then, its pid still taken, the process itself."""
        ended: list[tuple[Child, int]] = []
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        with contextlib.suppress(ChildProcessError):
            while (info := os.waitid(os.P_ALL, 0, flags)) is not None:
                child = self._children.pop(info.si_pid, None)
                if child:
                    _kill(child.pid)
                status = os.waitpid(info.si_pid, 0)[1]
                self._removers.discard(info.si_pid)
                if child:
                    ended.append((child, os.waitstatus_to_exitcode(status)))
        self._kill_strays()
        for child, code in ended:
            self._remove(child.folder)
            _say(child.life, f"exited {code}")
            self._forget(child.life)
            os.close(child.life)

    def _forget(self, life: int) -> None:
        """Stop listening. Closing alone is not enough while a fork still holds a copy."""
        if self._by_life.pop(life, None):
            self._poll.unregister(life)

    def _kill_strays(self) -> list[int]:
        """End what left the group of a session that is over: it has become our own child."""
        path = Path(f"/proc/self/task/{self._pid}/children")
        found = {int(pid) for pid in path.read_text().split()}
        strays = found - self._children.keys() - self._removers
        for pid in strays:
            _kill(pid)
        return [*strays, *self._removers]

    def _remove(self, folder: Path) -> None:
        """Usually a few flat files; anything more is left to a process of its own."""
        try:
            with os.scandir(folder) as entries:
                for entry in itertools.islice(entries, FILES_REMOVED_INLINE):
                    os.unlink(entry.path)  # noqa: PTH108
            folder.rmdir()
        except OSError:
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                shutil.rmtree(folder, ignore_errors=True)
                os._exit(0)
            self._removers.add(pid)

    def close(self) -> None:
        """End all sessions and what they left; the folder goes with them."""
        end = time.monotonic() + END_S
        for pid in self._children:
            _kill(pid)
        while time.monotonic() < end:
            self._reap()
            if not self._children and not self._kill_strays():
                break
            time.sleep(0.002)
        shutil.rmtree(self._root, ignore_errors=True)


def _wake_only(signum: int, frame: object) -> None:
    """Without a handler the wake-up descriptor stays silent."""


def _kill(pid: int) -> None:
    """The process and its group; the group may not exist yet, or no more."""
    for kill in (os.kill, os.killpg):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(pid, signal.SIGKILL)


def _say(life: int, text: str) -> None:
    """A message to the supervisor, which may be gone."""
    with contextlib.suppress(OSError):
        os.write(life, text.encode("utf-8", "replace")[:2000])


def main() -> None:
    """``zygote.py SETTINGS``: a JSON object with the control socket's descriptor in it."""
    settings = json.loads(sys.argv[1])
    control = socket.socket(fileno=settings["control"])
    with contextlib.suppress(OSError):
        limits.prefer_for_oom_kill()
    limits.adopt_orphans()
    for name in settings["preload"]:
        importlib.import_module(name)
    for name in [name for name in sys.modules if name.partition(".")[0] == "child"]:
        del sys.modules[name]  # a cell may have a module of this name
    sys.path.pop(0)
    sys.argv[:] = [""]
    zygote = Zygote(settings, control)
    gc.collect()
    gc.disable()
    gc.freeze()
    try:
        zygote.serve()
    finally:
        zygote.close()


if __name__ == "__main__":
    main()
