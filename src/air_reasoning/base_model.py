"""``air base-model``: from nothing to the two shipped checkpoints, by this project's own commands.

    1. read        pre-training on transcription and look-up (``pretrain``)       -> base
    2. cold start  tasks, scripts played through sandbox and turn loop            -> samples
    3. fine-tune   ``air sft`` on the samples                                     -> cold_start
    4. measure     reading on held-out tables, direct answers, share of code      -> model cards

Each stage leaves its result in the run folder; the same command goes on where it was stopped.
"""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import torch
from pydantic import Field

from air_reasoning.config import Config, Resolved, RunOptions
from air_reasoning.data.cold_start import (
    SAMPLES_NAME,
    ColdStartConfig,
    build_samples,
    read_samples,
    write_samples,
)
from air_reasoning.engine import EngineConfig, open_local
from air_reasoning.eval.measure import Measure, evaluate
from air_reasoning.eval.reading import reading_accuracy, reading_pictures
from air_reasoning.json_io import dump_pretty, read_json
from air_reasoning.metrics import by_kind, summarize, summary_json
from air_reasoning.model_card import write_card
from air_reasoning.models.load import load_model
from air_reasoning.models.save import save_model
from air_reasoning.models.shipped import WEIGHTS, ModelConfig
from air_reasoning.models.tiny import save_tiny
from air_reasoning.optim import OptimizerConfig
from air_reasoning.pretrain import ReadingRun, reader_model, train_reader
from air_reasoning.renderer import Renderer
from air_reasoning.rollout import RolloutConfig
from air_reasoning.run_dir import RunDir, config_fingerprint
from air_reasoning.task_files import read_tasks, write_tasks
from air_reasoning.tasks.make import TasksConfig, make_tasks
from air_reasoning.train_sft import SFTConfig, train_sft

PARTS = (
    "reading", "base", "cold_start_data", "sft_1", "round_1", "sft_2", "cold_start", "test_tasks",
)  # fmt: skip


SFT_OPTIMIZER = OptimizerConfig(
    kind="muon", lr=1.5e-3, weight_decay=0.01, warmup_steps=50, decay_share=0.5, final_share=0.03,
    freeze=("model.visual",),
)  # fmt: skip
"""The vision tower reads by then and stays as it is."""


class Round(Config):
    """One fine-tuning of the cold start: what is shown, and for how long."""

    cold_start: ColdStartConfig = ColdStartConfig()
    """What the samples show."""
    steps: int = Field(default=2000, ge=1)
    """Updates."""
    batch: int = Field(default=32, ge=1)
    """Trajectories an update."""
    practice_rows: int = Field(default=16, ge=0)
    """Rows of practice in text beside them, an update."""
    practice_programs: float = Field(default=0.0, ge=0, le=1)
    """Share of these rows that practise programs; the others comparisons and sums."""
    optimizer: OptimizerConfig = SFT_OPTIMIZER
    """Rule and schedule."""


class BaseModelConfig(Config):
    """How the shipped models are made."""

    seed: int = 0
    """Fixes pictures, order and initial weights."""
    shipped_base: bool = False
    """Take the base that the package ships, and make only the cold start again (half an hour)."""
    reading_steps: int = Field(default=5500, ge=1)
    """Updates of the reading stage."""
    reading_batch: int = Field(default=32, ge=1)
    """Pictures an update, over all processes."""
    processes: int = Field(default=2, ge=1)
    """Processes of the reading stage, one core each; their number is part of the result."""
    shards: int = Field(default=6, ge=0)
    """Shards of 2,500 pictures that matplotlib draws ahead."""
    tasks: int = Field(default=24000, ge=1)
    """Tasks of the cold start."""
    rounds: tuple[Round, ...] = (
        Round(),
        Round(
            cold_start=ColdStartConfig(code=0.19, repair=0.03, give_up=0.11), steps=600,
            practice_rows=24, practice_programs=0.5,
            optimizer=SFT_OPTIMIZER.model_copy(update={"lr": 1e-3, "decay_share": 0.7}),
        ),
    )  # fmt: skip
    """Fine-tunings, one after the other. First comparisons and sums, then programs and more failing
    calls: practised from the start, programs kept comparisons at chance."""
    threads: int = Field(default=2, ge=1)
    """Threads of torch in the fine-tuning."""
    test_tasks: int = Field(default=1000, ge=1)
    """Held-out tasks that the model card is measured on."""
    test_pictures: int = Field(default=100, ge=1)
    """Held-out pictures of each kind whose transcription is measured."""
    install: bool = True
    """Put the result into the package, where the other commands find it."""


def run_base_model(resolved: Resolved[BaseModelConfig], options: RunOptions) -> None:
    """The whole chain. Takes about 2.5 hours of CPU time; interrupted, it goes on."""
    config = resolved.value
    if options.dry_run:
        print(
            f"would train {config.reading_steps} steps of reading and "
            f"{sum(r.steps for r in config.rounds)} of fine-tuning into {options.run_dir}"
        )
        return
    fingerprint = config_fingerprint(config, without=("install", "threads"))
    with RunDir.open(
        options.run_dir, command="base-model", resolved_config=resolved, fingerprint=fingerprint,
        resume=options.resume, overwrite=options.overwrite, parts=PARTS,
    ) as run:  # fmt: skip
        base = learn_to_read(config, run.path)
        cold_start = base
        for number in range(len(config.rounds)):
            data = make_cold_start(config, number, base, run.path, options)
            cold_start = fine_tune(config, number, cold_start, data, run.path, options)
        figures = asyncio.run(measure(config, base, cold_start, run.path))
        run.write_summary(figures)
        write_card(base, "base", config.model_dump(mode="json"), figures)
        write_card(cold_start, "cold_start", config.model_dump(mode="json"), figures)
        if config.install:
            for folder in (base, cold_start):
                shutil.copytree(folder, WEIGHTS / folder.name, dirs_exist_ok=True)
        run.set_status("done")


