"""The viewer and the run folder at scale, on runs made here: what a day of RL leaves behind.

    python benchmarks/viewer.py --folder /tmp/bench                  2 GB, 200,000 trajectories
    python benchmarks/viewer.py --folder /tmp/bench --count 20000    a tenth of it

Measures the writer, the index, the server's answers and memory, and what a browser (the system's
Chromium by playwright) shows when. Prints one JSON object; times are wall times under whatever load
the machine has, which is in it, too.
"""

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median
from typing import Any
from urllib.request import urlopen

from air_reasoning.config import Config, Resolved
from air_reasoning.run_dir import RunDir
from air_reasoning.run_index import RunIndex

FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync")
WORDS = [
    "the",
    "bar",
    "of",
    "june",
    "is",
    "higher",
    "than",
    "that",
    "of",
    "may",
    "so",
    "the",
    "difference",
    "divided",
    "by",
    "four",
    "gives",
]
QUERIES = {
    "first": "",
    "deep": "offset=150000",
    "wrong with code": "correct=wrong&code=used",
    "by reward": "sort=-reward",
    "by reward, deep": "sort=-reward&offset=100000",
    "step and stop": "step_min=300&step_max=600&stop=max_tokens",
    "text, common": "text=june",
    "text, rare": "text=needle",
}


class Settings(Config):
    """Of a made run."""


def make_run(path: Path, records: Iterator[dict[str, Any]]) -> dict[str, float]:
    """Write a run through the one writer; trajectories a second, on the wall and of CPU time."""
    shutil.rmtree(path, ignore_errors=True)
    resolved = Resolved(value=Settings(), provenance={})
    wall = cpu = 0.0
    count = 0
    with RunDir.open(path, command="rl", resolved_config=resolved, fingerprint={}) as run:
        for record in records:
            before, before_cpu = time.perf_counter(), time.process_time()
            run.write_trajectory(record)
            wall += time.perf_counter() - before
            cpu += time.process_time() - before_cpu
            count += 1
            if count % 200 == 0:
                step = count // 200
                run.write_metrics(step, {"accuracy": step / (step + 50), "reward/total": 0.5})
    size = sum(part.stat().st_size for part in (path / "trajectories").iterdir())
    return {
        "trajectories": count,
        "bytes": size,
        "per_second": round(count / wall),
        "per_cpu_second": round(count / cpu),
    }


