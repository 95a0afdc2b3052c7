"""What a training step is described by: the headline figures, the reward's terms, the records."""

from collections.abc import Iterator, Sequence
from typing import Any

from air_reasoning.metrics import summarize
from air_reasoning.scoring import Scored
from air_reasoning.types import TrajectoryGroup


def step_metrics(
    groups: Sequence[TrajectoryGroup], scored: Sequence[Sequence[Scored]]
) -> dict[str, float]:
    """Figures of the trajectories that were free to call, and of the rewards of all.

    ``accuracy_banned`` is that of the roll-outs without code: the worth of code is the difference.
    """
    records = [s.record for group in scored for s in group]
    free = [r for r in records if not r.code_banned]
    banned = [r for r in records if r.code_banned]
    metrics = {k: m.value for k, m in summarize(free).items() if m.value is not None}
    if banned:
        metrics["accuracy_banned"] = sum(r.correct for r in banned) / len(banned)
    rewards = [reward for group in groups for reward in group.rewards]
    if rewards:
        metrics["reward/total"] = sum(r.total for r in rewards) / len(rewards)
        for term in rewards[0].terms:
            metrics[f"reward/{term}"] = sum(r.terms[term] for r in rewards) / len(rewards)
    for stop in {r.stop for r in records}:
        metrics[f"stop/{stop}"] = sum(r.stop == stop for r in records) / len(records)
    return metrics


def trajectory_rows(
    groups: Sequence[TrajectoryGroup], scored: Sequence[Sequence[Scored]], step: int
) -> Iterator[dict[str, Any]]:
    """Records for the run folder, one a trajectory, in the form that reports and viewers read."""
    for group, results in zip(groups, scored, strict=True):
        for trajectory, result, reward, advantage in zip(
            group.trajectories, results, group.rewards, group.advantages, strict=True
        ):
            yield {
                "step": step,
                "task": group.task,
                "trajectory": trajectory,
                "record": result.record,
                "extracted": result.verdict.extracted,
                "reward": reward,
                "advantage": advantage,
            }
