"""Fresh sessions, live cells, kills and memory: this sandbox and what else people use, in one run.

    python benchmarks/sandbox.py [--rounds 20] [--kernel PYTHON]

All alternate in every round, so that other load on the machine hits all of them alike; wall times
are to be read as ratios. CPU time is of the processes themselves (rusage and /proc, children
included). ``--kernel`` names a Python that has ipykernel and jupyter_client; without it these rows
are missing. Nothing is warmed up but what would be in use: our pool, the live kernel.
"""

import argparse
import asyncio
import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path

from air_reasoning.display import table
from air_reasoning.sandbox.process import ProcessPool, ProcessSession, SandboxConfig

HEAVY = "import numpy, sympy, PIL.Image, matplotlib.pyplot\nx = 1\n"
NUMPY = "import numpy\nx = 1\n"
PLAIN = "x = 1\n"
LOOP = "while True: pass"
FRESH, LIVE = 40, 400
KERNEL = """
import sys, time
from jupyter_client.manager import start_new_kernel
manager = client = None
for line in sys.stdin:
    begun = time.perf_counter()
    if line.strip() == "fresh":
        if client: client.stop_channels(); manager.shutdown_kernel(now=True)
        begun = time.perf_counter()
        manager, client = start_new_kernel()
    client.execute_interactive("x = 1", output_hook=lambda message: None)
    print((time.perf_counter() - begun) * 1000, flush=True)
if client: client.stop_channels(); manager.shutdown_kernel(now=True)
"""
Samples = dict[str, list[float]]


def cpu_of_tree(root: int, with_root: bool = True) -> float:
    """Seconds of all living processes at and below ``root`` and of the dead they waited for."""
    parents: dict[int, int] = {}
    times: dict[int, float] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            parents[int(path.parent.name)] = int(fields[1])
            times[int(path.parent.name)] = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    found = {root}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return sum(times[pid] for pid in found if with_root or pid != root)


class Meter:
    """CPU seconds of this process and of all below it but ``without`` (the kernel, which idles).

    Looking through /proc takes as long as some sessions do, and is not counted.
    """

    def __init__(self, without: int | None) -> None:
        """Begins to count."""
        self._without = without
        self._below = self._look()
        self._own = time.process_time()

    def seconds(self) -> float:
        """Since the beginning."""
        own = time.process_time() - self._own
        return own + self._look() - self._below

    def _look(self) -> float:
        others = cpu_of_tree(self._without) if self._without else 0
        return cpu_of_tree(os.getpid(), with_root=False) - others


