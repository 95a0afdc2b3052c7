"""One RL step of ours against TRL 1.16, alternating in one run on this machine.

    make trl-env
    python benchmarks/rl.py                  # half of the trajectories call once
    python benchmarks/rl.py --share 0        # nobody calls
    python benchmarks/rl.py --curve          # ours, 1 to 8 turns

Both sides train the same checkpoint (a real Qwen3-VL class, random weights) on the same pictures
with the same group size, and write the same text (`rl_script.py`); calls run in the same sandbox.
Each is a process of its own that makes a step when it is asked to; the sides take turns, so that
the ratio holds on a loaded machine. Times are medians: wall clock, and processor time of the side's
own process (sandbox processes are in neither). Memory is the peak above what importing takes.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import rl_script

HERE = Path(__file__).parent
ROOT = HERE.parent
TRL = Path(os.environ.get("TRL_PYTHON", ROOT / ".venv-trl" / "bin" / "python"))
Figures = dict[str, float]


class Side:
    """One trainer in a process of its own."""

    def __init__(self, python: str, script: str, words: list[str]) -> None:
        environment = os.environ | {
            "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1",
        }  # fmt: skip
        self.process = subprocess.Popen(
            [python, str(HERE / script), *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, env=environment,
        )  # fmt: skip

    def step(self) -> Figures:
        """One step; its figures."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith("{") and '"rollout"' in line:
                return json.loads(line)
        sys.exit(f"{self.process.args}: ended with {self.process.wait()}")

    def close(self) -> None:
        """Let it end."""
        self.process.kill()
        self.process.wait()


def inputs(folder: Path, count: int) -> tuple[Path, Path]:
    """A checkpoint and a task folder, made here."""
    from air_reasoning.models.tiny import build_tiny, save_tiny
    from air_reasoning.pretrain import task_tokenizer
    from air_reasoning.task_files import task_writer
    from air_reasoning.tasks.make import TasksConfig, make_tasks
    from air_reasoning.types import Answer, Part

    tokenizer = task_tokenizer()
    save_tiny(folder / "model", build_tiny(tokenizer), tokenizer, half=False)
    prompt = [Part(kind="image", image=0), Part(kind="text", text=rl_script.QUESTION)]
    with task_writer(folder / "tasks") as add:
        for task, image in make_tasks(TasksConfig(count=count, matplotlib=0.0)):
            answer = Answer(value=rl_script.ANSWERS[0], type="int")
            add(replace(task, prompt=prompt, answer=answer, choices=[]), [image])
    return folder / "model", folder / "tasks"


def words(options: argparse.Namespace, model: Path, tasks: Path, **changes: Any) -> list[str]:
    """The command line of a side."""
    values = {name: getattr(options, name) for name in ("prompts", "group", "share", "calls")}
    values |= {"tokens": options.tokens, "model": model, "tasks": tasks} | changes
    flags = [f"--{name}" for name in ("bf16", "freeze") if getattr(options, name)]
    return [*flags, *(w for name, value in values.items() for w in (f"--{name}", str(value)))]


def medians(steps: list[Figures]) -> Figures:
    """Of every figure."""
    return {name: median(step[name] for step in steps) for name in steps[0]}


def compare(options: argparse.Namespace, model: Path, tasks: Path) -> dict[str, Any]:
    """Both sides in turn; the first ``warmup`` steps of each are not counted."""
    if not TRL.exists():
        sys.exit(f"{TRL} is not there: make trl-env, or set TRL_PYTHON")
    line = words(options, model, tasks)
    sides = {
        "ours": Side(sys.executable, "rl_ours.py", line),
        "trl": Side(str(TRL), "rl_trl.py", line),
    }
    made: dict[str, list[Figures]] = {name: [] for name in sides}
    try:
        for step in range(options.warmup + options.steps):
            for name, side in sides.items():
                figures = side.step()
                if step >= options.warmup:
                    made[name].append(figures)
    finally:
        for side in sides.values():
            side.close()
    return {name: medians(steps) for name, steps in made.items()}


def comparison_table(results: dict[str, Figures]) -> str:
    """Rows are parts of a step."""
    ours, trl = results["ours"], results["trl"]
    rows = [
        "| | ours | TRL 1.16 | ours is |",
        "|---|---|---|---|",
    ]

    def row(label: str, a: float, b: float, unit: str, faster: bool = True) -> str:
        ratio = f"{b / a:.2f}x as fast" if faster else f"{a / b:.2f}x"
        return f"| {label} | {a:.3g} {unit} | {b:.3g} {unit} | {ratio} |"

    n = ours["trajectories"]
    for end, clock in (("", "wall"), ("_cpu", "CPU")):
        for part in ("rollout", "update"):
            a, b = ours[part + end], trl[part + end]
            rows.append(row(f"{part}, {clock} ({n / a:.0f} / {n / b:.0f} a second)", a, b, "s"))
        a, b = (side["rollout" + end] + side["update" + end] for side in (ours, trl))
        rows.append(row(f"whole step, {clock} ({n / a:.0f} / {n / b:.0f} a second)", a, b, "s"))
    rows.append(row("peak memory", ours["memory"] / 2**20, trl["memory"] / 2**20, "MB", False))
    for name in ("trajectories", "calls", "tokens", "tool_tokens"):
        rows.append(f"| {name} | {ours[name]:.0f} | {trl[name]:.0f} | |")
    return "\n".join(rows)


def curve(options: argparse.Namespace, model: Path, tasks: Path) -> str:
    """Ours with every trajectory calling 0 to 7 times, at the same number of tokens a turn."""
    rows = [
        "| turns | model tokens | tool tokens | roll-out CPU s | update CPU s | ms a new token |",
        "|---|---|---|---|---|---|",
    ]
    sides = {
        turns: Side(
            sys.executable, "rl_ours.py",
            words(options, model, tasks, share=1.0, calls=turns - 1, tokens=24 * turns),
        )
        for turns in range(1, 9)
    }  # fmt: skip
    made: dict[int, list[Figures]] = {turns: [] for turns in sides}
    try:
        for step in range(1 + options.steps):
            for turns, side in sides.items():
                figures = side.step()
                if step:
                    made[turns].append(figures)
    finally:
        for side in sides.values():
            side.close()
    for turns, steps in made.items():
        f = medians(steps)
        n = f["trajectories"]
        new = f["tokens"] + f["tool_tokens"]
        rows.append(
            f"| {turns} | {f['tokens'] / n:.0f} | {f['tool_tokens'] / n:.0f} | "
            f"{f['rollout_cpu']:.2f} | {f['update_cpu']:.2f} | {1e3 * f['rollout_cpu'] / new:.3f} |"
        )
    return "\n".join(rows)


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=7, help="counted steps of each side")
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--share", type=float, default=0.5, help="members that call")
    parser.add_argument("--calls", type=int, default=1, help="calls of those")
    parser.add_argument("--tokens", type=int, default=60, help="tokens that a member writes")
    parser.add_argument("--bf16", action="store_true", help="update in bfloat16 on both sides")
    parser.add_argument("--freeze", action="store_true", help="vision tower frozen on both sides")
    parser.add_argument("--curve", action="store_true", help="ours, 1 to 8 turns")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model, tasks = inputs(Path(folder), 4 * options.prompts)
        if options.curve:
            print(curve(options, model, tasks))
        else:
            print(comparison_table(compare(options, model, tasks)))


if __name__ == "__main__":
    main()
