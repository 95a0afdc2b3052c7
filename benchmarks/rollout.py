"""What orchestration costs: many trajectories of four turns on a simulated engine, real sandbox.

python benchmarks/rollout.py [--trajectories 1024] [--slots 256] [--token-ms 5] [--sandbox-ms 5]

The engine has ``slots`` places and vLLM-like latencies: 20 ms before the first token, a time for
each token, lengths that vary fourfold. The same work goes through the turn loop and through a loop
that waits for the whole batch before each turn, as batch-synchronous trainers do. Printed of both:

- wall time, and its ratio;
- idle share: of places times the time until the last request got its place; a place is idle from
  the moment at which its turn was to end. Behind that is the end of the batch, where nothing is
  left to ask for; the share with it is printed, too;
- CPU time of this process a turn: the loop and its side of the sandbox; and of the sandbox's own
  processes a cell, of which a new session is the larger part;
- the peak of memory, less what it was before, a trajectory.

``--sandbox-ms`` puts a wait in the sandbox's place: what is left is ours. Wall times of a loaded
machine are no figures; CPU times and ratios are.
"""

import argparse
import asyncio
import random
import resource
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from PIL import Image

from air_reasoning.chat_renderer import ChatRenderer
from air_reasoning.engine import Engine
from air_reasoning.rollout import RolloutConfig, rollout
from air_reasoning.samplers.base import Completion, SampleRequest
from air_reasoning.sandbox.process import ProcessPool
from air_reasoning.sandbox.settings import SandboxConfig
from air_reasoning.turn_format import AIR
from air_reasoning.types import Answer, Execution, Part, StopReason, Task

CELL = "<think>{n}</think><code>```python\nsum(range(1000))\n```</code>"
ANSWER = "<answer>\\boxed{1}</answer>"
TURNS = 4


@dataclass(kw_only=True)
class SimulatedEngine:
    """A ``Sampler``; ``spans`` are when each turn began and was to end."""

    slots: int
    token_s: float
    lockstep: int = 0
    spans: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    turns: dict[str, int] = field(default_factory=dict[str, int])

    def __post_init__(self) -> None:
        """Places, and who waits for everybody."""
        self.gate = asyncio.Semaphore(self.slots)
        self.waiting: list[asyncio.Future[None]] = []

    async def sample(self, request: SampleRequest) -> Completion:
        """One turn, after as long as it would take."""
        turn = self.turns.get(request.trajectory_id, 0)
        self.turns[request.trajectory_id] = turn + 1
        if self.lockstep:
            await self.everybody()
        tokens = random.Random(f"{request.trajectory_id}{turn}").randint(20, 80)
        async with self.gate:
            seconds, began = 0.02 + self.token_s * tokens, time.perf_counter()
            self.spans.append((began, began + seconds))
            await asyncio.sleep(seconds)
        text = ANSWER if turn == TURNS - 1 else CELL.format(n=turn)
        return Completion(token_ids=[], logprobs=[], text=text, finish_reason="stop", tokens=tokens)

    async def everybody(self) -> None:
        """Wait until all trajectories ask: the batch-synchronous way."""
        mine = asyncio.get_running_loop().create_future()
        self.waiting.append(mine)
        if len(self.waiting) == self.lockstep:
            for other in self.waiting:
                other.set_result(None)
            self.waiting = []
        await mine

    def idle(self, since: float, until: float) -> float:
        """Share of the places that stood idle between two moments."""
        busy = sum(min(end, until) - start for start, end in self.spans if start < until)
        return 1 - busy / (self.slots * (until - since))

    def open(self, trajectory_id: str) -> None:
        """Nothing to gather."""

    def release(self, trajectory_id: str) -> None:
        """Nothing to forget."""

    async def load_weights(self, weights: object, version: int) -> None:
        """There are no weights."""

    async def close(self) -> None:
        """Nothing to free."""


@dataclass(kw_only=True)
class SimulatedSandbox:
    """A ``SandboxPool`` and its sessions in one: a cell takes ``seconds`` and no processor."""

    seconds: float
    pixels: dict[str, Image.Image] = field(default_factory=dict[str, Image.Image])

    @asynccontextmanager
    async def session(
        self, images: list[Image.Image] | None = None, seed: int | None = None
    ) -> AsyncGenerator["SimulatedSandbox"]:
        """Itself."""
        yield self

    async def run(self, code: str, timeout_s: float | None = None) -> Execution:
        """The value of the one cell."""
        await asyncio.sleep(self.seconds)
        return Execution(status="ok", value="499500")

    async def close(self) -> None:
        """Nothing to free."""


async def measure(options: argparse.Namespace, lockstep: bool) -> dict[str, float]:
    """Seconds of wall time, idle shares, CPU ms a turn, KB a trajectory."""
    count, token_s = options.trajectories, options.token_ms / 1000
    sampler = SimulatedEngine(
        slots=options.slots, token_s=token_s, lockstep=count if lockstep else 0
    )
    sessions = count if lockstep else options.sessions
    real = ProcessPool(SandboxConfig(max_sessions=sessions))
    pool = (
        real if options.sandbox_ms is None else SimulatedSandbox(seconds=options.sandbox_ms / 1e3)
    )
    engine = Engine(sampler=sampler, sandboxes=pool, renderer=ChatRenderer(AIR))
    async with pool.session() as session:  # its start is not a step's
        await session.run("1")
    task = Task(id="t", prompt=[Part(kind="text", text="?")], images=[], answer=Answer(value="1"))
    config = RolloutConfig(max_turns=TURNS, max_new_tokens=10_000)
    memory, cpu, began = peak_kb(), time.process_time(), time.perf_counter()
    below = children_s()
    done = await asyncio.gather(
        *(rollout(task, engine, config, trajectory_id=str(n), seed=n) for n in range(count))
    )
    ended, cpu = time.perf_counter(), time.process_time() - cpu
    await pool.close()
    assert all(t.stop is StopReason.ANSWERED for t in done), {t.stop for t in done}
    return {
        "wall s": ended - began,
        "idle share": sampler.idle(began, max(start for start, _ in sampler.spans)),
        "idle share, end too": sampler.idle(began, ended),
        "CPU ms a turn": 1000 * cpu / (count * TURNS),
        "sandbox CPU ms a cell": 1000 * (children_s() - below) / (count * (TURNS - 1)),
        "KB a trajectory": (peak_kb() - memory) / count,
    }


def children_s() -> float:
    """CPU time of processes that this one started and that have ended."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def peak_kb() -> int:
    """The most memory that this process has had, in KB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    """Measure both loops and print them side by side."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trajectories", type=int, default=1024)
    parser.add_argument("--slots", type=int, default=256, help="sequences the engine runs at once")
    parser.add_argument("--sessions", type=int, default=1024, help="sandbox sessions at once")
    parser.add_argument("--token-ms", type=float, default=5.0, help="time of a token")
    parser.add_argument("--sandbox-ms", type=float, help="a wait instead of the sandbox")
    parser.add_argument("--only", choices=("turn-loop", "both"), default="both")
    options = parser.parse_args()
    ours = asyncio.run(measure(options, lockstep=False))
    if options.only == "turn-loop":
        print("\n".join(f"{name:22} {value:10.3f}" for name, value in ours.items()))
        return
    batch = asyncio.run(measure(options, lockstep=True))
    for name, value in ours.items():
        print(f"{name:22} {value:10.3f}   batch-synchronous {batch[name]:10.3f}")
    print(f"batch-synchronous / turn loop: {batch['wall s'] / ours['wall s']:.2f}")


if __name__ == "__main__":
    main()
