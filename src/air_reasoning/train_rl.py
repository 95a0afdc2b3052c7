"""Reinforcement learning of when to compute: the loop, readable from top to bottom.

    tasks -> groups of roll-outs (turn <-> sandbox) -> rewards of each group -> advantages
          -> samples (ids, loss mask, log-probabilities) -> policy loss -> update -> new weights

What is ours and not the paper's: the reward's formula (``reward``), the banned roll-outs, and the
anchor, a cross entropy on how the pictures of the step are to be transcribed, which keeps a small
model reading while it learns to decide. See ``docs/method.md``.
"""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import Field

from air_reasoning.advantage import AdvantageConfig, group_advantages
from air_reasoning.batch import LoadPixels, group_batch
from air_reasoning.checkpoint import latest_checkpoint, load_checkpoint, save_checkpoint
from air_reasoning.config import Config, Resolved, RunOptions
from air_reasoning.display import progress
from air_reasoning.engine import Engine, EngineConfig, load_for, open_engine
from air_reasoning.errors import AirError, ConfigError, DataError
from air_reasoning.identity import model_identity, tasks_identity
from air_reasoning.logprobs import response_logprobs
from air_reasoning.loss import LossConfig, merge_metrics, policy_loss
from air_reasoning.models.attention import attention
from air_reasoning.models.frozen_vision import remember_pictures
from air_reasoning.models.load import LoadedModel
from air_reasoning.models.pixels import PixelCache
from air_reasoning.models.save import load_weights, save_model
from air_reasoning.models.shipped import ModelConfig
from air_reasoning.optim import ModelOptimizer, OptimizerConfig, build_optimizer, lr_scale
from air_reasoning.reading_anchor import AnchorConfig, anchor_loss
from air_reasoning.reward import RewardConfig, score_group
from air_reasoning.rl_metrics import step_metrics, trajectory_rows
from air_reasoning.rollout import RolloutConfig, rollout_groups
from air_reasoning.run_dir import RunDir, config_fingerprint
from air_reasoning.scoring import Scored, score_trajectory
from air_reasoning.task_files import read_tasks
from air_reasoning.training_samples import (
    Counts,
    SamplesConfig,
    drop_lost,
    keep_informative,
    micro_batches,
    trainable_tokens,
    training_samples,
)
from air_reasoning.types import Task, TrainingSample, TrajectoryGroup


class RLConfig(Config):
    """What to train on what, how to pay it, and how far to go."""

    model: ModelConfig = ModelConfig()
    """The checkpoint to start from."""
    tasks: Path
    """Task folder or file; tasks marked split: test are refused."""
    steps: int = Field(default=180, ge=1)
    """Updates."""
    prompts: int = Field(default=16, ge=1)
    """Tasks a step."""
    group_size: int = Field(default=8, ge=2)
    """Roll-outs of each task."""
    n_forbid: int = Field(default=2, ge=0)
    """How many of them may not use code, so that what code is worth stays measurable."""
    refill: int = Field(default=0, ge=0)
    """Rounds of further tasks for groups that turned out constant (dynamic sampling)."""
    seed: int = 0
    """Fixes task order and every random number."""
    bf16: bool = True
    """Compute the update in bfloat16; weights stay in float32."""
    attention: str = "eager"
    """How the update computes attention: eager is fastest in bf16 on a CPU; on a GPU sdpa."""
    micro_batch_tokens: int = Field(default=32768, ge=1)
    """Padded tokens that go through the model at once; the result does not depend on it."""
    threads: int = Field(default=1, ge=1)
    """Threads of torch. More than one is slower on a busy machine."""
    rollout: RolloutConfig = RolloutConfig(max_turns=3, max_new_tokens=160)
    """How far a trajectory may go."""
    reward: RewardConfig = RewardConfig()
    """What a trajectory is paid."""
    advantage: AdvantageConfig = AdvantageConfig()
    """How it is compared with its group."""
    samples: SamplesConfig = SamplesConfig()
    """Which trajectories are left out of the loss."""
    loss: LossConfig = LossConfig()
    """The policy loss."""
    anchor: AnchorConfig = AnchorConfig()
    """Keeps a small model reading."""
    optimizer: OptimizerConfig = OptimizerConfig(
        lr=4e-4, warmup_steps=5, decay_share=0.3, freeze=("model.visual",)
    )
    """Rule and schedule."""
    engine: EngineConfig = EngineConfig()
    """The model's surroundings."""
    save_every: int = Field(default=20, ge=1)
    """Steps between checkpoints; Ctrl-C makes one, too."""
    write_every: int = Field(default=10, ge=1)
    """Steps between steps whose trajectories are written to the run folder."""


