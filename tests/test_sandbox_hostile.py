# ruff: noqa: E501
"""Hostile cells, one behaviour each: what must not happen, on every tier that can be had here.

Run directly it tests the strongest tier (and C for an ordinary user); ``test_sandbox_tiers.py``
runs this file again as another user. A neighbour session must keep its state whatever is done.
"""

import asyncio
import contextlib
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from air_reasoning.sandbox.process import ProcessPool, SandboxConfig
from air_reasoning.types import Execution

DEFAULT = ("auto",) if os.getuid() == 0 else ("auto", "C")
TIERS = os.environ.get("AIR_TEST_TIERS", ",".join(DEFAULT)).split(",")
REPOSITORY = Path(__file__).parent.parent
SECRET = "gold-answer-7319"
LIMITS = {"memory_mb": 512, "disk_mb": 8, "tasks": 24, "grace_s": 0.1, "ready_sessions": 0}


@pytest.fixture(scope="module", params=TIERS)
def pool(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ProcessPool]:
    tmp_path_factory.getbasetemp()  # made now, or it would lie in what is removed below
    folder = Path(tempfile.mkdtemp(prefix="air-test-"))
    folder.chmod(0o711)
    pool = ProcessPool(SandboxConfig(tier=request.param, **LIMITS))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(folder))
        yield pool
        asyncio.run(pool.close())
    assert pool.restarts == 0
    assert list(folder.glob("air-sandbox-*")) == []
    shutil.rmtree(folder)


@asynccontextmanager
async def neighbour(pool: ProcessPool) -> AsyncGenerator[None]:
    """A session that must not notice what is done inside the block."""
    async with pool.session() as session:
        await session.run("kept = 41")
        yield
        after = await session.run("kept + 1", timeout_s=30)
        assert (after.status, after.value, after.state_lost) == ("ok", "42", False)


def attack(pool: ProcessPool, *cells: str, timeout_s: float = 20) -> list[Execution]:
    """The results of ``cells`` in one session; pool and neighbour must survive them."""

    async def run() -> list[Execution]:
        async with neighbour(pool), pool.session() as session:
            return [await session.run(cell, timeout_s) for cell in cells]

    return asyncio.run(run())


def below(pid: int) -> set[int]:
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            if fields[0] != "Z":
                parents[int(path.parent.name)] = int(fields[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def left_after(before: set[int]) -> set[int]:
    """Processes that were not there before, once there are none or twenty seconds are over.

    Looked at once a time: between two looks the parent process may start what removes a folder.
    """
    end = time.monotonic() + 20
    while (left := below(os.getpid()) - before) and time.monotonic() < end:
        time.sleep(0.01)
    return left


def attempts(lines: str) -> str:
    """Python that tries each line and prints it if it worked."""
    return f"""
import ctypes, os, socket, sys
def attempt(text):
    try:
        got = eval(text, globals())
    except Exception as error:
        return
    print(text, "->", got)
for line in {[line.strip() for line in lines.strip().splitlines()]!r}:
    attempt(line)
"""


# --- processor and time ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "code",
    [
        "while True: pass",
        "import signal\nfor n in range(1, 64):\n    try: signal.signal(n, signal.SIG_IGN)\n"
        "    except (OSError, ValueError): pass\nwhile True: pass",
        "10 ** 10 ** 9",
        "import re\nre.match('(a+)+$', 'a' * 60 + 'b')",
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
        "import threading\nlock = threading.Lock(); lock.acquire(); lock.acquire()",
        "import time\ntime.sleep(10 ** 6)",
        "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)\nwhile True: pass",
        "import sys\nsys.settrace(lambda *a: time.sleep(9))\nimport time\ndef f(): f()\nf()",
        "class Slow:\n    def __repr__(self):\n        while True: pass\nSlow()",
        "import sys\nsys.setswitchinterval(10 ** 6)\nimport threading\n"
        "[threading.Thread(target=lambda: sum(range(10 ** 12)), daemon=True).start() "
        "for _ in range(4)]\nsum(range(10 ** 12))",
    ],
)
def test_no_cell_outlives_its_deadline(pool: ProcessPool, code: str):
    start = time.monotonic()
    stopped, after = attack(pool, code, "1 + 1", timeout_s=0.3)
    assert stopped.status == "timeout"
    assert after.value == "2"
    assert time.monotonic() - start < 20


def test_a_thread_does_not_outlive_its_session(pool: ProcessPool):
    attack(pool, "1")
    before = below(os.getpid())
    attack(
        pool,
        "import threading\ndef burn():\n    while True: pass\n"
        "threading.Thread(target=burn, daemon=True).start()",
        "1",
    )
    assert left_after(before) == set()


# --- memory and storage ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "code",
    [
        "bytearray(1 << 40)",
        "'a' * (1 << 40)",
        "x = []\nwhile True: x.append(bytearray(1 << 24))",
        "x = 'a'\nwhile True: x += x",
        "import numpy\nnumpy.ones((1 << 20, 1 << 20))",
        "import mmap\nmmap.mmap(-1, 1 << 40)",
        "open('/dev/zero', 'rb').read()",
        "from PIL import Image\nImage.new('RGB', (60_000, 60_000))",
    ],
)
def test_memory_has_an_end(pool: ProcessPool, code: str):
    execution, after = attack(pool, code, "1 + 1")
    assert execution.status in ("error", "killed")
    if execution.error and execution.status == "error":
        assert "emory" in str(execution.error)
    assert after.value == "2"


