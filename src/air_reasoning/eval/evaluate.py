"""Evaluation: tasks -> roll-outs -> verdicts -> table and report; stops and goes on at any point.

    air eval tasks/test -o model.path=runs/rl/model -o decoding=both
    air eval mathvision --data FOLDER --model runs/rl/model --code both --repeats 4

A trajectory is final once its record is in the run folder under (name, decoding, code, task,
repeat) (``measure.finished``); a resumed run does the others. Trajectories lost to our sandbox or
sampler are not final: they are tried again on resuming, count as ``unscored`` until then, and are
never scored 0.
"""

import asyncio
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from air_reasoning.config import Resolved, RunOptions
from air_reasoning.display import progress
from air_reasoning.errors import AirError, DataError
from air_reasoning.eval import from_run, tables
from air_reasoning.eval.benchmark import Benchmark, load_benchmark, scored_by
from air_reasoning.eval.charts import eval_charts
from air_reasoning.eval.judge import SideModels, side_models
from air_reasoning.eval.measure import Code, Decoding, Measure, evaluate, finished, key
from air_reasoning.eval.opening import open_for
from air_reasoning.eval.report import ReportData, write_report
from air_reasoning.eval.settings import EvalConfig
from air_reasoning.eval.side_model import UNMOVING as UNMOVING_SIDE
from air_reasoning.eval.summary import benefit_note, provenance, summarize_all
from air_reasoning.files import atomic_write
from air_reasoning.identity import content_identity, model_identity, tasks_identity
from air_reasoning.json_io import read_json
from air_reasoning.metrics import Record
from air_reasoning.models.shipped import shipped_model
from air_reasoning.rollout import prepare
from air_reasoning.run_dir import RunDir, config_fingerprint
from air_reasoning.samplers.settings import UNMOVING
from air_reasoning.types import Task

__all__ = ["EvalConfig", "Measure", "evaluate", "load_benchmark", "run_eval"]
REPLIES = "replies.jsonl"
"""What judge and extractor said."""


class TooManyLost(AirError):
    """The evaluation is done, but we lost too much of it for its figures to be trusted."""

    exit_code = 3


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
        with tempfile.TemporaryDirectory() as nowhere:
            cache = Path(nowhere) / REPLIES
            with side_models(config.judge, config.extractor, cache) as models:
                asyncio.run(_probe(config, model, measures, tasks[0], models))
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
        parts=(REPLIES, "table.md"),
    ) as run:
        with side_models(config.judge, config.extractor, run.path / REPLIES) as models:
            scored = scored_by(benchmark, models)
            records = asyncio.run(
                _measure_all(tasks, scored, config, model, measures, run, options)
            )
        summary = summarize_all(measures, records, scored, config)
        facts = provenance(config, scored, prints["model"], prints["tasks"], len(tasks))
        summary["provenance"] = facts
        run.write_summary(summary)
        _report(run, summary, scored, facts, records)
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
    async with open_for(config, model, measures, tasks, save_image=run.save_image) as engine:
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


async def _probe(
    config: EvalConfig,
    model: Path | None,
    measures: Sequence[Measure],
    task: Task,
    models: SideModels,
) -> None:
    """Open the engine, render one prompt, run one cell, ask judge and extractor something."""
    for helper in models.all:
        helper.ask("Reply with 1.", lambda reply: reply or None)
    async with open_for(config, model, measures, [task]) as engine:
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


def _name(config: EvalConfig, model: Path | None) -> str:
    """The model's name in tables."""
    if config.model.script is not None:
        return config.model.name or config.model.script.stem
    here = config.endpoint.model or "endpoint" if model is None else model.resolve().name
    return config.model.name or here


def _fingerprint(config: EvalConfig, model: Path | None, benchmark: Benchmark) -> dict[str, Any]:
    """Whatever can move a figure: settings, the tasks' content, the weights."""
    unmoving = ("model", "data", "price", "max_connections", "max_unscored")
    places = ("engine.sandbox.max_sessions", "engine.sandbox.urls", "engine.sandbox.token_env")
    unmoving = (*unmoving, *places)
    for role in ("judge", "extractor"):
        unmoving += tuple(f"{role}.{name}" for name in UNMOVING_SIDE)
    if config.model.script is not None:
        identity = content_identity([read_json(config.model.script)])
    elif model is None:
        unmoving += tuple(f"endpoint.{name}" for name in UNMOVING)
        identity = config.endpoint.model or "the only one"
    else:
        identity = model_identity(model)
    if model is not None:
        unmoving += ("endpoint",)
    settings = config_fingerprint(config, without=unmoving)
    return settings | {
        "tasks": tasks_identity(benchmark.tasks),
        "model": f"{config.model.name} {identity}".strip(),
    }


def _report(
    run: RunDir,
    summary: Mapping[str, Any],
    benchmark: Benchmark,
    facts: Mapping[str, Any],
    results: Sequence[list[Record]],
) -> None:
    """``report.html`` and ``table.md``."""
    notes = [benefit_note(decoding, pair) for decoding, pair in summary["tool_benefit"].items()]
    notes += benchmark.notes
    if lost := sum(record.unscored for records in results for record in records):
        notes.append(f"{lost} trajectories were lost by our fault and are in no figure.")
    extra = tables.eval_tables(summary)
    charts = eval_charts(summary)
    data = ReportData(
        title=f"Evaluation: {benchmark.label}",
        checkpoints=summary["checkpoints"],
        examples=from_run.telling_examples(run.read_trajectories()),
        facts=facts,
        notes=notes,
        further_tables=extra,
        charts=charts,
    )
    write_report(run.path / "report.html", data)
    text = tables.markdown_table(summary["checkpoints"])
    text += "".join(f"\n{table.title}\n\n{tables.markdown_plain(table)}" for table in extra)
    lines = [f"- {name}: {value}" for name, value in facts.items()]
    notes_text = "".join(f"{note}\n" for note in notes)
    atomic_write(run.path / "table.md", "\n".join([text, notes_text, *lines, ""]))


def _print(summary: Mapping[str, Any], folder: Path) -> None:
    from rich.console import Console

    console = Console()
    console.print(tables.terminal_table(summary["checkpoints"]))
    for decoding, pairs in summary["tool_benefit"].items():
        console.print(benefit_note(decoding, pairs), highlight=False)
    for name in ("report.html", "table.md"):
        console.print(f"{folder / name}", highlight=False, soft_wrap=True)


def _check_lost(results: Sequence[list[Record]], config: EvalConfig) -> None:
    records = [record for records in results for record in records]
    lost = sum(record.unscored for record in records)
    if lost > config.max_unscored * len(records):
        raise TooManyLost(
            f"{lost} of {len(records)} trajectories were lost to the sandbox or the sampler (see "
            "events.jsonl and `air doctor`); run the same command again to try them again"
        )
