"""One pass over tasks: roll out, score, write; what is final already is not made again.

async with open_local(folder) as engine:
    records = await evaluate(tasks, engine, RolloutConfig(), Measure(name="cold_start"))
summarize(records)["accuracy"]
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from air_reasoning.answers import Verdict, answer_text, check_answer, extract_answer
from air_reasoning.display import Progress
from air_reasoning.engine import Engine
from air_reasoning.json_io import from_json
from air_reasoning.metrics import Record
from air_reasoning.rollout import RolloutConfig, derived_seed, prepare, rollout
from air_reasoning.run_dir import RunDir
from air_reasoning.scoring import Scored, scored_with
from air_reasoning.types import Task, Trajectory

Decoding = Literal["greedy", "sampled"]
Code = Literal["allow", "forbid"]
Scorer = Callable[[Task, str], Verdict]
Key = tuple[str, str, str, str, int]


@dataclass(kw_only=True, slots=True, frozen=True)
class Measure:
    """One pass over the tasks: which checkpoint, how decoded, with or without code."""

    name: str
    decoding: Decoding = "greedy"
    code: Code = "allow"
    repeats: int = 1
    seed: int = 0
    max_connections: int = 256

    @property
    def row_name(self) -> str:
        """The checkpoint's name in the table."""
        return self.name if self.code == "allow" else f"{self.name} (code forbidden)"

    def group_id(self, task: Task) -> str:
        """Group of all roll-outs of one task in this pass."""
        return f"{self.name}/{self.decoding}/{self.code}/{task.id}"


def strict(task: Task, text: str) -> Verdict:
    """This project's own comparison."""
    return check_answer(task.answer, text, task.choices)


async def evaluate(
    tasks: Sequence[Task],
    engine: Engine,
    config: RolloutConfig,
    measure: Measure,
    *,
    run: RunDir | None = None,
    score: Scorer | None = None,
    done: Mapping[Key, Record] | None = None,
    bar: Progress | None = None,
) -> list[Record]:
    """Roll out every task ``repeats`` times and score; records in the order of tasks and repeats.

    Args:
        tasks: at least one.
        engine: sampler, sandboxes and renderer.
        config: its temperature is used for ``sampled``; ``greedy`` sets it to 0.
        measure: which pass this is; part of every key and random seed but for the name, so that
            checkpoints are compared on the same random numbers.
        run: where each trajectory is written as soon as it is scored.
        score: from task and model-written answer text to a verdict; default ``check_answer``.
        done: final records of an earlier process (``finished``); they are not made again.
        bar: advanced by one for each new trajectory.

    Raises:
        DataError: a task's picture is missing or broken. SandboxError: no sandbox here.
    """
    if measure.decoding == "greedy":
        config = config.model_copy(update={"temperature": 0.0})
    score = score or strict
    gate = asyncio.Semaphore(measure.max_connections)
    done = done or {}

    async def one(task: Task, repeat: int) -> Record:
        final = done.get(key(measure, task, repeat))
        if final is not None:
            return final
        async with gate:
            trajectory = await _roll(task, repeat, engine, config, measure)
        # math-verify may take two seconds: not on the loop that feeds the sampler.
        verdict = await asyncio.to_thread(_verdict, score, task, answer_text(trajectory))
        scored = scored_with(task, trajectory, verdict, repeat=repeat, form=engine.renderer.form)
        if run is not None:
            run.write_trajectory(_row(measure, task, trajectory, scored))
        if bar is not None:
            bar.advance()
        return scored.record

    jobs = [
        asyncio.ensure_future(one(task, repeat))
        for task in tasks
        for repeat in range(measure.repeats)
    ]
    try:
        return await asyncio.gather(*jobs)
    finally:  # the first error, as it is, ends the others
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)


def _verdict(score: Scorer, task: Task, text: str) -> Verdict:
    """The scorer's verdict, with the route on which ``check_answer`` finds an answer."""
    verdict = score(task, text)
    if score is strict or verdict.extracted is None:
        return verdict
    return replace(verdict, route=extract_answer(text, task.answer.type, task.choices).route)


async def _roll(
    task: Task, repeat: int, engine: Engine, config: RolloutConfig, measure: Measure
) -> Trajectory:
    group = measure.group_id(task)
    return await rollout(
        task,
        engine,
        config,
        trajectory_id=f"{group}/{repeat}",
        group_id=group,
        seed=derived_seed(measure.seed, task.id, repeat),
        code_banned=measure.code == "forbid",
        prompt=prepare(task, engine),
    )


def key(measure: Measure, task: Task, repeat: int) -> Key:
    """What a trajectory is final under."""
    return measure.name, measure.decoding, measure.code, task.id, repeat


def _row(measure: Measure, task: Task, trajectory: Trajectory, scored: Scored) -> dict[str, Any]:
    return {
        "name": measure.name,
        "decoding": measure.decoding,
        "code": measure.code,
        "task": task,
        "trajectory": trajectory,
        "record": scored.record,
        "extracted": scored.verdict.extracted,
        "method": scored.verdict.method,
    }


def finished(run: RunDir) -> dict[Key, Record]:
    """Final records by key; those of our fault are left out, so that they are tried again."""
    done = dict[Key, Record]()
    for row in run.read_trajectories():
        if "decoding" not in row:
            continue
        record = from_json(Record, row["record"], f"{run.path}/trajectories: record")
        if not record.unscored:
            done[row["name"], row["decoding"], row["code"], record.task_id, record.repeat] = record
    return done