def test_a_recursion_costs_only_its_session(pool: ProcessPool):
    code = "import sys\nsys.setrecursionlimit(10 ** 9)\nclass A:\n    def __repr__(self):\n"
    execution, after = attack(pool, code + "        return repr([self])\nrepr(A())", "1 + 1")
    assert execution.status in ("killed", "error")
    assert after.value == "2"


def test_no_memory_outside_the_limits(pool: ProcessPool):
    (execution,) = attack(
        pool,
        attempts(
            """
            os.memfd_create("x")
            ctypes.CDLL(None).shmget(1, 1 << 20, 0o1600) >= 0 or 1 / 0
            ctypes.CDLL(None).mlockall(3) == 0 or 1 / 0
            """
        ),
    )
    assert execution.stdout == ""


WRITE = """
import os
written = 0
try:
    for n in range({files}):
        with open({name}, "wb", buffering=0) as file:
            for _ in range({blocks}):
                written += file.write(bytes(1 << 20))
except OSError as error:
    print(type(error).__name__)
written >> 20
"""


def test_one_file_cannot_fill_the_disk(pool: ProcessPool):
    (execution,) = attack(pool, WRITE.format(files=1, name="'big'", blocks=100))
    assert execution.stdout == "OSError\n"
    assert int(execution.value or 99) <= 8


def test_a_file_with_holes_has_the_same_limit(pool: ProcessPool):
    code = "f = open('f', 'wb')\nfor power in (24, 40, 62): f.truncate(1 << power)"
    (execution,) = attack(pool, code)
    assert (execution.error or {})["type"] == "OSError"


@pytest.mark.parametrize("name", ["f'f{n}'", "os.environ['TMPDIR'] + f'/f{n}'"])
def test_many_files_cannot_fill_the_disk(pool: ProcessPool, name: str):
    code = WRITE.format(files=100, name=name, blocks=4)
    execution, _ = attack(pool, code + "\nimport time; time.sleep(0.6)", "1")
    assert execution.status == "killed" or execution.stdout == "OSError\n"


def test_the_number_of_files_has_an_end(pool: ProcessPool):
    code = "import time\nfor n in range(20_000): open(f'f{n}', 'w').close()\ntime.sleep(15)"
    execution, after = attack(pool, code, "1 + 1")
    assert execution.status in ("error", "killed")
    assert after.status == "ok" or "space" in str(after.error)


def test_shared_memory_files_count_too(pool: ProcessPool):
    code = WRITE.format(files=1, name="'/dev/shm/air-test-big'", blocks=100)
    execution, _ = attack(pool, code, "1")
    assert execution.stdout.endswith("Error\n")
    assert not Path("/dev/shm/air-test-big").exists()


def test_a_huge_figure_comes_to_nothing(pool: ProcessPool):
    pytest.importorskip("matplotlib")
    code = "import matplotlib.pyplot as plt\nplt.figure(figsize=(500, 500), dpi=100)"
    execution, after = attack(pool, code, "1 + 1", timeout_s=60)
    assert execution.images == []
    assert "[image of 50000x50000 not returned" in execution.stderr
    assert after.value == "2"


