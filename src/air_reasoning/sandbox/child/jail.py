"""The jail, layer by layer: what each one stops, and what it does not.

A *tier* is a set of layers. It is found by trying, is named in every result, and is never exchanged
for a weaker one in silence; with none of them the zygote refuses to start.

| Layer | A | B | C | Stops | Does not stop |
|---|---|---|---|---|---|
| mount namespace, own root | x | | | seeing any file of the host but libraries, the interpreter and its packages, all read-only | reading those |
| network and IPC namespace | x | | | any network, abstract sockets, shared memory with the host | a socket pair inside the session |
| process namespace of the session | x | | | seeing or signalling any process outside; a process that outlives the session | |
| user namespace of the session | x | | | any privilege over the host; a count of tasks shared with other sessions | bugs of the kernel |
| user of its own | x | x | | files and signals of other users; with A it is one user for all sessions, with B one for each | what everybody may read |
| tmpfs with a size and a number of files | x | | | filling the disk | using up to `disk_mb` of memory |
| Landlock | x | x | x | opening a file outside the allowed folders, TCP; from version 6 on signals to others | seeing that a name exists (stat), with B and C |
| seccomp allow-list | x | x | x | sockets, mounts, ptrace, bpf, io_uring, ...: see `seccomp.py`; with C also starting a process | what the allowed calls do |
| resource limits | x | x | x | memory, file size, open files of each process, CPU seconds; with A and B tasks of the session | the sum of memory over a session's processes |
| watch over the folder | | x | x | more than `disk_mb` on disk, looked at every quarter of a second | more than that for a moment; deleted files held open |
| no capabilities, no_new_privs | x | x | x | setuid programs, and everything that needs a privilege | |

No tier resists bugs of the kernel or side channels, shares the processor fairly, or makes a reply
authentic. There is no /proc and no /sys: what is not mounted cannot leak.

The order matters. `enter` runs once in the zygote, before the libraries are imported; `confine` runs
in each session after the fork and before any text of the model is read; its last step is seccomp.
"""  # noqa: E501

import contextlib
import os
import resource
import select
import signal
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from . import folder, kernel, root, seccomp

MIB = 1 << 20
# Above all ranges that distributions and systemd give to users, services and containers.
FIRST_USER = 1_900_000_000
OPEN_FILES, MAX_NAMES = 64, 4096
SHARED = kernel.NEWNS | kernel.NEWNET | kernel.NEWIPC | kernel.NEWUTS


class Refusal(Exception):
    """No tier can be had here; the text says what is missing."""


class Limits(NamedTuple):
    """Of one session; ``cpu_s`` and ``memory_mb`` of each of its processes."""

    memory_mb: int
    disk_mb: int
    tasks: int
    cpu_s: int