def own_cpu() -> float:
    """Seconds of this process and of the children it waited for."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(u.ru_utime + u.ru_stime for u in map(resource.getrusage, kinds))


def subprocess_call(code: str, by_file: bool) -> Callable[[], None]:
    """A fresh interpreter: ``python -c`` or a temporary file, as most projects do it."""

    def call() -> None:
        environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
        if not by_file:
            subprocess.run([sys.executable, "-c", code], check=True, env=environment)
            return
        with tempfile.NamedTemporaryFile("w", suffix=".py") as file:
            file.write(code)
            file.flush()
            subprocess.run([sys.executable, file.name], check=True, env=environment)

    return call


async def session_of(pool: ProcessPool, code: str) -> None:
    """A fresh session, one cell, and its end."""
    async with pool.session() as session:
        execution = await session.run(code, timeout_s=60)
        assert execution.status == "ok", execution


async def measure_ours(
    pool: ProcessPool, name: str, code: str, kernel: int | None, wall: Samples, cpu: Samples
) -> None:
    """Sessions one after the other: wall and CPU milliseconds of one."""
    meter, begun = Meter(kernel), time.perf_counter()
    for _ in range(FRESH):
        await session_of(pool, code)
    await asyncio.sleep(0.05)  # the last one's end is part of its price
    wall[name].append((time.perf_counter() - begun - 0.05) / FRESH * 1000)
    cpu[name].append(meter.seconds() / FRESH * 1000)


def measure_peer(name: str, call: Callable[[], None], wall: Samples, cpu: Samples) -> None:
    """One call of a peer."""
    begun, spent = time.perf_counter(), own_cpu()
    call()
    wall[name].append((time.perf_counter() - begun) * 1000)
    cpu[name].append((own_cpu() - spent) * 1000)


async def measure_live(
    session: ProcessSession, kernel: int | None, wall: Samples, cpu: Samples
) -> None:
    """Cells in a session that is there already: many, because the clock of CPU time is coarse."""
    meter = Meter(kernel)
    for _ in range(LIVE):
        begun = time.perf_counter()
        await session.run(PLAIN)
        wall["ours, live cell"].append((time.perf_counter() - begun) * 1000)
    cpu["ours, live cell"].append(meter.seconds() / LIVE * 1000)


async def measure_kill(pool: ProcessPool, wall: Samples) -> None:
    """From the deadline to the end of a loop that ignores it (less the time of grace), and of one
    that does not; the supervisor's own clock, as ``Execution.wall_ms`` tells it.
    """
    blocked = "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])\n"
    for name, code, grace_s in (
        ("ours, kill of a loop that resists", blocked + LOOP, pool.config.grace_s),
        ("ours, interrupt of a loop", LOOP, 0.0),
    ):
        async with pool.session() as session:
            await session.run("1", timeout_s=60)
            execution = await session.run(code, timeout_s=0.1)
            assert execution.status == "timeout"
            wall[name].append(execution.wall_ms - (0.1 + grace_s) * 1000)


async def kills(count: int) -> None:
    """Only these; short enough to be run at a high priority on a busy machine."""
    wall: Samples = defaultdict(list)
    async with ProcessPool(SandboxConfig(grace_s=0.05)) as pool:
        for _ in range(count):
            await measure_kill(pool, wall)
    print(table([row(name, values, []) for name, values in wall.items()]))


class Kernel:
    """ipykernel, driven from a process of its own; milliseconds from request to idle."""

    def __init__(self, python: str) -> None:
        """``python`` has ipykernel and jupyter_client."""
        self._process = subprocess.Popen(
            [python, "-c", KERNEL], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip

    @property
    def pid(self) -> int:
        """Of the client, whose child the kernel is."""
        return self._process.pid

    def ask(self, word: str) -> float:
        """``fresh`` or ``live``."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def close(self) -> None:
        """Shut the kernel down."""
        self._process.communicate()


async def memory_per_session(pool: ProcessPool, code: str, count: int = 32) -> float:
    """What ``count`` idle sessions add to the proportional set size of the tree, each, in MiB."""

    def total() -> float:
        size = 0
        for path in Path("/proc").glob("[0-9]*/smaps_rollup"):
            with contextlib.suppress(OSError):
                if int(path.parent.name) in wanted:
                    pss = next(x for x in path.read_text().splitlines() if x.startswith("Pss:"))
                    size += int(pss.split()[1])
        return size / 1024

    from soak_sandbox import below

    await session_of(pool, code)
    wanted = set(below(os.getpid()))
    before = total()
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(count):
            session = await stack.enter_async_context(pool.session())
            await session.run(code, timeout_s=60)
        wanted = set(below(os.getpid()))
        return (total() - before) / count


async def both_cores(pool: ProcessPool, code: str, count: int) -> float:
    """Fresh sessions a second with four at work at once."""
    left = iter(range(count))

    async def worker() -> None:
        for _ in left:
            await session_of(pool, code)

    begun = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(4)))
    return count / (time.perf_counter() - begun)


async def subprocesses_a_second(count: int) -> float:
    """The same for temporary file + subprocess + ``import numpy``."""
    call = subprocess_call(NUMPY, by_file=True)
    begun = time.perf_counter()
    jobs: list[Awaitable[None]] = [asyncio.to_thread(call) for _ in range(count)]
    await asyncio.gather(*jobs)
    return count / (time.perf_counter() - begun)


def row(name: str, wall: list[float], cpu: list[float]) -> dict[str, object]:
    """Medians and spread; CPU is a mean of the rounds, because its clock ticks coarsely."""
    ordered = sorted(wall)
    return {
        "what": name,
        "n": len(wall),
        "wall ms": f"{statistics.median(wall):.2f}",
        "p10": f"{ordered[len(ordered) // 10]:.2f}",
        "p90": f"{ordered[len(ordered) * 9 // 10]:.2f}",
        "max": f"{ordered[-1]:.2f}",
        "cpu ms": f"{statistics.fmean(cpu):.2f}" if cpu else "-",
        "sd": f"{statistics.stdev(cpu):.2f}" if len(cpu) > 1 else "-",
    }


