"""One task through the two stages: textual solutions, checked; then rewritten, run, checked again.

    thought -> right? -> needs no code: kept as it is (direct)
                      -> rewritten with cells -> every cell run -> checks -> kept (code, repair)

Every sample ends as kept or with one ``Rejection``. What we lose (no response, sandbox) is neither:
``Lost`` leaves the task open, and the next run of the command takes it up again.
"""

import asyncio
from dataclasses import dataclass, replace
from typing import Literal

from PIL import Image

from air_reasoning.answers import extract_answer
from air_reasoning.data.budget import CHARS_A_TOKEN, Budget
from air_reasoning.data.checks import (
    FailedCells,
    early_rejection,
    replay_rejection,
    thought_rejection,
)
from air_reasoning.data.prompts import Prompts
from air_reasoning.data.reasons import Rejection
from air_reasoning.data.replay import play
from air_reasoning.data.solution import Solution, direct_turn, read_solution, without_reasoning
from air_reasoning.data.writer import RequestRefused, Writer
from air_reasoning.engine import SaveImage
from air_reasoning.errors import AirError, DataError, SamplerError
from air_reasoning.images import load_ref
from air_reasoning.rollout_setup import derived_seed
from air_reasoning.sandbox.base import SandboxPool
from air_reasoning.scoring import well_formed
from air_reasoning.turn_format import TurnFormat, parse_turn
from air_reasoning.types import Segment, StopReason, Task, Trajectory

Stage = Literal["thought", "rewrite", "direct"]
Mode = Literal["direct", "code", "repair"]
SANDBOX_TRIES = 3


class Lost(AirError):
    """We could not finish a sample: no response, or no sandbox. It is tried again later."""


@dataclass(kw_only=True, slots=True)
class Sample:
    """What became of one sample: kept in a ``mode``, or rejected for one reason at a ``stage``."""

    task: Task
    number: int
    stage: Stage
    trajectory: Trajectory
    reason: Rejection | None = None
    mode: Mode | None = None


