"""Sessions by the thousand, good and hostile mixed, then a look for what was left behind.

    python benchmarks/soak_sandbox.py --seconds 600 --sessions 50000

Runs until both are reached. Prints one JSON object a minute and one at the end. Exit code 1 if a
process, descriptor or folder is left, if a good session got a wrong answer or was lost, or if a
process that stays grew by a half.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from PIL import Image

from air_reasoning.sandbox.process import ProcessPool, SandboxConfig

PICTURE = Image.new("RGB", (64, 48), "red")
GOOD = [
    "x = {n}\nsum(range(x))",
    "import math, fractions\nopen('kept', 'w').write('x' * {n})\nsum(range({n}))",
    "import numpy as np\nint(np.arange({n}).sum())",
    "image_1.size\nprint(image_1.resize((9, 9)).size)\nsum(range({n}))",
    "import numpy, sympy, PIL.Image, matplotlib.pyplot\nsum(range({n}))",
]
HOSTILE = [
    "while True: pass",
    "import os\nos._exit(3)",
    "import ctypes\nctypes.string_at(0)",
    "x = []\nwhile True: x.append(bytearray(1 << 26))",
    "import os\nfor _ in range(30):\n    try: os.fork()\n    except OSError: break",
    "import os\nwhile True:\n    try: os.fork() or os.setsid()\n    except OSError: pass",
    "import threading\nwhile True: threading.Thread(target=threading.Event().wait).start()",
    "import os\nos.write(3, b'\\xff' * 999)",
    "for n in range(500): open(f'f{n}', 'w').write('x' * 9999)",
    "print('x' * 1_000_000)",
    "import os, signal\nos.kill(-1, signal.SIGKILL)",
    "fds = []\nwhile True: fds.append(open('f', 'w'))",
    "import socket\nsocket.socket()",
    "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass",
    "10 ** 10 ** 9",
]


def below(pid: int) -> dict[int, tuple[str, int]]:
    """Processes that descend from this one: state (Z: not yet buried) and resident KiB."""
    parents: dict[int, int] = {}
    found_of: dict[int, tuple[str, int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            parents[int(path.parent.name)] = int(fields[1])
            found_of[int(path.parent.name)] = fields[0], int(fields[21]) * 4
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return {child: found_of[child] for child in found - {pid}}


def _descriptors(pid: int) -> int:
    with contextlib.suppress(OSError):
        return len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return 0


def held() -> dict[str, int]:
    """What could leak; ``most_descriptors`` and ``largest_kib`` are of the processes below us."""
    processes = below(os.getpid())
    return {
        "processes": len(processes),
        "zombies": sum(state == "Z" for state, _ in processes.values()),
        "descriptors": _descriptors(os.getpid()),
        "most_descriptors": max(map(_descriptors, processes), default=0),
        "folders": len(list(Path(tempfile.gettempdir()).glob("air-sandbox-*"))),
        "largest_kib": max((kib for _, kib in processes.values()), default=0),
        "supervisor_kib": int(Path("/proc/self/statm").read_text().split()[1]) * 4,
    }


async def worker(pool: ProcessPool, until: "Until", seed: int, counts: Counter[str]) -> None:
    """One session after the other; every twelfth is hostile."""
    dice = random.Random(seed)
    while not until.reached(counts["sessions"]):
        async with pool.session([PICTURE]) as session:
            hostile = dice.random() < 1 / 12
            number = dice.randrange(1000)
            code = dice.choice(HOSTILE) if hostile else dice.choice(GOOD).format(n=number)
            execution = await session.run(code, timeout_s=0.2 if hostile else 60)
        counts["sessions"] += 1
        counts[f"{'hostile' if hostile else 'good'} {execution.status}"] += 1
        if not hostile and execution.value != str(sum(range(number))):
            counts["wrong"] += 1


class Until:
    """Both a time and a number of sessions."""

    def __init__(self, seconds: float, sessions: int) -> None:
        self.begun = time.monotonic()
        self._seconds, self._sessions = seconds, sessions

    def reached(self, sessions: int) -> bool:
        """Whether it is enough."""
        return time.monotonic() - self.begun >= self._seconds and sessions >= self._sessions


async def soak(seconds: float, sessions: int, workers: int) -> bool:
    """Whether nothing was left and every good session had its answer."""
    counts: Counter[str] = Counter()
    start = held()
    async with ProcessPool(SandboxConfig(grace_s=0.05, memory_mb=400)) as pool:
        for code in GOOD:
            async with pool.session([PICTURE]) as session:
                await session.run(code.format(n=5), timeout_s=120)
        await asyncio.sleep(1)
        warm, until = held(), Until(seconds, sessions)
        tasks = [asyncio.create_task(worker(pool, until, n, counts)) for n in range(workers)]
        while not all(task.done() for task in tasks):
            await asyncio.wait(tasks, timeout=60)
            now = {"seconds": round(time.monotonic() - until.begun), "load": os.getloadavg()[0]}
            print(json.dumps(now | held() | counts), flush=True)
        await asyncio.gather(*tasks)
        await asyncio.sleep(2)
        busy, restarts, tier = held(), pool.restarts, pool.tier
    end = held()
    told = {"tier": tier, "start": start, "warm": warm, "after": busy, "end": end}
    print(json.dumps(told | {"restarts": restarts} | counts))
    kept = all(busy[key] <= warm[key] for key in ("processes", "zombies", "folders"))
    kept = kept and all(busy[key] <= 1.5 * warm[key] for key in ("largest_kib", "supervisor_kib"))
    kept = kept and busy["most_descriptors"] <= warm["most_descriptors"] + 3
    gone = all(end[key] <= start[key] for key in ("processes", "zombies", "folders"))
    gone = gone and end["descriptors"] <= start["descriptors"] + 3  # the loop's own
    return kept and gone and not counts["wrong"] and not restarts


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--sessions", type=int, default=50_000)
    parser.add_argument("--workers", type=int, default=12)
    options = parser.parse_args()
    sys.exit(not asyncio.run(soak(options.seconds, options.sessions, options.workers)))
