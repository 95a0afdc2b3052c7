"""Supervised fine-tuning on kept trajectories: the loss counts what the model wrote, nothing else.

    samples -> rows in the model's own tokens -> passes -> weighted cross entropy -> update

Samples of a teacher's text get the ids of the model that is trained. Interrupted at any time, the
same command goes on from the last checkpoint.
"""

import asyncio
import math
import random
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field

from air_reasoning.config import Config, Resolved, RunOptions
from air_reasoning.data.cold_start import SAMPLES_NAME, ColdStartSample, read_samples
from air_reasoning.data.student import for_student
from air_reasoning.display import Progress, progress
from air_reasoning.engine import EngineConfig
from air_reasoning.errors import AirError, DataError
from air_reasoning.head_practice import practice_loss
from air_reasoning.identity import content_identity, model_identity
from air_reasoning.learner import Learner, restore, save, save_final
from air_reasoning.logprobs import Layout
from air_reasoning.models.attention import attention
from air_reasoning.models.load import LoadedModel, load_model
from air_reasoning.models.lora import LoraConfig, add_adapter
from air_reasoning.models.pixels import PixelCache
from air_reasoning.models.shipped import ModelConfig
from air_reasoning.optim import OptimizerConfig, build_optimizer, lr_scale
from air_reasoning.parallel import Parallel
from air_reasoning.renderer import Renderer
from air_reasoning.run_dir import RunDir, config_fingerprint
from air_reasoning.sft_passes import Pair, pass_losses, sft_sample
from air_reasoning.sft_watch import WatchConfig, held_out, held_out_loss, rolled_out
from air_reasoning.task_files import read_tasks
from air_reasoning.turn_format import TURN_FORMATS
from air_reasoning.types import Task

__all__ = ["SFTConfig", "run_sft", "sft_sample", "train_sft"]
UNMOVING = ("model", "data", "threads", "save_every", "keep_last", "watch", "device")
"""Settings that change no step; what is held out comes in by itself."""


class SFTConfig(Config):
    """What to fine-tune on what, and how."""

    model: ModelConfig = ModelConfig()
    """The checkpoint to start from."""
    data: Path
    """Folder with tasks.jsonl and samples.jsonl."""
    samples: str = SAMPLES_NAME
    """The file of samples in that folder."""
    format: Literal["air", "thyme", "deepeyesv2"] = "air"
    """Tags of the samples; only for samples without a model's own token ids."""
    system_prompt: str = ""
    """System turn before each question; empty: what the chat template says. For the same samples:
    give roll-outs the same one."""
    steps: int = Field(default=1500, ge=1)
    """Optimiser steps."""
    epochs: float | None = Field(default=None, gt=0)
    """Passes over the samples, each in a new order, instead of ``steps`` of samples drawn at
    random."""
    batch: int = Field(default=32, ge=1)
    """Trajectories a step."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Tokens in one pass through the model, padding included; a step is as many passes as it takes,
    with the same result. None: one pass."""
    layout: Layout = "padded"
    """How rows go through the model, with the same result. padded: rows of like length side by
    side; packed: one behind the other without padding, for flash attention; shared: each prompt
    once."""
    lora: LoraConfig = LoraConfig()
    """Adapters instead of the weights themselves."""
    gradient_checkpointing: bool = False
    """Compute layers again in the backward pass: less memory, a third more time."""
    practice_rows: int = Field(default=0, ge=0)
    """Rows of comparisons and sums in text beside them, a step: for a small model that cannot
    compare numbers yet."""
    practice_programs: float = Field(default=0.0, ge=0, le=1)
    """Share of these rows that practise programs instead."""
    seed: int = 0
    """Order of the samples."""
    bf16: bool = True
    """Compute in bfloat16; weights stay in float32."""
    attention: str = "eager"
    """How attention is computed: eager is fastest in bf16 on a CPU; on a GPU sdpa."""
    device: str = "cpu"
    """Where the model is trained, in torch's words."""
    threads: int = Field(default=1, ge=1)
    """Threads of torch. More than one is slower on a busy machine."""
    optimizer: OptimizerConfig = OptimizerConfig(
        kind="muon",
        lr=1.5e-3,
        weight_decay=0.01,
        warmup_steps=50,
        decay_share=0.5,
        final_share=0.03,
    )
    """Rule and schedule."""
    save_every: int = Field(default=250, ge=1)
    """Steps between checkpoints."""
    keep_last: int = Field(default=2, ge=1)
    """Checkpoints that stay."""
    watch: WatchConfig = WatchConfig()
    """What is measured meanwhile."""

    def steps_for(self, samples: int) -> int:
        """Optimiser steps for so many samples."""
        return self.steps if self.epochs is None else math.ceil(self.epochs * samples / self.batch)


