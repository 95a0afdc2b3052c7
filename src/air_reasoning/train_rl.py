"""Reinforcement learning of when to compute: the loop, readable from top to bottom.

    tasks -> groups of roll-outs (turn <-> sandbox) -> rewards of each group -> advantages
          -> samples (ids, loss mask, log-probabilities) -> policy loss -> update -> new weights

What is ours and not the paper's: the reward's formula (``reward``), the banned roll-outs, and the
anchor, a cross entropy on how the pictures of the step are to be transcribed, which keeps a small
model reading while it learns to decide. See ``docs/method.md``.

Several processes run this same loop, each with its share of the groups; only the first writes.
"""

import asyncio
import random
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from air_reasoning.advantage import group_advantages
from air_reasoning.config import Resolved, RunOptions
from air_reasoning.display import Progress, progress
from air_reasoning.doctor.training import check_training
from air_reasoning.engine import Engine, SaveImage, open_endpoint, open_engine
from air_reasoning.errors import AirError, DataError
from air_reasoning.identity import model_identity, tasks_identity
from air_reasoning.images import save_blob
from air_reasoning.learner import Learner, lay_weights, open_learner, restore, save_final
from air_reasoning.parallel import Parallel, join_processes, launch, launched
from air_reasoning.policy_update import update
from air_reasoning.reward import score_group
from air_reasoning.rl_config import UNMOVING, RLConfig
from air_reasoning.rl_journal import Journal
from air_reasoning.rl_metrics import ScoredGroup, Step, step_metrics
from air_reasoning.rollout import rollout_groups
from air_reasoning.rollouts_ahead import RolloutsAhead
from air_reasoning.run_dir import RunDir, config_fingerprint
from air_reasoning.samplers.base import Sampler
from air_reasoning.scoring import score_trajectory
from air_reasoning.task_files import read_tasks
from air_reasoning.training_samples import (
    Counts,
    add_counts,
    drop_lost,
    first_fault,
    keep_informative,
    training_samples,
)
from air_reasoning.types import Task, TrajectoryGroup

__all__ = ["RLConfig", "run_rl", "train_rl", "training_tasks"]


def run_rl(resolved: Resolved[RLConfig], options: RunOptions) -> None:
    """``air rl``: train, leave the model in ``run/model``; the same command resumes."""
    config, folder = resolved.value, options.run_dir
    tasks = training_tasks(config, options.limit)
    if options.dry_run:
        return check_training(config, tasks, folder)
    if config.processes > 1 and not launched():
        return launch(config.processes)
    parallel = join_processes(config.processes, config.engine.device)
    fingerprint = config_fingerprint(config, without=UNMOVING) | {
        "model": model_identity(config.model.folder()), "tasks": tasks_identity(tasks),
    }  # fmt: skip
    with RunDir.open(
        folder, command="rl", resolved_config=resolved, fingerprint=fingerprint,
        resume=options.resume, overwrite=options.overwrite, parts=("model", "adapter"),
    ) if parallel.rank == 0 else nullcontext() as run:  # fmt: skip
        parallel.gather("the folder is open")
        torch.set_num_threads(config.threads)
        torch.manual_seed(config.seed)
        learner = open_learner(config, parallel)
        with progress(options.display if run else "none", config.steps, "rl") as bar:
            asyncio.run(train_rl(learner, tasks, config, folder, run, bar))
        save_final(learner, folder / "model")
        if run is not None:
            run.set_status("done")


def training_tasks(config: RLConfig, limit: int | None = None) -> list[Task]:
    """The tasks to train on. Raises DataError: none, broken ones, or test tasks."""
    tasks = read_tasks(config.tasks)[:limit]
    for task in tasks:
        if task.meta.get("split") == "test":
            raise DataError(
                f"{config.tasks}: task {task.id} is marked split: test; not for training"
            )
    return tasks


