"""What a training step is described by: the headline figures, the reward's terms, the records."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from air_reasoning.metrics import summarize
from air_reasoning.scoring import Scored
from air_reasoning.training_samples import Counts
from air_reasoning.types import Task, TrainingSample, TrajectoryGroup


@dataclass(kw_only=True, slots=True)
class ScoredGroup:
    """A group with rewards and advantages, and the results of its trajectories in their order."""

    group: TrajectoryGroup
    results: list[Scored]
    informative: bool = True


@dataclass(kw_only=True, slots=True)
class Step:
    """What one step rolled out: all scored groups, those that can teach, and what was left out.

    ``position`` is where the tasks of the next step begin; ``seconds`` is what rolling out took.
    """

    position: int
    groups: list[ScoredGroup] = field(default_factory=list[ScoredGroup])
    informative: list[TrajectoryGroup] = field(default_factory=list[TrajectoryGroup])
    counts: Counts = field(default_factory=dict[str, float])
    seconds: float = 0.0

    @property
    def tasks(self) -> list[Task]:
        """The tasks of all groups."""
        return [scored.group.task for scored in self.groups]


def step_metrics(rolled: Step, samples: Sequence[TrainingSample], step: int) -> dict[str, float]:
    """Figures of the trajectories that were free to call, and of the rewards of all.

    ``accuracy_banned`` is that of the roll-outs without code: the worth of code is the difference.
    ``sampler/staleness`` is how many updates ago the policy that sampled was the newest, at most;
    ``step`` is how many there are.
    """
    records = [result.record for scored in rolled.groups for result in scored.results]
    free = [r for r in records if not r.code_banned]
    banned = [r for r in records if r.code_banned]
    metrics = {k: m.value for k, m in summarize(free).items() if m.value is not None}
    if banned:
        metrics["accuracy_banned"] = sum(r.correct for r in banned) / len(banned)
    rewards = [reward for scored in rolled.groups for reward in scored.group.rewards]
    if rewards:
        metrics["reward/total"] = sum(r.total for r in rewards) / len(rewards)
        for term in rewards[0].terms:
            metrics[f"reward/{term}"] = sum(r.terms[term] for r in rewards) / len(rewards)
    for stop in {r.stop for r in records}:
        metrics[f"stop/{stop}"] = sum(r.stop == stop for r in records) / len(records)
    metrics["groups/trajectories"] = float(len(records))
    ages = [step - sample.policy_version for sample in samples]
    metrics["sampler/staleness"] = float(max(ages, default=0))
    metrics["time/rollout_s"] = rolled.seconds
    return metrics | rolled.counts


def trajectory_rows(groups: Sequence[ScoredGroup], step: int) -> Iterator[dict[str, Any]]:
    """Records for the run folder, one a trajectory, in the form that reports and viewers read."""
    for scored in groups:
        group = scored.group
        for trajectory, result, reward, advantage in zip(
            group.trajectories, scored.results, group.rewards, group.advantages, strict=True
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
