"""Evaluation: tasks -> roll-outs -> verdicts -> table and report; stops and goes on at any point.

    air eval tasks/test -o model.path=runs/rl/model -o decoding=both
    air eval mathvision:FOLDER -o code=both -o repeats=4

A trajectory is final once its record is in the run folder under (name, decoding, code, task,
repeat) (``measure.finished``); a resumed run does the others. Trajectories lost to our sandbox or
sampler are not final: they are tried again on resuming, count as ``unscored`` until then, and are
never scored 0.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from air_reasoning.api import opened_engine
from air_reasoning.config import Config, Resolved, RunOptions
from air_reasoning.display import progress
from air_reasoning.engine import EngineConfig
from air_reasoning.environment import environment
from air_reasoning.errors import AirError, ConfigError, DataError
from air_reasoning.eval import from_run, tables
from air_reasoning.eval.benchmarks import mathvision
from air_reasoning.eval.measure import (
    Code,
    Decoding,
    Measure,
    Scorer,
    evaluate,
    finished,
    key,
    strict,
)
from air_reasoning.eval.report import ReportData, write_report
from air_reasoning.identity import model_identity, tasks_identity
from air_reasoning.json_io import to_json
from air_reasoning.metrics import (
    Record,
    by_kind,
    paired,
    route_shares,
    stop_shares,
    summarize,
    summary_json,
)
from air_reasoning.models.shipped import shipped_model
from air_reasoning.rollout import RolloutConfig, prepare
from air_reasoning.run_dir import RunDir, config_fingerprint
from air_reasoning.samplers.settings import UNMOVING, EndpointConfig
from air_reasoning.task_files import read_tasks
from air_reasoning.types import Task

__all__ = ["EvalConfig", "Measure", "evaluate", "run_eval"]


class ModelConfig(Config):
    """Which checkpoint."""

    path: Path | None = None
    """Folder of a Qwen-VL checkpoint; None: the shipped cold start."""
    name: str = ""
    """Its name in tables; empty: the folder's."""


class EvalConfig(Config):
    """What is measured on what, and how often."""

    benchmark: str = ""
    """Task folder, task file, or a benchmark with its folder, as in mathvision:FOLDER."""
    split: str = "testmini"
    """Split of a benchmark; task files have none."""
    scoring: Literal["official", "strict"] = "official"
    """official: the benchmark's own rules, quirks included; strict: this project's comparison."""
    model: ModelConfig = ModelConfig()
    """The checkpoint."""
    endpoint: EndpointConfig = EndpointConfig()
    """A model behind HTTP instead of the checkpoint; give it tokens with rollout.max_new_tokens."""
    decoding: Literal["greedy", "sampled", "both"] = "both"
    """greedy: once a task at temperature 0; sampled: repeats at rollout.temperature."""
    repeats: int = Field(default=1, ge=1)
    """Sampled roll-outs a task."""
    code: Literal["allow", "forbid", "both"] = "allow"
    """Whether the model may call code; both also measures what the tool is worth."""
    seed: int = 0
    """Fixes every trajectory's random numbers, whatever runs beside it."""
    max_connections: int = Field(default=256, ge=1)
    """Roll-outs at the same time."""
    max_unscored: float = Field(default=0.02, ge=0, le=1)
    """Share of trajectories that may be lost by our fault before the command exits with 3."""
    rollout: RolloutConfig = RolloutConfig()
    """How far a trajectory may go, and how it is sampled."""
    engine: EngineConfig = EngineConfig()
    """The model's surroundings."""


class TooManyLost(AirError):
    """The evaluation is done, but we lost too much of it for its figures to be trusted."""

    exit_code = 3


@dataclass(kw_only=True, slots=True)
class Benchmark:
    """Tasks and how their answers are scored; ``label`` is what the report calls them."""

    tasks: list[Task]
    label: str
    score: Scorer = strict


def load_benchmark(config: EvalConfig) -> Benchmark:
    """Tasks by ``benchmark``: a known name before a colon, else a task folder or file.

    Raises:
        ConfigError: nothing was named. DataError: it is not there or broken.
    """
    name, _, folder = config.benchmark.partition(":")
    match name:
        case "":
            raise ConfigError(
                "benchmark: must be set, as in `air eval tasks/test` or "
                "`air eval mathvision:FOLDER`"
            )
        case "mathvision":
            if not folder:
                raise ConfigError("benchmark: mathvision needs its folder, as in mathvision:FOLDER")
            tasks = mathvision.load(Path(folder), config.split)
            label = f"MATH-Vision {config.split}, {config.scoring} scoring"
            if config.scoring == "official":
                return Benchmark(tasks=tasks, label=label, score=mathvision.official_verdict)
            return Benchmark(tasks=tasks, label=label)
        case _:
            return Benchmark(tasks=read_tasks(config.benchmark), label=config.benchmark)


