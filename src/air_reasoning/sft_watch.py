"""Evaluation during fine-tuning: loss on samples held out, and roll-outs on tasks held out."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from pydantic import Field

from air_reasoning.batch import LoadPixels
from air_reasoning.config import Config
from air_reasoning.engine import EngineConfig, open_engine
from air_reasoning.eval.measure import Measure, evaluate, finished
from air_reasoning.logprobs import Layout
from air_reasoning.metrics import summarize
from air_reasoning.models.load import LoadedModel
from air_reasoning.rollout import RolloutConfig
from air_reasoning.run_dir import RunDir
from air_reasoning.sft_passes import Pair, pass_losses
from air_reasoning.types import Task

ROLLED_OUT = ("accuracy", "accuracy_interleaved", "code_share", "tool_success", "tokens_mean")


class WatchConfig(Config):
    """What is measured while the model is trained; the steps do not depend on it."""

    every: int = Field(default=0, ge=0)
    """Steps between two looks, the first before training, the last after it; 0: none."""
    share: float = Field(default=0.0, ge=0, lt=1)
    """Share of the samples held out for the loss, chosen by their task: no task is on both sides.
    Changing it changes what is trained on."""
    tasks: Path | None = None
    """Folder of tasks to roll out greedily, test tasks too; None: no roll-outs."""
    limit: int = Field(default=64, ge=1)
    """Of these tasks, the first so many."""
    rollout: RolloutConfig = RolloutConfig()
    """How far such a trajectory may go."""


def held_out(samples: Sequence[Pair], share: float, seed: int) -> tuple[list[Pair], list[Pair]]:
    """(to train on, held out): by a hash of the task's id, so that more data moves no task."""

    def inside(task: Task) -> bool:
        digest = hashlib.sha256(f"{seed} {task.id}".encode()).digest()
        return int.from_bytes(digest[:4], "big") / 2**32 < share

    train = [pair for pair in samples if not inside(pair[0])]
    return train, [pair for pair in samples if inside(pair[0])]


def held_out_loss(
    loaded: LoadedModel,
    samples: Sequence[Pair],
    load_pixels: LoadPixels,
    *,
    layout: Layout,
    max_tokens: int | None,
    batch: int,
    bf16: bool,
) -> float | None:
    """Mean weighted cross entropy a token over all of them; None without any."""
    total = weight = 0.0
    with torch.no_grad():
        for begin in range(0, len(samples), batch):
            part = samples[begin : begin + batch]
            own = sum(count * w for _, sample in part for count, w in sample.weights)
            losses = pass_losses(
                loaded, part, load_pixels, layout=layout, max_tokens=max_tokens, bf16=bf16
            )
            total += own * sum(float(loss) for loss in losses)
            weight += own
    return total / weight if weight else None


async def rolled_out(
    loaded: LoadedModel,
    tasks: Sequence[Task],
    config: WatchConfig,
    engine: EngineConfig,
    step: int,
    run: RunDir,
) -> dict[str, float | None]:
    """``eval/accuracy`` and its like, greedily decoded; each trajectory is in the run folder."""
    measure = Measure(name=f"step {step}", decoding="greedy")
    async with open_engine(loaded, engine, save_image=run.save_image) as opened:
        records = await evaluate(
            tasks, opened, config.rollout, measure, run=run, done=finished(run)
        )
    summary = summarize(records)
    return {f"eval/{name}": summary[name].value for name in ROLLED_OUT}
