"""What orchestration costs: many trajectories of four turns on a simulated engine, real sandbox.

python benchmarks/rollout.py [--trajectories 1024] [--slots 256] [--sessions 1024]

The engine has ``slots`` places and vLLM-like latencies: a wait before the first token, a time for
each token, lengths that vary fourfold. The same work goes through the turn loop and a loop that
waits for the whole batch before each turn, as batch-synchronous trainers do. Printed: wall time of
both and their ratio, the share of the places that stood idle, CPU time of this process a turn, and
memory a trajectory. Timings of a loaded machine are no figures; the ratio is.
"""

import argparse
import asyncio
import random
import resource
import time
from dataclasses import dataclass, field

from air_reasoning.chat_renderer import ChatRenderer
from air_reasoning.engine import Engine
from air_reasoning.rollout import RolloutConfig, rollout
from air_reasoning.samplers.base import Completion, SampleRequest
from air_reasoning.sandbox.process import ProcessPool
from air_reasoning.sandbox.settings import SandboxConfig
from air_reasoning.turn_format import AIR
from air_reasoning.types import Answer, Part, StopReason, Task

CELL = "<think>{n}</think><code>```python\nsum(range(1000))\n```</code>"
ANSWER = "<answer>\\boxed{1}</answer>"
TURNS = 4


@dataclass(kw_only=True)
class SimulatedEngine:
    """A ``Sampler``: 20 ms, then 5 ms a token for 20 to 80 tokens; ``busy`` in slot-seconds."""

    slots: int
    lockstep: int = 0
    busy: float = 0.0
    turns: dict[str, int] = field(default_factory=dict)

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
            seconds = 0.02 + 0.005 * tokens
            self.busy += seconds
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

    def open(self, trajectory_id: str) -> None:
        """Nothing to gather."""

    def release(self, trajectory_id: str) -> None:
        """Nothing to forget."""

    async def load_weights(self, weights: object, version: int) -> None:
        """There are no weights."""

    async def close(self) -> None:
        """Nothing to free."""


async def measure(options: argparse.Namespace, lockstep: bool) -> dict[str, float]:
    """Seconds of wall time, idle share of the slots, CPU ms a turn, KB a trajectory."""
    count = options.trajectories
    sampler = SimulatedEngine(slots=options.slots, lockstep=count if lockstep else 0)
    pool = ProcessPool(SandboxConfig(max_sessions=count if lockstep else options.sessions))
    engine = Engine(sampler=sampler, sandboxes=pool, renderer=ChatRenderer(AIR))
    task = Task(id="t", prompt=[Part(kind="text", text="?")], images=[], answer=Answer(value="1"))
    config = RolloutConfig(max_turns=TURNS, max_new_tokens=10_000)
    memory, cpu, wall = peak_kb(), time.process_time(), time.perf_counter()
    done = await asyncio.gather(
        *(rollout(task, engine, config, trajectory_id=str(n), seed=n) for n in range(count))
    )
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    await pool.close()
    assert all(t.stop is StopReason.ANSWERED for t in done), {t.stop for t in done}
    return {
        "wall s": wall,
        "engine idle share": 1 - sampler.busy / (wall * options.slots),
        "CPU ms a turn": 1000 * cpu / (count * TURNS),
        "KB a trajectory": (peak_kb() - memory) / count,
    }


def peak_kb() -> int:
    """The most memory that this process has had, in KB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    """Measure both loops and print them side by side."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trajectories", type=int, default=1024)
    parser.add_argument("--slots", type=int, default=256, help="sequences the engine runs at once")
    parser.add_argument("--sessions", type=int, default=1024, help="sandbox sessions at once")
    options = parser.parse_args()
    ours = asyncio.run(measure(options, lockstep=False))
    batch = asyncio.run(measure(options, lockstep=True))
    for name, value in ours.items():
        print(f"{name:20} {value:10.3f}   batch-synchronous {batch[name]:10.3f}")
    print(f"batch-synchronous / turn loop: {batch['wall s'] / ours['wall s']:.2f}")


if __name__ == "__main__":
    main()
