"""Which system calls a session may make: an allow-list, as a seccomp program in classic BPF.

What is not named fails with EPERM, so that Python raises PermissionError. clone3 fails with ENOSYS:
its flags lie in memory, where a filter cannot look, and libraries then fall back to clone. Another
architecture's calls (int 0x80) end the process; x32 calls are refused. Thus refused, among others:
sockets, mount, unshare, setns, ptrace, process_vm_*, bpf, io_uring, keyctl, userfaultfd, perf,
memfd, modules, pidfd_*, SysV and POSIX queues, and changing user, clock, priorities or affinity.
"""

import struct
from collections.abc import Iterator

from .kernel import MACHINE

_ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_CLONE, _CLONE3, _X32 = {"x86_64": 56, "aarch64": 220}, 435, 0x40000000
_LOAD, _EQUAL, _GREATER, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x25, 0x35, 0x45, 0x06
_ALLOW, _KILL, _EPERM, _ENOSYS = 0x7FFF0000, 0x80000000, 0x00050001, 0x00050026
_NEW_NAMESPACES, _CLONE_THREAD = 0x7E020080, 0x00010000

# Name: number on x86_64, on arm64; -1: does not exist there.
# fmt: off
CALLS = {
    # reading and writing what is open
    "read": (0, 63), "write": (1, 64), "readv": (19, 65), "writev": (20, 66),
    "pread64": (17, 67), "pwrite64": (18, 68), "preadv": (295, 69), "pwritev": (296, 70),
    "preadv2": (327, 286), "pwritev2": (328, 287), "lseek": (8, 62), "close": (3, 57),
    "close_range": (436, 436), "dup": (32, 23), "dup2": (33, -1), "dup3": (292, 24),
    "fcntl": (72, 25), "flock": (73, 32), "fsync": (74, 82), "fdatasync": (75, 83),
    "ftruncate": (77, 46), "truncate": (76, 45), "fallocate": (285, 47),
    "fadvise64": (221, 223), "readahead": (187, 213), "sendfile": (40, 71),
    "copy_file_range": (326, 285),
    # files by name
    "open": (2, -1), "openat": (257, 56), "openat2": (437, 437), "creat": (85, -1),
    "access": (21, -1), "faccessat": (269, 48), "faccessat2": (439, 439), "stat": (4, -1),
    "lstat": (6, -1), "fstat": (5, 80), "newfstatat": (262, 79), "statx": (332, 291),
    "statfs": (137, 43), "fstatfs": (138, 44), "getdents": (78, -1), "getdents64": (217, 61),
    "readlink": (89, -1), "readlinkat": (267, 78), "getcwd": (79, 17), "chdir": (80, 49),
    "fchdir": (81, 50), "mkdir": (83, -1), "mkdirat": (258, 34), "rmdir": (84, -1),
    "rename": (82, -1), "renameat": (264, 38), "renameat2": (316, 276), "link": (86, -1),
    "linkat": (265, 37), "unlink": (87, -1), "unlinkat": (263, 35), "symlink": (88, -1),
    "symlinkat": (266, 36), "chmod": (90, -1), "fchmod": (91, 52), "fchmodat": (268, 53),
    "fchmodat2": (452, 452), "chown": (92, -1), "fchown": (93, 55), "lchown": (94, -1),
    "fchownat": (260, 54), "umask": (95, 166), "utime": (132, -1), "utimes": (235, -1),
    "utimensat": (280, 88), "mknod": (133, -1), "mknodat": (259, 33), "getxattr": (191, 8),
    "lgetxattr": (192, 9), "fgetxattr": (193, 10), "listxattr": (194, 11),
    "llistxattr": (195, 12), "flistxattr": (196, 13),
    # memory
    "mmap": (9, 222), "munmap": (11, 215), "mprotect": (10, 226), "mremap": (25, 216),
    "madvise": (28, 233), "msync": (26, 227), "mincore": (27, 232), "brk": (12, 214),
    "mlock": (149, 228), "munlock": (150, 229), "membarrier": (324, 283),
    "pkey_alloc": (330, 289), "pkey_free": (331, 290), "pkey_mprotect": (329, 288),
    "get_mempolicy": (239, 236),
    # signals
    "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139),
    "rt_sigpending": (127, 136), "rt_sigtimedwait": (128, 137), "rt_sigsuspend": (130, 133),
    "sigaltstack": (131, 132), "pause": (34, -1), "kill": (62, 129), "tkill": (200, 130),
    "tgkill": (234, 131),
    # waiting
    "poll": (7, -1), "ppoll": (271, 73), "select": (23, -1), "pselect6": (270, 72),
    "epoll_create": (213, -1), "epoll_create1": (291, 20), "epoll_ctl": (233, 21),
    "epoll_wait": (232, -1), "epoll_pwait": (281, 22), "epoll_pwait2": (441, 441),
    "eventfd": (284, -1), "eventfd2": (290, 19), "signalfd": (282, -1), "signalfd4": (289, 74),
    "timerfd_create": (283, 85), "timerfd_settime": (286, 86), "timerfd_gettime": (287, 87),
    "pipe": (22, -1), "pipe2": (293, 59),
    # processes and threads
    "clone": (56, 220), "fork": (57, -1), "vfork": (58, -1), "execve": (59, 221),
    "exit": (60, 93), "exit_group": (231, 94), "wait4": (61, 260), "waitid": (247, 95),
    "set_tid_address": (218, 96), "set_robust_list": (273, 99), "rseq": (334, 293),
    "futex": (202, 98), "futex_waitv": (449, 449), "gettid": (186, 178), "getpid": (39, 172),
    "getppid": (110, 173), "getpgrp": (111, -1), "getpgid": (121, 155), "setpgid": (109, 154),
    "getsid": (124, 156), "setsid": (112, 157),
    # identity, read only
    "getuid": (102, 174), "geteuid": (107, 175), "getgid": (104, 176), "getegid": (108, 177),
    "getgroups": (115, 158), "getresuid": (118, 148), "getresgid": (120, 150),
    "capget": (125, 90),
    # time
    "clock_gettime": (228, 113), "clock_getres": (229, 114), "clock_nanosleep": (230, 115),
    "gettimeofday": (96, 169), "time": (201, -1), "times": (100, 153), "nanosleep": (35, 101),
    "getitimer": (36, 102), "setitimer": (38, 103), "alarm": (37, -1),
    "timer_create": (222, 107), "timer_settime": (223, 110), "timer_gettime": (224, 108),
    "timer_getoverrun": (225, 109), "timer_delete": (226, 111),
    # the rest
    "getrandom": (318, 278), "uname": (63, 160), "sysinfo": (99, 179), "getrusage": (98, 165),
    "getrlimit": (97, 163), "setrlimit": (160, 164), "prlimit64": (302, 261),
    "getcpu": (309, 168), "getpriority": (140, 141), "sched_yield": (24, 124),
    "sched_getaffinity": (204, 123), "sched_getparam": (143, 121),
    "sched_getscheduler": (145, 120), "sched_get_priority_max": (146, 125),
    "sched_get_priority_min": (147, 126), "restart_syscall": (219, 128),
    "arch_prctl": (158, -1), "prctl": (157, 167), "ioctl": (16, 29),
    # a pair of connected sockets; socket() itself is refused
    "socketpair": (53, 199), "sendto": (44, 206), "recvfrom": (45, 207), "sendmsg": (46, 211),
    "recvmsg": (47, 212), "shutdown": (48, 210), "getsockopt": (55, 209),
    "setsockopt": (54, 208), "getsockname": (51, 204), "getpeername": (52, 205),
}
# fmt: on
_STARTS_A_PROCESS = {"fork", "vfork"}
_SENDS_A_SIGNAL = {"kill", "tkill", "tgkill"}
# Allowed only if the argument (counted from 0, all its 64 bits) is one of these.
_ONLY = {
    "ioctl": (1, (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)),  # size, blocking, close-on-exec
    # name (set, get), dumpable, bounding set, no_new_privs, name of a mapping; the death signal
    # is not among them, or a session could outlive its parent
    "prctl": (0, (15, 16, 3, 23, 39, 0x53564D41)),
    "socketpair": (0, (1,)),  # AF_UNIX
    "prlimit64": (0, (0,)),  # of this process
}
# Refused if the lower half of the argument is one of these: signals by way of a descriptor.
_NEVER = {"fcntl": (1, (8, 10, 15, 1026))}  # F_SETOWN, F_SETSIG, F_SETOWN_EX, F_NOTIFY


