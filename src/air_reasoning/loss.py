"""Losses over response tokens, pure functions of tensors.

Shapes: ``_B`` rows (trajectories), ``_BT`` rows x response tokens, right-padded. ``mask_BT`` is 1
where the model wrote and 0 at tool output, forced tags, pictures and padding; values there are
ignored, whatever they are.

Every sum is divided by the ``denominator`` passed in, the number of trainable tokens of the
*global* batch. Losses, gradients and metrics of micro-batches therefore add up to those of one big
batch, however it is split, padded or spread over processes.
"""

from collections.abc import Iterable, Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from air_reasoning.config import Config
from air_reasoning.errors import ConfigError

Metrics = dict[str, float]


class LossConfig(Config):
    """The policy loss. Clips are distances of the ratio from 1."""

    kind: Literal["ppo", "cispo", "gspo"] = "ppo"
    """ppo: clipped token ratio; cispo: clipped, detached token ratio times the log-probability
    (arXiv 2506.13585); gspo: ratio of the whole sequence (arXiv 2507.18071)."""
    clip_low: float = Field(default=0.2, ge=0, le=1)
    """Ratios below 1 - clip_low stop teaching. gspo needs about 3e-4; cispo has no lower clip."""
    clip_high: float = Field(default=0.28, ge=0)
    """Ratios above 1 + clip_high stop teaching (clip-higher, arXiv 2503.14476); gspo: 4e-4."""
    sampler_weight_cap: float | None = Field(default=2.0, gt=0)
    """Largest importance weight of a token against the sampler; none: every weight is 1."""
    kl_coef: float = Field(default=0.0, ge=0)
    """Weight of the k3 estimate of KL(policy || reference); needs a reference model above 0."""
    entropy_coef: float = Field(default=0.0, ge=0)
    """Weight of the entropy bonus, per nat."""


def sft_loss(logprobs_BT: Tensor, weights_BT: Tensor, denominator: float) -> Tensor:
    """Cross entropy: -sum(weight * log-probability) / denominator, a scalar.

    Args:
        logprobs_BT: log-probabilities of the target tokens.
        weights_BT: the loss mask, or any weights >= 0.
        denominator: sum of the weights over the global batch.
    """
    return _masked_mean(-logprobs_BT, weights_BT, denominator)


def policy_loss(
    logprobs_BT: Tensor,
    old_logprobs_BT: Tensor | None,
    sampler_logprobs_BT: Tensor,
    advantages_B: Tensor,
    mask_BT: Tensor,
    config: LossConfig,
    denominator: float,
    *,
    code_banned_B: Tensor | None = None,
    entropy_BT: Tensor | None = None,
    reference_logprobs_BT: Tensor | None = None,
) -> tuple[Tensor, Metrics]:
    """Token-level policy-gradient loss of one micro-batch, to be minimised.

    With one token, advantage 2, log-probability equal to old and sampler and denominator 1 the loss
    is -2 and its gradient with respect to the log-probability is -2.

    Args:
        logprobs_BT: of the policy being trained; the only argument that gets gradients, but for
            ``entropy_BT``.
        old_logprobs_BT: of the policy before the first update on this batch, by the trainer. None
            means that this is the first update: the ratio is 1 and only its gradient matters.
        sampler_logprobs_BT: as returned by the engine that sampled.
        advantages_B: one a row.
        mask_BT: 1 where the token is trained on.
        config: see LossConfig.
        denominator: number of trainable tokens in the global batch.
        code_banned_B: true for rows sampled under a ban. Their sampler's distribution lacks the
            code tag; weighting by the policy's share of it, 1 - p(code), would switch off exactly
            the signal that banned roll-outs are there for, so their weight is 1.
        entropy_BT: of the policy's distributions, in nats; for the metric and the bonus.
        reference_logprobs_BT: of the reference model, for the KL term.

    Returns:
        The loss, and metrics that ``merge_metrics`` joins over micro-batches. The sampler gap is
        measured on rows that were not banned.

    Raises:
        ConfigError: if a coefficient is above 0 and its tensor is missing.
        ValueError: if the denominator is not positive.
    """
    _check_inputs(config, denominator, entropy_BT, reference_logprobs_BT)
    trained_BT = mask_BT > 0
    current_BT = torch.where(trained_BT, logprobs_BT, 0.0)
    old_BT = current_BT.detach()
    if old_logprobs_BT is not None:
        old_BT = torch.where(trained_BT, old_logprobs_BT, 0.0)
    gap_BT = _sampler_gap(old_BT, sampler_logprobs_BT, trained_BT, code_banned_B)
    weights_BT, capped_BT = _sampler_weights(gap_BT, config)
    ratio_BT = _ratio(current_BT - old_BT, trained_BT, config)
    advantages_BT = advantages_B[:, None].expand_as(ratio_BT)
    objective_BT, clipped_BT = _objective(ratio_BT, advantages_BT, current_BT, config)

    def mean(values_BT: Tensor) -> Tensor:
        return _masked_mean(values_BT, mask_BT, denominator)

    loss = mean(-weights_BT * objective_BT)
    parts = {
        "loss/policy": loss,
        "policy/ratio": mean(ratio_BT),
        "policy/ratio_max": ratio_BT.max(),
        "policy/clip_share": mean(clipped_BT.float()),
        "sampler/logprob_gap": mean(gap_BT.abs()),
        "sampler/logprob_gap_max": gap_BT.abs().max(),
        "sampler/weight": mean(weights_BT),
        "sampler/capped_share": mean(capped_BT.float()),
    }
    if reference_logprobs_BT is not None:
        parts["policy/kl"] = mean(k3(current_BT, reference_logprobs_BT, trained_BT))
        loss = loss + config.kl_coef * parts["policy/kl"]
    if entropy_BT is not None:
        parts["policy/entropy"] = mean(entropy_BT)
        loss = loss - config.entropy_coef * parts["policy/entropy"]
    parts["loss/total"] = loss
    return loss, {name: float(value.detach()) for name, value in parts.items()}


