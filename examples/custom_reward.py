"""The shipped reward and one of your own on the same four outcomes; no model needed.

python examples/custom_reward.py
"""

from collections.abc import Sequence

from air_reasoning.advantage import group_advantages
from air_reasoning.reward import Outcome, RewardConfig, score_group
from air_reasoning.types import Reward


def first_call_free(outcomes: Sequence[Outcome], cost: float = 0.05) -> list[Reward]:
    """1 if right, less ``cost`` for every call after the first."""
    terms = [{"correct": float(o.correct), "tool": -cost * max(0, o.calls - 1)} for o in outcomes]
    return [Reward(total=sum(each.values()), terms=each) for each in terms]


group = [Outcome(True, 1), Outcome(True, 3), Outcome(True, 0), Outcome(False, 1)]
for name, rewards in {
    "group_constrained": score_group(group, RewardConfig()),
    "first_call_free": first_call_free(group),
}.items():
    print(name)
    for o, reward, advantage in zip(group, rewards, group_advantages(rewards, group), strict=True):
        verdict = "right" if o.correct else "wrong"
        print(f"  {verdict} calls {o.calls}  {reward.total:+.4f}  advantage {advantage:+.4f}")
