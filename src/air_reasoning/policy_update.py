"""One step's update of the policy: mini-batches, micro-batches, all processes, one or more steps.

The denominator is the number of trainable tokens of a whole mini-batch over all processes, so the
result depends neither on how it is cut into micro-batches nor on the number of processes.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from time import perf_counter

import torch
from torch import Tensor

from air_reasoning.batch import GroupBatch, group_batch
from air_reasoning.errors import AirError
from air_reasoning.learner import Learner
from air_reasoning.logprobs import response_logprobs
from air_reasoning.loss import Metrics, mean_metrics, merge_metrics, policy_loss
from air_reasoning.models.attention import attention
from air_reasoning.models.sharding import call_sharded
from air_reasoning.optim import lr_scale
from air_reasoning.reading_anchor import anchor_loss, anchor_rows
from air_reasoning.rl_config import RLConfig
from air_reasoning.training_samples import micro_batches, mini_batches, trainable_tokens
from air_reasoning.types import Task, TrainingSample


@dataclass(kw_only=True, slots=True)
class _Part:
    """A micro-batch. ``weight`` 0: nothing to learn, only the pass that other processes wait for.

    ``old_BT`` are the log-probabilities before the first of several updates.
    """

    samples: list[TrainingSample]
    weight: float = 1.0
    old_BT: Tensor | None = None


def update(
    learner: Learner,
    samples: list[TrainingSample],
    tasks: Sequence[Task],
    config: RLConfig,
    step: int,
) -> Metrics:
    """``config.updates`` optimiser steps over the samples of one step.

    Args:
        learner: its model and optimiser change.
        samples: of all processes, the same list in each.
        tasks: of the step, for the reading anchor.
        config: loss, batches and schedule.
        step: counted from 0, for the schedule.

    Returns:
        Metrics over the global batch; those of several updates are averaged.

    Raises:
        AirError: the loss or the gradient is not a number; the weights are as before that update.
    """
    model, began = learner.loaded.model, perf_counter()
    model.train(config.gradient_checkpointing)  # transformers checkpoints in this mode only
    with attention(model, config.attention):
        batches = mini_batches(samples, config.updates)
        parts = [_parts(learner, batch, config) for batch in batches]
        if len(batches) > 1:
            for part in (part for some in parts for part in some):
                part.old_BT = _old_logprobs(learner, part, config)
        figures = [
            _one_update(learner, some, trainable_tokens(batch), tasks, config, step)
            for some, batch in zip(parts, batches, strict=True)
        ]
    model.eval()
    return mean_metrics(figures) | {"time/update_s": perf_counter() - began}


def _parts(learner: Learner, samples: list[TrainingSample], config: RLConfig) -> list[_Part]:
    """The micro-batches of this process."""
    mine = micro_batches(learner.parallel.share(samples), config.micro_batch_tokens)
    parts = [_Part(samples=part) for part in mine]
    if learner.sharded:  # gathering weights takes everybody: all make the same number of passes
        most = max(learner.parallel.gather(len(parts)))
        parts += [_Part(samples=samples[:1], weight=0.0) for _ in range(most - len(parts))]
    return parts


def _one_update(
    learner: Learner,
    parts: list[_Part],
    total: int,
    tasks: Sequence[Task],
    config: RLConfig,
    step: int,
) -> Metrics:
    figures: list[Metrics] = [{"batch/image_mismatch": 0.0}]
    figures += [_backward(learner, part, total, config) for part in parts]
    figures.append(_anchor_backward(learner, tasks, config))
    merged = merge_metrics(f for each in learner.parallel.gather(figures) for f in each)
    losses = [merged.get("loss/total", 0.0), merged.get("loss/anchor", 0.0)]
    if not all(map(torch.isfinite, torch.tensor(losses))):
        learner.optimizer.zero_grad()
        raise AirError(
            f"rl step {step}: the loss is {losses}; lower optimizer.lr, or go on from the last "
            "checkpoint with another seed"
        )
    if not learner.sharded:
        learner.parallel.sum_gradients(learner.optimizer.parameters.values())
    return merged | learner.optimizer.step(lr_scale(step, config.steps, config.optimizer))


def _backward(learner: Learner, part: _Part, total: int, config: RLConfig) -> Metrics:
    """Add one micro-batch's gradient."""
    batch, mismatched = _batch(learner, part)
    if batch is None:
        return mismatched

    def loss_of() -> tuple[Tensor, Metrics]:
        logprobs_BT, entropy_BT = _logprobs(learner, batch, config)
        return policy_loss(
            logprobs_BT, part.old_BT, batch.logprobs_BT, batch.advantages_B, batch.loss_mask_BT,
            config.loss, total, code_banned_B=batch.code_banned_B, entropy_BT=entropy_BT,
            reference_logprobs_BT=_reference_logprobs(learner, batch, config),
        )  # fmt: skip

    loss, figures = call_sharded(learner.loaded.model, loss_of)
    _scaled(learner, loss, part.weight).backward()
    return mismatched | figures if part.weight else {}