class Jail:
    """What `enter` has built in the zygote, and what its sessions need of it."""

    def __init__(self, tier: str, limits: Limits, where: str, proc: int) -> None:
        """``where``: where tiers other than A keep files; ``proc``: a descriptor of /proc."""
        self.tier = tier
        self.limits = limits
        self.landlock = 0
        self._folder = where
        self._proc = proc
        self._own_pids = -1
        self._parent = select.poll()
        self._rules = -1
        self._filter = kernel.Filter(b"")  # which the kernel refuses
        self._readable: dict[str, int] = {}
        self._resources: list[tuple[int, tuple[int, int]]] = []

    # --- once, in the zygote ----------------------------------------------------------------

    def enter(self) -> None:
        """Leave the host. With tier A the calling process stays behind as a mere launcher.

        Raises:
            OSError: a layer is refused by the kernel.
        """
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
        paths = root.visible()
        self._readable = root.readable_rules(paths)
        match self.tier:
            case "A":
                self._enter_namespaces(paths)
            case "B":
                os.chmod(self._folder, 0o711)  # noqa: PTH101
                self._check_that_all_is_reachable()
                kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
            case _:
                pass

    def _enter_namespaces(self, paths: list[str]) -> None:
        outside = os.getuid()
        if outside == 0:  # build the root while every file can be read, then be somebody else
            kernel.unshare(SHARED)
            root.build(paths, self._folder)
            kernel.become(FIRST_USER)
            outside = FIRST_USER
            kernel.prctl(kernel.PR_SET_DUMPABLE, 1)  # or /proc/self/uid_map would be root's
            kernel.unshare(kernel.NEWUSER | kernel.NEWPID | kernel.NEWNS)
            kernel.map_user(self._proc, root.USER, outside)
        else:
            kernel.unshare(kernel.NEWUSER | kernel.NEWPID | SHARED)
            kernel.map_user(self._proc, root.USER, outside)
            root.build(paths, self._folder)
        _stay_behind()
        self._own_pids = os.open("self/ns/pid", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._proc)
        kernel.mount("tmpfs", root.HOME, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV)
        os.chdir(root.HOME)
        Path("tmp").mkdir()

    def _check_that_all_is_reachable(self) -> None:
        """Sessions of tier B are users that nobody has given rights to."""
        for path in map(Path, [*sys.path, self._folder]):
            for parent in [path, *path.parents]:
                if parent.is_dir() and not parent.stat().st_mode & stat.S_IXOTH:
                    raise PermissionError(
                        f"{parent} is closed to other users, as which tier B runs sessions; "
                        "open it, name another interpreter in sandbox.packages, or set TMPDIR"
                    )

    def close_gates(self) -> None:
        """After the imports: the rules and the filter that every session takes over.

        What can be prepared is: each object that a session makes is memory of its own.
        """
        self._parent.register(os.pidfd_open(os.getpid()), select.POLLIN)
        self._resources = kernel.possible_limits(self._resource_limits())
        if self.tier == "unsafe":
            return
        with contextlib.suppress(OSError):
            self.landlock = kernel.landlock_version()
        if self.tier == "A":
            os.chdir("/")
            kernel.unmount(root.HOME)  # what the imports wrote
            _name_home(root.HOME)
            self._readable = {"/": kernel.READ, "/dev": kernel.ALL, "/home": kernel.ALL}
            if self.landlock:
                self._rules = kernel.landlock_rules(self._readable, self.landlock)
        elif not self.landlock:
            raise OSError(f"no Landlock, and without it no tier {self.tier}")
        self._filter = kernel.Filter(seccomp.program(processes=self.tier != "C"))

    # --- for each session -------------------------------------------------------------------

    def before_fork(self, number: int) -> None:
        """In the zygote: the next child starts a process namespace of its own, or a folder."""
        if self.tier == "A":
            kernel.join_pid_namespace(self._own_pids)
            kernel.unshare(kernel.NEWPID)
        else:
            self._session_folder(number).mkdir(mode=0o700)

    def confine(self, number: int) -> None:
        """In the session's process: everything that is left, and no way back.

        Raises:
            OSError: a layer is refused. The process must end.
        """
        home = root.HOME
        if self.tier == "A":
            kernel.unshare(kernel.NEWUSER | kernel.NEWNS)
            kernel.map_user(self._proc, root.USER, root.USER, nested=True)
            size = f"mode=700,size={self.limits.disk_mb}m,nr_inodes={MAX_NAMES}"
            kernel.mount("tmpfs", home, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, size)
        else:
            home = str(self._session_folder(number))
            _name_home(home)
        os.chdir(home)
        if self.tier == "B":
            user = _user_of(os.getpid())
            os.chown(home, user, user)
            kernel.become(user)
        os.mkdir("work")  # noqa: PTH102
        os.mkdir("tmp")  # noqa: PTH102
        os.chdir("work")
        for kind, limit in self._resources:
            resource.setrlimit(kind, limit)
        if self.tier == "A" and self.landlock:
            kernel.landlock_enter(self._rules)
        elif self.landlock:  # other sessions' folders lie beside this one
            own = self._readable | {home: kernel.ALL}
            kernel.landlock_enter(kernel.landlock_rules(own, self.landlock))
        self._die_with_the_zygote()
        if self.tier != "unsafe":
            kernel.drop_capabilities()
            self._filter_of_this_process().install()

    def _resource_limits(self) -> list[tuple[int, int]]:
        limits = [
            (resource.RLIMIT_AS, self.limits.memory_mb * MIB),
            (resource.RLIMIT_FSIZE, self.limits.disk_mb * MIB),
            (resource.RLIMIT_CPU, self.limits.cpu_s),
            (resource.RLIMIT_NOFILE, OPEN_FILES),
            (resource.RLIMIT_STACK, 8 * MIB),
            (resource.RLIMIT_CORE, 0),
            (resource.RLIMIT_MEMLOCK, 0),
        ]
        if self.tier in "AB":  # else it would count all processes of the user
            limits.append((resource.RLIMIT_NPROC, self.limits.tasks))
        return limits

    def _die_with_the_zygote(self) -> None:
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        if self._parent.poll(0):  # it died before the line above
            os._exit(1)

    def _filter_of_this_process(self) -> kernel.Filter:
        if self.tier == "C" and self.landlock < 6:  # nothing else keeps signals in
            return kernel.Filter(seccomp.program(processes=False, signals_to=os.getpid()))
        return self._filter

    # --- after it has ended -----------------------------------------------------------------

    def bury(self, number: int, pid: int) -> None:
        """End and remove what a session left.

        With A the kernel has done it. With C a session cannot have started anything.
        """
        if self.tier == "B":
            _kill_all_of(_user_of(pid))
        if self.tier != "A":
            place = self._session_folder(number)
            _in_a_child(lambda: folder.remove(place))  # thousands of names may take seconds

    def over_quota(self, number: int) -> bool:
        """Whether a session's folder holds more than it may; with A the kernel sees to that."""
        return self.tier != "A" and folder.too_much(
            self._session_folder(number), self.limits.disk_mb, MAX_NAMES
        )

    def _session_folder(self, number: int) -> Path:
        return Path(self._folder, str(number))


def _stay_behind() -> None:
    """Fork; the child, first of its process namespace, goes on. We wait, and it dies with us."""
    launcher = os.pidfd_open(os.getpid())
    pid = os.fork()
    if pid:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        status = os.waitpid(pid, 0)[1]
        os._exit(os.waitstatus_to_exitcode(status) & 0x7F)
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    poll = select.poll()
    poll.register(launcher, select.POLLIN)
    if poll.poll(0):
        os._exit(1)
    os.close(launcher)


def _name_home(home: str) -> None:
    os.environ.update(HOME=f"{home}/work", TMPDIR=f"{home}/tmp", LANG="C.UTF-8")


def _user_of(pid: int) -> int:
    """The user as which a session of tier B runs: no two processes have the same."""
    return FIRST_USER + pid


def _kill_all_of(user: int) -> None:
    """kill(-1) as that user: nothing can fork meanwhile, so none is missed."""

    def kill() -> None:
        kernel.become(user)
        os.kill(-1, signal.SIGKILL)

    os.waitpid(_in_a_child(kill), 0)


def _in_a_child(work: Callable[[], None]) -> int:
    """``work`` in a fork of this process, whose pid it returns."""
    pid = os.fork()
    if pid == 0:
        signal.set_wakeup_fd(-1)
        with contextlib.suppress(OSError):
            work()
        os._exit(0)
    return pid
