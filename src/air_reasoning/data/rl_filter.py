"""``air data filter``: which tasks are worth RL - the paper's two curations, and what comes first.

    tasks -> duplicates, evaluation items out -> judge (prior-filtered)
          -> roll-outs with code and without (self-sampled) -> band, marks -> kept + rejected

The cheap steps come first. Verdicts are in the ledger and roll-outs in ``trajectories`` as soon as
they are there; the same command goes on wherever it was stopped.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

from air_reasoning.config import Resolved, RunOptions
from air_reasoning.data.budget import Budget, check_prices, price, prompt_tokens
from air_reasoning.data.filter_config import FilterConfig
from air_reasoning.data.judging import judge_task
from air_reasoning.data.kept import REJECTED_NAME
from air_reasoning.data.leakage import Evaluations
from air_reasoning.data.ledger import Ledger
from air_reasoning.data.near_duplicates import Index, signature
from air_reasoning.data.pass_rates import outside
from air_reasoning.data.prompts import Prompts
from air_reasoning.data.reasons import Rejection
from air_reasoning.data.selected import VERDICTS_NAME, write_selected
from air_reasoning.data.self_sampling import Found, roll_out_all
from air_reasoning.data.two_stage import LEDGER, TooManyLost, refuse_test
from air_reasoning.data.writer import ServiceDown, open_writer
from air_reasoning.display import progress
from air_reasoning.errors import BudgetReached, ConfigError, DataError, SamplerError
from air_reasoning.identity import content_identity, model_identity, tasks_identity
from air_reasoning.json_io import read_json
from air_reasoning.models.shipped import shipped_model
from air_reasoning.run_dir import RunDir, config_fingerprint
from air_reasoning.samplers.settings import UNMOVING as ENDPOINT_UNMOVING
from air_reasoning.task_files import TASKS_NAME, read_tasks
from air_reasoning.types import Task

UNMOVING = (
    *("tasks", "judge", "prompts", "budget", "max_connections", "max_lost", "model", "endpoint"),
    *("band", "margin", "drop_disputed", "engine.sandbox.max_sessions"),
)
"""Settings that change no roll-out and no verdict: the selection is made anew at no cost."""


def run_filter(resolved: Resolved[FilterConfig], options: RunOptions) -> None:
    """The command: writes the kept tasks, the rejected with reasons, summary and report.

    Raises:
        BudgetReached: the judge's cap was reached; says how to go on. TooManyLost: more than
            ``max_lost`` was lost. ServiceDown: the judge or the policy does not answer.
        ConfigError, DataError: as their messages say; nothing was started.
    """
    config = resolved.value
    tasks = read_tasks(config.tasks, options.limit)
    refuse_test(tasks)
    judge = [config.judge.endpoint] if config.judge is not None else []
    check_prices(config.budget, config.endpoint, *judge)
    evaluations = Evaluations.load(config.duplicates.benchmarks, config.duplicates.similarity)
    prompts = Prompts.load(config.prompts)
    prints = _fingerprint(config, prompts, evaluations, read_tasks(config.tasks))
    if options.dry_run:
        print(_plan(config, tasks, evaluations, prompts))
        return
    with (
        RunDir.open(
            options.run_dir, command="data-filter", resolved_config=resolved, fingerprint=prints,
            resume=options.resume, overwrite=options.overwrite,
            parts=(TASKS_NAME, REJECTED_NAME, VERDICTS_NAME),
        ) as run,
        Ledger(run.path / LEDGER) as ledger,
    ):  # fmt: skip
        found = [Found(task=task) for task in tasks]
        _deduplicate(found, config, evaluations, options)
        asyncio.run(_judge_and_sample(found, config, prompts, ledger, run, options))
        _select(found, config)
        write_selected(found, config, evaluations, ledger, run)
    _check_lost(found, config)


def _deduplicate(
    found: Sequence[Found], config: FilterConfig, evaluations: Evaluations, options: RunOptions
) -> None:
    index = Index(config.duplicates.similarity)
    with progress(options.display, len(found), "comparing") as bar:
        for item in found:
            bar.advance()
            try:
                look = signature(item.task)
            except DataError as error:
                item.reason, item.told = Rejection.BROKEN_PICTURE, {"error": str(error)}
                continue
            if (leak := evaluations.find(look)) is not None:
                item.reason = Rejection.EVALUATION_LEAK
                item.told = {"of": leak.of, "by": leak.by}
            elif config.duplicates.remove and (of := index.find(look)) is not None:
                item.reason, item.told = Rejection.DUPLICATE, {"of": of}
            else:
                index.add(look)


async def _judge_and_sample(
    found: Sequence[Found],
    config: FilterConfig,
    prompts: Prompts,
    ledger: Ledger,
    run: RunDir,
    options: RunOptions,
) -> None:
    if config.judge is not None:
        await _judge([f for f in found if f.reason is None], config, prompts, ledger, run, options)
    open_items = [f for f in found if f.reason is None and not f.lost]
    if (config.k_code or config.k_text) and open_items:
        await roll_out_all(open_items, config, run, options, ledger.spent)


async def _judge(
    found: Sequence[Found],
    config: FilterConfig,
    prompts: Prompts,
    ledger: Ledger,
    run: RunDir,
    options: RunOptions,
) -> None:
    """A verdict for each; what is paid is kept, also where a cap or the service ends it."""
    assert config.judge is not None
    budget = Budget(config.budget, ledger)
    waiting, stopped = iter(found), list[Exception]()
    async with open_writer(config.judge, ledger, budget, seed=config.seed) as writer:
        with progress(options.display, len(found), "judging") as bar:

            async def worker() -> None:
                for item in waiting:
                    text = prompts.render("judge", item.task, gold=item.task.answer.value)
                    bound = writer.bound(text, item.task) * config.votes
                    try:
                        async with budget.room(bound, config.votes):
                            verdict = await judge_task(item.task, writer, prompts, config.votes)
                    except (BudgetReached, ServiceDown) as error:
                        budget.stop(str(error))
                        stopped.append(error)
                        return
                    except SamplerError as error:
                        item.lost = True
                        run.write_event("lost", task_id=item.task.id, error=str(error)[:500])
                        continue
                    item.verdict = verdict
                    disputed = verdict.rejection is Rejection.GOLD_DISPUTED
                    if config.drop_disputed or not disputed:
                        item.reason = verdict.rejection
                    bar.advance(headline={"$": ledger.spent, "rejected": _rejected(found)})

            async with asyncio.TaskGroup() as workers:
                for _ in range(config.judge.endpoint.max_connections):
                    workers.create_task(worker())
    if stopped:
        raise stopped[0]


def _rejected(found: Iterable[Found]) -> int:
    return sum(item.reason is not None for item in found)


def _select(found: Sequence[Found], config: FilterConfig) -> None:
    for item in found:
        if item.reason is None and item.rates.p is not None:
            item.reason = outside(item.rates, config.band)


def _check_lost(found: Sequence[Found], config: FilterConfig) -> None:
    lost = sum(item.lost for item in found)
    if lost > config.max_lost * len(found):
        raise TooManyLost(
            f"{lost} of {len(found)} tasks lost a verdict or a roll-out (see events.jsonl and "
            "`air doctor`); run the same command again to try them again"
        )


def _fingerprint(
    config: FilterConfig, prompts: Prompts, evaluations: Evaluations, tasks: Sequence[Task]
) -> dict[str, Any]:
    prints = config_fingerprint(config, without=UNMOVING) | {"tasks": tasks_identity(tasks)}
    prints["evaluations"] = evaluations.identity
    if config.judge is not None:
        prints |= config.judge.prints("judge") | prompts.identity("judge")
    if not (config.k_code or config.k_text):
        return prints
    if config.model.script is not None:
        return prints | {"model": content_identity([read_json(config.model.script)])}
    if config.endpoint.url:
        endpoint = config.endpoint.model_dump(mode="json", exclude=set(ENDPOINT_UNMOVING))
        return prints | {"model": endpoint}
    return prints | {"model": model_identity(config.model.path or shipped_model())}


def _plan(
    config: FilterConfig, tasks: Sequence[Task], evaluations: Evaluations, prompts: Prompts
) -> str:
    """What would be done, and the judge's price at most."""
    lines = [f"{len(tasks)} tasks; compared with {sum(evaluations.counts.values())} test items"]
    if config.judge is not None:
        config.judge.prints("judge")
        requests = len(tasks) * config.votes
        lines.append(f"judge: at most {requests} requests; {_judge_price(config, tasks, prompts)}")
    k = config.k_code + config.k_text
    lines.append(f"roll-outs: at most {len(tasks) * k} ({config.k_code} with code, {config.k_text} "
                 "without, a task)")  # fmt: skip
    if not k and config.judge is None and not config.duplicates.remove:
        raise ConfigError("nothing to do: no roll-outs, no judge, and duplicates.remove is off")
    return "\n".join(lines)


def _judge_price(config: FilterConfig, tasks: Sequence[Task], prompts: Prompts) -> str:
    assert config.judge is not None
    texts = [prompts.render("judge", task, gold=task.answer.value) for task in tasks[:200]]
    pairs = zip(texts, tasks[:200], strict=True)
    mean = sum(prompt_tokens(x, t.images, config.judge.max_pixels) for x, t in pairs) / len(texts)
    sent = mean * len(tasks) * config.votes
    written = config.judge.expected_tokens * len(tasks) * config.votes
    return f"expected ${price(config.judge.endpoint, sent, written):.2f}"