@pytest.mark.parametrize(
    "code",
    [
        "for _ in range(40): print('x' * (1 << 20))",
        "import os\ntry:\n    while True: os.write(1, b'x' * (1 << 20))\nexcept OSError: pass",
        "import sys\nfor _ in range(300_000): sys.stderr.write('y' * 80)",
        "'z' * (1 << 26)",
        "raise ValueError('w' * (1 << 26))",
    ],
)
def test_a_flood_of_text_is_cut(pool: ProcessPool, code: str):
    (execution,) = attack(pool, code)
    error = execution.error or {}
    texts = [execution.stdout, execution.stderr, execution.value or "", *error.values()]
    assert max(map(len, texts)) < 66_000
    assert any("bytes cut" in text for text in texts)


# --- processes and descriptors ----------------------------------------------------------------


def test_a_fork_bomb_ends_with_its_session(pool: ProcessPool):
    attack(pool, "1")
    before = below(os.getpid())
    bomb = "import os\nwhile True:\n    try:\n        if os.fork() == 0: os.setsid()\n"
    execution, after = attack(pool, bomb + "    except OSError: pass", "1 + 1", timeout_s=0.5)
    assert execution.status in ("timeout", "killed")
    assert after.status in ("ok", "lost", "error", "killed", "timeout")
    assert left_after(before) == set()


def test_the_number_of_tasks_has_an_end(pool: ProcessPool):
    code = (
        "import os, time\nn = 0\ntry:\n    while n < 1000:\n        if os.fork() == 0: time.sleep(99)\n"
        "        n += 1\nexcept OSError: pass\nn < 100"
    )
    (execution,) = attack(pool, code)
    assert execution.value == "True"


def test_a_thread_bomb_costs_only_its_session(pool: ProcessPool):
    code = (
        "import threading\nstop = threading.Event()\nn = 0\ntry:\n    while n < 5000:\n"
        "        threading.Thread(target=stop.wait, daemon=True).start(); n += 1\n"
        "except (RuntimeError, MemoryError): pass\nn < 5000"
    )
    execution, after = attack(pool, code, "stop.set()\n1 + 1")
    # Thousands of threads may take a busy machine longer than the cell has.
    assert execution.value == "True" or execution.status in ("killed", "timeout")
    assert after.value == "2" or after.state_lost


def test_descriptors_have_an_end(pool: ProcessPool):
    execution, after = attack(
        pool, "fds = []\nwhile True: fds.append(open('f', 'w'))", "del fds\n2"
    )
    assert execution.error is not None
    assert execution.error["type"] == "OSError"
    assert after.value == "2"


@pytest.mark.parametrize(
    "code",
    [
        "import os\nos._exit(0)",
        "import ctypes\nctypes.string_at(0)",
        "import os\nos.abort()",
        "import os\nos.execv('/bin/sh', ['sh', '-c', 'exit 3'])",
        "import os\nos.closerange(0, 1000)\nopen('x', 'w')\nwhile True: pass",
        "import resource\nresource.setrlimit(resource.RLIMIT_CPU, (1, 1))\nwhile True: pass",
        # A fresh interpreter in its place does not have the socket, and answers for nobody.
        "import os, sys\nos.execv(sys.executable, ['python', '-c', "
        "'import os; os.write(3, bytes(99))'])",
        # Shared memory behind the end of its file.
        "import mmap\nf = open('f', 'w+b'); f.truncate(8192)\nm = mmap.mmap(f.fileno(), 8192)\n"
        "f.truncate(0)\nm[4096]",
    ],
)
def test_a_dead_process_costs_only_its_session(pool: ProcessPool, code: str):
    execution, after = attack(pool, code, "1 + 1", timeout_s=100)
    assert execution.status == "killed"
    assert (after.value, after.state_lost) == ("2", True)


def test_signals_reach_nobody_outside(pool: ProcessPool):
    code = f"""
import os, signal
for pid in [-1, {os.getpid()}, os.getppid() or {os.getpid()}, -{os.getpgrp()}, 1]:
    if pid == 1 and os.getpid() == 1: continue
    for number in (signal.SIGTERM, signal.SIGSTOP, signal.SIGKILL):
        try: os.kill(pid, number)
        except OSError: pass
1
"""
    # On C the signal to -1 may reach the session itself; on A it reaches its own children only.
    execution, after = attack(pool, code, "1 + 1")
    assert execution.status in ("ok", "killed", "timeout")
    assert after.status == "ok"