def run_eval(resolved: Resolved[EvalConfig], options: RunOptions) -> None:
    """The command ``air eval``: measure, write summary and report, print the table.

    Raises:
        TooManyLost: more than ``max_unscored`` of the trajectories were lost by our fault.
        ConfigError, DataError, PrerequisiteError: as their messages say; nothing was started.
    """
    config = resolved.value
    model = None if config.endpoint.url else config.model.path or shipped_model()
    benchmark = load_benchmark(config)
    prints = _fingerprint(config, model, benchmark)
    tasks = benchmark.tasks[: options.limit]
    measures = _measures(config, _name(config, model))
    if options.dry_run:
        asyncio.run(_probe(config, model, tasks[0]))
        total, name = sum(len(tasks) * m.repeats for m in measures), _name(config, model)
        print(f"{benchmark.label}: {len(tasks)} tasks, {total} roll-outs, model {name}: ready")
        return
    with RunDir.open(
        options.run_dir,
        command="eval",
        resolved_config=resolved,
        fingerprint=prints,
        resume=options.resume,
        overwrite=options.overwrite,
    ) as run:
        records = asyncio.run(_measure_all(tasks, benchmark, config, model, measures, run, options))
        summary = _summary(measures, records)
        run.write_summary(summary)
        _report(run, summary, benchmark, config, prints, records)
        _print(summary, run.path)
    _check_lost(records, config)


async def _measure_all(
    tasks: Sequence[Task],
    benchmark: Benchmark,
    config: EvalConfig,
    model: Path | None,
    measures: Sequence[Measure],
    run: RunDir,
    options: RunOptions,
) -> list[list[Record]]:
    done = finished(run)
    keys = {key(m, t, r) for m in measures for t in tasks for r in range(m.repeats)}
    results = list[list[Record]]()
    async with opened_engine(model, config.endpoint, config.engine, run.save_image) as engine:
        with progress(
            options.display, len(keys), "evaluating", done=len(keys & done.keys())
        ) as bar:
            for measure in measures:
                results.append(
                    await evaluate(
                        tasks,
                        engine,
                        config.rollout,
                        measure,
                        run=run,
                        score=benchmark.score,
                        done=done,
                        bar=bar,
                    )
                )
    return results


def _name(config: EvalConfig, model: Path | None) -> str:
    """The model's name in tables."""
    here = config.endpoint.model or "endpoint" if model is None else model.resolve().name
    return config.model.name or here


async def _probe(config: EvalConfig, model: Path | None, task: Task) -> None:
    """Open the engine, render one prompt, run one cell."""
    async with opened_engine(model, config.endpoint, config.engine) as engine:
        prepare(task, engine)
        async with engine.sandboxes.session() as session:
            execution = await session.run("1 + 1")
    if execution.value != "2":
        raise DataError(f"the sandbox does not compute: 1 + 1 gave {execution}; see `air doctor`")


def _measures(config: EvalConfig, name: str) -> list[Measure]:
    """Passes in the order of the table."""
    decodings: tuple[Decoding, ...] = (
        ("greedy", "sampled") if config.decoding == "both" else (config.decoding,)
    )
    codes: tuple[Code, ...] = ("allow", "forbid") if config.code == "both" else (config.code,)
    return [
        Measure(
            name=name,
            decoding=decoding,
            code=code,
            repeats=config.repeats if decoding == "sampled" else 1,
            seed=config.seed,
            max_connections=config.max_connections,
        )
        for code in codes
        for decoding in decodings
    ]


def _fingerprint(config: EvalConfig, model: Path | None, benchmark: Benchmark) -> dict[str, Any]:
    """Whatever can move a figure: settings, the tasks' content, the weights."""
    unmoving = ("model", "max_connections", "max_unscored", "engine.sandbox.max_sessions")
    if model is None:
        unmoving += tuple(f"endpoint.{name}" for name in UNMOVING)
        identity = config.endpoint.model or "the only one"
    else:
        unmoving += ("endpoint",)
        identity = model_identity(model)
    settings = config_fingerprint(config, without=unmoving)
    return settings | {
        "tasks": tasks_identity(benchmark.tasks),
        "model": f"{config.model.name} {identity}".strip(),
    }