def run_sft(resolved: Resolved[SFTConfig], options: RunOptions) -> None:
    """``air sft``: train, write checkpoints and metrics, leave the model in ``run/model``."""
    config = resolved.value
    samples = read_samples(config.data, config.samples)[: options.limit]
    _refuse_test(samples)
    train, dev = held_out(samples, config.watch.share, config.seed)
    if not train:
        raise DataError(f"watch.share: {config.watch.share} leaves no sample to train on")
    watched = read_tasks(config.watch.tasks, config.watch.limit) if config.watch.tasks else []
    if options.dry_run:
        model, steps = config.model.folder(), config.steps_for(len(train))
        print(f"would train {model} on {len(train)} samples for {steps} steps, {len(dev)} held out")
        return
    fingerprint = config_fingerprint(config, without=UNMOVING) | {
        "model": model_identity(config.model.folder()), "data": samples_identity(train),
        "watch.share": config.watch.share,
    }  # fmt: skip
    with RunDir.open(
        options.run_dir, command="sft", resolved_config=resolved, fingerprint=fingerprint,
        resume=options.resume, overwrite=options.overwrite, parts=("model", "adapter"),
    ) as run:  # fmt: skip
        torch.set_num_threads(config.threads)
        torch.manual_seed(config.seed)
        loaded = load_model(config.model.folder(), device=config.device)
        renderer = Renderer(loaded, TURN_FORMATS[config.format], config.system_prompt)
        pairs = [(task, for_student(task, sample, renderer)) for task, sample in train]
        dev = [(task, for_student(task, sample, renderer)) for task, sample in dev]
        learner = train_sft(loaded, pairs, config, run, options, dev=dev, watched=watched)
        save_final(learner, run.path / "model")
        run.set_status("done")


def samples_identity(samples: list[tuple[Task, ColdStartSample]]) -> str:
    """The tokens (or texts) and weights that are trained on, in order; not when they were made."""
    return content_identity(
        [task.id, sample.weights, [s.token_ids or s.text for s in sample.trajectory.segments]]
        for task, sample in samples
    )


def train_sft(
    loaded: LoadedModel,
    samples: list[Pair],
    config: SFTConfig,
    run: RunDir,
    options: RunOptions,
    *,
    dev: Sequence[Pair] = (),
    watched: Sequence[Task] = (),
) -> Learner:
    """The loop. Raises AirError if a loss is not a number; the last checkpoint is kept."""
    learner = _learner(loaded, config)
    start, _ = restore(learner, run.checkpoints)
    run.truncate_after(start or -1)  # without a checkpoint it begins anew, with its first look
    steps = config.steps_for(len(samples))
    loaded.model.train()
    with (
        learner.remember_pictures(),
        progress(options.display, steps, "sft", done=start) as bar,
    ):
        if start == 0:
            _watch(learner, 0, steps, dev, watched, config, run, bar)
        for step in range(start, steps):
            with attention(loaded.model, config.attention):
                losses = _backward(learner, chosen_at(samples, step, config), step, config)
            if not all(map(math.isfinite, losses.values())):
                raise AirError(f"sft step {step}: the losses are {losses}; lower optimizer.lr")
            moved = learner.optimizer.step(lr_scale(step, steps, config.optimizer))
            run.write_metrics(step + 1, losses | moved)
            bar.advance(headline=losses)
            _watch(learner, step + 1, steps, dev, watched, config, run, bar)
            if (step + 1) % config.save_every == 0 or step + 1 == steps:
                run.sync()
                save(learner, run.checkpoints, step + 1, 0, config.keep_last, None)
    loaded.model.eval()
    return learner


