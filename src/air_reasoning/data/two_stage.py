"""``air data cold-start``: the paper's two stages with a teacher that is paid.

    tasks -> textual solutions -> right ones -> rewritten with code -> run, checked -> samples

The run folder is a task folder with ``samples.jsonl`` that ``air sft`` reads. Every response goes
into ``ledger.jsonl`` before it is used and every finished task into ``items.jsonl``, so that the
command may be ended at any instant and goes on without paying for anything again.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Generator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any

from air_reasoning.config import Resolved, RunOptions
from air_reasoning.data.budget import Budget, check_prices
from air_reasoning.data.cold_start_config import TwoStageConfig
from air_reasoning.data.estimate import estimate_text
from air_reasoning.data.items import Items
from air_reasoning.data.kept import ENDINGS, write_kept
from air_reasoning.data.ledger import Ledger
from air_reasoning.data.prompts import Prompts
from air_reasoning.data.stages import Lost, Sample, Stages
from air_reasoning.data.writer import open_writer
from air_reasoning.display import Progress, progress
from air_reasoning.engine import SaveImage
from air_reasoning.errors import AirError, BudgetReached, DataError
from air_reasoning.identity import tasks_identity
from air_reasoning.run_dir import RunDir, config_fingerprint
from air_reasoning.samplers.openai import OpenAISampler
from air_reasoning.sandbox.process import ProcessPool
from air_reasoning.scoring import score_trajectory
from air_reasoning.task_files import read_tasks
from air_reasoning.turn_format import TURN_FORMATS
from air_reasoning.types import Task

LEDGER = "ledger.jsonl"
UNMOVING = (
    *("tasks", "teacher", "rewriter", "prompts", "budget", "max_connections", "max_lost"),
    *("direct_share", "assume_right", "assume_code", "sandbox.max_sessions"),
)
"""Settings that change no sample; the models come in by their own prints."""


class TooManyLost(AirError):
    """Done but for the tasks that we lost; the same command tries these again."""

    exit_code = 3
    resumable = True


def run_cold_start(resolved: Resolved[TwoStageConfig], options: RunOptions) -> None:
    """The command. Writes samples of all finished tasks, also where it was stopped on the way.

    Raises:
        BudgetReached: a cap was reached; says how to go on. TooManyLost: more than ``max_lost`` of
            the tasks got no response. ServiceDown: the teacher does not answer at all.
        ConfigError, DataError: as their messages say; nothing was started.
    """
    config = resolved.value
    tasks = read_tasks(config.tasks, options.limit)
    refuse_test(tasks)
    check_prices(config.budget, config.teacher.endpoint, config.rewriting.endpoint)
    prompts = Prompts.load(config.prompts, TURN_FORMATS[config.format])
    prints = _fingerprint(config, prompts, read_tasks(config.tasks) if options.limit else tasks)
    if options.dry_run:
        asyncio.run(_probe(config))
        print(estimate_text(tasks, config, prompts, options.run_dir / LEDGER))
        return
    with (
        RunDir.open(
            options.run_dir, command="data-cold-start", resolved_config=resolved,
            fingerprint=prints, resume=options.resume, overwrite=options.overwrite, parts=ENDINGS,
        ) as run,
        Ledger(run.path / LEDGER) as ledger,
        Items(run) as items,
    ):  # fmt: skip
        if in_flight := ledger.counts["in_flight"]:
            run.write_event("in_flight_lost", requests=in_flight)
        budget = Budget(config.budget, ledger)
        stopped = asyncio.run(_work(tasks, config, prompts, ledger, budget, items, run, options))
        write_kept(run, items, ledger, tasks, config)
        _ended(stopped, budget.interrupted, items, tasks, config)


async def _work(
    tasks: Sequence[Task],
    config: TwoStageConfig,
    prompts: Prompts,
    ledger: Ledger,
    budget: Budget,
    items: Items,
    run: RunDir,
    options: RunOptions,
) -> BaseException | None:
    """All tasks that are not finished, ``max_connections`` at once; what ended it, if anything."""
    waiting = iter([task for task in tasks if task.id not in items.done])
    stopped: list[BaseException] = []
    async with _stages(config, prompts, ledger, budget, run.save_image) as stages:
        done = len(tasks) - sum(task.id not in items.done for task in tasks)
        with (
            progress(options.display, len(tasks), "cold start", done=done) as bar,
            _first_ctrl_c(budget, bar),
        ):

            async def worker() -> None:
                for task in waiting:
                    try:
                        items.finish(task, [_row(s) for s in await stages.run(task)])
                    except Lost as error:
                        items.lost.append(task.id)
                        run.write_event("lost", task_id=task.id, error=str(error)[:500])
                    except AirError as error:  # the others bring in what they have asked for
                        budget.stop(str(error))
                        stopped.append(error)
                        return
                    bar.advance(headline=_headline(items, ledger, len(tasks)))

            async with asyncio.TaskGroup() as workers:
                for _ in range(config.max_connections):
                    workers.create_task(worker())
        for role, writer in (("teacher", stages.teacher), ("rewriter", stages.rewriter)):
            run.write_event("connections", role=role, **writer.counts)
    return stopped[0] if stopped else None


@asynccontextmanager
async def _stages(
    config: TwoStageConfig,
    prompts: Prompts,
    ledger: Ledger,
    budget: Budget,
    save_image: SaveImage,
) -> AsyncIterator[Stages]:
    async with ProcessPool(config.sandbox) as sandboxes, AsyncExitStack() as stack:
        opened = open_writer(config.teacher, ledger, budget, seed=config.seed)
        rewriter = teacher = await stack.enter_async_context(opened)
        if config.rewriter is not None:
            opened = open_writer(config.rewriter, ledger, budget, seed=config.seed)
            rewriter = await stack.enter_async_context(opened)
        async with sandboxes.session() as session:  # a sandbox that cannot start is known now
            await session.run("0")
        yield Stages(
            teacher=teacher,
            rewriter=rewriter,
            budget=budget,
            prompts=prompts,
            sandboxes=sandboxes,
            form=TURN_FORMATS[config.format],
            save_image=save_image,
            samples=config.samples,
            keep_per_task=config.keep_per_task,
            ask_all=config.ask == "all",
            easy_direct=config.easy == "direct",
            rewriter_sees_pictures=config.rewriter_sees_pictures,
            failed_cells=config.failed_cells,
            output_chars=config.output_chars,
            cell_timeout_s=config.cell_timeout_s,
            seed=config.seed,
        )


def _row(sample: Sample) -> dict[str, Any]:
    """One line of ``trajectories``; the viewer shows ``reason`` and ``name``."""
    scored = score_trajectory(sample.task, sample.trajectory, repeat=sample.number)
    return {
        "task": sample.task,
        "trajectory": sample.trajectory,
        "record": scored.record,
        "extracted": scored.verdict.extracted,
        "name": sample.mode or sample.stage,
        "stage": sample.stage,
        "sample": sample.number,
        "mode": sample.mode,
        "reason": sample.reason,
    }


def _headline(items: Items, ledger: Ledger, total: int) -> dict[str, float | None]:
    done = len(items.done)
    return {
        "kept": items.counts["code"] + items.counts["repair"] + items.counts["direct"],
        "lost": len(items.lost),
        "$": ledger.spent,
        "$ in all": ledger.spent / done * total if done else None,
    }


@contextmanager
def _first_ctrl_c(budget: Budget, bar: Progress) -> Generator[None]:
    """The first Ctrl-C lets paid requests come in; the second one ends at once."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        budget.stop("interrupted", interrupted=True)
        loop.remove_signal_handler(signal.SIGINT)
        bar.say("stopping: waiting for requests under way; Ctrl-C again ends at once")

    try:
        loop.add_signal_handler(signal.SIGINT, stop)
    except (RuntimeError, NotImplementedError):  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)


