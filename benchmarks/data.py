"""Data commands: rows a second of import and export, cells a second of replay, tasks a second.

    python benchmarks/data.py                       # a few minutes
    python benchmarks/data.py --rows 1000000 --only import

Rates are per second of processor time of all processes (children included), because a busy machine
says nothing about a clock; the clock stands beside them. Each part runs in a process of its own, of
which the largest memory is given.
"""

import argparse
import json
import multiprocessing
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

CELL = (
    "<think>go</think><code>```python\nx = [{i}, 2, 3]\nprint(sum(v * v for v in x))\n```</code>"
    "<interpreter>{out}</interpreter><answer>\\boxed{{{out}}}</answer>"
)


def processor_seconds() -> float:
    """Of this process and its ended children."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(use.ru_utime + use.ru_stime for use in used)


def measured(work: Callable[[], int]) -> dict[str, Any]:
    """How many, in what time, with how much memory."""
    clock, processor = time.perf_counter(), processor_seconds()
    count = work()
    took, used = time.perf_counter() - clock, processor_seconds() - processor
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "count": count, "per_processor_second": round(count / used, 1),
        "per_clock_second": round(count / took, 1), "memory_mb": round(memory),
    }  # fmt: skip


def text_rows(file: Path, rows: int) -> None:
    """Rows of ms-swift without pictures, a few hundred bytes each."""
    with file.open("w") as out:
        for i in range(rows):
            question = f"A crate holds {i} bolts of {i % 97} grams. " * 4 + "What do all weigh?"
            row = {
                "messages": [{"role": "user", "content": question}],
                "solution": str(i * (i % 97)), "difficulty": "hard",
            }  # fmt: skip
            out.write(json.dumps(row) + "\n")


def import_rows(folder: Path, rows: int) -> dict[str, Any]:
    """JSON lines of questions to a task folder."""
    from air_reasoning.data.importing import import_data

    text_rows(folder / "rows.jsonl", rows)
    return measured(lambda: import_data(folder / "rows.jsonl", folder / "tasks").tasks)


def export_rows(folder: Path, rows: int) -> dict[str, Any]:
    """A task folder to verl's parquet."""
    from air_reasoning.data.exporting import export_data
    from air_reasoning.data.importing import import_data

    text_rows(folder / "rows.jsonl", rows)
    import_data(folder / "rows.jsonl", folder / "tasks")
    return measured(lambda: export_data(folder / "tasks", folder / "verl", "verl").rows)


def validate_rows(folder: Path, rows: int) -> dict[str, Any]:
    """Everything that is looked at without running code."""
    from air_reasoning.data.importing import import_data
    from air_reasoning.data.validate import validate

    text_rows(folder / "rows.jsonl", rows)
    import_data(folder / "rows.jsonl", folder / "tasks")
    return measured(lambda: validate(folder / "tasks").tasks)


def replay_cells(folder: Path, rows: int) -> dict[str, Any]:
    """One cell a sample, each in a session of its own."""
    from air_reasoning.data.importing import import_data
    from air_reasoning.data.validate import validate

    with (folder / "said.jsonl").open("w") as out:
        for i in range(rows):
            said = CELL.format(i=i, out=i * i + 13)
            user = {"role": "user", "content": f"What is {i}² + 13?"}
            row = {"messages": [user, {"role": "assistant", "content": said}]}
            out.write(json.dumps(row) + "\n")
    import_data(folder / "said.jsonl", folder / "tasks")

    def work() -> int:
        counts = validate(folder / "tasks", replay=True)
        if counts.findings or counts.replayed.lost:
            raise SystemExit(f"replay found {counts.findings}, lost {counts.replayed.lost}")
        return counts.replayed.cells

    return measured(work)


def small_tasks(rows: int, side: int) -> Any:
    """All families but small print, whose pictures are large; the tables are read before."""
    from air_reasoning.tasks.families.known import FAMILY_NAMES
    from air_reasoning.tasks.make import TasksConfig, make_tasks

    small = tuple(name for name in FAMILY_NAMES if name != "small_print")
    made = make_tasks(TasksConfig(count=rows + 1, families=small, side=side))
    next(made)
    return made


def draw_tasks(folder: Path, rows: int) -> dict[str, Any]:
    """Pictures of 320 pixels with questions, answers and hashes; not written."""
    made = small_tasks(rows, 320)
    return measured(lambda: sum(1 for _ in made))


def write_small_tasks(folder: Path, rows: int) -> dict[str, Any]:
    """Pictures of 224 pixels, written to a task folder as PNG."""
    from air_reasoning.task_files import task_writer

    made = small_tasks(rows, 224)

    def work() -> int:
        with task_writer(folder / "tasks") as add:
            for task, image in made:
                add(task, [image])
        return rows

    return measured(work)


PARTS: dict[str, tuple[Callable[[Path, int], dict[str, Any]], int]] = {
    "import": (import_rows, 100_000), "export": (export_rows, 20_000),
    "validate": (validate_rows, 20_000), "replay": (replay_cells, 400), "draw": (draw_tasks, 600),
    "write": (write_small_tasks, 600),
}  # fmt: skip


def run_part(name: str, rows: int | None, send: Any) -> None:
    """In a process of its own."""
    work, usual = PARTS[name]
    folder = Path(tempfile.mkdtemp(prefix="air-bench-data-"))
    try:
        send.send(work(folder, rows or usual))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    """Read the command line, run the parts, print one line each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, help="rows of each part")
    parser.add_argument("--only", choices=list(PARTS), nargs="*", default=list(PARTS))
    options = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} processors", flush=True)
    spawn = multiprocessing.get_context("spawn")
    for name in options.only:
        receive, send = spawn.Pipe(duplex=False)
        process = spawn.Process(target=run_part, args=(name, options.rows, send))
        process.start()
        send.close()
        print(name, json.dumps(receive.recv()), flush=True)
        process.join()


if __name__ == "__main__":
    main()
