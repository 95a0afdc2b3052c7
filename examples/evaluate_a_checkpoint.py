"""Greedy figures of a checkpoint on a task folder, with 95 % intervals, without a run folder.

python examples/evaluate_a_checkpoint.py TASKS [MODEL]    (TASKS: air tasks make --run-dir TASKS)
"""

import asyncio
import sys

from air_reasoning.engine import open_local
from air_reasoning.eval.measure import Measure, evaluate
from air_reasoning.metrics import Record, summarize
from air_reasoning.models.shipped import shipped_model
from air_reasoning.rollout import RolloutConfig
from air_reasoning.task_files import read_tasks


async def measure(tasks: str, model: str) -> list[Record]:
    """One record a task."""
    config = RolloutConfig(max_turns=3, max_new_tokens=160)
    async with open_local(model) as engine:
        return await evaluate(read_tasks(tasks), engine, config, Measure(name="model"))


model = sys.argv[2] if len(sys.argv) > 2 else str(shipped_model())
for name, figure in summarize(asyncio.run(measure(sys.argv[1], model))).items():
    if figure.value is not None and figure.low is not None and figure.high is not None:
        interval = f"[{figure.low:.3f}, {figure.high:.3f}]"
        print(f"{name:22} {figure.value:8.3f} {interval:20} n = {figure.n}")
