"""What is measured: the tasks of a benchmark or task folder, and how their answers are scored."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from air_reasoning.errors import ConfigError
from air_reasoning.eval.benchmarks.adapter import (
    Adapter,
    OwnFigures,
    Scorer,
    official_scorer,
    strict_verdict,
)
from air_reasoning.eval.judge import SideModels, check_roles, with_models
from air_reasoning.eval.known import BENCHMARKS, data_folder, find_adapter
from air_reasoning.eval.settings import EvalConfig
from air_reasoning.identity import content_identity
from air_reasoning.task_files import read_tasks
from air_reasoning.types import Task


@dataclass(kw_only=True, slots=True)
class Benchmark:
    """Tasks and how their answers are scored; ``label`` is what the report calls them.

    ``prompt_id`` names the prompts: another wording of one question is another id. ``notes`` say
    what is not as the benchmark's authors do it.
    """

    tasks: list[Task]
    label: str
    prompt_id: str
    score: Scorer = strict_verdict
    figures: OwnFigures | None = None
    notes: list[str] = field(default_factory=list[str])
    adapter: Adapter | None = None


def load_benchmark(config: EvalConfig) -> Benchmark:
    """Tasks by ``benchmark``: a known name (with its folder behind a colon), else a task folder.

    Raises:
        ConfigError: nothing was named, a benchmark without its folder, or a judge or extractor
            where there are rules. DataError: it is not there or broken.
    """
    name, _, folder = config.benchmark.partition(":")
    if not name:
        raise ConfigError(
            "benchmark: must be set, as in `air eval tasks/test` or `air eval mathvision:FOLDER`"
        )
    if name not in BENCHMARKS:
        _check_roles(None, config)
        tasks = read_tasks(config.benchmark)
        return Benchmark(tasks=tasks, label=config.benchmark, prompt_id=_prompt_id("tasks", tasks))
    adapter = find_adapter(name)
    _check_roles(adapter, config)
    place = data_folder(adapter, Path(folder) if folder else config.data)
    if place is None:
        raise ConfigError(
            f"benchmark: {name} needs its folder, as in {name}:FOLDER, --data or AIR_BENCHMARKS; "
            f"{adapter.download}"
        )
    return _of_adapter(adapter, place, config)


def scored_by(benchmark: Benchmark, models: SideModels) -> Benchmark:
    """The same tasks, scored with the help of models."""
    adapter = benchmark.adapter
    if adapter is None or not models.all:
        return benchmark
    return replace(benchmark, score=with_models(adapter, benchmark.score, models), notes=[])


def _check_roles(adapter: Adapter | None, config: EvalConfig) -> None:
    judge, extractor = bool(config.judge.endpoint), bool(config.extractor.endpoint)
    strict = config.scoring == "strict"
    check_roles(adapter, judge=judge, extractor=extractor, strict=strict)


def _of_adapter(adapter: Adapter, place: Path, config: EvalConfig) -> Benchmark:
    split = config.split or adapter.splits[0]
    tasks = adapter.load(place, split)
    strict = config.scoring == "strict"
    score = adapter.strict if strict else official_scorer(adapter)
    notes = [] if strict or not adapter.judged_by_model else [adapter.judged_by_model]
    return Benchmark(
        tasks=tasks,
        label=" ".join(filter(None, [adapter.title, f"{split},", config.scoring, "scoring"])),
        prompt_id=_prompt_id(adapter.name, tasks),
        score=score,
        figures=adapter.figures,
        notes=notes,
        adapter=adapter,
    )


def _prompt_id(name: str, tasks: Sequence[Task]) -> str:
    return f"{name}-{content_identity(task.prompt for task in tasks)[:8]}"
