"""What is kept of a training: metrics, trajectories, alarms, checkpoints.

One process writes; the others keep count, so that all of them save and stop at the same step.
"""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from air_reasoning.alarms import raise_alarms
from air_reasoning.display import Progress
from air_reasoning.errors import AlarmError
from air_reasoning.learner import Learner, save
from air_reasoning.rl_config import RLConfig
from air_reasoning.rl_metrics import Step, trajectory_rows
from air_reasoning.run_dir import RunDir
from air_reasoning.run_reader import read_metrics

HEADLINE = ("accuracy", "code_share_easy", "code_share_hard", "tool_success", "tokens_mean")


@dataclass(kw_only=True, slots=True)
class Journal:
    """Where the training stands: ``step`` updates are done, tasks go on at ``position``.

    ``outside`` counts the steps that each figure has been out of its band; ``scores`` are those of
    the steps since the last checkpoint, ``saved``, by which the best one is found.
    """

    learner: Learner
    config: RLConfig
    folder: Path
    run: RunDir | None
    bar: Progress
    step: int
    position: int
    saved: int
    outside: dict[str, int] = field(default_factory=dict[str, int])
    scores: list[float] = field(default_factory=list[float])

    @classmethod
    def opened(
        cls,
        learner: Learner,
        config: RLConfig,
        folder: Path,
        run: RunDir | None,
        bar: Progress,
        step: int,
        position: int,
    ) -> Self:
        """Continue after ``step``: later lines are forgotten, the counts of alarms made again."""
        if run is not None:
            run.truncate_after(step)
        learner.parallel.gather("later lines are forgotten")
        journal = cls(
            learner=learner, config=config, folder=folder, run=run, bar=bar, step=step,
            position=position, saved=step,
        )  # fmt: skip
        for line in read_metrics(folder):
            metrics = {name: value for name, value in line.items() if value is not None}
            raise_alarms(metrics, config.alarms, journal.outside)
            if line["step"] > step - step % config.save_every:
                journal._count(metrics)
        bar.advance(step)
        return journal

    def write(self, step: int, rolled: Step, metrics: Mapping[str, float]) -> None:
        """Note what step number ``step`` brought, and make a checkpoint when it is time.

        Raises:
            AlarmError: a figure was out of its band for as long as is allowed; the state is saved.
        """
        self.step, self.position = step, rolled.position
        if self.run is not None:
            self.run.write_metrics(step, metrics)
            if step % self.config.write_every == 0:
                for row in trajectory_rows(rolled.groups, step):
                    self.run.write_trajectory(row)
        self._count(metrics)
        stopping = self._alarms(metrics)
        if stopping or step % self.config.save_every == 0 or step == self.config.steps:
            self.save()
        if stopping:
            raise AlarmError(
                f"stopped after step {step}: {'; '.join(stopping)}. The state is saved; to go on "
                "with the same command, raise the band's stop_after in alarms"
            )
        self.bar.advance(headline={name: metrics.get(name) for name in HEADLINE})

    def save(self) -> None:
        """A checkpoint; the lines of the run reach the disk before it. All processes together."""
        if self.run is not None:
            self.run.sync()
        score = sum(self.scores) / len(self.scores) if self.scores else None
        folder = self.folder / "checkpoints"
        save(self.learner, folder, self.step, self.position, self.config.keep_last, score)
        self.scores.clear()
        self.saved = self.step

    @contextmanager
    def saved_when_interrupted(self) -> Iterator[None]:
        """Ctrl-C inside saves the last whole step: the half-finished one is rolled out again.

        Not where an update may be under way beside, or in another process: there the last
        checkpoint is the one to go on from.
        """
        try:
            yield
        except asyncio.CancelledError:
            alone = self.learner.parallel.world == 1 and self.config.max_staleness == 0
            if alone and self.step > self.saved:
                self.save()
            raise

    def _count(self, metrics: Mapping[str, float]) -> None:
        if (score := metrics.get(self.config.best_by)) is not None:
            self.scores.append(score)

    def _alarms(self, metrics: Mapping[str, float]) -> list[str]:
        """Tell what is new on the screen and in the run folder; the reasons to stop."""
        raised = raise_alarms(metrics, self.config.alarms, self.outside)
        for alarm in raised:
            self.bar.say(f"alarm, step {self.step}: {alarm.text}")
            if self.run is not None:
                self.run.write_event(
                    "alarm", step=self.step, name=alarm.name, value=alarm.value, text=alarm.text,
                    stop=alarm.stop,
                )  # fmt: skip
        return [alarm.text for alarm in raised if alarm.stop]