def _batch(learner: Learner, part: _Part) -> tuple[GroupBatch | None, Metrics]:
    loaded = learner.loaded
    batch, counts = group_batch(
        part.samples, learner.load_pixels, image_token_id=loaded.image_token_id,
        merge_size=loaded.merge_size,
    )  # fmt: skip
    mismatched = {"batch/image_mismatch": counts["batch/image_mismatch"]}
    return (None if batch is None else batch.to(loaded.device)), mismatched


def _logprobs(learner: Learner, batch: GroupBatch, config: RLConfig) -> tuple[Tensor, Tensor]:
    return response_logprobs(
        learner.loaded.model, batch, temperature=config.rollout.temperature,
        banned_ids=learner.loaded.placeholder_ids, autocast=config.bf16,
        entropy_grad=config.loss.entropy_coef > 0, layout=config.layout,
    )  # fmt: skip


@torch.no_grad()
def _old_logprobs(learner: Learner, part: _Part, config: RLConfig) -> Tensor | None:
    batch, _ = _batch(learner, part)
    if batch is None:
        return None
    return call_sharded(learner.loaded.model, lambda: _logprobs(learner, batch, config)[0])


@torch.no_grad()
def _reference_logprobs(learner: Learner, batch: GroupBatch, config: RLConfig) -> Tensor | None:
    """Of the policy before training: a copy, or the model without its adapter."""
    if config.loss.kl_coef == 0:
        return None
    model = learner.reference or learner.loaded.model
    with learner.adapter.disable_adapter() if learner.adapter else nullcontext():
        return response_logprobs(
            model, batch, temperature=config.rollout.temperature,
            banned_ids=learner.loaded.placeholder_ids, autocast=config.bf16,
        )[0]  # fmt: skip


def _anchor_backward(learner: Learner, tasks: Sequence[Task], config: RLConfig) -> Metrics:
    """Add the gradient of the reading anchor; each process reads its share of the pictures."""
    rows = anchor_rows(learner.loaded, tasks) if config.anchor.weight > 0 else []
    if not rows:
        return {}
    mine, weight = rows[learner.parallel.rank :: learner.parallel.world], 1.0
    if not mine:
        mine, weight = rows[:1], 0.0

    def loss_of() -> Tensor:
        total = sum(len(row.token_ids) for row in rows)
        return anchor_loss(learner.loaded, mine, learner.load_pixels, total, bf16=config.bf16)

    loss = call_sharded(learner.loaded.model, loss_of)
    _scaled(learner, config.anchor.weight * loss, weight).backward()
    return {"loss/anchor": weight * float(loss.detach())}


def _scaled(learner: Learner, loss: Tensor, weight: float) -> Tensor:
    """FSDP2 averages gradients over processes; ours are to be added."""
    factor = weight * (learner.parallel.world if learner.sharded else 1)
    return loss if factor == 1 else loss * factor