def program(*, processes: bool, signals_to: int | None = None) -> bytes:
    """The filter; ``processes`` allows fork, ``signals_to`` allows signals to that process only."""
    column = list(_ARCHITECTURE).index(MACHINE)
    refused: set[str] = set() if processes else _STARTS_A_PROCESS
    looked_at = _ONLY.keys() | _NEVER.keys() | {"clone"}
    if signals_to is not None:
        looked_at |= _SENDS_A_SIGNAL
    plain = {CALLS[name][column] for name in CALLS.keys() - looked_at - refused} - {-1}
    code = [
        _step(_LOAD, 4),
        _step(_EQUAL, _ARCHITECTURE[MACHINE], 1, 0),
        _step(_RETURN, _KILL),
        _step(_LOAD, 0),
        _step(_AT_LEAST, _X32, 0, 1),
        _step(_RETURN, _EPERM),
        _step(_EQUAL, _CLONE3, 0, 1),
        _step(_RETURN, _ENOSYS),
    ]
    for first, last in _ranges(sorted(plain)):
        code += [_step(_AT_LEAST, first, 0, 2), _step(_GREATER, last, 1, 0), _step(_RETURN, _ALLOW)]
    for name, (index, values) in _ONLY.items():
        code += _when(CALLS[name][column], _one_of(index, values))
    for name, (index, values) in _NEVER.items():
        code += _when(CALLS[name][column], _none_of(index, values))
    if signals_to is not None:
        for name in _SENDS_A_SIGNAL:
            code += _when(CALLS[name][column], _one_of(0, (signals_to,)))
    code += _when(_CLONE[MACHINE], _clone(processes))
    return b"".join([*code, _step(_RETURN, _EPERM)])