@dataclass(kw_only=True, slots=True)
class Stages:
    """All that a task needs on its way, and the settings that decide what is kept."""

    teacher: Writer
    rewriter: Writer
    budget: Budget
    prompts: Prompts
    sandboxes: SandboxPool
    form: TurnFormat
    save_image: SaveImage
    samples: int
    keep_per_task: int
    ask_all: bool
    easy_direct: bool
    rewriter_sees_pictures: bool
    failed_cells: FailedCells
    output_chars: int
    cell_timeout_s: float | None
    seed: int

    async def run(self, task: Task) -> list[Sample]:
        """All samples of one task, in order; no more are asked for than are needed.

        Raises:
            Lost: at least one could not be finished. BudgetReached, ServiceDown: as they say.
        """
        numbers = range(self.samples)
        try:
            images = [load_ref(ref) for ref in task.images]
        except DataError as error:
            blind = replace(task, images=[replace(ref, path="") for ref in task.images])
            return [self._written(blind, 0, "thought", str(error), Rejection.BROKEN_PICTURE)]
        if self.ask_all:  # all at once; what was asked for is in the ledger afterwards
            asked = [self._thought_alone(task, number) for number in numbers]
            await asyncio.gather(*asked, return_exceptions=True)  # below each raises again
        done, kept = list[Sample](), 0
        for number in numbers:
            if kept == self.keep_per_task and not self.ask_all:
                break
            async with self.budget.room(self._worst(task), requests=2):
                sample = await self._sample(task, number, images, wanted=kept < self.keep_per_task)
            kept += sample.mode is not None
            done.append(sample)
        return done

    def _worst(self, task: Task) -> float:
        """US dollars that one sample may cost."""
        thought = self.teacher.bound(self.prompts.render("thought", task), task)
        text = self.prompts.render("rewrite", task, thought="")
        shown = task if self.rewriter_sees_pictures else None
        # The text to be rewritten is at most what the teacher may write.
        sent = "x" * round(self.teacher.config.max_tokens * CHARS_A_TOKEN)
        return thought + self.rewriter.bound(text + sent, shown)

    async def _thought_alone(self, task: Task, number: int) -> None:
        bound = self.teacher.bound(self.prompts.render("thought", task), task)
        async with self.budget.room(bound):
            await self._thought(task, number)

    async def _thought(self, task: Task, number: int) -> tuple[str, str] | None:
        """The textual solution and how it ended; None: the endpoint refuses this request."""
        text = self.prompts.render("thought", task)
        return await self._asked(self.teacher, f"thought/{task.id}/{number}", text, task)

    async def _asked(
        self, writer: Writer, key: str, text: str, task: Task | None
    ) -> tuple[str, str] | None:
        try:
            reply = await writer.ask(key, text, task)
        except RequestRefused:
            return None
        except SamplerError as error:
            if error.resumable:
                raise
            raise Lost(f"{key}: {error}") from None
        return reply.text, reply.finish

    async def _sample(
        self, task: Task, number: int, images: list[Image.Image], *, wanted: bool
    ) -> Sample:
        replied = await self._thought(task, number)
        if replied is None:
            return self._written(task, number, "thought", "", Rejection.REQUEST_REFUSED)
        thought = without_reasoning(replied[0], self.form)
        reason, verdict = await asyncio.to_thread(thought_rejection, task, thought, replied[1])
        if reason is None and not wanted:
            reason = Rejection.SPARE
        if reason is not None:
            return self._written(task, number, "thought", thought, reason)
        needs_code = task.meta.get("needs_code")
        easy = needs_code is False and not task.meta.get("code_helps")
        if easy and self.easy_direct:
            return self._direct(task, number, thought, verdict.extracted or "")
        shown = task if self.rewriter_sees_pictures else None
        text = self.prompts.render("rewrite", task, thought=thought)
        rewritten = await self._asked(self.rewriter, f"rewrite/{task.id}/{number}", text, shown)
        if rewritten is None:
            return self._written(task, number, "rewrite", "", Rejection.REQUEST_REFUSED)
        solution = read_solution(rewritten[0], self.form)
        if solution is None:  # the rewriter says that no step is worth a cell
            if needs_code is True:
                return self._written(task, number, "rewrite", rewritten[0], Rejection.NO_CODE)
            return self._direct(task, number, thought, verdict.extracted or "")
        return await self._rewritten(task, number, images, solution, *rewritten)

    async def _rewritten(
        self,
        task: Task,
        number: int,
        images: list[Image.Image],
        solution: Solution,
        reply: str,
        finish: str,
    ) -> Sample:
        early = await asyncio.to_thread(early_rejection, task, solution, reply, finish, self.form)
        if early is not None:
            return self._written(task, number, "rewrite", reply, early)
        trajectory = await self._played(task, number, images, solution)
        reason = await asyncio.to_thread(
            replay_rejection, task, solution, trajectory, self.form, self.failed_cells
        )
        repaired = any(execution.status != "ok" for execution in trajectory.executions)
        mode: Mode = "repair" if repaired else "code"
        return Sample(
            task=task, number=number, stage="rewrite", trajectory=trajectory,
            reason=reason, mode=None if reason else mode,
        )  # fmt: skip

    async def _played(
        self, task: Task, number: int, images: list[Image.Image], solution: Solution
    ) -> Trajectory:
        for _ in range(SANDBOX_TRIES):
            trajectory = await play(
                task, solution.turns, self.sandboxes, self.form,
                trajectory_id=_id(task, number, "rewrite"), images=images,
                output_chars=self.output_chars, cell_timeout_s=self.cell_timeout_s,
                save_image=self.save_image, seed=derived_seed(self.seed, task.id, number),
            )  # fmt: skip
            if not trajectory.stop.our_fault:
                return trajectory
        raise Lost(f"{_id(task, number, 'rewrite')}: the sandbox was lost {SANDBOX_TRIES} times")

    def _direct(self, task: Task, number: int, thought: str, answer: str) -> Sample:
        turn = direct_turn(thought, extract_answer(f"\\boxed{{{answer}}}").text, self.form)
        pieces = parse_turn(turn, self.form)
        trajectory = _trajectory(task, number, "direct")
        trajectory.segments = [Segment(kind=piece.kind, text=piece.text) for piece in pieces]
        trajectory.usage.model = len(turn) // 4
        whole = well_formed(trajectory, self.form)  # a stray tag in the text would break it
        return Sample(
            task=task, number=number, stage="direct", trajectory=trajectory,
            reason=None if whole else Rejection.MALFORMED, mode="direct" if whole else None,
        )  # fmt: skip

    def _written(
        self, task: Task, number: int, stage: Stage, text: str, reason: Rejection
    ) -> Sample:
        """A rejected text that was never run."""
        trajectory = _trajectory(task, number, stage)
        trajectory.segments = [Segment(kind="text", text=text)] if text else []
        return Sample(task=task, number=number, stage=stage, trajectory=trajectory, reason=reason)


def _id(task: Task, number: int, stage: Stage) -> str:
    return f"{task.id}/{number}/{stage}"


def _trajectory(task: Task, number: int, stage: Stage) -> Trajectory:
    return Trajectory(
        id=_id(task, number, stage), task_id=task.id, group_id=task.id, stop=StopReason.ANSWERED
    )
