"""Roll-outs of the current policy, with code and without: what self-sampled curation rests on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from air_reasoning.config import RunOptions
from air_reasoning.data.budget import price
from air_reasoning.data.filter_config import FilterConfig
from air_reasoning.data.judging import TaskVerdict
from air_reasoning.data.pass_rates import PassRates
from air_reasoning.data.reasons import Rejection
from air_reasoning.display import progress
from air_reasoning.engine import Engine
from air_reasoning.errors import BudgetReached
from air_reasoning.eval.measure import Code, Measure, evaluate, finished, key
from air_reasoning.eval.opening import open_for
from air_reasoning.eval.settings import EvalConfig
from air_reasoning.models.shipped import shipped_model
from air_reasoning.run_dir import RunDir
from air_reasoning.samplers.openai import OpenAISampler
from air_reasoning.types import Task

NAME = "policy"
PART = 32
"""Tasks between two looks at the cap."""


@dataclass(kw_only=True, slots=True)
class Found:
    """All that is known of one task; ``lost``: something of it has to be done again."""

    task: Task
    reason: Rejection | None = None
    told: dict[str, Any] = field(default_factory=dict[str, Any])
    verdict: TaskVerdict | None = None
    rates: PassRates = field(default_factory=PassRates)
    lost: bool = False


async def roll_out_all(
    found: Sequence[Found], config: FilterConfig, run: RunDir, options: RunOptions, paid: float
) -> None:
    """Roll-outs with code and without, counted in ``rates``; each is final once it is written.

    ``paid``: US dollars that the judge took, which count for the cap. The cap is looked at before
    every ``PART`` tasks, by the mean cost so far: a part that is dearer than those may pass it.

    Raises:
        BudgetReached: the next part would pass the cap.
        ConfigError, DataError, SamplerError: the policy cannot be opened.
    """
    tasks = [item.task for item in found]
    measures = _measures(config)
    done = finished(run)
    keys = {key(m, t, r) for m in measures for t in tasks for r in range(m.repeats)}
    made = len(keys & done.keys())
    of_task = {item.task.id: item for item in found}
    model = None if config.endpoint.url else config.model.path or shipped_model()
    opened = open_for(_as_evaluation(config), model, measures, tasks, save_image=run.save_image)
    spent = _earlier_cost(config, run)
    async with opened as engine:
        with progress(options.display, len(keys), "roll-outs", done=made) as bar:
            for part in _parts(tasks, config):
                now = spent + _cost(engine)
                wanted = {key(m, t, r) for m in measures for t in part for r in range(m.repeats)}
                missing = len(wanted - done.keys())
                _check_cap(config, now + paid, now / made * missing if made else 0.0)
                made += missing
                for measure in measures:
                    records = await evaluate(
                        part, engine, config.rollout, measure, run=run, done=done, bar=bar
                    )
                    for record in records:
                        item = of_task[record.task_id]
                        item.rates.add(record, code=measure.code == "allow")
                        item.lost = item.lost or record.unscored
                bar.advance(0, headline={"$": spent + _cost(engine) + paid})


def _parts(tasks: list[Task], config: FilterConfig) -> Iterator[list[Task]]:
    """All tasks at once, or few at a time where there is a cap."""
    size = len(tasks) if config.budget.max_cost is None else PART
    for begin in range(0, len(tasks), size):
        yield tasks[begin : begin + size]


def _cost(engine: Engine) -> float:
    return engine.sampler.cost if isinstance(engine.sampler, OpenAISampler) else 0.0


def _earlier_cost(config: FilterConfig, run: RunDir) -> float:
    """US dollars of the roll-outs that are there already."""
    if not config.endpoint.url:
        return 0.0
    used = (row["trajectory"]["usage"] for row in run.read_trajectories())
    return sum(price(config.endpoint, u["sent"], u["model"], u["cached"]) for u in used)


def _check_cap(config: FilterConfig, spent: float, next_part: float) -> None:
    cap = config.budget.max_cost
    if cap is not None and spent + next_part > cap:
        raise BudgetReached(
            f"budget.max_cost: ${spent:.4f} of ${cap} are spent and the next tasks may cost "
            f"${next_part:.4f}; the same command with -o budget.max_cost=DOLLARS and a higher cap "
            "goes on where it stopped"
        )


def _measures(config: FilterConfig) -> list[Measure]:
    kinds: tuple[tuple[Code, int], ...] = (("allow", config.k_code), ("forbid", config.k_text))
    return [
        Measure(
            name=NAME, decoding="sampled", code=code, repeats=k, seed=config.seed,
            max_connections=config.max_connections,
        )
        for code, k in kinds
        if k
    ]  # fmt: skip


def _as_evaluation(config: FilterConfig) -> EvalConfig:
    return EvalConfig(
        model=config.model, endpoint=config.endpoint, engine=config.engine, rollout=config.rollout
    )