UNMOVING = ("model", "tasks", "threads", "save_every", "write_every")
"""Settings that change no result, or are known by content instead of by path."""


@dataclass(kw_only=True, slots=True)
class Step:
    """What one step rolled out: all scored groups, those that can teach, and what was left out."""

    groups: list[TrajectoryGroup] = field(default_factory=list[TrajectoryGroup])
    scored: list[list[Scored]] = field(default_factory=list[list[Scored]])
    informative: list[TrajectoryGroup] = field(default_factory=list[TrajectoryGroup])
    counts: Counts = field(default_factory=dict[str, float])


def run_rl(resolved: Resolved[RLConfig], options: RunOptions) -> None:
    """``air rl``: train, leave the model in ``run/model``; the same command resumes."""
    config = resolved.value
    tasks = training_tasks(config, options.limit)
    if options.dry_run:
        print(f"would train {config.model.folder()} on {len(tasks)} tasks for {config.steps} steps")
        return
    fingerprint = config_fingerprint(config, without=UNMOVING) | {
        "model": model_identity(config.model.folder()), "tasks": tasks_identity(tasks),
    }  # fmt: skip
    with RunDir.open(
        options.run_dir, command="rl", resolved_config=resolved, fingerprint=fingerprint,
        resume=options.resume, overwrite=options.overwrite, parts=("model",),
    ) as run:  # fmt: skip
        torch.set_num_threads(config.threads)
        torch.manual_seed(config.seed)
        loaded = load_for(config.engine, config.model.folder())
        with progress(options.display, config.steps, "rl") as bar:
            asyncio.run(train_rl(loaded, tasks, config, run, bar))
        save_model(loaded, run.path / "model")
        run.set_status("done")


def training_tasks(config: RLConfig, limit: int | None = None) -> list[Task]:
    """The tasks to train on. Raises DataError for test tasks, ConfigError for impossible groups."""
    tasks = read_tasks(config.tasks)[:limit]
    for task in tasks:
        if task.meta.get("split") == "test":
            raise DataError(
                f"{config.tasks}: task {task.id} is marked split: test; not for training"
            )
    if config.n_forbid >= config.group_size:
        raise ConfigError(
            f"n_forbid is {config.n_forbid} of group_size {config.group_size}: at least one member "
            "must be free to call"
        )
    return tasks


async def train_rl(
    loaded: LoadedModel, tasks: Sequence[Task], config: RLConfig, run: RunDir, bar: Any
) -> None:
    """The loop. Resumes from the newest checkpoint of ``run``; the model is trained in place."""
    optimizer = build_optimizer(loaded.model, config.optimizer)
    start, position = restore(loaded, optimizer, run)
    bar.advance(start)
    load_pixels = PixelCache(loaded)
    with remember_pictures(loaded.model):
        async with open_engine(loaded, config.engine, save_image=run.save_image) as engine:
            await engine.sampler.load_weights(loaded.model, version=start)
            for step in range(start, config.steps):
                try:
                    rolled, after = await roll_out(tasks, position, engine, config, step)
                except asyncio.CancelledError:  # Ctrl-C: the half-finished step is rolled out again
                    save(loaded, optimizer, run, step, position)
                    raise
                position = after
                samples, counts = training_samples(rolled.informative, config.samples)
                with attention(loaded.model, config.attention):
                    moved = update(loaded, optimizer, samples, rolled, load_pixels, config, step)
                await engine.sampler.load_weights(loaded.model, version=step + 1)
                metrics = (
                    step_metrics(rolled.groups, rolled.scored) | rolled.counts | counts | moved
                )
                write_step(run, rolled, metrics, step + 1, config)
                if (step + 1) % config.save_every == 0 or step + 1 == config.steps:
                    save(loaded, optimizer, run, step + 1, position)
                bar.advance(headline={k: metrics.get(k) for k in HEADLINE})


HEADLINE = ("accuracy", "code_share_easy", "code_share_hard", "tool_success", "tokens_mean")


async def roll_out(
    tasks: Sequence[Task], position: int, engine: Engine, config: RLConfig, step: int
) -> tuple[Step, int]:
    """Groups of one step, scored; constant ones are replaced by further tasks, ``refill`` times.

    Returns the step and the position in the endless order of tasks after it.
    """
    rolled, missing = Step(), config.prompts
    for round_ in range(1 + config.refill):
        chosen = [task_at(tasks, position + i, config.seed) for i in range(missing)]
        position += missing
        groups = await rollout_groups(
            chosen, engine, config.rollout, group_size=config.group_size, n_forbid=config.n_forbid,
            seed=config.seed, label=f"{step}.{round_}.",
        )  # fmt: skip
        groups, lost = drop_lost(groups)
        for group in groups:
            scored = [score_trajectory(group.task, t) for t in group.trajectories]
            outcomes = [s.outcome for s in scored]
            group.rewards = score_group(outcomes, config.reward, step / config.steps)
            group.advantages = group_advantages(group.rewards, outcomes, config.advantage)
            rolled.scored.append(scored)
        informative, constant = keep_informative(groups)
        rolled.groups += groups
        rolled.informative += informative
        for name, count in (lost | constant).items():
            rolled.counts[name] = rolled.counts.get(name, 0.0) + count
        missing = config.prompts - len(rolled.informative)
        if missing == 0:
            break
    return rolled, position


