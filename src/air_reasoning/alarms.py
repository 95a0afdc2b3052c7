"""Alarms: figures of a training step that left the band in which training goes well.

raised = raise_alarms({"code_share_right": 1.0}, AlarmConfig(), {})
[alarm.text for alarm in raised]    # ['code_share_right is 1, above 0.98 for 1 step']

An alarm says that somebody should look; with ``stop_after`` it ends the run, state saved. Bands are
ours: where collapses of other projects were seen to begin, not where they must.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import Field

from air_reasoning.config import Config


class Band(Config):
    """Where a figure should stay, and how many steps outside of it end the run."""

    low: float | None = None
    """Below this is an alarm; null: no lower end."""
    high: float | None = None
    """Above this is an alarm; null: no upper end."""
    after: int = Field(default=1, ge=1)
    """Steps in a row outside before the alarm is told, once, until the figure is back."""
    stop_after: int | None = Field(default=None, ge=1)
    """Steps in a row outside that end the run with its state saved; null: never."""


class AlarmConfig(Config):
    """One band for each figure that is watched; both ends null switches one off."""

    code_share_right: Band = Band(high=0.98, after=10)
    """Share of code users among the right: 1 is over-calling, the lock-in of fixed costs."""
    code_share_wrong: Band = Band(low=0.02, after=10)
    """Share of code users among the wrong: 0 is never daring to call."""
    entropy: Band = Band(low=0.01, high=3.0, after=3)
    """Mean entropy of a trained token, nats: low is collapse, high is noise."""
    constant_groups: Band = Band(high=0.9, after=5)
    """Share of groups that teach nothing because all of their rewards are equal."""
    sampler_gap: Band = Band(high=0.1)
    """Mean |trainer - sampler| of a token's log-probability, nats: not the same model or text."""
    image_mismatch: Band = Band(high=0.0)
    """Rows dropped because their placeholders do not match their pictures."""
    lost: Band = Band(high=0.02)
    """Share of trajectories lost to our sandbox or sampler."""
    grad_norm: Band = Band(high=100.0)
    """Norm of the gradient before clipping."""


@dataclass(kw_only=True, slots=True, frozen=True)
class Alarm:
    """``name`` is the setting, ``steps`` how long the figure is outside, ``stop``: end the run."""

    name: str
    value: float
    steps: int
    text: str
    stop: bool


def watched(metrics: Mapping[str, float]) -> dict[str, float]:
    """The figures that alarms look at, by the names of their settings, where they are defined."""
    known = {
        "code_share_right": metrics.get("code_share_right"),
        "code_share_wrong": metrics.get("code_share_wrong"),
        "entropy": metrics.get("policy/entropy"),
        "sampler_gap": metrics.get("sampler/logprob_gap"),
        "image_mismatch": metrics.get("batch/image_mismatch"),
        "grad_norm": metrics.get("optim/grad_norm"),
        "constant_groups": _share(metrics, "groups/constant", "groups/informative"),
        "lost": _share(metrics, "groups/lost_trajectories", "groups/trajectories"),
    }
    return {name: value for name, value in known.items() if value is not None}


def raise_alarms(
    metrics: Mapping[str, float], config: AlarmConfig, outside: dict[str, int]
) -> list[Alarm]:
    """The alarms of one step.

    Args:
        metrics: of the step, as ``metrics.jsonl`` has them.
        config: the bands.
        outside: figure -> steps in a row outside of its band; brought up to date here, kept by the
            caller. A figure that is undefined in a step leaves its count as it is.
    """
    raised: list[Alarm] = []
    for name, value in watched(metrics).items():
        band: Band = getattr(config, name)
        where = _where(value, band)
        if not where:
            outside.pop(name, None)
            continue
        steps = outside[name] = outside.get(name, 0) + 1
        stop = band.stop_after is not None and steps >= band.stop_after
        if steps == band.after or stop:
            text = f"{name} is {value:.3g}, {where} for {steps} step{'s' * (steps > 1)}"
            raised.append(Alarm(name=name, value=value, steps=steps, text=text, stop=stop))
    return raised


def _where(value: float, band: Band) -> str:
    if math.isnan(value):
        return "no number"
    if band.low is not None and value < band.low:
        return f"below {band.low:g}"
    if band.high is not None and value > band.high:
        return f"above {band.high:g}"
    return ""


def _share(metrics: Mapping[str, float], part: str, rest: str) -> float | None:
    """Part / (part + rest); None without either."""
    if part not in metrics or rest not in metrics:
        return None
    total = metrics[part] + metrics[rest]
    return metrics[part] / total if total else None