def _step(operation: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", operation, if_true, if_false, value)


def _ranges(numbers: list[int]) -> Iterator[tuple[int, int]]:
    """Runs without a gap, as first and last."""
    first = last = numbers[0]
    for number in numbers[1:]:
        if number != last + 1:
            yield first, last
            first = number
        last = number
    yield first, last


def _when(number: int, body: list[bytes]) -> list[bytes]:
    """``body`` for this call, with the number loaded before and after; it ends in a return."""
    return [_step(_EQUAL, number, 0, len(body)), *body]


def _one_of(index: int, values: tuple[int, ...]) -> list[bytes]:
    low = 16 + 8 * index
    body = [
        _step(_LOAD, low + 4),
        _step(_EQUAL, 0, 1, 0),
        _step(_RETURN, _EPERM),
        _step(_LOAD, low),
    ]
    for value in values:
        body += [_step(_EQUAL, value, 0, 1), _step(_RETURN, _ALLOW)]
    return [*body, _step(_RETURN, _EPERM)]


def _none_of(index: int, values: tuple[int, ...]) -> list[bytes]:
    body = [_step(_LOAD, 16 + 8 * index)]
    for value in values:
        body += [_step(_EQUAL, value, 0, 1), _step(_RETURN, _EPERM)]
    return [*body, _step(_RETURN, _ALLOW)]


def _clone(processes: bool) -> list[bytes]:
    """No new namespace; without ``processes`` threads only."""
    body = [
        _step(_LOAD, 20),
        _step(_EQUAL, 0, 1, 0),
        _step(_RETURN, _EPERM),
        _step(_LOAD, 16),
        _step(_ANY_BIT, _NEW_NAMESPACES, 0, 1),
        _step(_RETURN, _EPERM),
    ]
    if not processes:
        body += [_step(_ANY_BIT, _CLONE_THREAD, 1, 0), _step(_RETURN, _EPERM)]
    return [*body, _step(_RETURN, _ALLOW)]
