"""The paper's claims in miniature: every reward from the same cold start, over several seeds.

    python experiments/claims.py --run-dir runs/claims         # an hour and a half on two cores
    python experiments/claims.py --run-dir runs/tiny --tiny    # to try it, in minutes

Each training is an ``air rl`` on a run folder of its own, ``processes`` at a time; its result is
evaluated on held-out tables, greedy and at temperature 1. Interrupted at any time, the same command
goes on. ``report.md`` and its pictures are written again after every evaluation.
"""

import argparse
import asyncio
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from claims_report import write_report

from air_reasoning.config import Resolved
from air_reasoning.display import progress
from air_reasoning.engine import open_local
from air_reasoning.eval.measure import Measure, evaluate, finished
from air_reasoning.identity import model_identity
from air_reasoning.metrics import Record
from air_reasoning.models.shipped import shipped_model
from air_reasoning.quickstart import QuickstartConfig
from air_reasoning.rollout_setup import RolloutConfig
from air_reasoning.run_dir import RunDir
from air_reasoning.side_by_side import Training, train_side_by_side
from air_reasoning.task_files import read_tasks, task_writer
from air_reasoning.tasks.make import TasksConfig, make_tasks

ROLLOUT = RolloutConfig(max_turns=3, max_new_tokens=160)
COLD_START = "cold_start"
TASK_SEED = 10


@dataclass(kw_only=True, slots=True, frozen=True)
class Arm:
    """One way of paying, in how many seeds, for how many times the usual steps."""

    settings: dict[str, Any]
    seeds: int
    longer: int = 1


def group_constrained(n_forbid: int, **reward: Any) -> dict[str, Any]:
    """Ours, with so many of eight roll-outs banned from code."""
    return {"reward": {"mode": "group_constrained", **reward}, "n_forbid": n_forbid}


def neighbour(mode: str, n_forbid: int = 0) -> dict[str, Any]:
    """A published reward as it is: without our guard, without banned roll-outs."""
    return {"reward": {"mode": mode}, "advantage": {"guard": False}, "n_forbid": n_forbid}


def arms(seeds: int) -> dict[str, Arm]:
    """All trainings by name; the supervised cold start itself is evaluated beside them."""
    return {
        "outcome": Arm(settings={"reward": {"mode": "outcome"}, "n_forbid": 0}, seeds=seeds),
        "aware_forbid_2": Arm(settings=group_constrained(2), seeds=seeds),
        "aware_forbid_0": Arm(settings=group_constrained(0), seeds=seeds),
        "aware_forbid_4": Arm(settings=group_constrained(4), seeds=seeds),
        "plain": Arm(settings=group_constrained(2, need="plain"), seeds=seeds),
        "tool_bonus": Arm(settings=neighbour("tool_bonus"), seeds=seeds),
        "fixed_cost": Arm(settings=neighbour("fixed_cost"), seeds=seeds),
        "fixed_cost_banned": Arm(settings=neighbour("fixed_cost", 2), seeds=seeds),
        "pixel_reasoner": Arm(settings=neighbour("pixel_reasoner"), seeds=1),
        "otc": Arm(settings=neighbour("otc"), seeds=1),
        "adatir": Arm(settings=neighbour("adatir"), seeds=1),
        "ada_grpo": Arm(settings=neighbour("ada_grpo"), seeds=1),
        "aware_long": Arm(settings=group_constrained(2), seeds=1, longer=2),
    }


@dataclass(kw_only=True, slots=True)
class Plan:
    """How much of everything."""

    folder: Path
    model: Path
    seeds: int = 3
    steps: int = 120
    train_tasks: int = 2000
    test_tasks: int = 400
    processes: int = 2
    rl: dict[str, Any] = field(default_factory=dict[str, Any])

    def trainings(self) -> list[Training]:
        """Seed by seed, so that what is there early is already a comparison."""
        return [
            Training(
                name=f"{name}-{seed}",
                folder=self.folder / "trainings" / f"{name}-{seed}",
                settings={
                    "model": {"path": str(self.model.resolve())},
                    "tasks": str((self.folder / "tasks" / "train").resolve()),
                    "steps": self.steps * arm.longer,
                    "seed": seed,
                    **self.rl,
                    **arm.settings,
                },
                steps=self.steps * arm.longer,
            )
            for seed in range(self.seeds)
            for name, arm in arms(self.seeds).items()
            if seed < arm.seeds
        ]