async def run(rounds: int, kernel_python: str | None) -> None:
    """Print the table and the ratios."""
    wall: Samples = defaultdict(list)
    cpu: Samples = defaultdict(list)
    rates: Samples = defaultdict(list)
    kernel = Kernel(kernel_python) if kernel_python else None
    async with ProcessPool(SandboxConfig(grace_s=0.05)) as pool, pool.session() as live:
        await live.run(PLAIN, timeout_s=60)
        await session_of(pool, HEAVY)
        for _ in range(rounds):
            idling = kernel.pid if kernel else None
            await measure_ours(pool, "ours, plain", PLAIN, idling, wall, cpu)
            await measure_ours(pool, "ours, heavy imports", HEAVY, idling, wall, cpu)
            for name, code, by_file in (
                ("python -c, heavy imports", HEAVY, False),
                ("file + subprocess, numpy", NUMPY, True),
                ("file + subprocess, plain", PLAIN, True),
            ):
                measure_peer(name, subprocess_call(code, by_file), wall, cpu)
            await measure_live(live, idling, wall, cpu)
            await measure_kill(pool, wall)
            rates["ours"].append(await both_cores(pool, NUMPY, 40))
            rates["peer"].append(await subprocesses_a_second(8))
            if kernel:
                wall["ipykernel, fresh + cell"].append(kernel.ask("fresh"))
                spent = cpu_of_tree(kernel.pid)
                wall["ipykernel, live cell"] += [kernel.ask("live") for _ in range(20)]
                cpu["ipykernel, live cell"].append((cpu_of_tree(kernel.pid) - spent) / 20 * 1000)
        print(table([row(name, values, cpu[name]) for name, values in wall.items()]))
        print(json.dumps(_ratios(wall, cpu, rates), indent=2))
        idle = {"plain": PLAIN, "heavy imports": HEAVY}
        memory = {key: round(await memory_per_session(pool, code), 2) for key, code in idle.items()}
        print(json.dumps({"idle MiB PSS a session": memory, "tier": pool.tier}))
    if kernel:
        kernel.close()
    print(json.dumps({"load": os.getloadavg(), "cores": os.cpu_count(), "rounds": rounds}))


def _ratios(wall: Samples, cpu: Samples, rates: Samples) -> dict[str, object]:
    def spread(values: list[float]) -> dict[str, float]:
        ordered = sorted(values)
        places = {"p10": len(ordered) // 10, "median": len(ordered) // 2}
        places |= {"p90": len(ordered) * 9 // 10}
        return {name: round(ordered[place], 3) for name, place in places.items()}

    def per_round(above: list[float], under: list[float]) -> dict[str, float]:
        return spread([a / b for a, b in zip(above, under, strict=True) if b])

    found: dict[str, object] = {
        "cpu: python -c heavy / ours heavy (aim >= 100)": per_round(
            cpu["python -c, heavy imports"], cpu["ours, heavy imports"]
        ),
        "cpu: subprocess numpy / ours heavy (aim >= 10)": per_round(
            cpu["file + subprocess, numpy"], cpu["ours, heavy imports"]
        ),
        "sessions a second: ours numpy / subprocess numpy (aim >= 8)": per_round(
            rates["ours"], rates["peer"]
        ),
    }
    if wall["ipykernel, live cell"]:
        chunks = [wall["ours, live cell"][i : i + LIVE] for i in range(0, LIVE * 10**4, LIVE)]
        theirs = [wall["ipykernel, live cell"][i : i + 20] for i in range(0, 20 * 10**4, 20)]
        found["live cell, medians: ipykernel / ours (aim >= 20)"] = per_round(
            [statistics.median(chunk) for chunk in theirs if chunk],
            [statistics.median(chunk) for chunk in chunks if chunk],
        )
        found["cpu of a live cell: ipykernel / ours"] = per_round(
            cpu["ipykernel, live cell"], cpu["ours, live cell"]
        )
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--kernel", help="a Python with ipykernel and jupyter_client")
    parser.add_argument("--kills", type=int, help="measure only so many kills")
    options = parser.parse_args()
    if options.kills:
        asyncio.run(kills(options.kills))
    else:
        asyncio.run(run(options.rounds, options.kernel))
