"""Speed and agreement of answer checking against math-verify, on real MATH-Vision responses.

    python benchmarks/answers.py --data FOLDER            # mathvision/, with its outputs/
    python benchmarks/answers.py --data FOLDER --hostile  # what hostile text costs

Both take turns on the same responses in one process, so that the ratio holds on a loaded machine;
times are processor time, ours with that of the child processes. math-verify gets the whole response
and the gold answer (the letter for choice items), its own time-outs off, which is its faster way.
Agreement is with the verdict in the official output file.
"""

import argparse
import gzip
import importlib.metadata
import os
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import math_verify

from air_reasoning.answers import check_answer
from air_reasoning.eval.benchmarks import mathvision
from air_reasoning.eval.benchmarks.adapter import official_id
from air_reasoning.json_io import parse_json
from air_reasoning.math_verify_child import verify
from air_reasoning.types import Answer, Task

HOSTILE = {
    "tower": r"\boxed{9^{9^{9^{9}}}}",
    "factorial": r"\boxed{(10^{6})!}",
    "300 brackets": "(" * 300 + "1" + ")" * 300,
    "300 boxed brackets": r"\boxed{" + "(" * 300 + "1" + ")" * 300 + "}",
    "integral": r"\boxed{\int_0^{10^9} \sin(x^x) dx}",
    "sum": r"\boxed{\sum_{k=1}^{10^{9}} k^k}",
    "1 MB of digits": "9" * 1_000_000,
    "1 MB of words": "the answer is " * 70_000,
    "1 MB in a box": r"\boxed{" + "a" * 1_000_000 + "}",
    "1 MB of brackets": "(" * 1_000_000,
    "1 MB of minus signs": "-" * 1_000_000,
    "200,000 fractions": r"\frac" * 200_000,
}
Row = tuple[Task, str, bool]
Check = Callable[[Task, str], bool]


def ours(task: Task, response: str) -> bool:
    """This project's strict check."""
    return check_answer(task.answer, response, task.choices).correct


def official(task: Task, response: str) -> bool:
    """The benchmark's own rules."""
    return mathvision.official_correct(task, response)


def theirs(task: Task, response: str) -> bool:
    """math-verify as its documentation uses it."""
    try:
        gold = math_verify.parse(f"${task.answer.value}$", parsing_timeout=0)
        given = math_verify.parse(response, parsing_timeout=0)
        return bool(math_verify.verify(gold, given, timeout_seconds=0))
    except Exception:
        return False


CHECKS: dict[str, Check] = {
    "air strict": ours,
    "air official": official,
    f"math-verify {importlib.metadata.version('math-verify')}": theirs,
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the MATH-Vision folder")
    parser.add_argument("--each", type=int, default=200, help="responses of each output file")
    parser.add_argument("--hostile", action="store_true", help="time hostile text instead")
    options = parser.parse_args()
    if options.hostile:
        return time_hostile()
    rows = read_rows(options.data, options.each)
    for kind in ("free", "choice"):
        compare(kind, [row for row in rows if row[0].meta["kind"] == kind])


def read_rows(folder: Path, each: int) -> list[Row]:
    """Responses spread evenly over every output file, with their official verdicts."""
    tasks = {official_id(t): t for t in mathvision.load(folder, "test", images=False)}
    rows = list[Row]()
    for path in sorted((folder / "outputs").glob("*.jsonl.gz")):
        lines = gzip.decompress(path.read_bytes()).splitlines()
        for line in lines[:: max(1, len(lines) // each)]:
            row: dict[str, Any] = parse_json(line, str(path))
            rows.append((tasks[row["id"]], row["response"], bool(row["correct"])))
    return rows


def compare(kind: str, rows: list[Row], block: int = 50) -> None:
    """Blocks of responses in turns: checks a second of processor time, and agreement."""
    verify("a+b", "b+a")  # the child is up
    for check in CHECKS.values():
        check(rows[0][0], rows[0][1])  # imports
    spent, agreed = defaultdict[str, float](float), defaultdict[str, int](int)
    slowest = defaultdict[str, float](float)
    for start in range(0, len(rows), block):
        for name, check in CHECKS.items():
            before, own = child_seconds(), time.process_time()
            for task, response, verdict in rows[start : start + block]:
                begun = time.process_time()
                agreed[name] += check(task, response) == verdict
                slowest[name] = max(slowest[name], time.process_time() - begun)
            own = time.process_time() - own
            spent[name] += own + child_seconds() - before
    base = spent[list(CHECKS)[-1]]  # math-verify's
    print(f"{kind}: {len(rows)} responses")
    for name in CHECKS:
        print(
            f"  {name:20} {len(rows) / spent[name]:8.0f} checks/s  {base / spent[name]:6.1f} x  "
            f"agreement {100 * agreed[name] / len(rows):6.2f} %  "
            f"slowest {1000 * slowest[name]:.0f} ms"
        )


def child_seconds() -> float:
    """Processor time of every living process in a session that a child of this process leads."""
    ticks = 0
    sessions = {child_of(pid) for pid in processes()} - {None}
    for pid in processes():
        fields = stat(pid)
        if fields and int(fields[3]) in sessions:
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def processes() -> list[int]:
    """Process ids."""
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the state on; empty if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def child_of(pid: int) -> int | None:
    """``pid`` if it is a child of this process and leads a session."""
    fields = stat(pid)
    return pid if fields and int(fields[1]) == os.getpid() and int(fields[3]) == pid else None


def time_hostile() -> None:
    """Time on the clock of one check of each hostile text."""
    answer = Answer(value="x^2", type="expr")
    verify("a+b", "b+a")  # the child is up
    for name, text in HOSTILE.items():
        begun = time.monotonic()
        verdict = check_answer(answer, text, [])
        print(
            f"{name:20} {time.monotonic() - begun:5.2f} s on the clock  "
            f"correct {verdict.correct}  by {verdict.method}  timed out {verdict.timed_out}"
        )


if __name__ == "__main__":
    main()