def learn_to_read(config: BaseModelConfig, folder: Path) -> Path:
    """Stage 1: the folder of the base checkpoint."""
    base = folder / "base"
    if config.shipped_base and not (base / "config.json").exists():
        _whole(base, lambda aside: shutil.copytree(WEIGHTS / "base", aside))
    if not (base / "config.json").exists():
        train_reader(
            ReadingRun(
                folder=folder / "reading",
                seed=config.seed,
                steps=config.reading_steps,
                batch=config.reading_batch,
                processes=config.processes,
                shards=config.shards,
            )
        )
        model, tokenizer = reader_model(folder / "reading", config.seed)
        _whole(base, lambda aside: save_tiny(aside, model, tokenizer))
    return base


def make_cold_start(
    config: BaseModelConfig, number: int, base: Path, folder: Path, options: RunOptions
) -> Path:
    """Stage 2: the folder with the tasks, the same in all rounds, and the samples of that round."""
    data = folder / "cold_start_data"
    if not (data / "tasks.jsonl").exists():
        made = TasksConfig(
            split="train", count=config.tasks, seed=1000 + config.seed, matplotlib=0.35
        )
        pictures: dict[str, Any] = {}

        def tasks() -> Any:
            for task, image in make_tasks(made):
                pictures.clear()
                pictures[task.images[0].sha256] = image
                yield task

        write_tasks(data, tasks(), pictures)
    if not (data / samples_name(number)).exists():
        shown = config.rounds[number].cold_start

        async def build() -> None:
            async with open_local(base, EngineConfig()) as engine:
                assert isinstance(engine.renderer, Renderer)
                samples, counts = await build_samples(
                    read_tasks(data), engine.renderer, engine.sandboxes, shown, options.display
                )
            counts_file = data / f"counts_{number + 1}.json"
            counts_file.write_bytes(dump_pretty(counts))
            write_samples(data, samples, samples_name(number))

        asyncio.run(build())
    return data


def samples_name(number: int) -> str:
    """The file of a round's samples.

    >>> samples_name(0), samples_name(1)
    ('samples.jsonl', 'samples_2.jsonl')
    """
    return f"samples_{number + 1}.jsonl" if number else SAMPLES_NAME


def fine_tune(
    config: BaseModelConfig,
    number: int,
    start: Path,
    data: Path,
    folder: Path,
    options: RunOptions,
) -> Path:
    """Stage 3: the folder of the round's checkpoint in fp16; the last one is ``cold_start``."""
    last = number + 1 == len(config.rounds)
    tuned = folder / ("cold_start" if last else f"round_{number + 1}")
    if (tuned / "config.json").exists():
        return tuned
    settings = config.rounds[number]
    sft = SFTConfig(
        model=ModelConfig(path=start), data=data, samples=samples_name(number),
        steps=settings.steps, batch=settings.batch, practice_rows=settings.practice_rows,
        practice_programs=settings.practice_programs, seed=config.seed,
        optimizer=settings.optimizer, threads=config.threads,
    )  # fmt: skip
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    loaded = load_model(start)
    with RunDir.open(
        folder / f"sft_{number + 1}", command="sft",
        resolved_config=Resolved(value=sft, provenance={}),
        fingerprint=config_fingerprint(sft, without=("threads",)), resume="auto",
    ) as run:  # fmt: skip
        train_sft(loaded, read_samples(data, sft.samples), sft, run, options)
        run.set_status("done")
    _whole(tuned, lambda aside: save_model(loaded, aside, dtype=torch.float16))
    return tuned


async def measure(
    config: BaseModelConfig, base: Path, cold_start: Path, folder: Path
) -> dict[str, Any]:
    """Stage 4, on tables that no training saw: reading of the base, behaviour of the cold start."""
    figures: dict[str, Any] = {}
    async with open_local(base) as engine:
        reading = await reading_accuracy(engine, reading_pictures("test", config.test_pictures))
        figures["reading"] = summary_json(reading)
    made = list(make_tasks(TasksConfig(split="test", count=config.test_tasks, seed=77)))
    folder = folder / "test_tasks"
    write_tasks(folder, [task for task, _ in made], {t.images[0].sha256: i for t, i in made})
    tasks = read_tasks(folder)
    async with open_local(cold_start) as engine:
        rollouts = RolloutConfig(max_turns=3, max_new_tokens=160)
        for name, measured in (
            ("greedy", Measure(name="cold_start", decoding="greedy")),
            ("sampled", Measure(name="cold_start", decoding="sampled")),
            ("direct", Measure(name="cold_start", decoding="greedy", code="forbid")),
        ):
            records = await evaluate(tasks, engine, rollouts, measured)
            figures[name] = summary_json(summarize(records))
            figures[f"{name}_kinds"] = {k: summary_json(m) for k, m in by_kind(records).items()}
    return figures


def _whole(folder: Path, write: Any) -> None:
    """Write a folder aside and rename it: it is there whole or not at all."""
    aside = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(aside, ignore_errors=True)
    write(aside)
    aside.rename(folder)


def shipped_figures(folder: Path) -> dict[str, Any]:
    """The figures of a model card, as numbers."""
    return read_json(folder / "figures.json")
