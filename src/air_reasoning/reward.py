"""The group-constrained reward, and one door to its neighbours.

What the paper states (AIR, arXiv 2606.23678): within the group of roll-outs of one prompt the share
of tool-using trajectories is bounded, with one bound P_r for the right ones and one P_w for the
wrong ones. The direction of the bounds, the formula, the need gate and the guard are this
project's reading. For one prompt, with R the right and W the wrong trajectories and u = 1 for a
trajectory that executed a cell:

    rho_r   share of u = 1 among the right ones that were not banned from code (0 if none)
    rho_w   the same among the wrong ones
    a_free  share of right ones among all code-free trajectories, banned ones included

    correct      1 if right, else 0
    over_call    -lambda_over  * max(0, rho_r - P_r) / (1 - P_r)     right, u = 1
    under_call   +lambda_under * max(0, P_w - rho_w) / P_w           wrong, u = 1, a call worked
                 -lambda_under * max(0, P_w - rho_w) / P_w           wrong, u = 0, not banned
    error        -lambda_error * failed calls / calls                (0 without a call)
    format       -lambda_format                                      if malformed
    total        correct + clip(the other four, -0.45, +0.45)        the clip is the guard

With ``need="aware"`` over-calling costs only where code was not needed (a_free >= need_low), and
daring to call pays only where it seems needed (a_free <= need_high, or no code-free trajectory).
"""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from air_reasoning import reward_neighbours as neighbours
from air_reasoning.config import Config
from air_reasoning.types import Outcome, Reward

__all__ = ["GUARD", "Outcome", "RewardConfig", "RewardMode", "score_group"]

RewardMode = Literal[
    "group_constrained",
    "outcome",
    "tool_bonus",
    "pixel_reasoner",
    "otc",
    "adatir",
    "ada_grpo",
    "fixed_cost",
]

GUARD = 0.45
"""Below one half, so that no right trajectory can score less than a wrong one."""


class RewardConfig(Config):
    """Which reward, and the constants of the group-constrained one.

    The neighbours keep their published constants and read nothing here but ``mode``.
    """

    mode: RewardMode = "group_constrained"
    """The formula; the neighbours are described in reward_neighbours."""
    need: Literal["aware", "plain"] = "aware"
    """aware: each bound acts only where code was not needed / needed; plain: both always act."""
    p_right: float = Field(default=0.1, ge=0, lt=1)
    """P_r, tolerated share of code users among the right trajectories."""
    p_wrong: float = Field(default=0.9, gt=0, le=1)
    """P_w, wanted share of code users among the wrong trajectories."""
    lambda_over: float = Field(default=0.4, ge=0)
    """Reward lost by a right code user when every right trajectory used code."""
    lambda_under: float = Field(default=0.3, ge=0)
    """Reward won (with code) or lost (without) by a wrong one when no wrong one used code."""
    lambda_error: float = Field(default=0.1, ge=0)
    """Reward lost when every call failed; in proportion below that."""
    lambda_format: float = Field(default=0.1, ge=0)
    """Reward lost by a malformed trajectory."""
    need_low: float = Field(default=1.0, ge=0, le=1)
    """Code was not needed if at least this share of the code-free trajectories is right."""
    need_high: float = Field(default=0.35, ge=0, le=1)
    """Code seems needed if at most this share of the code-free trajectories is right."""
    guard: bool = True
    """Keep everything but correctness within +-0.45."""


def score_group(
    outcomes: Sequence[Outcome], config: RewardConfig, progress: float = 0.0
) -> list[Reward]:
    """Rewards of all trajectories of one prompt, in the order given.

    >>> group = [Outcome(True, 1), Outcome(True, 1), Outcome(True, 0), Outcome(False, 1)]
    >>> [round(reward.total, 4) for reward in score_group(group, RewardConfig())]
    [0.7481, 0.7481, 1.0, 0.0]

    Args:
        outcomes: one a trajectory. Trajectories lost to our own failures must be left out before.
        config: see RewardConfig.
        progress: share of the training done, 0 to 1; only ``ada_grpo`` decays with it.

    Returns:
        Rewards with ``terms`` summing to ``total``, but where the guard cut the sum.
    """
    match config.mode:
        case "group_constrained":
            return group_constrained(outcomes, config)
        case "outcome":
            return neighbours.outcome_only(outcomes)
        case "tool_bonus":
            return neighbours.tool_bonus(outcomes)
        case "pixel_reasoner":
            return neighbours.pixel_reasoner(outcomes)
        case "otc":
            return neighbours.otc(outcomes)
        case "adatir":
            return neighbours.adatir(outcomes)
        case "ada_grpo":
            return neighbours.ada_grpo(outcomes, progress=progress)
        case "fixed_cost":
            return neighbours.fixed_cost(outcomes)


def group_constrained(outcomes: Sequence[Outcome], config: RewardConfig) -> list[Reward]:
    """The formula at the top of this file."""
    over, under = bound_pressures(outcomes, config)
    return [_reward(outcome, over, under, config) for outcome in outcomes]


def bound_pressures(outcomes: Sequence[Outcome], config: RewardConfig) -> tuple[float, float]:
    """How much one over-call costs and one daring call pays in this group; 0 where not active."""
    rho_right = _code_share([o for o in outcomes if o.correct and not o.code_banned])
    rho_wrong = _code_share([o for o in outcomes if not o.correct and not o.code_banned])
    over_active, under_active = _active_bounds(outcomes, config)
    excess = max(0.0, rho_right - config.p_right) / (1 - config.p_right)
    shortfall = max(0.0, config.p_wrong - rho_wrong) / config.p_wrong
    return (
        config.lambda_over * excess if over_active else 0.0,
        config.lambda_under * shortfall if under_active else 0.0,
    )


def _active_bounds(outcomes: Sequence[Outcome], config: RewardConfig) -> tuple[bool, bool]:
    if config.need == "plain":
        return True, True
    code_free = [o.correct for o in outcomes if not o.uses_code]
    if not code_free:
        return False, True
    accuracy = sum(code_free) / len(code_free)
    return accuracy >= config.need_low, accuracy <= config.need_high


def _code_share(outcomes: list[Outcome]) -> float:
    return sum(o.uses_code for o in outcomes) / len(outcomes) if outcomes else 0.0


def _reward(outcome: Outcome, over: float, under: float, config: RewardConfig) -> Reward:
    shaping = {
        "over_call": -over if outcome.correct and outcome.uses_code else 0.0,
        "under_call": _under_call(outcome, under),
        "error": -config.lambda_error * outcome.failed_calls / max(1, outcome.calls),
        "format": 0.0 if outcome.format_ok else -config.lambda_format,
    }
    extra = sum(shaping.values())
    if config.guard:
        extra = max(-GUARD, min(GUARD, extra))
    correct = float(outcome.correct)
    return Reward(total=correct + extra, terms={"correct": correct} | shaping)


def _under_call(outcome: Outcome, under: float) -> float:
    if outcome.correct:
        return 0.0
    if outcome.uses_code:
        return under if outcome.call_worked else 0.0
    return 0.0 if outcome.code_banned else -under
