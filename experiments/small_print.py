"""Where the returned picture is what helps: small print that only a crop by code makes legible.

    python experiments/small_print.py --run-dir runs/small_print         # half an hour
    python experiments/small_print.py --run-dir runs/tiny_print --tiny    # to try it

Nine pictures of ordinary tasks make one of 384 x 384; the model sees it scaled down to 128 x
128, where nothing can be read, while ``image_1`` in the sandbox is whole. Half of the tasks are
such mosaics, half the ordinary pictures. A short fine-tuning from the shipped cold start shows both
what a crop is and what guessing is; then outcome-only and group-constrained RL decide when to crop.
Evaluated on held-out tables with code, with code forbidden, and with the returned picture withheld:
the difference to the last is what seeing it is worth. Ours, not the paper's. Resumable.
"""

import argparse
import asyncio
import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from PIL import Image

from air_reasoning.config import RunOptions, load_config
from air_reasoning.data.cold_start import ColdStartSample, write_samples
from air_reasoning.data.scripts import cell, write_script
from air_reasoning.display import table
from air_reasoning.engine import Engine, open_local
from air_reasoning.eval.measure import Measure, evaluate
from air_reasoning.files import atomic_write
from air_reasoning.images import save_blob
from air_reasoning.json_io import dump_pretty
from air_reasoning.metrics import Metric, Record, summarize
from air_reasoning.models.shipped import shipped_model
from air_reasoning.optim import OptimizerConfig
from air_reasoning.rollout import RolloutConfig, rollout
from air_reasoning.samplers.scripted import ScriptedSampler
from air_reasoning.scoring import score_trajectory
from air_reasoning.side_by_side import Training, train_side_by_side
from air_reasoning.task_files import read_tasks, task_writer
from air_reasoning.tasks.make import TasksConfig, make_tasks
from air_reasoning.train_sft import SFTConfig, run_sft
from air_reasoning.types import Part, Task

TILE, SIDE = 128, 3
ROWS, COLUMNS = ("top", "middle", "bottom"), ("left", "center", "right")
ROLLOUT = RolloutConfig(max_turns=4, max_new_tokens=220)
SMALL_PRINT = "small_print"
ARMS: dict[str, dict[str, Any]] = {
    "outcome": {"reward": {"mode": "outcome"}, "n_forbid": 0},
    "group_constrained": {},
}


@dataclass(kw_only=True, slots=True)
class Plan:
    """How much of everything."""

    folder: Path
    cold_start_tasks: int = 4000
    train_tasks: int = 1500
    test_tasks: int = 300
    sft_steps: int = 600
    rl_steps: int = 150
    rl: dict[str, Any] = field(default_factory=dict[str, Any])


def mosaics(split: str, count: int, seed: int) -> Iterator[tuple[Task, Image.Image]]:
    """Ordinary tasks and mosaics by turns, about ``count`` in all."""
    rng = random.Random(f"mosaic {split} {seed}")
    made = make_tasks(
        TasksConfig.model_validate({"split": split, "count": 5 * count, "seed": seed})
    )
    for ordinary in made:
        tiles = [tile for _, tile in zip(range(SIDE**2), made, strict=False)]
        if len(tiles) < SIDE**2:
            return
        yield ordinary
        yield mosaic(tiles, rng.randrange(SIDE**2))


def mosaic(tiles: list[tuple[Task, Image.Image]], place: int) -> tuple[Task, Image.Image]:
    """One large picture, and the question of the tile at ``place``."""
    whole = Image.new("RGB", (SIDE * TILE, SIDE * TILE), "white")
    for index, (_, tile) in enumerate(tiles):
        row, column = divmod(index, SIDE)
        whole.paste(tile, (column * TILE, row * TILE))
    task = tiles[place][0]
    where = f"{ROWS[place // SIDE]} {COLUMNS[place % SIDE]}"
    question = Part(kind="text", text=f"At the {where}: {task.prompt[1].text}")
    # The thought of the tile must not be read by the anchor: here nobody can see the tile.
    meta = {name: value for name, value in task.meta.items() if name != "reasoning"}
    meta |= {"kind": SMALL_PRINT, "place": place, "tile_reasoning": task.meta["reasoning"]}
    changed = replace(task, id=f"mosaic-{task.id}", prompt=[Part(kind="image"), question])
    return replace(changed, images=[], meta=meta), whole


def turns_of(task: Task, rng: random.Random) -> list[str]:
    """What the teacher says: ordinary tasks as in the cold start; a mosaic cropped, or guessed."""
    answer = f"<answer>\\boxed{{{task.answer.value}}}</answer>"
    hard = task.meta["difficulty"] == "hard"
    if task.meta["kind"] != SMALL_PRINT:
        return write_script(task, "code" if hard and rng.random() < 0.5 else "direct", rng).turns
    row, column = divmod(task.meta["place"], SIDE)
    where = f"<think>{ROWS[row]} {COLUMNS[column]}</think>"
    if rng.random() < 0.5:
        return [where + answer]
    left, top = column * TILE, row * TILE
    crop = f"image_1.crop(({left}, {top}, {left + TILE}, {top + TILE}))"
    thought = f"<think>{task.meta['tile_reasoning']}</think>"
    rest = [thought + cell(task.meta["program"]), answer] if hard else [thought + answer]
    return [where + cell(crop), *rest]