def test_a_descriptor_cannot_be_made_to_signal_others(pool: ProcessPool):
    (execution,) = attack(
        pool,
        attempts(
            f"""
            __import__("fcntl").fcntl(3, 8, {os.getpid()})
            __import__("fcntl").fcntl(3, 10, 9)
            os.pidfd_open({os.getpid()})
            __import__("resource").prlimit({os.getpid()}, 7)
            os.sched_setaffinity({os.getpid()}, [0])
            os.setpriority(os.PRIO_PROCESS, {os.getpid()}, 19)
            __import__("resource").setrlimit(9, (-1, -1))
            __import__("resource").setrlimit(7, (4096, 4096))
            ctypes.CDLL(None).prctl(1, 0, 0, 0, 0) == 0 or 1 / 0
            """
        ),
    )
    assert execution.stdout == ""


# --- files and secrets -------------------------------------------------------------------------


def test_no_file_of_the_host_can_be_read(pool: ProcessPool, tmp_path: Path):
    (tmp_path / "answers.txt").write_text(SECRET)
    (tmp_path / "answers.txt").chmod(0o644)
    paths = [
        *("/etc/shadow", "/etc/hostname", "/etc/ssh/sshd_config", "/root/.bashrc", "/var/log/dpkg.log"),
        *("/proc/1/environ", "/proc/self/environ", "/proc/self/mem", "/proc/self/maps"),
        *("/proc/self/root/etc/shadow", f"/proc/{os.getpid()}/environ", "/proc/kcore", "/proc/mounts"),
        *("/sys/kernel/notes", "/dev/mem", "/dev/sda", "/dev/vda", "/dev/kmsg", "/dev/tty", "/dev/fuse"),
        str(tmp_path / "answers.txt"),
        str(REPOSITORY / "README.md"),
        str(REPOSITORY / "src/air_reasoning/rollout.py"),
        str(REPOSITORY / "src/air_reasoning/weights/base/model.safetensors"),
        *("../../../../etc/shadow", "/home/session/../../etc/shadow"),
    ]  # fmt: skip
    code = f"for path in {paths!r}:\n    try: print(path, len(open(path, 'rb').read(9)))\n"
    (execution,) = attack(pool, code + "    except OSError: pass")
    assert execution.stdout == ""
    listing = (
        "import os\nfor path in ('/proc', '/sys', '/root/.ssh', '/var', '/tmp', '/home', '/srv'):\n"
    )
    # The interpreter's own environment is shown, wherever it lies.
    known = ("session", *Path(sys.prefix).parts)
    listing += f"    try: print(path, [n for n in os.listdir(path) if n not in {known!r}])\n"
    (execution,) = attack(pool, listing + "    except OSError: pass")
    shown = [line for line in execution.stdout.splitlines() if not line.endswith(" []")]
    assert shown == []


def test_existence_cannot_be_probed_on_tier_a(pool: ProcessPool, tmp_path: Path):
    (tmp_path / "answers.txt").write_text(SECRET)
    paths = [str(tmp_path), str(REPOSITORY / "README.md"), "/etc/shadow", "/var/log", "/proc/1"]
    code = f"import os\n[path for path in {paths!r} if os.path.exists(path)]"
    (execution,) = attack(pool, code)
    if execution.tier == "A":
        assert execution.value == "[]"
    else:  # Landlock does not hide names; docs/sandbox.md says so
        assert execution.status == "ok"


def test_this_package_is_hidden_even_where_it_is_installed(pool: ProcessPool):
    executions = attack(
        pool,
        "import air_reasoning",
        "import sys, glob\n[glob.glob(p + '/air_reasoning/*') for p in sys.path]\n"
        "any(glob.glob(p + '/air_reasoning/*') for p in sys.path)",
    )
    assert (executions[0].error or {})["type"] == "ModuleNotFoundError"
    assert executions[1].value == "False"


