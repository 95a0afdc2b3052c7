"""An evaluation on real pictures, killed with -9 again and again: nothing lost, nothing doubled.

    AIR_BENCHMARKS=FOLDER python benchmarks/killed.py --folder /tmp/killed

FOLDER holds mathvision/ with the pictures of testmini (304 items). The shipped model and a scripted
one are each measured with code allowed and forbidden: once in one go, and once killed ``--kills``
times, at times drawn from a fixed seed, each time continued by the same command. Prints for each
the trajectories, the doubled and lost ones, and how many verdicts are the same in both runs. Exits
with 1 where a trajectory is lost or doubled.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SCRIPT = {
    "mathvision/4": ["<code>print(6)</code>", "<answer>\\boxed{6}</answer>"],
    "mathvision/5": ["<answer>\\boxed{-1}</answer>"],
    "*": ["<code>image_1.size</code>", "<think>a guess</think><answer>\\boxed{B}</answer>"],
}


def command(run: Path, script: Path | None) -> list[str]:
    """``air eval`` on testmini, greedily, with and without code."""
    words = [sys.executable, "-m", "air_reasoning.cli", "eval", "mathvision", "--split", "testmini"]
    words += ["--code", "both", "-o", "decoding=greedy", "--run-dir", str(run)]
    words += ["--display", "none", "--max-connections", "16"]
    return [*words, "-o", f"model.script={script}"] if script else words


Key = tuple[str, str, int]


def final_records(run: Path) -> Iterator[tuple[Key, dict[str, Any]]]:
    """Every whole line: code setting, task and repeat, and what it came to."""
    for part in sorted((run / "trajectories").glob("*.jsonl")):
        for line in part.read_bytes().split(b"\n")[:-1]:
            row = json.loads(line)
            record = row["record"]
            if not record.get("unscored"):
                yield (row["code"], record["task_id"], record.get("repeat", 0)), record


def finished(run: Path) -> list[Key]:
    """What is final, in the order of writing."""
    return [key for key, _ in final_records(run)]


def verdicts_of(run: Path) -> dict[Key, bool]:
    """Whether each is right."""
    return {key: record["correct"] for key, record in final_records(run)}


def kill_again_and_again(words: list[str], run: Path, kills: int, every: int) -> list[int]:
    """Kill the command whenever ``every`` trajectories more are there; how many each time."""
    seen, rng = list[int](), random.Random(0)
    for _ in range(kills):
        wanted = (seen[-1] if seen else 0) + every + rng.randrange(every)
        with subprocess.Popen(words, stdout=subprocess.DEVNULL) as process:
            while process.poll() is None and lines(run) < wanted:
                time.sleep(0.05)
            process.kill()
        seen.append(lines(run))
    return seen


def lines(run: Path) -> int:
    """Whole lines of the run so far."""
    parts = (run / "trajectories").glob("*.jsonl")
    return sum(part.read_bytes().count(b"\n") for part in parts)


def measure(folder: Path, name: str, script: Path | None, kills: int) -> dict[str, Any]:
    """Both runs of one model and what they come to."""
    whole, killed = folder / f"{name}-whole", folder / f"{name}-killed"
    started = time.perf_counter()
    subprocess.run(command(whole, script), check=True)
    seconds = time.perf_counter() - started
    every = max(1, len(finished(whole)) // (kills + 2))
    stops = kill_again_and_again(command(killed, script), killed, kills, every)
    subprocess.run(command(killed, script), check=True)
    counts, expected = Counter(finished(killed)), set(finished(whole))
    summary = json.loads((killed / "summary.json").read_text())
    accuracy = {
        row: figures["greedy"]["accuracy"] for row, figures in summary["checkpoints"].items()
    }
    verdicts = [verdicts_of(run) for run in (whole, killed)]
    return {
        "trajectories": len(expected),
        "killed_at": stops,
        "lost": len(expected - counts.keys()),
        "doubled": sum(count - 1 for count in counts.values()),
        "same_verdicts": sum(verdicts[1].get(key) == right for key, right in verdicts[0].items()),
        "accuracy": accuracy,
        "seconds_in_one_go": round(seconds),
        "report_bytes": (killed / "report.html").stat().st_size,
    }


def main() -> None:
    """Measure both models and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=4)
    options = parser.parse_args()
    shutil.rmtree(options.folder, ignore_errors=True)
    options.folder.mkdir(parents=True)
    script = options.folder / "scripted.json"
    script.write_text(json.dumps(SCRIPT))
    results = {
        "load": os.getloadavg(),
        "scripted": measure(options.folder, "scripted", script, options.kills),
        "shipped": measure(options.folder, "shipped", None, options.kills),
    }
    print(json.dumps(results, indent=2))
    bad = any(r["lost"] or r["doubled"] for r in (results["scripted"], results["shipped"]))
    raise SystemExit(int(bad))


if __name__ == "__main__":
    main()
