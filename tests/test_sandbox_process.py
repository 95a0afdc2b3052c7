"""What a cell must not be able to do to the supervisor, to other sessions and to the host."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from PIL import Image

from air_reasoning.errors import SandboxError
from air_reasoning.sandbox import session as session_module
from air_reasoning.sandbox.process import ProcessPool, ProcessSession, SandboxConfig

# A busy machine may take a while to let an interrupted cell come back.
SMALL = SandboxConfig(memory_mb=256, timeout_s=30, grace_s=10, ready_sessions=0)
HASTY = SandboxConfig(memory_mb=256, timeout_s=30, grace_s=0.1, ready_sessions=0)


def in_session(
    work: Callable[[ProcessSession, ProcessSession], Awaitable[None]],
    config: SandboxConfig = SMALL,
) -> ProcessPool:
    """Run ``work(session, neighbour)``; the neighbour must keep its state whatever happens."""

    async def both() -> ProcessPool:
        async with ProcessPool(config) as pool, pool.session() as one, pool.session() as other:
            await other.run("kept = 'neighbour'")
            await work(one, other)
            after = await other.run("kept")
            assert (after.value, after.state_lost) == ("'neighbour'", False)
        return pool

    return asyncio.run(both())


def wait_for(condition: Callable[[], bool], seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < end:
        time.sleep(0.01)
    return met


def is_gone(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True


ELSEWHERE: set[int] = set()


@pytest.fixture(autouse=True)
def elsewhere() -> None:
    """Processes of other tests, such as workers that compare answers, are not counted here."""
    ELSEWHERE.clear()
    ELSEWHERE.update(below(os.getpid()))


def below(pid: int) -> set[int]:
    """All processes that descend from this one, as the host numbers them; not those before us."""
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            if fields[0] != "Z":
                parents[int(path.parent.name)] = int(fields[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid} - ELSEWHERE


async def process_of(session: ProcessSession, code: str = "1") -> set[int]:
    """Processes that ``code`` adds to those that this session alone has."""
    before = below(os.getpid())
    execution = await session.run(code)
    if execution.tier == "C":
        pytest.skip("a session of tier C cannot start processes")
    assert execution.status == "ok", execution
    return below(os.getpid()) - before


# --- deadlines -------------------------------------------------------------------------------


def test_an_endless_loop_is_interrupted_and_keeps_its_variables():
    async def work(session: ProcessSession, _: ProcessSession) -> None:
        await session.run("n = 0")
        stopped = await session.run("print('begun')\nwhile True:\n    n += 1", timeout_s=0.2)
        assert (stopped.status, stopped.stdout) == ("timeout", "begun\n")
        assert stopped.error is not None
        assert stopped.error["message"] == "stopped after 0.2 s; variables are kept"
        assert "cell 2, line " in stopped.error["traceback"]
        assert stopped.wall_ms >= 200
        after = await session.run("n > 0")
        assert (after.value, after.state_lost) == ("True", False)

    in_session(work)


@pytest.mark.parametrize(
    "loop",
    [
        "import time\nwhile True:\n    try: time.sleep(1000)\n    except BaseException: pass",
        "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass",
        "sum(range(10 ** 13))",  # in C, without a look at signals
        "import threading\nthreading.Thread(target=lambda: sum(range(10 ** 13))).start()\n"
        "sum(range(10 ** 13))",
    ],
)
def test_what_does_not_react_is_killed_and_the_next_cell_says_so(loop: str):
    async def work(session: ProcessSession, _: ProcessSession) -> None:
        stopped = await session.run(loop, timeout_s=0.2)
        assert (stopped.status, stopped.state_lost) == ("timeout", False)
        assert stopped.error is not None
        assert stopped.error["message"].endswith("was killed, variables are lost")
        after = await session.run("'os' in globals()")
        assert (after.status, after.value, after.state_lost) == ("ok", "False", True)
        assert (await session.run("1")).state_lost is False

    in_session(work, HASTY)


def test_a_cancelled_cell_does_not_run_on():
    async def work(session: ProcessSession, _: ProcessSession) -> None:
        await session.run("n = 0")
        task = asyncio.create_task(session.run("while True: pass"))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await session.run("1")).state_lost is True

    in_session(work)


# --- dying, memory, processes -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "how"),
    [
        ("import os\nos._exit(3)", "exit code 3"),
        ("import ctypes\nctypes.string_at(0)", "signal SIGSEGV"),
        ("import os\nos.abort()", "signal SIG"),
    ],
)
def test_a_process_that_dies_is_the_models_doing(code: str, how: str):
    async def work(session: ProcessSession, _: ProcessSession) -> None:
        died = await session.run(code)
        assert died.status == "killed"
        assert died.error is not None
        assert died.error["type"] == "ProcessDied"
        assert how in died.error["message"]
        assert (await session.run("2 + 2")).state_lost is True

    in_session(work)


def test_a_memory_bomb_gets_memory_error():
    async def work(session: ProcessSession, _: ProcessSession) -> None:
        for bomb in ("x = bytearray(10 ** 12)", "x = []\nwhile True: x.append(bytearray(10 ** 7))"):
            execution = await session.run(bomb)
            assert execution.error is not None
            assert (execution.status, execution.error["type"]) == ("error", "MemoryError")
        assert (await session.run("del x\n'alive'")).value == "'alive'"

    in_session(work)


def test_files_cannot_grow_without_bound():
    async def work(session: ProcessSession, _: ProcessSession) -> None:
        code = "file = open('big', 'wb')\nfor _ in range(100): file.write(bytes(10 ** 6))"
        execution = await session.run(code)
        assert execution.error is not None
        assert (execution.status, execution.error["type"]) == ("error", "OSError")

    in_session(work)


DAEMON = """
import os, time
read, write = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.write(write, str(os.getpid()).encode())
        time.sleep(1000)
    os._exit(0)