def _ended(
    stopped: BaseException | None,
    interrupted: bool,
    items: Items,
    tasks: Sequence[Task],
    config: TwoStageConfig,
) -> None:
    left = sum(task.id not in items.done for task in tasks)
    if interrupted:
        raise KeyboardInterrupt
    if isinstance(stopped, BudgetReached):
        raise BudgetReached(f"{stopped}. {left} of {len(tasks)} tasks are left")
    if stopped is not None:
        raise stopped
    if left > config.max_lost * len(tasks):
        raise TooManyLost(
            f"{left} of {len(tasks)} tasks got no response or no sandbox (see events.jsonl); run "
            "the same command again to try them again"
        )


async def _probe(config: TwoStageConfig) -> None:
    """Ask the endpoints what they serve, which is free, and run one cell."""
    writers = [config.teacher, *([config.rewriter] if config.rewriter else [])]
    for writer in writers:
        if writer.endpoint.url:
            sampler = OpenAISampler(writer.endpoint)
            print(await sampler.connect())
            await sampler.close()
    async with ProcessPool(config.sandbox) as sandboxes, sandboxes.session() as session:
        execution = await session.run("1 + 1")
    if execution.value != "2":
        raise DataError(f"the sandbox does not compute: 1 + 1 gave {execution}; see `air doctor`")


def _fingerprint(config: TwoStageConfig, prompts: Prompts, tasks: Sequence[Task]) -> dict[str, Any]:
    settings = config_fingerprint(config, without=UNMOVING)
    models = config.teacher.prints("teacher") | config.rewriting.prints("rewriter")
    return (
        settings
        | models
        | prompts.identity("thought", "rewrite")
        | {"tasks": tasks_identity(tasks)}
    )


def refuse_test(tasks: Sequence[Task]) -> None:
    """Raises DataError: a task of an evaluation set."""
    for task in tasks:
        if task.meta.get("split") == "test":
            raise DataError(
                f"task {task.id} is marked split: test; evaluation tasks are not for training data"
            )
