"""Rewards of other tool-use methods, for comparison; each is a pure function over one group.

Every function returns, for each trajectory, the terms ``correct`` and ``tool`` and their sum. They
follow the published formula, with its faults: no guard is added. Constants are keyword arguments
with the published value where one is published; where none is, the docstring says "ours".
"""

import math
from collections.abc import Sequence

from air_reasoning.types import Outcome, Reward


def outcome_only(outcomes: Sequence[Outcome]) -> list[Reward]:
    """1 if right, else 0: plain GRPO."""
    return [_with_tool_term(o, 0.0) for o in outcomes]


def tool_bonus(outcomes: Sequence[Outcome], *, bonus: float = 0.1) -> list[Reward]:
    """+``bonus`` for every call of a right trajectory, failed calls too.

    Source: PyVision-RL's reward function; the same shape is discussed in verl#1569.
    """
    return [_with_tool_term(o, bonus * o.calls if o.correct else 0.0) for o in outcomes]


def pixel_reasoner(
    outcomes: Sequence[Outcome], *, target_share: float = 0.3, extra_call_cost: float = 0.05
) -> list[Reward]:
    """Curiosity while few of the group call, and a price on every call after the first.

    Code users, right or wrong, get max(``target_share`` - rho, 0) - ``extra_call_cost`` *
    (calls - 1) with rho the share of code users in the whole group. Source: Pixel-Reasoner, arXiv
    2505.15966; its released code scales the first part differently and zeroes right answers after
    an unrepaired tool error, which is left out here.
    """
    rho = _share([o.uses_code for o in outcomes])
    curiosity = max(target_share - rho, 0.0)
    return [
        _with_tool_term(o, curiosity - extra_call_cost * (o.calls - 1) if o.uses_code else 0.0)
        for o in outcomes
    ]


def otc(outcomes: Sequence[Outcome], *, alpha: float = 1.0, smooth: float = 1.0) -> list[Reward]:
    """Right answers are worth less the further their calls are from the group's fewest.

    total = alpha * r_tool * correct with m calls, n = fewest calls among the right ones:
    r_tool = 1 if m = n = 0; cos(m pi / (2 m + c)) if n = 0; else sin(f pi / 2n), f = 2nm / (m + n).
    Source: OTC-PO, arXiv 2504.14870 (its GRPO form). ``smooth`` is its c; the values are ours.
    """
    fewest = min((o.calls for o in outcomes if o.correct), default=0)
    return [
        _with_tool_term(o, alpha * _otc_factor(o.calls, fewest, smooth) - 1 if o.correct else 0.0)
        for o in outcomes
    ]


def _otc_factor(calls: int, fewest: int, smooth: float) -> float:
    if calls == 0 and fewest == 0:
        return 1.0
    if fewest == 0:
        return math.cos(calls * math.pi / (2 * calls + smooth))
    mean = 2 * fewest * calls / (calls + fewest)
    return math.sin(mean * math.pi / (2 * fewest))


def adatir(
    outcomes: Sequence[Outcome], *, weight: float = 0.4, easy_error: float = 0.5
) -> list[Reward]:
    """Right trajectories of an easy group pay for their calls.

    -``weight`` * sin(pi/2 * calls / most calls in the group) if right and 1 - group accuracy <
    ``easy_error``. Source: AdaTIR; both constants are ours. Its advantage clip is the second half
    of the guard in ``advantage``.
    """
    easy = 1 - _share([o.correct for o in outcomes]) < easy_error
    most = max((o.calls for o in outcomes), default=0)
    return [
        _with_tool_term(
            o,
            -weight * math.sin(math.pi / 2 * o.calls / most)
            if easy and o.correct and o.uses_code
            else 0.0,
        )
        for o in outcomes
    ]


def ada_grpo(outcomes: Sequence[Outcome], *, progress: float = 0.0) -> list[Reward]:
    """Rare formats are worth more, less so as training goes on.

    total = correct * (1 + (G / n_f - 1) * (1 + cos(pi * progress)) / 2) with n_f the trajectories
    of the group in the same format, here code or no code. Source: Ada-GRPO of ARM, arXiv
    2505.20258.

    Args:
        outcomes: one a trajectory.
        progress: share of the training done, 0 to 1; at 1 the factor is 1.
    """
    decay = (1 + math.cos(math.pi * progress)) / 2
    users = sum(o.uses_code for o in outcomes)
    size = len(outcomes)
    return [
        _with_tool_term(
            o,
            (size / (users if o.uses_code else size - users) - 1) * decay if o.correct else 0.0,
        )
        for o in outcomes
    ]


def fixed_cost(outcomes: Sequence[Outcome], *, cost: float = 0.1) -> list[Reward]:
    """-``cost`` per call of a right trajectory, whatever the group does (ours, a control).

    Once every trajectory of a group calls, the cost is the same for all and its advantage is zero:
    the policy is locked in.
    """
    return [_with_tool_term(o, -cost * o.calls if o.correct else 0.0) for o in outcomes]


def _with_tool_term(outcome: Outcome, tool: float) -> Reward:
    correct = float(outcome.correct)
    return Reward(total=correct + tool, terms={"correct": correct, "tool": tool})


def _share(flags: list[bool]) -> float:
    return sum(flags) / len(flags) if flags else 0.0