os.wait()
int(os.read(read, 20))
"""
CHILDREN = """
import os, subprocess, time
found = [subprocess.Popen(["sleep", "1000"], start_new_session=True).pid]
for _ in range(10):
    pid = os.fork()
    if pid == 0:
        time.sleep(1000)
    found.append(pid)
found
"""


@pytest.mark.parametrize("code", [CHILDREN, DAEMON])
@pytest.mark.parametrize("end", ["leave", "exit", "timeout"])
def test_no_child_of_a_session_survives_it(code: str, end: str):
    async def work() -> None:
        async with ProcessPool(HASTY) as pool:
            async with pool.session() as session:
                await session.run("import os, subprocess")
                children = await process_of(session, code)
                assert children
                if end == "exit":
                    await session.run("os._exit(0)")
                elif end == "timeout":
                    await session.run("sum(range(10 ** 13))", timeout_s=0.1)
            for pid in children:
                assert await asyncio.to_thread(wait_for, lambda pid=pid: is_gone(pid))

    asyncio.run(work())


def test_a_forked_child_that_runs_on_does_not_answer():
    async def work(session: ProcessSession, _: ProcessSession) -> None:
        forked = await session.run("import os\npid = os.fork()\nprint('one answer')")
        assert (forked.status, forked.stdout) == ("ok", "one answer\n")
        await session.run("os.waitpid(pid, 0)")
        assert (await session.run("pid > 0")).value == "True"

    in_session(work)


# --- the protocol -----------------------------------------------------------------------------

FORGE = """
import json, os, struct
def send(header, tail=b""):
    text = json.dumps(header).encode() if isinstance(header, dict) else header
    os.write(3, struct.pack(">I", len(text)) + text + tail)
reply = {"cell": 2, "stdout": "", "stderr": "", "value": "1", "error": None, "images": [],
         "cpu_ms": 0.0, "blobs": []}