async def cold_start(folder: Path, model: Path) -> None:
    """Play the scripts through the real loop and sandbox; keep what answers right."""
    tasks, rng = read_tasks(folder), random.Random(0)
    scripts = {task.id: turns_of(task, rng) for task in tasks}
    async with open_local(model) as local:
        engine = Engine(
            sampler=ScriptedSampler(local.renderer.loaded.tokenizer, scripts),
            sandboxes=local.sandboxes, renderer=local.renderer,
            save_image=lambda image: save_blob(image, folder / "blobs"),
        )  # fmt: skip
        gate = asyncio.Semaphore(64)

        async def play(task: Task) -> ColdStartSample | None:
            async with gate:
                trajectory = await rollout(task, engine, ROLLOUT, trajectory_id=task.id)
            if not score_trajectory(task, trajectory).verdict.correct:
                return None
            guessed = task.meta["kind"] == SMALL_PRINT and not trajectory.executions
            weights = [[len(s.token_ids), _weight(s.kind, guessed)] for s in trajectory.segments]
            return ColdStartSample(task_id=task.id, mode="", trajectory=trajectory, weights=weights)

        played = await asyncio.gather(*(play(task) for task in tasks))
    write_samples(folder, [sample for sample in played if sample is not None])


def _weight(kind: str, guessed: bool) -> float:
    """Tool output 0; a guess teaches little but that one may guess."""
    return 0.0 if kind == "output" else 0.3 if guessed and kind == "answer" else 1.0


def prepare(plan: Plan) -> Path:
    """Tasks, samples and the fine-tuned model; what is there is not made again."""
    folders = {"cold": ("train", plan.cold_start_tasks, 1), "train": ("train", plan.train_tasks, 2)}
    folders["test"] = ("test", plan.test_tasks, 3)
    for name, (split, count, seed) in folders.items():
        if not (plan.folder / name / "tasks.jsonl").exists():
            with task_writer(plan.folder / name) as add:
                for task, image in mosaics(split, count, seed):
                    add(task, [image])
    if not (plan.folder / "cold" / "samples.jsonl").exists():
        asyncio.run(cold_start(plan.folder / "cold", shipped_model()))
    optimizer = OptimizerConfig(
        kind="muon", lr=1e-3, warmup_steps=20, decay_share=0.5, freeze=("model.visual",)
    )
    sft = load_config(
        SFTConfig,
        preset={
            "data": str(plan.folder / "cold"), "steps": plan.sft_steps, "batch": 32,
            "optimizer": optimizer.model_dump(),
        },
    )  # fmt: skip
    run_sft(sft, RunOptions(run_dir=plan.folder / "sft", display="plain"))
    return plan.folder / "sft" / "model"


def trainings(plan: Plan, model: Path) -> list[Training]:
    """Both ways of paying, from the same model on the same tasks."""
    common = {
        "model": {"path": str(model.resolve())}, "tasks": str((plan.folder / "train").resolve()),
        "steps": plan.rl_steps, "rollout": ROLLOUT.model_dump(), **plan.rl,
    }  # fmt: skip
    return [
        Training(
            name=name, folder=plan.folder / name, settings=common | special, steps=plan.rl_steps
        )
        for name, special in ARMS.items()
    ]


async def measure(name: str, folder: Path, tasks: list[Task]) -> list[dict[str, Any]]:
    """Three passes over the mosaics, one over the ordinary pictures; sampled."""
    small = [task for task in tasks if task.meta["kind"] == SMALL_PRINT]
    ordinary = [task for task in tasks if task.meta["kind"] != SMALL_PRINT]
    rows: list[dict[str, Any]] = []
    async with open_local(folder) as engine:
        plain = Measure(name=name, decoding="sampled")
        forbidden = Measure(name=name, decoding="sampled", code="forbid")
        for label, some, how in (
            ("small print", small, plain),
            ("small print, code forbidden", small, forbidden),
            ("ordinary", ordinary, plain),
        ):
            rows.append(row(name, label, await evaluate(some, engine, ROLLOUT, how)))
        engine.renderer.can_show = lambda image: False  # type: ignore[method-assign]
        blind = await evaluate(small, engine, ROLLOUT, plain)
        rows.append(row(name, "small print, returned picture withheld", blind))
    return rows


def row(name: str, label: str, records: list[Record]) -> dict[str, Any]:
    """One line of the report."""
    summary = summarize(records)
    shown = {
        figure: text(summary[figure])
        for figure in ("accuracy", "code_share", "tool_success", "tokens_mean")
    }
    return {"model": name, "tasks": label, "n": len(records), **shown}


def text(metric: Metric) -> str:
    """``0.612 [0.560, 0.662]``."""
    if metric.value is None:
        return "undefined"
    if metric.low is None or metric.high is None:
        return f"{metric.value:.3f}"
    return f"{metric.value:.3f} [{metric.low:.3f}, {metric.high:.3f}]"


def run_small_print(plan: Plan) -> None:
    """All of it; what is done is not done again."""
    model = prepare(plan)
    both = trainings(plan, model)
    train_side_by_side(both, 2, "plain")
    tasks = read_tasks(plan.folder / "test")
    models = {"fine_tuned": model} | {t.name: t.folder / "model" for t in both}
    rows = [line for name, at in models.items() for line in asyncio.run(measure(name, at, tasks))]
    atomic_write(plan.folder / "small_print.json", dump_pretty(rows))
    report = f"# Small print: crop by code, then read\n\n```text\n{table(rows)}\n```\n"
    atomic_write(plan.folder / "report.md", report)
    print(report)


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--run-dir", type=Path, default=Path("runs/small_print"))
    parser.add_argument("--tiny", action="store_true", help="a few steps on a few tasks")
    options = parser.parse_args()
    plan = Plan(folder=options.run_dir)
    if options.tiny:
        plan = Plan(
            folder=options.run_dir, cold_start_tasks=12, train_tasks=12, test_tasks=12,
            sft_steps=2, rl_steps=2, rl={"prompts": 2, "group_size": 4},
        )  # fmt: skip
    run_small_print(plan)


if __name__ == "__main__":
    main()
