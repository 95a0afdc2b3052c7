"""Where the time of a training step goes: processor seconds by part, from the real ``air rl``.

    air tasks make --run-dir tasks/train -o count=400
    python benchmarks/rl_profile.py --tasks tasks/train --steps 12 --warmup 40

The shipped cold start is trained as ``air quickstart`` does it; after ``--warmup`` steps (code
shares settle within 40) the profiler counts processor time of this process; that of the sandbox's
processes is read from the system. The profiler makes Python code look slower than torch's.
"""

import argparse
import cProfile
import pstats
import resource
import tempfile
import time
from pathlib import Path

from air_reasoning import train_rl as training
from air_reasoning.config import RunOptions, load_config
from air_reasoning.policy_update import update
from air_reasoning.train_rl import RLConfig, run_rl

PARTS = {
    "roll-out: prompts and pictures": ("running_batch.py", "start"),
    "roll-out: one token of every row": ("running_batch.py", "_step"),
    "roll-out: choosing tokens": ("running_batch.py", "_sample"),
    "roll-out: tool results into the batch": ("running_batch.py", "resume"),
    "roll-out: making requests, reading turns": ("rollout.py", "_model_turn"),
    "roll-out: cells, as this process sees them": ("rollout.py", "_tool_turn"),
    "scoring answers": ("scoring.py", "score_trajectory"),
    "update: padding and pictures": ("batch.py", "group_batch"),
    "update: forward": ("logprobs.py", "response_logprobs"),
    "update: backward, policy and anchor": ("_tensor.py", "backward"),
    "update: optimiser": ("optim.py", "step"),
    "whole update": ("policy_update.py", "update"),
}


def main() -> None:
    """Train, profile, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tasks", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--warmup", type=int, default=40)
    options = parser.parse_args()
    profiler, marks = cProfile.Profile(time.process_time), []

    def watched(learner, samples, tasks, config, step):
        """The update; the profiler runs from the end of one to the end of another."""
        moved = update(learner, samples, tasks, config, step)
        if step + 1 == options.warmup:
            marks.append((time.process_time(), children()))
            profiler.enable()
        if step + 1 == options.warmup + options.steps:
            profiler.disable()
            marks.append((time.process_time(), children()))
        return moved

    training.update = watched
    preset = {"tasks": str(options.tasks), "steps": options.warmup + options.steps + 1}
    with tempfile.TemporaryDirectory() as folder:
        resolved = load_config(RLConfig, preset=preset)
        run_rl(resolved, RunOptions(run_dir=Path(folder) / "run", display="plain"))
    report(pstats.Stats(profiler), marks, options.steps)


def children() -> float:
    """Processor seconds of processes that have ended and were waited for: most of the sandbox's."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def report(stats: pstats.Stats, marks: list[tuple[float, float]], steps: int) -> None:
    """A line a part."""
    whole = (marks[1][0] - marks[0][0]) / steps
    print(f"\nprocessor seconds a step, of {whole:.2f} in this process:\n")
    for label, (file, function) in PARTS.items():
        seconds = sum(
            cumulative
            for (path, _, name), (_, _, _, cumulative, _) in stats.stats.items()  # type: ignore[attr-defined]
            if name == function and path.endswith("/" + file)
        )
        print(f"{label:45s} {seconds / steps:7.3f}  {seconds / steps / whole:6.1%}")
    print(f"{'processes of the sandbox that ended':45s} {(marks[1][1] - marks[0][1]) / steps:7.3f}")


if __name__ == "__main__":
    main()