def many(count: int, rng: random.Random) -> Iterator[dict[str, Any]]:
    """Trajectories of about 10 kB: 300 tokens with log-probabilities, thought, cell, output."""
    for i in range(count):
        ids = [rng.randrange(50_000) for _ in range(300)]
        logprobs = [-rng.random() for _ in range(300)]
        thought = " ".join(rng.choices(WORDS, k=60)) + (" needle" if i == count // 2 else "")
        yield record(
            f"{i // 200}.{i // 8}/{i % 8}",
            step=i // 200 + 1,
            correct=rng.random() < 0.6,
            segments=[
                segment("think", thought, ids[:200], logprobs[:200]),
                segment("code", "print(sum([3, 4]) / 2)", ids[200:260], logprobs[200:260]),
                segment("output", "3.5", ids[260:280], []),
                segment("answer", "\\boxed{3.5}", ids[280:], logprobs[280:]),
            ],
            stop=rng.choice(["answered"] * 9 + ["max_tokens"]),
        )


def one_huge(size: int) -> Iterator[dict[str, Any]]:
    """One trajectory of ``size`` bytes: thousands of segments, and one output of 4 MB."""
    segments = [segment("output", "row 1, 2, 3\n" * 350_000, [1, 2, 3], [])]
    text = "Then $x^2$ is **larger**, so we go on. " * 250
    each = len(text) + 4_900  # with its numbers and names
    for i in range((size - 4_200_000) // each):
        kind = ("think", "code", "output")[i % 3]
        body = "print(1)\n" * 1_000 if kind == "code" else text
        segments.append(segment(kind, body, list(range(300)), [-0.5] * (0 if i % 3 == 2 else 300)))
    yield record("huge/0", step=1, correct=True, segments=segments, stop="answered")


def segment(kind: str, text: str, ids: list[int], logprobs: list[float]) -> dict[str, Any]:
    """One segment as JSON."""
    code = text if kind == "code" else ""
    execution = {"status": "ok", "wall_ms": 9.0, "tier": "process"} if kind == "output" else None
    return {
        "kind": kind, "text": text, "token_ids": ids, "logprobs": logprobs, "code": code,
        "images": [], "execution": execution,
    }  # fmt: skip


def record(
    name: str, *, step: int, correct: bool, segments: list[dict[str, Any]], stop: str
) -> dict[str, Any]:
    """One line of ``trajectories/``."""
    group = name.rpartition("/")[0]
    reward = float(correct) - 0.1 * (hash(name) % 7) / 7
    return {
        "step": step,
        "task": {
            "id": group, "prompt": [{"kind": "text", "text": "What is the mean of all values?"}],
            "images": [], "answer": {"value": "3.5", "type": "float"},
        },
        "trajectory": {
            "id": name, "task_id": group, "group_id": group, "prompt_ids": list(range(40)),
            "segments": segments, "stop": stop, "code_banned": False, "policy_version": step,
            "usage": {"prompt": 40, "model": 280, "output": 20}, "timing": {"total": 1.0},
        },
        "record": {"task_id": group, "correct": correct, "calls": 1, "failed_calls": 0,
                   "turns": 2, "tokens": 280, "kind": "mean", "difficulty": "hard", "repeat": 0},
        "extracted": "3.5",
        "reward": {"total": reward, "terms": {"correct": float(correct)}},
        "advantage": reward - 0.5,
    }  # fmt: skip


@contextmanager
def viewer(folder: Path) -> Iterator[tuple[str, int]]:
    """A viewer in a process of its own: (address, process id)."""
    command = [sys.executable, "-u", "-m", "air_reasoning.cli", "view", str(folder), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        line = process.stdout.readline()
        found = re.search(r"http://\S+", line)
        assert found, line
        try:
            yield found.group(), process.pid
        finally:
            process.terminate()


def memory_mb(pid: int) -> dict[str, int]:
    """Resident memory now and at its highest, in MB."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return {
        name: int(re.search(rf"{key}:\s+(\d+)", status).group(1)) // 1024  # type: ignore[union-attr]
        for name, key in (("now", "VmRSS"), ("highest", "VmHWM"))
    }


def timed(work: Callable[[], Any]) -> float:
    """Milliseconds of one call."""
    start = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - start)


def answers(address: str, run: str) -> dict[str, dict[str, float]]:
    """Milliseconds of a page of 100 rows for each query: median and longest of seven."""
    found = {}
    for name, query in QUERIES.items():
        url = f"{address}api/samples?run={run}&limit=100&{query}"
        times = [timed(lambda url=url: urlopen(url).read()) for _ in range(7)]
        found[name] = {"median": round(median(times)), "longest": round(max(times))}
    return found


def cpu_seconds() -> float:
    """Processor time of this process and of all below it: the server and the browser, too."""
    parents, times = dict[int, int](), dict[int, float]()
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = file.read_text(encoding="utf-8").rpartition(")")[2].split()
            pid = int(file.parent.name)
            parents[pid] = int(fields[1])
            times[pid] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    below = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in below} - below:
        below |= more
    return sum(times.get(pid, 0.0) for pid in below)


def shown(address: str, selector: str) -> dict[str, float]:
    """From asking for a page in a fresh browser to the first look at ``selector``.

    ``cpu_s`` is what server and browser computed for it, whatever else the machine did.
    """
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=[*FLAGS])
        page = browser.new_page(viewport={"width": 1280, "height": 860})
        page.set_default_timeout(120_000)
        page.goto(f"{address}icon.svg")  # the browser is warm, its cache of our files is not
        start, computed = time.perf_counter(), cpu_seconds()
        page.goto(address, wait_until="commit")
        page.locator(selector).first.wait_for()
        first = 1000 * (time.perf_counter() - start)
        computed = cpu_seconds() - computed
        frames = sorted(page.evaluate(SCROLL))
        browser.close()
    return {
        "first_useful_paint_ms": round(first),
        "cpu_s": round(computed, 2),
        "frame_scrolling_ms": {"median": round(median(frames)), "longest": round(frames[-1])},
    }


SCROLL = """async () => {
  const table = document.querySelector(".table .body");
  const place = table ?? document.scrollingElement;
  const frames = [];
  let before = performance.now();
  for (let i = 0; i < 60; i++) {
    place.scrollTop += i < 40 ? 400 : place.scrollHeight / 40;
    await new Promise(requestAnimationFrame);
    frames.push(performance.now() - before);
    before = performance.now();
  }
  return frames;
}"""


def main() -> None:
    """Make what is not there, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--count", type=int, default=200_000)
    parser.add_argument("--huge-mb", type=int, default=100)
    options = parser.parse_args()
    many_run, huge_run = options.folder / "many", options.folder / "huge"
    result: dict[str, Any] = {"load": os.getloadavg(), "cores": os.cpu_count()}
    if not many_run.exists():
        result["writer"] = make_run(many_run, many(options.count, random.Random(0)))
    if not huge_run.exists():
        make_run(huge_run, one_huge(options.huge_mb * 10**6))
    for run in (many_run, huge_run):
        (run / "index.sqlite").unlink(missing_ok=True)
    with viewer(options.folder) as (address, pid):
        samples = f"{address}#/run/many/samples"
        result["samples, no index yet"] = shown(samples, ".row[data-key]")
        start = time.perf_counter()
        with RunIndex(many_run) as index:  # beside the server's own catching up
            index.catch_up()
        result["index"] = {
            "rest_s": round(time.perf_counter() - start, 1),
            "bytes": (many_run / "index.sqlite").stat().st_size,
        }
        result["samples"] = shown(samples, ".row[data-key]")
        result["page_of_100_ms"] = answers(address, "many")
        result["runs"] = shown(f"{address}#/", "tr[data-run=many]")
        result["server_mb"] = memory_mb(pid)
        huge = f"{address}#/run/huge/trajectory/huge%2F0"
        result["100 MB trajectory, no index yet"] = shown(huge, ".segment")
        result["100 MB trajectory"] = shown(huge, ".segment")
        result["server_mb_after_huge"] = memory_mb(pid)
    result["load_after"] = os.getloadavg()
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