"""


@pytest.mark.parametrize(
    "forged",
    [
        r"os.write(3, b'\xff' * 100)",  # a header of 4 GiB
        "send(b'not json')",
        "send(b'[1]')",
        "send(b'{}')",
        "send(b'[' * 100_000)",
        "send(reply | {'blobs': [10 ** 12]})",
        "send(reply | {'blobs': [-1]})",
        "send(reply | {'cell': 7})",
        "send(reply | {'stdout': 'x' * 70_000})",
        "send(reply | {'value': 5})",
        "send(reply | {'error': {'type': 'x'}})",
        "send(reply | {'images': [['RGB', 10, 10]], 'blobs': [5]}, b'12345')",
        "send(reply | {'images': [['RGB', 10 ** 9, 10 ** 9]], 'blobs': [0]})",
        "send(reply | {'images': [['CMYK', 1, 1]], 'blobs': [4]}, b'1234')",
        "send(reply); send(reply)",
    ],
)
def test_a_malformed_reply_costs_the_cell_its_process(forged: str):
    async def work(session: ProcessSession, _: ProcessSession) -> None:
        assert (await session.run(FORGE)).status == "ok"
        broken = await session.run(forged + "\nimport time; time.sleep(1000)", timeout_s=20)
        if forged.startswith("send(reply);"):  # the first is well-formed; it cannot be told apart
            assert broken.status in ("ok", "killed")
        else:
            assert broken.status == "killed"
            assert broken.error is not None
            assert broken.error["type"] == "ProtocolError"
        after = await session.run("'FORGE' in globals()", timeout_s=20)
        if after.status == "killed":  # the second reply came while this cell was out
            after = await session.run("'FORGE' in globals()")
        assert (after.status, after.value, after.state_lost) == ("ok", "False", True)

    in_session(work)


def test_a_reply_between_two_cells_ends_the_session():
    async def work(session: ProcessSession, _: ProcessSession) -> None:
        late = "import threading\nthreading.Timer(0.05, lambda: send(reply)).start()"
        await session.run(FORGE + late)
        for _ in range(100):
            await asyncio.sleep(0.1)
            after = await session.run("1")
            if after.status == "killed" or after.state_lost:
                return
        pytest.fail("the late reply was not noticed")

    in_session(work)


def test_closing_the_socket_ends_the_session():
    async def work(session: ProcessSession, _: ProcessSession) -> None:
        execution = await session.run("import os, time\nos.close(3)\ntime.sleep(1000)")
        assert execution.status == "killed"

    in_session(work)


def test_a_cell_that_is_too_long_is_refused():
    async def work(session: ProcessSession, _: ProcessSession) -> None:
        await session.run("x = 1")
        execution = await session.run("#" * 10_000_000 + "\nx")
        assert execution.error is not None
        assert (execution.status, execution.error["type"]) == ("error", "CellTooLong")
        assert (await session.run("x")).value == "1"

    in_session(work)


# --- the zygote -------------------------------------------------------------------------------


def zygotes() -> set[int]:
    """The first processes below this one: one a zygote."""
    return {pid for pid in below(os.getpid()) if parent_of(pid) == os.getpid()}


def parent_of(pid: int) -> int:
    with contextlib.suppress(OSError):  # it may end between two looks
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


def test_sessions_of_a_dead_zygote_are_lost_and_a_new_one_serves():
    async def work() -> None:
        async with ProcessPool(SMALL) as pool:
            async with pool.session() as one, pool.session() as other:
                await one.run("1")
                await other.run("1")
                everybody = below(os.getpid())
                (zygote,) = zygotes()
                cell = asyncio.create_task(one.run("import time\ntime.sleep(99)"))
                await asyncio.sleep(0.1)
                os.kill(zygote, signal.SIGKILL)
                assert (await cell).status == "lost"
                for pid in everybody:
                    assert await asyncio.to_thread(wait_for, lambda pid=pid: is_gone(pid))
                again = await other.run("5")
                assert (again.status, again.value, again.state_lost) == ("ok", "5", True)
            assert pool.restarts == 1

    asyncio.run(work())


def test_a_stopped_zygote_is_replaced(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(session_module, "KILL_S", 0.3)

    async def work() -> None:
        async with ProcessPool(HASTY) as pool, pool.session() as session:
            await session.run("1")
            for pid in below(os.getpid()):
                os.kill(pid, signal.SIGSTOP)
            assert (await session.run("1", timeout_s=0.2)).status == "lost"
            assert (await session.run("5")).value == "5"
            assert (await session.run("6")).state_lost is False

    asyncio.run(work())


@pytest.mark.parametrize(
    ("config", "cause"),
    [
        (SandboxConfig(packages="/no/such/python"), "sandbox.packages=/no/such/python"),
        (SandboxConfig(preload=[["math", "no_such_module"]]), "No module named 'no_such_module'"),
    ],
)
def test_a_pool_that_cannot_start_names_the_cause(
    config: SandboxConfig, cause: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    async def work() -> None:
        async with ProcessPool(config) as pool:
            for _ in range(2):
                async with pool.session() as session:
                    with pytest.raises(SandboxError, match=cause):
                        await session.run("1")

    asyncio.run(work())
    assert list(tmp_path.iterdir()) == []


def test_a_session_left_alone_gives_its_process_back():
    async def work(session: ProcessSession, _: ProcessSession) -> None:
        await session.run("x = 1")
        everybody = below(os.getpid())
        pool.config = SMALL.model_copy(update={"idle_s": 0.1})
        await session.run("x")
        assert await asyncio.to_thread(wait_for, lambda: len(below(os.getpid())) < len(everybody))
        after = await session.run("'x' in globals()")
        assert (after.value, after.state_lost) == ("False", True)

    async def both() -> None:
        async with pool, pool.session() as one, pool.session() as other:
            await work(one, other)

    pool = ProcessPool(SMALL)
    asyncio.run(both())


def test_an_old_zygote_is_replaced_and_its_sessions_go_on():
    async def work() -> None:
        async with ProcessPool(SMALL.model_copy(update={"recycle_sessions": 3})) as pool:
            async with pool.session() as old:
                await old.run("x = 'old'")
                first = zygotes()
                for number in range(7):
                    async with pool.session() as session:
                        assert (await session.run(f"{number}")).value == str(number)
                assert first < zygotes()  # there still, beside younger ones
                assert (await old.run("x")).value == "'old'"
            for _ in range(3):  # it is looked after when the next process is asked for
                async with pool.session() as session:
                    await session.run("1")
                await asyncio.sleep(0.2)
            assert await asyncio.to_thread(wait_for, lambda: not first & zygotes())
            assert pool.restarts == 0

    asyncio.run(work())


def test_cells_see_the_packages_that_are_named(tmp_path: Path):
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents[:2]:
        parent.chmod(0o755)
    environment = tmp_path / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "only_there.py").write_text("answer = 42\n")

    async def work(path: Path) -> None:
        config = SMALL.model_copy(update={"packages": str(path)})
        async with ProcessPool(config) as pool, pool.session() as session:
            assert (await session.run("import only_there\nonly_there.answer")).value == "42"
            missing = await session.run("import pydantic")
            assert (missing.error or {})["type"] == "ModuleNotFoundError"

    for path in (environment, environment / "bin" / "python"):
        asyncio.run(work(path))


# --- many, and what is left -------------------------------------------------------------------


def test_two_hundred_sessions_on_two_pools_keep_apart():
    async def one(pool: ProcessPool, number: int) -> bool:
        async with pool.session([Image.new("L", (number + 1, 1))]) as session:
            await session.run(f"x = {number}")
            first = await session.run("x, open('image_1.png', 'rb').read(4)")
            await session.run("x += 1")
            last = await session.run("x")
            return (first.value, last.value) == (rf"({number}, b'\x89PNG')", str(number + 1))

    async def work() -> list[bool]:
        async with ProcessPool(SMALL) as pool, ProcessPool(SMALL) as second:
            return await asyncio.gather(*(one((pool, second)[i % 2], i) for i in range(200)))

    before = len(list(Path("/proc/self/fd").iterdir()))
    assert all(asyncio.run(work()))
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


def test_no_more_than_max_sessions_are_out():
    async def work() -> None:
        async with ProcessPool(SandboxConfig(max_sessions=2)) as pool:
            async with pool.session(), pool.session():
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.05), pool.session():
                        pass
            async with asyncio.timeout(10), pool.session():
                pass
        with pytest.raises(SandboxError, match="closed"):
            async with pool.session() as session:
                await session.run("1")

    asyncio.run(work())


def test_the_environment_of_the_trainer_is_not_passed_on(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AIR_TEST_SECRET", "hunter2")

    async def work(session: ProcessSession, _: ProcessSession) -> None:
        execution = await session.run(
            "import os\nfrom pathlib import Path\n"
            "print(dict(os.environ), list(Path('/proc').glob('*/environ')))"
        )
        assert "OMP_NUM_THREADS" in execution.stdout
        assert "hunter2" not in execution.stdout
        assert "'PATH'" not in execution.stdout
        assert execution.stdout.endswith(" []\n")

    in_session(work)


def test_nothing_is_left_after_close(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    async def work() -> list[int]:
        async with ProcessPool() as pool, pool.session() as session:
            files = "import os\nfor d in range(100): os.makedirs(f'a{d}/b'); open(f'a{d}/b/c', 'w')"
            await session.run(files)
            await session.run(DAEMON)
            return list(below(os.getpid()))

    for pid in asyncio.run(work()):
        assert wait_for(lambda pid=pid: is_gone(pid))
    assert list(tmp_path.iterdir()) == []


ORPHANED = """
import asyncio, sys
from air_reasoning.sandbox.process import ProcessPool

async def main():
    pool = ProcessPool()
    async with pool.session() as session:
        await session.run({daemon!r})
        print("begun", flush=True)
        await session.run("while True: pass", timeout_s=1000)

asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_is_left_when_the_trainer_is_killed(number: int, tmp_path: Path):
    script = ORPHANED.format(daemon=DAEMON)
    trainer = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert trainer.stdout is not None
    assert trainer.stdout.readline() == "begun\n"
    found = below(trainer.pid)
    assert len(found) >= 2
    trainer.send_signal(number)
    trainer.wait()
    trainer.stdout.close()
    assert wait_for(lambda: all(is_gone(pid) for pid in found))
    assert wait_for(lambda: list(tmp_path.iterdir()) == [])