def _learner(loaded: LoadedModel, config: SFTConfig) -> Learner:
    adapter = add_adapter(loaded.model, config.lora, config.seed)
    if config.gradient_checkpointing:
        loaded.model.gradient_checkpointing_enable({"use_reentrant": False})
    return Learner(
        loaded=loaded,
        sampling=loaded,
        optimizer=build_optimizer(loaded.model, config.optimizer),
        parallel=Parallel(),
        load_pixels=PixelCache(loaded),
        adapter=adapter,
    )


def chosen_at(samples: Sequence[Pair], step: int, config: SFTConfig) -> list[Pair]:
    """The rows of one step: drawn at random, or the next ones of an epoch's order."""
    if config.epochs is None:
        return random.Random(f"{config.seed} {step}").choices(samples, k=config.batch)
    places = range(step * config.batch, (step + 1) * config.batch)
    ends = [divmod(place, len(samples)) for place in places]
    return [samples[_order(len(samples), config.seed, epoch)[inside]] for epoch, inside in ends]


@lru_cache(maxsize=4)
def _order(count: int, seed: int, epoch: int) -> list[int]:
    order = list(range(count))
    random.Random(f"{seed} epoch {epoch}").shuffle(order)
    return order


def _backward(
    learner: Learner, chosen: list[Pair], step: int, config: SFTConfig
) -> dict[str, float]:
    """Gradients of one step; the losses."""
    losses = {"loss/sft": 0.0}
    for loss in pass_losses(
        learner.loaded, chosen, learner.load_pixels, layout=config.layout,
        max_tokens=config.max_tokens, bf16=config.bf16,
    ):  # fmt: skip
        loss.backward()
        losses["loss/sft"] += float(loss.detach())
    if config.practice_rows:
        practised = practice_loss(
            learner.loaded, step, rows=config.practice_rows, programs=config.practice_programs,
            seed=config.seed, bf16=config.bf16,
        )  # fmt: skip
        practised.backward()
        losses["loss/practice"] = float(practised.detach())
    return losses


def _watch(
    learner: Learner,
    step: int,
    steps: int,
    dev: Sequence[Pair],
    watched: Sequence[Task],
    config: SFTConfig,
    run: RunDir,
    bar: Progress,
) -> None:
    """Measure what is held out, if it is time; the training goes on as if it had not been."""
    every = config.watch.every
    if not every or not (step % every == 0 or step == steps):
        return
    model = learner.loaded.model.eval()
    figures: dict[str, float | None] = {}
    if dev:
        figures["loss/held_out"] = held_out_loss(
            learner.loaded, dev, learner.load_pixels, layout=config.layout,
            max_tokens=config.max_tokens, batch=config.batch, bf16=config.bf16,
        )  # fmt: skip
    if watched:
        engine = EngineConfig(format=config.format, system_prompt=config.system_prompt)
        figures |= asyncio.run(rolled_out(learner.loaded, watched, config.watch, engine, step, run))
    run.write_metrics(step, figures)
    bar.advance(0, headline=figures)
    model.train()


def _refuse_test(samples: list[tuple[Task, ColdStartSample]]) -> None:
    for task, _ in samples:
        if task.meta.get("split") == "test":
            raise DataError(f"task {task.id} is marked split: test; training refuses it")
    if not samples:
        raise DataError("no samples to train on")
