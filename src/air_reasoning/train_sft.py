"""Supervised fine-tuning on kept trajectories: the loss counts what the model wrote, nothing else.

    samples -> batches of a step's own -> log-probabilities -> weighted cross entropy -> update

Interrupted at any time, the same command goes on from the last checkpoint.
"""

import math
import random
from pathlib import Path

import torch
from pydantic import Field

from air_reasoning.batch import LoadPixels, group_batch
from air_reasoning.checkpoint import latest_checkpoint, load_checkpoint, save_checkpoint
from air_reasoning.config import Config, Resolved, RunOptions
from air_reasoning.data.cold_start import SAMPLES_NAME, ColdStartSample, read_samples, spread
from air_reasoning.display import progress
from air_reasoning.errors import AirError, DataError
from air_reasoning.head_practice import practice_loss
from air_reasoning.identity import content_identity, model_identity
from air_reasoning.logprobs import response_logprobs
from air_reasoning.loss import sft_loss
from air_reasoning.models.attention import attention
from air_reasoning.models.frozen_vision import remember_pictures
from air_reasoning.models.load import LoadedModel, load_model
from air_reasoning.models.pixels import PixelCache
from air_reasoning.models.save import load_weights, save_model
from air_reasoning.models.shipped import ModelConfig
from air_reasoning.optim import OptimizerConfig, build_optimizer, lr_scale
from air_reasoning.run_dir import RunDir, config_fingerprint
from air_reasoning.training_samples import prompt_images
from air_reasoning.types import Task, TrainingSample


class SFTConfig(Config):
    """What to fine-tune on what, and how."""

    model: ModelConfig = ModelConfig()
    """The checkpoint to start from."""
    data: Path
    """Folder with tasks.jsonl and samples.jsonl."""
    samples: str = SAMPLES_NAME
    """The file of samples in that folder."""
    steps: int = Field(default=1500, ge=1)
    """Optimiser steps."""
    batch: int = Field(default=32, ge=1)
    """Trajectories a step."""
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


def sft_sample(task: Task, sample: ColdStartSample) -> TrainingSample:
    """The row of the loss: every response token, masked where its weight is 0."""
    trajectory = sample.trajectory
    token_ids = [i for segment in trajectory.segments for i in segment.token_ids]
    weights = spread(sample.weights)
    if len(weights) != len(token_ids):
        raise DataError(
            f"sample of task {task.id}: {len(weights)} weights for {len(token_ids)} tokens; "
            "make the samples again"
        )
    return TrainingSample(
        group_id=task.id,
        prompt_ids=trajectory.prompt_ids,
        token_ids=token_ids,
        loss_mask=[int(weight > 0) for weight in weights],
        logprobs=[0.0] * len(token_ids),
        advantage=0.0,
        images=[*prompt_images(task), *(i for s in trajectory.segments for i in s.images)],
    )


def run_sft(resolved: Resolved[SFTConfig], options: RunOptions) -> None:
    """``air sft``: train, write checkpoints and metrics, leave the model in ``run/model``."""
    config = resolved.value
    samples = read_samples(config.data, config.samples)[: options.limit]
    _refuse_test(samples)
    if options.dry_run:
        model, steps = config.model.folder(), config.steps
        print(f"would train {model} on {len(samples)} samples for {steps} steps")
        return
    fingerprint = config_fingerprint(config, without=("model", "data", "threads", "save_every")) | {
        "model": model_identity(config.model.folder()), "data": samples_identity(samples),
    }  # fmt: skip
    with RunDir.open(
        options.run_dir, command="sft", resolved_config=resolved, fingerprint=fingerprint,
        resume=options.resume, overwrite=options.overwrite, parts=("model",),
    ) as run:  # fmt: skip
        torch.set_num_threads(config.threads)
        torch.manual_seed(config.seed)
        loaded = load_model(config.model.folder())
        train_sft(loaded, samples, config, run, options)
        save_model(loaded, run.path / "model")
        run.set_status("done")


def samples_identity(samples: list[tuple[Task, ColdStartSample]]) -> str:
    """The tokens and weights that are trained on, in order; not when they were made."""
    return content_identity(
        [task.id, sample.weights, [segment.token_ids for segment in sample.trajectory.segments]]
        for task, sample in samples
    )


def train_sft(
    loaded: LoadedModel,
    samples: list[tuple[Task, ColdStartSample]],
    config: SFTConfig,
    run: RunDir,
    options: RunOptions,
) -> None:
    """The loop. Raises AirError if a loss is not a number; the last checkpoint is kept."""
    optimizer = build_optimizer(loaded.model, config.optimizer)
    start = 0
    if (newest := latest_checkpoint(run.checkpoints)) is not None:
        start = load_checkpoint(newest, optimizer).step
        load_weights(loaded.model, newest / "model")
        run.truncate_after(start)
    load_pixels = PixelCache(loaded)
    loaded.model.train()
    with (
        remember_pictures(loaded.model),
        progress(options.display, config.steps, "sft", done=start) as bar,
    ):
        for step in range(start, config.steps):
            chosen = random.Random(f"{config.seed} {step}").choices(samples, k=config.batch)
            with attention(loaded.model, config.attention):
                loss = sft_step(loaded, chosen, config, load_pixels)
                loss.backward()
                losses = {"loss/sft": float(loss.detach())}
                if config.practice_rows:
                    practised = practice_loss(
                        loaded, step, rows=config.practice_rows,
                        programs=config.practice_programs, seed=config.seed, bf16=config.bf16,
                    )  # fmt: skip
                    practised.backward()
                    losses["loss/practice"] = float(practised.detach())
            if not all(map(math.isfinite, losses.values())):
                raise AirError(f"sft step {step}: the losses are {losses}; lower optimizer.lr")
            moved = optimizer.step(lr_scale(step, config.steps, config.optimizer))
            run.write_metrics(step + 1, losses | moved)
            bar.advance(headline=losses)
            if (step + 1) % config.save_every == 0 or step + 1 == config.steps:
                run.sync()
                save_checkpoint(run.checkpoints, step + 1, loaded.model.save_pretrained, optimizer)
    loaded.model.eval()


def sft_step(
    loaded: LoadedModel,
    chosen: list[tuple[Task, ColdStartSample]],
    config: SFTConfig,
    load_pixels: LoadPixels,
) -> torch.Tensor:
    """Loss of one batch: sum(weight x cross entropy) / sum(weights)."""
    rows = [sft_sample(task, sample) for task, sample in chosen]
    batch, counts = group_batch(
        rows, load_pixels, image_token_id=loaded.image_token_id, merge_size=loaded.merge_size
    )
    if batch is None or counts["batch/image_mismatch"]:
        raise DataError("a sample's placeholders do not match its pictures; make the samples again")
    weights = torch.zeros_like(batch.loss_mask_BT)
    for i, (_, sample) in enumerate(chosen):
        row = spread(sample.weights)
        weights[i, : len(row)] = torch.tensor(row)
    logprobs, _ = response_logprobs(
        loaded.model,
        batch,
        banned_ids=loaded.placeholder_ids,
        autocast=config.bf16,
        layout="padded",
    )
    return sft_loss(logprobs, weights, float(weights.sum()))


def _refuse_test(samples: list[tuple[Task, ColdStartSample]]) -> None:
    for task, _ in samples:
        if task.meta.get("split") == "test":
            raise DataError(f"task {task.id} is marked split: test; training refuses it")
    if not samples:
        raise DataError("no samples to train on")