def _summary(measures: Sequence[Measure], results: Sequence[list[Record]]) -> dict[str, Any]:
    """``checkpoints`` as the tables want it, then the same by kind, routes, stops, tool benefit."""
    summary: dict[str, Any] = {name: {} for name in ("checkpoints", "kinds", "routes", "stops")}
    for measure, records in zip(measures, results, strict=True):
        row, decoding = measure.row_name, measure.decoding
        for part, value in (
            ("checkpoints", summary_json(summarize(records))),
            ("kinds", {k: summary_json(v) for k, v in by_kind(records).items()}),
            ("routes", summary_json(route_shares(records))),
            ("stops", summary_json(stop_shares(records))),
        ):
            summary[part].setdefault(row, {})[decoding] = value
    by_pass = {(m.decoding, m.code): r for m, r in zip(measures, results, strict=True)}
    summary["tool_benefit"] = {
        decoding: _benefit(records, by_pass[decoding, "forbid"])
        for (decoding, code), records in by_pass.items()
        if code == "allow" and (decoding, "forbid") in by_pass
    }
    return summary


def _benefit(allowed: list[Record], forbidden: list[Record]) -> dict[str, Any]:
    """Accuracy with code minus accuracy without, same tasks: over all, and by kind of task."""
    kinds = sorted({record.kind for record in allowed})
    compared = {"all": paired(allowed, forbidden)} | {
        kind: paired([r for r in allowed if r.kind == kind], forbidden) for kind in kinds if kind
    }
    return {name: to_json(pair) for name, pair in compared.items()}


def _report(
    run: RunDir,
    summary: Mapping[str, Any],
    benchmark: Benchmark,
    config: EvalConfig,
    prints: Mapping[str, Any],
    results: Sequence[list[Record]],
) -> None:
    scored = sum(not record.unscored for records in results for record in records)
    versions = environment().get("packages", {})
    facts = {"benchmark": benchmark.label, "scored trajectories": scored, **prints}
    facts |= {"packages": ", ".join(f"{k} {v}" for k, v in versions.items())}
    notes = [_benefit_note(decoding, pair) for decoding, pair in summary["tool_benefit"].items()]
    if lost := sum(record.unscored for records in results for record in records):
        notes.append(f"{lost} trajectories were lost by our fault and are in no figure.")
    data = ReportData(
        title=f"Evaluation: {benchmark.label}",
        checkpoints=summary["checkpoints"],
        examples=from_run.telling_examples(run.read_trajectories()),
        facts={name: value for name, value in facts.items() if value not in ("", None)},
        notes=notes,
    )
    write_report(run.path / "report.html", data)


def _benefit_note(decoding: str, pairs: Mapping[str, Any]) -> str:
    pair = pairs["all"]
    gain = pair["difference"]
    if gain["value"] is None:
        return f"What code is worth, {decoding}: undefined, nothing was scored with and without it."
    interval = (
        f" (95 % interval {100 * gain['low']:+.1f} to {100 * gain['high']:+.1f})"
        if gain["low"] is not None
        else ""
    )
    return (
        f"What code is worth, {tables.DECODINGS.get(decoding, decoding)}: "
        f"{100 * gain['value']:+.1f} points{interval}; {pair['only_a']} pairs right only with "
        f"code, {pair['only_b']} only without, McNemar p = {pair['p_value']:.2g}, n = {pair['n']}."
    )


def _print(summary: Mapping[str, Any], folder: Path) -> None:
    from rich.console import Console

    console = Console()
    console.print(tables.terminal_table(summary["checkpoints"]))
    for decoding, pairs in summary["tool_benefit"].items():
        console.print(_benefit_note(decoding, pairs), highlight=False)
    console.print(f"report: {folder / 'report.html'}", highlight=False, soft_wrap=True)


def _check_lost(results: Sequence[list[Record]], config: EvalConfig) -> None:
    records = [record for records in results for record in records]
    lost = sum(record.unscored for record in records)
    if lost > config.max_unscored * len(records):
        raise TooManyLost(
            f"{lost} of {len(records)} trajectories were lost to the sandbox or the sampler (see "
            "events.jsonl and `air doctor`); run the same command again to try them again"
        )