def test_links_lead_nowhere(pool: ProcessPool, tmp_path: Path):
    target = tmp_path / "answers.txt"
    target.write_text(SECRET)
    tmp_path.chmod(0o777)
    code = f"""
import os
for make, name in ((os.symlink, "soft"), (os.link, "hard")):
    for source in ({str(target)!r}, {str(tmp_path)!r}, "/etc/shadow", "/"):
        try:
            make(source, name + str(hash(source)))
            print(open(name + str(hash(source))).read())
        except OSError: pass
os.symlink({str(tmp_path)!r}, "folder")
"""
    (execution,) = attack(pool, code)
    assert SECRET not in execution.stdout
    assert target.read_text() == SECRET  # what removes the session's folder follows no link


def test_nothing_outside_the_folder_can_be_written(pool: ProcessPool, tmp_path: Path):
    tmp_path.chmod(0o777)
    code = f"""
import os, sys
for folder in [*sys.path[:-1], "/usr/lib", "/etc", "/", "/dev", "/home", {str(tmp_path)!r}, "/var/tmp"]:
    for act in (lambda f: open(f + "/planted", "w"), lambda f: os.mkdir(f + "/planted"),
                lambda f: os.symlink("x", f + "/planted"), lambda f: os.mkfifo(f + "/planted")):
        try:
            act(folder); print(folder)
        except OSError: pass
for path in (os.__file__, "/dev/sda", "/dev/mem"):
    for act in (lambda p: open(p, "ab"), os.unlink, lambda p: os.truncate(p, 0), lambda p: os.chmod(p, 0)):
        try:
            act(path); print(path)
        except OSError: pass
"""
    (execution,) = attack(pool, code)
    assert execution.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_another_sessions_folder_is_closed(pool: ProcessPool):
    async def run() -> None:
        async with neighbour(pool), pool.session() as one, pool.session() as other:
            await one.run(f"open('mine', 'w').write({SECRET!r})")
            folder = (await one.run("import os; os.getcwd()")).value
            spy = await other.run(
                f"import os\nfound = []\nfor folder in ({folder}, os.path.dirname({folder}), '/tmp',\n"
                f"        os.path.dirname(os.path.dirname({folder}))):\n"
                "    for parent, _, files in os.walk(folder):\n"
                "        found += [open(os.path.join(parent, f)).read() for f in files]\n"
                f"try: found.append(open({folder} + '/mine').read())\nexcept OSError: pass\nfound"
            )
            assert SECRET not in str(spy)
            assert (await one.run("open('mine').read()")).value == repr(SECRET)

    asyncio.run(run())


def test_a_folder_that_resists_removal_goes_away(pool: ProcessPool):
    code = "import os\nos.makedirs('a/b/c'); open('a/b/c/d', 'w')\n"
    deep = "for _ in range(2000):\n    os.mkdir('d'); os.chdir('d')\n"
    close = "os.chdir(os.environ['HOME']); os.chmod('a/b', 0); os.chmod('a', 0); os.chmod('.', 0)"
    (execution,) = attack(pool, code + deep + close)
    # Where the folder is counted from outside (tier C), one that cannot be counted may end its session.
    assert execution.status in ("ok", "killed")
    attack(pool, "1")  # the parent process has not fallen over it


# --- network and kernel --------------------------------------------------------------------------


def test_there_is_no_network(pool: ProcessPool, tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(tmp_path / "socket"))
        unix.listen()
        (tmp_path / "socket").chmod(0o777)
        port = server.getsockname()[1]
        (execution,) = attack(
            pool,
            attempts(
                f"""
                socket.create_connection(("127.0.0.1", {port}), 2)
                socket.create_connection(("169.254.169.254", 80), 2)
                socket.getaddrinfo("example.com", 80)
                socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                socket.socket(socket.AF_INET6)
                socket.socket(socket.AF_UNIX).connect({str(tmp_path / "socket")!r})
                socket.socket(socket.AF_UNIX).bind(chr(0) + "air-abstract")
                socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)
                socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
                socket.socket(socket.AF_VSOCK)
                socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET)
                socket.socketpair(socket.AF_INET)
                __import__("urllib.request").request.urlopen("http://127.0.0.1:{port}")
                """
            ),
        )
    assert execution.stdout == ""


