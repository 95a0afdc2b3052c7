"""System calls that Python does not have, through ctypes. No policy here; that is ``jail.py``.

``os.unshare`` and ``os.setns`` exist from Python 3.12 on, the rest not at all. Every function
raises ``OSError`` with the name of the call.
"""

import ctypes
import os
import resource
import struct
from collections.abc import Mapping, Sequence
from typing import Any

NEWNS, NEWUTS, NEWIPC = 0x00020000, 0x04000000, 0x08000000
NEWUSER, NEWPID, NEWNET = 0x10000000, 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
MNT_DETACH = 2
ATTR_RDONLY, ATTR_NOSUID = 1, 2
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP = 1, 4, 22
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 36, 38
SECCOMP_MODE_FILTER = 2

MACHINE = os.uname().machine
# pivot_root, capset; the others have one number everywhere.
_NUMBERS = {"x86_64": (155, 126), "aarch64": (41, 91)}
_MOUNT_SETATTR, _LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 442, 444, 445, 446
_AT_RECURSIVE = 0x8000
_CAPABILITY_VERSION = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)
_fork = ctypes.PyDLL(None, use_errno=True).fork  # keeps Python's lock, as os.fork does
_libc.syscall.restype = ctypes.c_long
_libc.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4  # variadic, and it reads longs
_libc.mount.argtypes = [ctypes.c_char_p] * 3 + [ctypes.c_ulong, ctypes.c_char_p]


def _check(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


def _call(what: str, number: int, *values: Any) -> int:
    # Through varargs ctypes passes plain integers as 32 bits.
    wide = [ctypes.c_long(value) if isinstance(value, int) else value for value in values]
    return _check(_libc.syscall(ctypes.c_long(number), *wide), what)


def unshare(flags: int) -> None:
    """Leave the namespaces named by ``flags`` for new ones."""
    _check(_libc.unshare(flags), f"unshare({flags:#x})")


def join_pid_namespace(fd: int) -> None:
    """Let the next children belong to the process namespace of ``fd``."""
    _check(_libc.setns(fd, NEWPID), "setns(pid)")


def mount(
    source: str, target: str, kind: str | None = None, flags: int = 0, data: str = ""
) -> None:
    """Attach a file system of this kind, or with ``MS_BIND`` a part of another."""
    words = [text.encode() if text else None for text in (source, target, kind)]
    _check(_libc.mount(*words, flags, data.encode() or None), f"mount {source} on {target}")


def unmount(target: str) -> None:
    """Detach at once; what still uses it keeps it alive."""
    _check(_libc.umount2(target.encode(), MNT_DETACH), f"umount {target}")


def make_read_only(target: str) -> None:
    """Every mount at and below ``target``: read-only and without setuid. Linux 5.12 or newer."""
    attributes = struct.pack("QQQQ", ATTR_RDONLY | ATTR_NOSUID, 0, 0, 0)
    what = f"mount_setattr {target}"
    _call(what, _MOUNT_SETATTR, -1, target.encode(), _AT_RECURSIVE, attributes, len(attributes))


def pivot_root() -> None:
    """Make the working directory, a mount, the root and let go of the old one."""
    _call("pivot_root", _NUMBERS[MACHINE][0], b".", b".")
    unmount(".")
    os.chdir("/")


def fork() -> int:
    """``os.fork`` without Python's handlers: for a process with a single thread only.

    Python and its libraries make their locks and random numbers new after a fork. No lock is held
    where there is no other thread, and sessions seed themselves; the handlers would cost each
    session 200 pages of memory and a fifth of its time. A cell's own ``os.fork`` runs them.
    """
    return _check(_fork(), "fork")


def prctl(option: int, value: int, pointer: int = 0) -> None:
    """Set an attribute of this process."""
    _check(_libc.prctl(option, value, pointer, 0, 0), f"prctl({option})")


def drop_capabilities() -> None:
    """All of them, from all three sets; with no_new_privs they cannot come back."""
    header = struct.pack("Ii", _CAPABILITY_VERSION, 0)
    _call("capset", _NUMBERS[MACHINE][1], header, bytes(24))


class Filter:
    """A seccomp filter from BPF instructions of 8 bytes, laid out in memory as the kernel wants it.

    Made before the fork: a buffer of a new length is a new class, and that costs each session 150
    pages of memory that it would else share.
    """

    def __init__(self, program: bytes) -> None:
        """Copies the program."""
        self._code = ctypes.create_string_buffer(program, len(program))
        header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(self._code))
        self._header = ctypes.create_string_buffer(header, len(header))
        self._address = ctypes.addressof(self._header)

    def install(self) -> None:
        """Upon this process and what it will start, for ever; needs no_new_privs."""
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, self._address)


# --- Landlock ---------------------------------------------------------------------------------

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
TRUNCATE, IOCTL_DEV = 1 << 14, 1 << 15
READ = EXECUTE | READ_FILE | READ_DIR
_OF_A_FILE = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
# Rights that each version of the interface knows; an unknown one is refused.
_KNOWN = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
ALL = (1 << 16) - 1


def landlock_version() -> int:
    """Version of the interface. Raises OSError if the kernel has none."""
    return _call("landlock", _LANDLOCK_CREATE, None, 0, 1)


def landlock_rules(allowed: Mapping[str, int], version: int) -> int:
    """A set of rules: no file but those below ``allowed`` (path -> rights). Its descriptor.

    From version 4 on no TCP either; from 6 on no signal and no abstract socket that leaves it.
    """
    known = _KNOWN.get(version, ALL)
    fields = [known, 3 if version >= 4 else 0, 3 if version >= 6 else 0]
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    rules = _call("landlock_create", _LANDLOCK_CREATE, struct.pack("QQQ", *fields), size, 0)
    for path, rights in allowed.items():
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            mine = rights & known if os.path.isdir(path) else rights & known & _OF_A_FILE  # noqa: PTH112
            _call("landlock_add", _LANDLOCK_ADD, rules, 1, struct.pack("=Qi", mine, fd), 0)
        finally:
            os.close(fd)
    return rules


def landlock_enter(rules: int) -> None:
    """Live by the rules from now on; needs no_new_privs."""
    _call("landlock_restrict", _LANDLOCK_RESTRICT, rules, 0)


# --- user ids -----------------------------------------------------------------------------------


def become(uid: int) -> None:
    """From root to this user and group, for good, with no other group."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def map_user(proc: int, inside: int, outside: int, *, nested: bool = False) -> None:
    """In a new user namespace: be ``inside``. ``proc`` is a descriptor of the folder /proc.

    ``nested``: in one whose parent has been through this already, which settled setgroups.
    """
    text = b"%d %d 1" % (inside, outside)
    if not nested:
        _tell_proc(proc, "self/setgroups", b"deny")
    _tell_proc(proc, "self/uid_map", text)
    _tell_proc(proc, "self/gid_map", text)


def _tell_proc(proc: int, name: str, text: bytes) -> None:
    fd = os.open(name, os.O_WRONLY, dir_fd=proc)
    try:
        os.write(fd, text)
    finally:
        os.close(fd)


def possible_limits(limits: Sequence[tuple[int, int]]) -> list[tuple[int, tuple[int, int]]]:
    """What ``resource.setrlimit`` takes, soft and hard; a lower hard limit of ours stays."""
    found: list[tuple[int, tuple[int, int]]] = []
    for kind, value in limits:
        hard = resource.getrlimit(kind)[1]
        if hard != resource.RLIM_INFINITY:
            value = min(value, hard)
        found.append((kind, (value, value)))
    return found
