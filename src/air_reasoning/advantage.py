"""Group-relative advantages: how much better a trajectory was than its siblings.

    grpo      (r - mean) / (std + std_epsilon)    arXiv 2402.03300; std unbiased (over G - 1)
    dr_grpo   r - mean                            arXiv 2503.20783
    rloo      r - mean of the others              arXiv 2402.14740; = (r - mean) * G / (G - 1)

Code bases differ in the denominator of ``grpo`` (population + 1e-4, population + 1e-6, unbiased).
Here it is the unbiased deviation plus 0.1: with shaped rewards a group whose rewards differ by a
hundredth must not weigh as much as one that differs by one.

Two clips come after the estimator:

1. Trajectories sampled with the code tag banned are there to measure what code is worth; they are
   clipped at >= 0, so that the policy never learns *away* from what the ban forced.
2. The guard: in a group with right and wrong members a right trajectory gets at least 0 and at
   least as much as the best wrong one, so that a penalty can never teach against a right answer
   (the "sign reversal" described by AdaTIR).
"""

import math
from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from air_reasoning.config import Config
from air_reasoning.types import Outcome, Reward

CONSTANT = 1e-9
"""Rewards closer together than this are one reward."""


class AdvantageConfig(Config):
    """How rewards of one group become advantages."""

    estimator: Literal["grpo", "dr_grpo", "rloo"] = "grpo"
    """grpo: centred and scaled; dr_grpo: centred; rloo: against the mean of the others."""
    std_epsilon: float = Field(default=0.1, ge=0)
    """Added to the standard deviation of grpo, in units of reward."""
    guard: bool = True
    """In a mixed group no right trajectory gets less than 0 or less than a wrong one."""


def group_advantages(
    rewards: Sequence[Reward], outcomes: Sequence[Outcome], config: AdvantageConfig | None = None
) -> list[float]:
    """Advantages of one group, in the order given.

    A group with one member or with equal rewards gets zeros. Permuting the group permutes the
    result exactly (sums are rounded once).

    >>> rewards = [Reward(total=total) for total in (1.0, 1.0, 0.0, 0.0)]
    >>> outcomes = [Outcome(total > 0, 0) for total in (1, 1, 0, 0)]
    >>> group_advantages(rewards, outcomes, AdvantageConfig(estimator="dr_grpo"))
    [0.5, 0.5, -0.5, -0.5]

    Raises:
        ValueError: if there are not as many rewards as outcomes.
    """
    config = config or AdvantageConfig()
    if len(rewards) != len(outcomes):
        raise ValueError(f"{len(rewards)} rewards for {len(outcomes)} outcomes")
    rewards_G = [reward.total for reward in rewards]
    if not rewards_G or max(rewards_G) - min(rewards_G) < CONSTANT:
        return [0.0] * len(rewards_G)
    advantages_G = _estimate(rewards_G, config)
    advantages_G = [
        max(0.0, advantage) if outcome.code_banned else advantage
        for advantage, outcome in zip(advantages_G, outcomes, strict=True)
    ]
    return _guarded(advantages_G, outcomes) if config.guard else advantages_G


def _estimate(rewards_G: list[float], config: AdvantageConfig) -> list[float]:
    size = len(rewards_G)
    mean = math.fsum(rewards_G) / size
    centred_G = [reward - mean for reward in rewards_G]
    match config.estimator:
        case "dr_grpo":
            return centred_G
        case "rloo":
            return [value * size / (size - 1) for value in centred_G]
        case "grpo":
            std = math.sqrt(math.fsum(value * value for value in centred_G) / (size - 1))
            return [value / (std + config.std_epsilon) for value in centred_G]


def _guarded(advantages_G: list[float], outcomes: Sequence[Outcome]) -> list[float]:
    wrong = [a for a, o in zip(advantages_G, outcomes, strict=True) if not o.correct]
    if not wrong or len(wrong) == len(advantages_G):
        return advantages_G
    floor = max(0.0, *wrong)
    return [
        max(floor, advantage) if outcome.correct else advantage
        for advantage, outcome in zip(advantages_G, outcomes, strict=True)
    ]
