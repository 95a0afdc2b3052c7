"""``air quickstart``: the main job, from the shipped cold start to a measured gain, in minutes.

    1. make training and test tasks (test tables are not in training)
    2. show one trajectory as it happens
    3. train twice from the same cold start: outcome-only GRPO, and the group-constrained reward
    4. evaluate cold start and both results, greedy and at temperature 1
    5. summary.json, report.html, a table

Every stage is the ordinary command on an ordinary run folder below this one. Interrupted at any
time, the same command goes on.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from air_reasoning.config import Config, Display, Resolved, RunOptions
from air_reasoning.display import progress
from air_reasoning.engine import Engine, EngineConfig, open_local
from air_reasoning.eval import from_run, tables
from air_reasoning.eval.measure import Measure, evaluate, finished
from air_reasoning.eval.report import ReportData, write_report
from air_reasoning.identity import model_identity
from air_reasoning.metrics import Record, by_kind, paired, summarize, summary_json
from air_reasoning.models.shipped import ModelConfig
from air_reasoning.rollout import RolloutConfig, rollout
from air_reasoning.run_dir import RunDir, config_fingerprint
from air_reasoning.run_reader import read_metrics, read_trajectories
from air_reasoning.side_by_side import Training, train_side_by_side
from air_reasoning.stream import event_printer
from air_reasoning.task_files import read_tasks, task_writer
from air_reasoning.tasks.make import TasksConfig, make_tasks
from air_reasoning.types import Task

Name = Literal["outcome_grpo", "group_constrained"]


class QuickstartConfig(Config):
    """How much of everything."""

    seed: int = 0
    """Fixes tasks, training and evaluation."""
    model: ModelConfig = ModelConfig()
    """The cold start to train from."""
    steps: int = Field(default=180, ge=1)
    """Updates of each training."""
    train_tasks: int = Field(default=2000, ge=1)
    """Training tasks."""
    test_tasks: int = Field(default=400, ge=1)
    """Held-out tasks, from tables that no training saw."""
    processes: int = Field(default=2, ge=1)
    """Trainings at the same time, one core each."""
    rl: dict[str, Any] = Field(default_factory=dict)
    """Further settings of ``air rl``, for both trainings."""


TRAININGS: dict[Name, dict[str, Any]] = {
    "outcome_grpo": {"reward": {"mode": "outcome"}, "n_forbid": 0},
    "group_constrained": {"reward": {"mode": "group_constrained"}},
}
PARTS = ("tasks", *(f"{name}{end}" for name in TRAININGS for end in ("", ".yaml", ".log")))
ROLLOUT = RolloutConfig(max_turns=3, max_new_tokens=160)


def run_quickstart(resolved: Resolved[QuickstartConfig], options: RunOptions) -> None:
    """The whole job. Ctrl-C leaves a run that the same command continues."""
    config = resolved.value
    model = config.model.folder()
    if options.dry_run:
        print(f"would train {model} twice for {config.steps} steps and evaluate three checkpoints")
        return
    fingerprint = config_fingerprint(config, without=("processes", "model"))
    fingerprint["model"] = model_identity(model)
    with RunDir.open(
        options.run_dir, command="quickstart", resolved_config=resolved, fingerprint=fingerprint,
        resume=options.resume, overwrite=options.overwrite, parts=PARTS,
    ) as run:  # fmt: skip
        train, test = make_task_folders(config, run.path, options)
        _say(options, f"1/3  One trajectory of the cold start, as it happens ({model.name})")
        asyncio.run(show_one(model, read_tasks(train), options.display))
        _say(options, "2/3  Training twice from the cold start")
        train_side_by_side(
            trainings(config, model, train, run.path), config.processes, options.display
        )
        _say(options, "3/3  Evaluating on tables that no training saw")
        checkpoints = {"cold_start": model} | {n: run.path / n / "model" for n in TRAININGS}
        records = asyncio.run(
            evaluate_all(checkpoints, read_tasks(test)[: options.limit], config, run, options)
        )
        summary = summarise(records, config)
        run.write_summary(summary)
        write_report(run.path / "report.html", report(summary, run, config))
        run.set_status("done")
        finish(summary, run, options)


def _say(options: RunOptions, text: str) -> None:
    if options.display in ("rich", "plain"):
        print(f"\n{text}", flush=True)


def make_task_folders(
    config: QuickstartConfig, folder: Path, options: RunOptions
) -> tuple[Path, Path]:
    """The training and the test folder; no picture is in both."""
    folders: list[Path] = []
    seen: set[str] = set()
    for split, count in (("train", config.train_tasks), ("test", config.test_tasks)):
        target = folder / "tasks" / split
        folders.append(target)
        if (target / "tasks.jsonl").exists():
            seen |= {ref.sha256 for task in read_tasks(target) for ref in task.images}
            continue
        made = TasksConfig(split=split, count=count, seed=config.seed)  # type: ignore[arg-type]
        with progress(options.display, count, f"{split} tasks") as bar, task_writer(target) as add:
            for task, image in make_tasks(made):
                if task.images[0].sha256 in seen:
                    continue
                seen.add(task.images[0].sha256)
                add(task, [image])
                bar.advance()
    return folders[0], folders[1]


async def show_one(model: Path, tasks: Sequence[Task], display: Display) -> None:
    """Stream a hard task's trajectory that calls code: the first of a few seeds that does."""
    task = next(
        (t for t in tasks if t.meta["kind"] == "mean" and t.meta["family"] != "digits"), tasks[0]
    )
    async with open_local(model) as engine:
        tries = [
            await rollout(task, engine, ROLLOUT, trajectory_id=f"look/{seed}", seed=seed)
            for seed in range(12)
        ]
        working = [i for i, t in enumerate(tries) if any(e.status == "ok" for e in t.executions)]
        if display in ("rich", "plain"):
            print(f"{task.images[0].path}\n{task.prompt[1].text}\n")
        seed = working[0] if working else 0
        shown = event_printer(display if display != "json" else "none")
        await rollout(task, engine, ROLLOUT, trajectory_id="show", seed=seed, on_event=shown)