def make_task_folders(plan: Plan) -> None:
    """Training and test tasks, the same for all trainings; no picture is in both.

    Draws of their own: those on which the defaults were chosen are not among them.
    """
    seen: set[str] = set()
    for split, count in (("train", plan.train_tasks), ("test", plan.test_tasks)):
        target = plan.folder / "tasks" / split
        if (target / "tasks.jsonl").exists():
            seen |= {ref.sha256 for task in read_tasks(target) for ref in task.images}
            continue
        made = TasksConfig.model_validate({"split": split, "count": count, "seed": TASK_SEED})
        with task_writer(target) as add:
            for task, image in make_tasks(made):
                if task.images[0].sha256 not in seen:
                    seen.add(task.images[0].sha256)
                    add(task, [image])


def checkpoints(plan: Plan) -> Iterator[tuple[str, Path]]:
    """The cold start, then every training that is done."""
    yield COLD_START, plan.model
    for training in plan.trainings():
        if training.done:
            yield training.name, training.folder / "model"


async def evaluate_done(plan: Plan, run: RunDir) -> dict[str, dict[str, list[Record]]]:
    """Records by checkpoint and decoding of whatever is trained; final ones are not made again."""
    tasks, done = read_tasks(plan.folder / "tasks" / "test"), finished(run)
    records: dict[str, dict[str, list[Record]]] = {}
    for name, folder in checkpoints(plan):
        records[name] = {}
        async with open_local(folder, save_image=run.save_image) as engine:
            for decoding in ("greedy", "sampled"):
                records[name][decoding] = await evaluate(
                    tasks, engine, ROLLOUT, Measure(name=name, decoding=decoding), run=run,
                    done=done,
                )  # fmt: skip
    return records


def run_claims(plan: Plan, display: str) -> None:
    """All of it; what is done is not done again."""
    make_task_folders(plan)
    fingerprint = {
        "model": model_identity(plan.model), "steps": plan.steps, "rl": plan.rl,
        "train_tasks": plan.train_tasks, "test_tasks": plan.test_tasks,
    }  # fmt: skip
    resolved = Resolved(value=QuickstartConfig(steps=plan.steps), provenance={})
    with RunDir.open(
        plan.folder / "evaluation", command="claims", resolved_config=resolved,
        fingerprint=fingerprint,
    ) as run:  # fmt: skip
        trainings = plan.trainings()
        with progress("plain", len(trainings), "trainings") as bar:  # type: ignore[arg-type]
            for start in range(0, len(trainings), plan.processes):
                some = trainings[start : start + plan.processes]
                train_side_by_side(some, plan.processes, display)  # type: ignore[arg-type]
                records = asyncio.run(evaluate_done(plan, run))
                write_report(plan.folder, records, described(plan))
                bar.advance(len(some))
    print(f"report   {plan.folder / 'report.md'}")


def described(plan: Plan) -> dict[str, Any]:
    """What the report says about how it was made."""
    facts = {"steps": plan.steps, "seeds": plan.seeds, "test tasks": plan.test_tasks}
    ways = {name: json.dumps(asdict(arm)["settings"]) for name, arm in arms(plan.seeds).items()}
    return {"facts": facts, "arms": ways, "steps": plan.steps}


TINY = {"seeds": 2, "steps": 2, "train_tasks": 16, "test_tasks": 12}
TINY_RL = {"prompts": 2, "group_size": 5, "save_every": 1, "rollout": {"max_new_tokens": 80}}


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--run-dir", type=Path, default=Path("runs/claims"))
    parser.add_argument("--model", type=Path, help="cold start (default: the shipped one)")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--display", default="plain", choices=["plain", "json", "none"])
    parser.add_argument("--tiny", action="store_true", help="a few steps on a few tasks")
    options = parser.parse_args()
    plan = Plan(
        folder=options.run_dir, model=options.model or shipped_model(), seeds=options.seeds,
        steps=options.steps, processes=options.processes,
    )  # fmt: skip
    if options.tiny:
        for name, value in TINY.items():
            setattr(plan, name, value)
        plan.rl = TINY_RL
    run_claims(plan, options.display)


if __name__ == "__main__":
    main()