def k3(logprobs_BT: Tensor, reference_BT: Tensor, trained_BT: Tensor) -> Tensor:
    """Unbiased, non-negative per-token estimate of KL(policy || reference).

    exp(d) - d - 1 with d = reference - policy. Source: Schulman, "Approximating KL Divergence".
    """
    difference_BT = torch.where(trained_BT, reference_BT - logprobs_BT, 0.0)
    return difference_BT.exp() - difference_BT - 1


def merge_metrics(parts: Iterable[Metrics]) -> Metrics:
    """Metrics of a global batch from its micro-batches: ``*_max`` by maximum, the others summed."""
    merged: Metrics = {}
    for part in parts:
        for name, value in part.items():
            if name not in merged:
                merged[name] = value
            elif name.endswith("_max"):
                merged[name] = max(merged[name], value)
            else:
                merged[name] += value
    return merged


def mean_metrics(parts: Sequence[Metrics]) -> Metrics:
    """Metrics of several updates as one: ``*_max`` by maximum, the others averaged."""
    if len(parts) == 1:
        return parts[0]
    merged: Metrics = {}
    for name in {name: None for part in parts for name in part}:
        values = [part[name] for part in parts if name in part]
        merged[name] = max(values) if name.endswith("_max") else sum(values) / len(values)
    return merged


def _masked_mean(values_BT: Tensor, weights_BT: Tensor, denominator: float) -> Tensor:
    # where, not a product: what stands at masked positions may be infinite.
    return torch.where(weights_BT > 0, values_BT * weights_BT, 0.0).sum() / denominator


def _check_inputs(
    config: LossConfig, denominator: float, entropy_BT: Tensor | None, reference_BT: Tensor | None
) -> None:
    if denominator <= 0:
        raise ValueError(f"denominator is {denominator}; expected the trainable tokens, above 0")
    if config.kl_coef > 0 and reference_BT is None:
        raise ConfigError("kl_coef is above 0 but no reference model is loaded; set it to 0")
    if config.entropy_coef > 0 and entropy_BT is None:
        raise ConfigError("entropy_coef is above 0 but no entropy was computed; set it to 0")


def _sampler_gap(
    old_BT: Tensor, sampler_BT: Tensor, trained_BT: Tensor, code_banned_B: Tensor | None
) -> Tensor:
    """Trainer minus sampler log-probability; 0 where it does not apply."""
    applies_BT = trained_BT
    if code_banned_B is not None:
        applies_BT = trained_BT & ~code_banned_B[:, None]
    return torch.where(applies_BT, old_BT - sampler_BT, 0.0)


def _sampler_weights(gap_BT: Tensor, config: LossConfig) -> tuple[Tensor, Tensor]:
    """Truncated importance weights (TIS), and where the cap bit."""
    if config.sampler_weight_cap is None:
        return torch.ones_like(gap_BT), torch.zeros_like(gap_BT, dtype=torch.bool)
    weights_BT = gap_BT.exp()
    return weights_BT.clamp(max=config.sampler_weight_cap), weights_BT > config.sampler_weight_cap


def _ratio(log_ratio_BT: Tensor, trained_BT: Tensor, config: LossConfig) -> Tensor:
    """Policy over old policy, of the token or (gspo) the geometric mean over the row's tokens."""
    if config.kind != "gspo":
        return log_ratio_BT.exp()
    lengths_B = trained_BT.sum(-1, keepdim=True).clamp(min=1)
    mean_B = log_ratio_BT.sum(-1, keepdim=True) / lengths_B
    return mean_B.exp().expand_as(log_ratio_BT)


def _objective(
    ratio_BT: Tensor, advantages_BT: Tensor, logprobs_BT: Tensor, config: LossConfig
) -> tuple[Tensor, Tensor]:
    """What each token contributes, and where the clip stopped it from teaching."""
    high = 1 + config.clip_high
    if config.kind == "cispo":
        weight_BT = ratio_BT.detach().clamp(max=high)
        return weight_BT * advantages_BT * logprobs_BT, ratio_BT > high
    low = 1 - config.clip_low
    clipped_BT = (ratio_BT > high) & (advantages_BT > 0) | (ratio_BT < low) & (advantages_BT < 0)
    objective_BT = torch.minimum(
        ratio_BT * advantages_BT, ratio_BT.clamp(low, high) * advantages_BT
    )
    return objective_BT, clipped_BT
