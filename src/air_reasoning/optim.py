"""The optimiser of a model: which weights move, by which rule, and how fast at which step.

optimizer = build_optimizer(model, config)
loss.backward()
metrics = optimizer.step(lr_scale(step, steps, config))
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from air_reasoning.config import Config
from air_reasoning.errors import AirError, ConfigError, DataError
from air_reasoning.models.sharding import gathered, spread_like


class OptimizerConfig(Config):
    """Rule, speed and schedule. Steps are optimiser steps."""

    kind: Literal["adamw", "muon"] = "adamw"
    """muon: Muon for the matrices inside layers, AdamW for embeddings, head, norms and biases."""
    lr: float = Field(default=3e-4, gt=0)
    """Peak learning rate. Muon's steps are scaled to the size of AdamW's, so it fits both."""
    betas: tuple[float, float] = (0.9, 0.95)
    """Decay of AdamW's two averages."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Decoupled decay of matrices, as a share of lr a step; vectors never decay."""
    momentum: float = Field(default=0.95, ge=0, lt=1)
    """Momentum of Muon."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradients are scaled down to this 2-norm."""
    freeze: tuple[str, ...] = ()
    """Parameters that stay as they are: names (model.visual freezes all inside) or globs."""
    warmup_steps: int = Field(default=0, ge=0)
    """Steps of linear rise from 0 to lr."""
    decay_share: float = Field(default=0.0, ge=0, le=1)
    """Last share of the training in which lr falls; 1: right after the warm-up."""
    decay: Literal["linear", "cosine"] = "linear"
    """Shape of the fall."""
    final_share: float = Field(default=0.1, ge=0, le=1)
    """What is left of lr at the end of the fall."""


@dataclass(kw_only=True, slots=True)
class ModelOptimizer:
    """One or two torch optimisers over one model, stepped, saved and loaded as one."""

    parts: list[torch.optim.Optimizer]
    parameters: dict[str, nn.Parameter]
    lr: float
    max_grad_norm: float

    @property
    def sharded(self) -> bool:
        """Whether the parameters are spread over processes (FSDP2)."""
        return any(hasattr(parameter, "full_tensor") for parameter in self.parameters.values())

    def step(self, scale: float = 1.0) -> dict[str, float]:
        """Clip, step with ``lr * scale``, clear the gradients.

        Returns:
            ``optim/lr`` and ``optim/grad_norm``, the norm before clipping.

        Raises:
            AirError: if the gradient is not finite; the weights are as they were.
        """
        total = nn.utils.clip_grad_norm_(self.parameters.values(), self.max_grad_norm)
        norm = float(gathered(total) if self.sharded else total)
        if not math.isfinite(norm):
            raise AirError(
                f"the gradient norm is {norm}: the loss is not finite or training diverged. The "
                f"weights were not touched; go on from the last checkpoint with a smaller lr than "
                f"{self.lr:g}"
            )
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = self.lr * scale
            part.step()
        self.zero_grad()
        return {"optim/lr": self.lr * scale, "optim/grad_norm": norm}

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Any]:
        """Averages and momenta, with the names and shapes they belong to.

        Of spread parameters they are gathered, so that the state does not depend on the number of
        processes; all call it together.
        """
        parts = [part.state_dict() for part in self.parts]
        return {"shapes": self._shapes(), "parts": gathered(parts) if self.sharded else parts}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``.

        Raises:
            DataError: if the state is of another model, naming the first parameter that differs, or
                of another kind of optimiser.
        """
        shapes, saved = self._shapes(), state["shapes"]
        for name in [*shapes, *saved]:
            if shapes.get(name) != saved.get(name):
                raise DataError(
                    f"the optimiser state is of another model: parameter {name} has shape "
                    f"{saved.get(name, 'none')} there and {shapes.get(name, 'none')} here"
                )
        if len(state["parts"]) != len(self.parts):
            raise DataError(
                f"the optimiser state has {len(state['parts'])} parts, expected {len(self.parts)}: "
                "it was saved with another optimizer.kind"
            )
        for part, values in zip(self.parts, state["parts"], strict=True):
            part.load_state_dict(values)
            if self.sharded:
                for parameter, state in part.state.items():
                    for name, value in state.items():
                        state[name] = spread_like(value, parameter)

    def _shapes(self) -> dict[str, list[int]]:
        return {name: list(parameter.shape) for name, parameter in self.parameters.items()}


def build_optimizer(model: nn.Module, config: OptimizerConfig) -> ModelOptimizer:
    """Freeze what ``config.freeze`` names and set up the rule for the rest.

    Tied weights count once. ``requires_grad`` of frozen parameters is switched off.

    Raises:
        ConfigError: if a pattern matches nothing or nothing is left to train.
    """
    freeze(model, config.freeze)
    parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
    if not parameters:
        raise ConfigError("freeze leaves no parameter to train; name fewer")
    inner = {n: p for n, p in parameters.items() if config.kind == "muon" and _inner_matrix(n, p)}
    outer = {n: p for n, p in parameters.items() if n not in inner}
    parts: list[torch.optim.Optimizer] = []
    if outer:
        parts.append(_adamw(list(outer.values()), config))
    if inner:
        muon = torch.optim.Muon(
            inner.values(),
            lr=config.lr,
            weight_decay=config.weight_decay,
            momentum=config.momentum,
            adjust_lr_fn="match_rms_adamw",
        )
        parts.append(muon)
    return ModelOptimizer(
        parts=parts, parameters=parameters, lr=config.lr, max_grad_norm=config.max_grad_norm
    )


def freeze(model: nn.Module, patterns: Sequence[str]) -> None:
    """Switch off the gradients of every parameter that a pattern matches.

    Raises:
        ConfigError: if a pattern matches nothing, naming what there is.
    """
    for pattern in patterns:
        matched = [p for n, p in model.named_parameters() if _matches(n, pattern)]
        if not matched:
            names = sorted({".".join(n.split(".")[:2]) for n, _ in model.named_parameters()})
            raise ConfigError(
                f"freeze: no parameter is called {pattern}; the model has {', '.join(names)}"
            )
        for parameter in matched:
            parameter.requires_grad_(False)


def lr_scale(step: int, total_steps: int, config: OptimizerConfig) -> float:
    """Share of the peak learning rate at a step, counted from 0.

    With 10 steps, 2 of warm-up, the last 0.4 decaying to 0.1: 0.5, 1, 1, 1, 1, 1, 0.775, 0.55,
    0.325, 0.1; as a cosine the last four are 0.868, 0.55, 0.232, 0.1.
    """
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    decay_steps = config.decay_share * total_steps
    progress = step + 1 - (total_steps - decay_steps)
    if progress <= 0:
        return 1.0
    fallen = min(1.0, progress / decay_steps)
    if config.decay == "cosine":
        fallen = (1 - math.cos(math.pi * fallen)) / 2
    return max(config.final_share, 1 - (1 - config.final_share) * fallen)


def _matches(name: str, pattern: str) -> bool:
    return name == pattern or name.startswith(f"{pattern}.") or fnmatch(name, pattern)


def _inner_matrix(name: str, parameter: Tensor) -> bool:
    outside = ("embed", "lm_head")
    return parameter.ndim == 2 and not any(word in name for word in outside)


def _adamw(parameters: list[nn.Parameter], config: OptimizerConfig) -> torch.optim.AdamW:
    groups = [
        {
            "params": [p for p in parameters if p.ndim >= 2],
            "weight_decay": config.weight_decay,
        },
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    # fused is one pass over each tensor instead of a dozen, also on the CPU.
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=config.lr,
        betas=config.betas,
        fused=True,
    )