def trainings(config: QuickstartConfig, model: Path, tasks: Path, folder: Path) -> list[Training]:
    """What each training is told, as settings of ``air rl``."""
    common: dict[str, Any] = {
        "model": {"path": str(model.resolve())}, "tasks": str(tasks), "steps": config.steps,
        "seed": config.seed, **config.rl,
    }  # fmt: skip
    return [
        Training(name=name, folder=folder / name, settings=common | special, steps=config.steps)
        for name, special in TRAININGS.items()
    ]


async def evaluate_all(
    checkpoints: dict[str, Path],
    tasks: list[Task],
    config: QuickstartConfig,
    run: RunDir,
    options: RunOptions,
) -> dict[str, dict[str, list[Record]]]:
    """Records by checkpoint and decoding; what is final already is not made again."""
    done = finished(run)
    records: dict[str, dict[str, list[Record]]] = {}
    with progress(options.display, len(checkpoints) * 2 * len(tasks), "evaluation") as bar:
        for name, folder in checkpoints.items():
            async with open_local(folder, EngineConfig(), save_image=run.save_image) as engine:
                records[name] = await _both_decodings(name, tasks, engine, config, run, done, bar)
    return records


async def _both_decodings(
    name: str,
    tasks: list[Task],
    engine: Engine,
    config: QuickstartConfig,
    run: RunDir,
    done: Any,
    bar: Any,
) -> dict[str, list[Record]]:
    out: dict[str, list[Record]] = {}
    for decoding in ("greedy", "sampled"):
        measured = Measure(name=name, decoding=decoding, seed=config.seed)
        out[decoding] = await evaluate(
            tasks, engine, ROLLOUT, measured, run=run, done=done, bar=bar
        )
    return out


def summarise(
    records: dict[str, dict[str, list[Record]]], config: QuickstartConfig
) -> dict[str, Any]:
    """``checkpoints`` and ``kinds`` by name and decoding, paired gains over the cold start."""
    checkpoints = {
        name: {decoding: summary_json(summarize(rows)) for decoding, rows in by_decoding.items()}
        for name, by_decoding in records.items()
    }
    kinds = {
        name: {d: {k: summary_json(v) for k, v in by_kind(rows).items()} for d, rows in by.items()}
        for name, by in records.items()
    }
    gains = {
        name: {d: _gain(rows, records["cold_start"][d]) for d, rows in by.items()}
        for name, by in records.items()
        if name != "cold_start"
    }
    return {"checkpoints": checkpoints, "gains": gains, "kinds": kinds, "seed": config.seed}


def _gain(rows: list[Record], before: list[Record]) -> dict[str, Any]:
    pair = paired(rows, before)
    return {"accuracy": pair.difference.to_json(), "p_value": pair.p_value, "n": pair.n}


LEAD = (
    "A 1.7M-parameter vision-language model that reads charts learns, by reinforcement on a CPU, "
    "when to answer at once and when to call Python. Outcome-only GRPO gains accuracy by calling "
    "code on everything; what the group constraint is there to add is adaptivity, not accuracy: "
    "code where it is needed, none where it is not. The table says how far this run got."
)
NOTES = (
    "The two-stage cold start, interleaved turns and the two group bounds are the paper's (AIR, "
    "arXiv 2606.23678); the reward's formula, the banned roll-outs, the reading anchor, the model "
    "and the tasks are ours.",
    "Test tables and test digits occur in no training; nothing was tuned on them.",
)


def report(summary: dict[str, Any], run: RunDir, config: QuickstartConfig) -> ReportData:
    """What ``report.html`` shows."""
    rows = [row for row in run.read_trajectories() if row["name"] == "group_constrained"]
    rolled = list(read_trajectories(run.path / "group_constrained"))
    return ReportData(
        title="Quickstart: learning when to compute",
        lead=LEAD,
        checkpoints=summary["checkpoints"],
        curves={name: read_metrics(run.path / name) for name in TRAININGS},
        examples=from_run.telling_examples(rows, limit=8),
        groups=from_run.groups(rolled, limit=2),
        facts={"seed": config.seed, "steps": config.steps, "test tasks": config.test_tasks},
        notes=list(NOTES),
    )


def finish(summary: dict[str, Any], run: RunDir, options: RunOptions) -> None:
    """The table, a picture of the curves, and where to go from here."""
    if options.display not in ("rich", "plain"):
        return
    from rich.console import Console

    from air_reasoning.terminal_chart import chart

    console = Console()
    console = console if console.width >= 100 else Console(width=100)
    console.print(tables.terminal_table(summary["checkpoints"], title="Held-out tasks"))
    for name in TRAININGS:
        lines = read_metrics(run.path / name)
        series = {
            d: [line.get(f"code_share_{d}") for line in lines] for d in ("easy", "medium", "hard")
        }
        print(f"\n{tables.display_name(name)}: share of roll-outs that call code, by step")
        print(chart(series))
    print(f"\nreport   {run.path / 'report.html'}")
    print(f"summary  {run.path / 'summary.json'}")
    model = run.path / "group_constrained" / "model"
    digest = hashlib.sha256((model / "model.safetensors").read_bytes()).hexdigest()[:12]
    print(f"model    {model} ({digest})")
    picture = read_tasks(run.path / "tasks" / "test", 1)[0].images[0].path
    print(f"\nnext     air solve {picture} -q 'What is the sum of all values?' --model {model}")