async def train_rl(
    learner: Learner,
    tasks: Sequence[Task],
    config: RLConfig,
    folder: Path,
    run: RunDir | None,
    bar: Progress,
) -> None:
    """The loop. Resumes from the newest checkpoint of ``folder``; ``run`` writes to it, if given.

    Raises:
        AlarmError: a figure was out of its band for as long as was allowed; the state is saved.
    """
    start, position = restore(learner, folder / "checkpoints")
    journal = Journal.opened(learner, config, folder, run, bar, start, position)
    keep_image = partial(save_blob, folder=folder / "blobs")
    with learner.remember_pictures(), journal.saved_when_interrupted():
        async with _rolling_out(learner, config, keep_image) as engine:
            make = partial(roll_out, tasks, engine, config, learner.parallel.beside())
            async with RolloutsAhead(
                make, engine.sampler, config.max_staleness, range(start, config.steps), position
            ) as rollouts:
                for step in range(start, config.steps):
                    await rollouts.publish(_weights(learner, config, folder, step), version=step)
                    rolled = await rollouts.next()
                    samples, counts = training_samples(rolled.informative, config.samples)
                    moved = await rollouts.while_they_run(
                        partial(update, learner, samples, rolled.tasks, config, step)
                    )
                    metrics = step_metrics(rolled, samples, step) | counts | moved
                    metrics |= _requests(engine.sampler)
                    journal.write(step + 1, rolled, metrics)


def _rolling_out(
    learner: Learner, config: RLConfig, save_image: SaveImage
) -> AbstractAsyncContextManager[Engine]:
    """The engine: vLLM servers if there are any, else the model in this process."""
    if not config.endpoint.url:
        return open_engine(learner.sampling, config.engine, save_image=save_image)
    endpoint = config.endpoint.model_copy(update={"require_processed_logprobs": True})
    return open_endpoint(endpoint, config.engine, save_image=save_image, processor=learner.sampling)


def _weights(learner: Learner, config: RLConfig, folder: Path, step: int) -> Any:
    """The weights as the sampler takes them: a model, a state, or a folder for the servers."""
    if not config.endpoint.url:
        return learner.weights()
    return lay_weights(learner, config.weights_folder or folder / "weights", step)


def _requests(sampler: Sampler) -> dict[str, float]:
    """What a remote sampler has counted so far: requests, retries, lost connections, ..."""
    counts: dict[str, int] = getattr(sampler, "counts", {})
    return {f"engine/{name}": float(count) for name, count in counts.items()}


async def roll_out(
    tasks: Sequence[Task],
    engine: Engine,
    config: RLConfig,
    parallel: Parallel,
    step: int,
    position: int,
) -> Step:
    """Groups of one step, scored; constant ones are replaced by further tasks, ``refill`` times.

    Every process rolls out its share of the groups, each of them whole, and gets all of them back.
    ``position`` is the place in the endless order of tasks; the step says where it ends.

    Raises:
        AirError: every single trajectory was lost by our fault.
    """
    rolled, missing, began = Step(position=position), config.prompts, perf_counter()
    for round_ in range(1 + config.refill):
        chosen = [task_at(tasks, rolled.position + i, config.seed) for i in range(missing)]
        rolled.position += missing
        mine = parallel.span(missing)
        made = await rollout_groups(
            chosen[mine.start : mine.stop], engine, config.rollout, group_size=config.group_size,
            n_forbid=config.n_forbid, seed=config.seed, label=f"{step}.{round_}.",
            first_place=mine.start,
        )  # fmt: skip
        for scored, counts in parallel.gather(score(made, config, step)):
            rolled.groups += scored
            rolled.informative += [g.group for g in scored if g.informative]
            rolled.counts = add_counts(rolled.counts, counts)
        missing = config.prompts - len(rolled.informative)
        if not rolled.groups:
            raise AirError(f"rl step {step}: every trajectory was lost. {first_fault(made)}")
        if missing == 0:
            break
    rolled.seconds = perf_counter() - began
    return rolled


def score(
    groups: Sequence[TrajectoryGroup], config: RLConfig, step: int
) -> tuple[list[ScoredGroup], Counts]:
    """Rewards and advantages of whole groups, and the count of what was left out."""
    groups, lost = drop_lost(groups)
    scored: list[ScoredGroup] = []
    for group in groups:
        results = [score_trajectory(group.task, t) for t in group.trajectories]
        outcomes = [result.outcome for result in results]
        group.rewards = score_group(outcomes, config.reward, step / config.steps)
        group.advantages = group_advantages(group.rewards, outcomes, config.advantage)
        scored.append(ScoredGroup(group=group, results=results))
    informative, constant = keep_informative(groups, config.samples)
    for each in scored:
        each.informative = any(each.group is group for group in informative)
    return scored, lost | constant


def task_at(tasks: Sequence[Task], position: int, seed: int) -> Task:
    """The task at a position of an endless order: every epoch is a new permutation."""
    epoch, place = divmod(position, len(tasks))
    order = list(range(len(tasks)))
    random.Random(f"{seed} {epoch}").shuffle(order)
    return tasks[order[place]]