def task_at(tasks: Sequence[Task], position: int, seed: int) -> Task:
    """The task at a position of an endless order: every epoch is a new permutation."""
    epoch, place = divmod(position, len(tasks))
    order = list(range(len(tasks)))
    random.Random(f"{seed} {epoch}").shuffle(order)
    return tasks[order[place]]


def update(
    loaded: LoadedModel,
    optimizer: ModelOptimizer,
    samples: list[TrainingSample],
    rolled: Step,
    load_pixels: LoadPixels,
    config: RLConfig,
    step: int,
) -> dict[str, float]:
    """One optimiser step over all samples; the denominator is the trainable tokens of them all.

    Raises:
        AirError: the loss is not a number; nothing was changed.
    """
    metrics = list[dict[str, float]]()
    total = trainable_tokens(samples)
    mismatched = 0.0
    for part in micro_batches(samples, config.micro_batch_tokens):
        batch, counts = group_batch(
            part, load_pixels, image_token_id=loaded.image_token_id, merge_size=loaded.merge_size
        )
        mismatched += counts["batch/image_mismatch"]
        if batch is None:
            continue
        batch = batch.to(loaded.device)
        logprobs_BT, entropy_BT = response_logprobs(
            loaded.model, batch, temperature=config.rollout.temperature,
            banned_ids=loaded.placeholder_ids, autocast=config.bf16,
            entropy_grad=config.loss.entropy_coef > 0,
        )  # fmt: skip
        loss, figures = policy_loss(
            logprobs_BT, None, batch.logprobs_BT, batch.advantages_B, batch.loss_mask_BT,
            config.loss, total, code_banned_B=batch.code_banned_B, entropy_BT=entropy_BT,
        )  # fmt: skip
        loss.backward()
        metrics.append(figures)
    figures = merge_metrics(metrics) if metrics else {}
    figures["batch/image_mismatch"] = mismatched
    if config.anchor.weight > 0:
        tasks = [group.task for group in rolled.groups]
        anchored = anchor_loss(loaded, tasks, load_pixels, bf16=config.bf16)
        if anchored is not None:
            (config.anchor.weight * anchored).backward()
            figures["loss/anchor"] = float(anchored.detach())
    return figures | _step(optimizer, figures, lr_scale(step, config.steps, config.optimizer), step)


def _step(
    optimizer: ModelOptimizer, figures: dict[str, float], scale: float, step: int
) -> dict[str, float]:
    losses = [figures.get("loss/total", 0.0), figures.get("loss/anchor", 0.0)]
    if not all(map(torch.isfinite, torch.tensor(losses))):
        optimizer.zero_grad()
        raise AirError(
            f"rl step {step}: the loss is {losses}; lower optimizer.lr, or go on from the last "
            "checkpoint with another seed"
        )
    return optimizer.step(scale)


def write_step(
    run: RunDir, rolled: Step, metrics: dict[str, float], step: int, config: RLConfig
) -> None:
    """Metrics of every step, trajectories of some."""
    run.write_metrics(step, metrics)
    if step % config.write_every == 0:
        for row in trajectory_rows(rolled.groups, rolled.scored, step):
            run.write_trajectory(row)


def save(
    loaded: LoadedModel, optimizer: ModelOptimizer, run: RunDir, step: int, position: int
) -> None:
    """A checkpoint after ``step`` updates; the lines of the run reach the disk before it."""
    run.sync()
    extra = {"position": position}
    save_checkpoint(run.checkpoints, step, loaded.model.save_pretrained, optimizer, extra)


def restore(loaded: LoadedModel, optimizer: ModelOptimizer, run: RunDir) -> tuple[int, int]:
    """(steps done, position in the tasks) of the newest checkpoint, loaded; (0, 0) without one."""
    newest = latest_checkpoint(run.checkpoints)
    if newest is None:
        run.truncate_after(0)
        return 0, 0
    state = load_checkpoint(newest, optimizer)
    load_weights(loaded.model, newest / "model")
    run.truncate_after(state.step)
    return state.step, int(state.extra["position"])