def test_event_loops_and_pipes_still_work(pool: ProcessPool):
    code = "import asyncio\nasync def f():\n    await asyncio.sleep(0.01)\n    return 5\nasyncio.run(f())"
    (execution,) = attack(pool, code)
    assert execution.value == "5"


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of x86_64")
def test_dangerous_system_calls_are_refused(pool: ProcessPool):
    numbers = {
        "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312, "mount": 165,
        "umount2": 166, "pivot_root": 155, "chroot": 161, "unshare": 272, "setns": 308, "bpf": 321,
        "perf_event_open": 298, "userfaultfd": 323, "io_uring_setup": 425, "keyctl": 250, "add_key": 248,
        "request_key": 249, "kexec_load": 246, "init_module": 175, "finit_module": 313, "reboot": 169,
        "open_by_handle_at": 304, "name_to_handle_at": 303, "fanotify_init": 300, "inotify_init1": 294,
        "syslog": 103, "quotactl": 179, "swapon": 167, "acct": 163, "settimeofday": 164, "clock_settime": 227,
        "sethostname": 170, "iopl": 172, "ioperm": 173, "modify_ldt": 154, "memfd_create": 319,
        "memfd_secret": 447, "pidfd_getfd": 438, "pidfd_send_signal": 424, "mq_open": 240, "msgget": 68,
        "semget": 64, "shmget": 29, "setuid": 105, "setresuid": 117, "setgroups": 116, "personality": 135,
        "fsopen": 430, "move_mount": 429, "open_tree": 428, "landlock_create_ruleset": 444, "seccomp": 317,
        "process_madvise": 440, "move_pages": 279, "vmsplice": 278, "sched_setaffinity": 203,
        "setpriority": 141, "rt_sigqueueinfo": 129, "rt_tgsigqueueinfo": 297, "clone3": 435, "socket": 41,
        "x32 getpid": 0x40000027,
    }  # fmt: skip
    code = f"""
import ctypes, errno
libc = ctypes.CDLL(None, use_errno=True)
for name, number in {numbers!r}.items():
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(0)] * 6)
    if result != -1 or ctypes.get_errno() not in (errno.EPERM, errno.ENOSYS):
        print(name, result, ctypes.get_errno())
flags = 0x10000000 | 17
print("userns by clone:", libc.syscall(ctypes.c_long(56), ctypes.c_long(flags), *[ctypes.c_long(0)] * 4))
print("high bits:", libc.syscall(ctypes.c_long(53), ctypes.c_long(1 << 32 | 1), *[ctypes.c_long(1)] * 3))
"""
    (execution,) = attack(pool, code)
    assert execution.stdout == "userns by clone: -1\nhigh bits: -1\n"


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="machine code of x86_64")
def test_system_calls_of_another_architecture_end_the_process(pool: ProcessPool):
    code = """
import ctypes, mmap
page = mmap.mmap(-1, 4096, prot=7)
page.write(bytes.fromhex("b814000000cd80c3"))  # mov eax, getpid of i386; int 0x80; ret
ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
"""
    execution, after = attack(pool, code, "1 + 1")
    assert execution.status == "killed"
    assert after.value == "2"


def test_programs_gain_no_privilege(pool: ProcessPool):
    code = """
import os
os.umask(0)
with open("root.sh", "w") as f: f.write("#!/bin/sh\\nid -u\\n")
try: os.chmod("root.sh", 0o4755)
except OSError: pass
import subprocess
try: print(subprocess.run(["./root.sh"], capture_output=True, text=True).stdout.strip() == "0")
except OSError: pass
try: print(b"uid=0" in subprocess.run(["/bin/su", "-c", "id"], capture_output=True).stdout)
except OSError: pass
try: os.setuid(0); print("root")
except OSError: pass
"""
    (execution,) = attack(pool, code)
    assert "True" not in execution.stdout
    assert "root" not in execution.stdout


# --- rewards and later sessions ----------------------------------------------------------------


def test_nothing_of_the_task_is_in_memory(pool: ProcessPool, monkeypatch: pytest.MonkeyPatch):
    gold = SECRET  # on the side of the supervisor, as a grader has it
    monkeypatch.setenv("AIR_TEST_GOLD", gold)
    code = f"""
import gc, sys, os
parts = ["gold-answer", "7319"]
needle = "-".join(parts)
found = [o for o in gc.get_objects() if isinstance(o, (dict, list, tuple)) and o is not parts
         and any(isinstance(v, str) and v == needle and v is not needle
                 for v in (o.values() if isinstance(o, dict) else o))]
frame, frames = sys._getframe(), []
while frame:
    frames.append(frame.f_code.co_name); frame = frame.f_back
print([f for f in found if needle not in str(globals().get("found"))], needle in str(dict(os.environ)))
print({str(REPOSITORY)!r} in str([list(m.__dict__.values())[:0] for m in sys.modules.values()]))
"""
    (execution,) = attack(pool, code)
    assert execution.stdout == "[] False\nFalse\n"


