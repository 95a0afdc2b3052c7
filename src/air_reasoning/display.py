"""Progress of long commands, and tables: rich on a terminal, plain lines elsewhere, JSON, nothing.

    with progress("rich", total=100, description="training") as bar:
        bar.advance(headline={"accuracy": 0.61})

Everything goes to stderr, so that stdout stays for results.
"""

import sys
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TextIO

from air_reasoning.config import Display
from air_reasoning.json_io import dump_line

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

PLAIN_SECONDS = 10.0


@dataclass(kw_only=True, slots=True)
class Progress:
    """How far a command is. ``total`` is in steps; ``headline`` are a few named numbers to show."""

    description: str
    total: int | None
    display: Display
    stream: TextIO
    done: int = 0
    started: float = field(default_factory=time.monotonic)
    first: int = 0
    shown: float = float("-inf")
    headline: dict[str, float | None] = field(default_factory=dict[str, "float | None"])
    rich: "RichProgress | None" = None

    def advance(self, steps: int = 1, headline: Mapping[str, float | None] | None = None) -> None:
        """Count ``steps`` more and show it, in plain text at most every ten seconds."""
        self.done += steps
        self.headline.update(headline or {})
        match self.display:
            case "none":
                pass
            case "rich" if self.rich is not None:
                task = self.rich.task_ids[0]
                headline_now = headline_text(self.headline)
                rate = f"{self._rate():.3g}/s"
                self.rich.update(task, completed=self.done, headline=headline_now, rate=rate)
            case "json":
                self.stream.write(dump_line(self._as_dict()).decode() + "\n")
                self.stream.flush()
            case _:
                last = self.total is not None and self.done >= self.total
                if last or time.monotonic() - self.shown >= PLAIN_SECONDS:
                    self.shown = time.monotonic()
                    self.stream.write(self.line() + "\n")
                    self.stream.flush()

    def say(self, text: str) -> None:
        """Show a message of its own, above the bar."""
        if self.rich is not None:
            self.rich.console.print(text, markup=False, highlight=False)
        elif self.display == "json":
            self.stream.write(dump_line({"message": text}).decode() + "\n")
        elif self.display != "none":
            self.stream.write(text + "\n")
            self.stream.flush()

    def line(self) -> str:
        """``training 40/100  2.5/s  24 s left  accuracy 0.61``."""
        rate = self._rate()
        of = "" if self.total is None else f"/{self.total}"
        parts = [f"{self.description} {self.done}{of}"]
        if rate > 0:
            parts.append(f"{rate:.3g}/s")
            if self.total is not None and self.done < self.total:
                parts.append(f"{duration((self.total - self.done) / rate)} left")
        return "  ".join([*parts, headline_text(self.headline)]).rstrip()

    def _rate(self) -> float:
        """Steps a second since this process started: steps resumed from disk do not count."""
        return (self.done - self.first) / max(time.monotonic() - self.started, 1e-9)

    def _as_dict(self) -> dict[str, object]:
        place = {"description": self.description, "done": self.done, "total": self.total}
        return {**place, "rate": round(self._rate(), 4), **self.headline}


@contextmanager
def progress(
    display: Display,
    total: int | None,
    description: str,
    *,
    done: int = 0,
    stream: TextIO | None = None,
) -> Generator[Progress]:
    """Show progress while the block runs; ``done`` steps were made by an earlier process."""
    out: TextIO = sys.stderr if stream is None else stream
    if display == "rich" and not out.isatty():
        display = "plain"
    bar = Progress(
        description=description, total=total, display=display, stream=out, done=done, first=done
    )
    if display != "rich":
        yield bar
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichBar

    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        TextColumn("{task.fields[headline]}", markup=False),
    )
    with RichBar(*columns, console=Console(file=out)) as rich:
        rich.add_task(description, total=total, completed=done, headline="", rate="")
        bar.rich = rich
        yield bar


def headline_text(headline: Mapping[str, float | None]) -> str:
    """``accuracy 0.61  tokens 41.2``; None is a dash."""
    shown = (
        f"{name} {'-' if value is None else f'{value:.3g}'}" for name, value in headline.items()
    )
    return "  ".join(shown)


def duration(seconds: float) -> str:
    """``42 s``, ``3 min 05 s`` or ``1 h 05 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """Rows as aligned plain text, columns in the order of the first row; numbers to the right.

    >>> print(table([{"run": "a", "steps": 5}, {"run": "bb", "steps": 10}]))
    run  steps
    a        5
    bb      10
    """
    if not rows:
        return ""
    names = list(rows[0])
    cells = [names, *([_cell(row.get(name)) for name in names] for row in rows)]
    widths = [max(len(line[index]) for line in cells) for index in range(len(names))]
    right = [isinstance(rows[0].get(name), int | float) for name in names]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in cells
    )


def _cell(value: object) -> str:
    match value:
        case None:
            return "-"
        case float():
            return f"{value:.3g}"
        case _:
            return str(value)
