"""Stored outputs, made once more: every cell of every sample is run in the sandbox and compared.

Several samples at once; the cells of one in order, in one session that sees the task's pictures.
"""

import asyncio
import itertools
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from air_reasoning.data.cold_start import ColdStartSample
from air_reasoning.data.sample_files import stream_samples
from air_reasoning.display import Progress
from air_reasoning.images import load_ref
from air_reasoning.sandbox.process import ProcessPool, SandboxConfig
from air_reasoning.turn_format import TURN_FORMATS, render_execution
from air_reasoning.types import Segment, Task

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{6,}")
_PICTURES = re.compile(r"^\[\d+ images?\]$", re.MULTILINE)
_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
_CUT = "characters cut ..."
_LONGEST = 100_000
_ROUND = 512


@dataclass(slots=True)
class Replayed:
    """``lost`` are cells that our own sandbox failed; they say nothing of the data."""

    cells: int = 0
    differ: int = 0
    lost: int = 0


def replay_samples(
    folder: Path, counts: Replayed, limit: int | None, bar: Progress
) -> Iterator[tuple[str, str]]:
    """(trajectory id, what differs) of every cell whose output is not the stored one.

    Raises:
        SandboxError: no sandbox can be had here.
    """
    samples = itertools.islice(stream_samples(folder), limit)
    with asyncio.Runner() as runner:
        pool = ProcessPool(SandboxConfig(max_sessions=2 * (os.cpu_count() or 2)))
        try:
            while batch := list(itertools.islice(samples, _ROUND)):
                found = runner.run(_replay_batch(batch, pool, counts, bar))
                yield from (pair for pairs in found for pair in pairs)
        finally:
            runner.run(pool.close())


async def _replay_batch(
    batch: list[tuple[Task, ColdStartSample]], pool: ProcessPool, counts: Replayed, bar: Progress
) -> list[list[tuple[str, str]]]:
    return await asyncio.gather(*(_replay(task, s, pool, counts, bar) for task, s in batch))


async def _replay(
    task: Task, sample: ColdStartSample, pool: ProcessPool, counts: Replayed, bar: Progress
) -> list[tuple[str, str]]:
    segments = sample.trajectory.segments
    cells = [
        (cell, output) for cell, output in itertools.pairwise(segments)
        if cell.kind == "code" and output.kind == "output"
    ]  # fmt: skip
    found: list[tuple[str, str]] = []
    if not cells:
        return found
    async with pool.session([load_ref(ref) for ref in task.images]) as session:
        for number, (cell, output) in enumerate(cells, start=1):
            execution = await session.run(cell.code)
            counts.cells += 1
            bar.advance()
            if execution.status == "lost":
                counts.lost += 1
                continue
            now, stored = render_execution(execution, _LONGEST), stored_text(output)
            if not same_output(stored, now):
                counts.differ += 1
                what = f"cell {number}: stored {_short(stored)}, now {_short(now)}"
                found.append((sample.trajectory.id or task.id, what))
    return found


def stored_text(output: Segment) -> str:
    """What stands between the tags of an output, whichever preset they are of."""
    for form in TURN_FORMATS.values():
        if output.text.startswith(form.output[0]):
            return output.text.removeprefix(form.output[0]).removesuffix(form.output[1])
    return output.text


def same_output(stored: str, now: str) -> bool:
    """Whether two outputs say the same.

    Space at line ends, memory addresses and notes about pictures do not count; numbers may differ
    in the seventh digit, as they do between processors; where the stored one was cut, what is left
    of it counts; of a traceback the last line.

    >>> same_output("3.14159265358", "3.1415926536"), same_output("3.14", "3.15")
    (True, False)
    """
    a, b = _plain(stored), _plain(now)
    if a == b:
        return True
    if _CUT in a:
        head = a.partition("\n...")[0]
        return b.startswith(head)
    if "Traceback (most recent call last)" in a:
        return a.rpartition("\n")[2].strip() == b.rpartition("\n")[2].strip()
    if _NUMBER.sub("#", a) != _NUMBER.sub("#", b):
        return False
    pairs = zip(_NUMBER.findall(a), _NUMBER.findall(b), strict=True)
    return all(_close(float(x), float(y)) for x, y in pairs)


def _close(a: float, b: float) -> bool:
    return abs(a - b) <= 1e-6 * max(abs(a), abs(b))


def _plain(text: str) -> str:
    text = _PICTURES.sub("", _ADDRESS.sub("0x", text.replace("(no output)", "")))
    return "\n".join(line.rstrip() for line in text.strip().splitlines() if line.strip())


def _short(text: str) -> str:
    text = text.strip()
    return repr(text if len(text) <= 120 else text[:60] + " ... " + text[-50:])