POISON = """
import builtins, sys, random, os, json, math
builtins.print = lambda *a, **k: None
builtins.len = lambda x: 7
sys.modules["math"] = None
json.dumps = lambda *a, **k: "[]"
math.sqrt = lambda x: 0
random.seed(1)
os.environ["POISON"] = "yes"
sys.path.insert(0, os.getcwd())
for module in list(sys.modules.values()):
    if hasattr(module, "Session"): module.Session.answer = lambda *a: ({}, [])
import gc
for thing in gc.get_objects():
    try:
        if type(thing).__name__ == "Session": type(thing).answer = lambda *a: ({}, [])
    except Exception: pass
"""


def test_later_sessions_are_not_poisoned(pool: ProcessPool):
    attack(pool, POISON, "1")
    (execution,) = attack(
        pool,
        "import math, json, os\nprint(len([1]), math.sqrt(4), json.dumps([1]), os.environ.get('POISON'))",
    )
    assert execution.stdout == "1 2.0 [1] None\n"


@pytest.mark.parametrize(
    "code",
    [
        "import os\nfor _ in range(50): os.write(3, b'\\0' * 999)",
        "import os\nos.write(3, b'\\0\\0\\0\\x02{}')\nos.write(3, b'\\xff' * (1 << 20))",
        "import os, threading\nthreading.Timer(0.05, lambda: os.write(3, b'late')).start()",
        "import os\nos.dup2(1, 3)",
        # Descriptors sent along are not taken: the count of ours is looked at below.
        "import socket\ns = socket.socket(fileno=3)\n"
        "for _ in range(50): socket.send_fds(s, [b'x'], [0, 1, 2] * 20)",
        "import socket\ns = socket.socket(fileno=3)\ns.shutdown(socket.SHUT_RDWR)",
        "import socket\ns = socket.socket(fileno=3)\ns.shutdown(socket.SHUT_WR)\nwhile True: pass",
        "import os\nos.fork() or os.write(3, b'x' * 100)\nwhile True: pass",
        POISON + "\nwhile True: pass",
        "import os\nwhile True: os.read(3, 1)",
    ],
)
def test_tampering_with_the_socket_ends_the_session_only(pool: ProcessPool, code: str):
    before = len(list(Path("/proc/self/fd").iterdir()))
    execution, *_, last = attack(pool, code, "1", "import time\ntime.sleep(0.2)", "5", timeout_s=1)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
    assert execution.status in ("ok", "killed", "timeout", "error")
    assert last.status in ("ok", "killed", "timeout", "error")


def test_pictures_are_never_decoded_on_our_side(pool: ProcessPool):
    if "PIL.PngImagePlugin" in sys.modules:
        pytest.importorskip("PIL")
    code = """
from PIL import Image
class Evil(Image.Image):
    def tobytes(self, *a, **k): return b"\\x89PNG" * 10
image = Evil(); image._size = (5, 5); image._mode = "RGB"
image
"""
    execution, after = attack(pool, code, "1 + 1")
    assert execution.images == []
    assert execution.status in ("killed", "error")
    assert after.value == "2"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("x = (", "SyntaxError"),
        ("x = 'a\0b'", "SyntaxError"),
        ("'\ud800'", "SyntaxError"),
        ("x = 1\n" * 2_000_000, "CellTooLong"),
        ("from PIL import Image\nimport io\nImage.open(io.BytesIO(b'no image'))", "UnidentifiedImageError"),
        ("class E(Exception):\n    def __str__(self):\n        import os\n        os._exit(1)\nraise E", None),
    ],
)  # fmt: skip
def test_bad_input_gets_a_clear_answer(pool: ProcessPool, code: str, kind: str | None):
    execution, after = attack(pool, code, "1 + 1")
    assert execution.error is not None
    assert (execution.error["type"] == kind) if kind else execution.status == "killed"
    assert after.value == "2"
