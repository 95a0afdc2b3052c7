"""Figures to other trackers, off by default: a sink is one more reader of the run folder.

    air rl ... --sink tensorboard            follows the run while it goes on
    air run send runs/rl --to wandb          sends what is there

A sink reads ``metrics.jsonl`` as the viewer does, so no flow knows of it and none waits for it; if
it fails, the run goes on and says so once. Nothing here ever asks: without a key wandb writes
offline files that `wandb sync` sends later.
"""

import os
import sys
import threading
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from air_reasoning.errors import ConfigError, PrerequisiteError
from air_reasoning.json_io import parse_json
from air_reasoning.run_reader import read_status

SINKS = ("tensorboard", "trackio", "wandb")
SECONDS = 2.0
PROJECT = "air-reasoning"


class Sink(Protocol):
    """Where figures go."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Take the defined figures of one step; a step may come again after a resumed training."""
        ...

    def close(self) -> None:
        """Send what is held back."""
        ...


class TensorBoard:
    """Event files in ``RUN/tensorboard``; needs the package tensorboard, not torch."""

    def __init__(self, run: Path) -> None:
        writer = _library("tensorboard.summary.writer.event_file_writer", "tensorboard")
        self._event = _library("tensorboard.compat.proto.event_pb2", "tensorboard").Event
        self._summary = _library("tensorboard.compat.proto.summary_pb2", "tensorboard").Summary
        self._writer = writer.EventFileWriter(str(run / "tensorboard"))

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """One event a step, one scalar a figure."""
        values = [self._summary.Value(tag=k, simple_value=v) for k, v in metrics.items()]
        self._writer.add_event(self._event(step=step, summary=self._summary(value=values)))

    def close(self) -> None:
        """Write to the disk."""
        self._writer.close()


class Trackio:
    """A local trackio project."""

    def __init__(self, run: Path) -> None:
        self._trackio = _library("trackio", "trackio")
        config = read_status(run).get("fingerprint", {})
        self._trackio.init(project=PROJECT, name=run.resolve().name, config=config)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """One line a step."""
        self._trackio.log(dict(metrics), step=step)

    def close(self) -> None:
        """End the run."""
        self._trackio.finish()


class WandB:
    """A wandb run in ``RUN/wandb``; offline without ``WANDB_API_KEY``."""

    def __init__(self, run: Path) -> None:
        wandb = _library("wandb", "wandb")
        mode = os.environ.get("WANDB_MODE") or (
            "online" if os.environ.get("WANDB_API_KEY") else "offline"
        )
        self._run = wandb.init(
            project=PROJECT, name=run.resolve().name, dir=str(run), mode=mode,
            config=read_status(run).get("fingerprint", {}),
            settings=wandb.Settings(silent=True, console="off"),
        )  # fmt: skip

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """One line a step."""
        self._run.log(dict(metrics), step=step)

    def close(self) -> None:
        """End the run."""
        self._run.finish()


def open_sink(name: str, run: Path) -> Sink:
    """A sink by its name. Raises ConfigError: unknown. PrerequisiteError: not installed."""
    match name:
        case "tensorboard":
            return TensorBoard(run)
        case "trackio":
            return Trackio(run)
        case "wandb":
            return WandB(run)
        case _:
            raise ConfigError(f"--sink {name}: expected one of {', '.join(SINKS)}")


def send_run(run: Path, name: str) -> int:
    """Send all figures that ``run`` has; the number of steps.

    Raises:
        ConfigError, PrerequisiteError: as ``open_sink``. DataError: no run, or a line without JSON.
    """
    read_status(run)
    sink = open_sink(name, run)
    try:
        _, steps = _forward(run, sink, 0)
    finally:
        sink.close()
    return steps


@contextmanager
def following(run: Path, names: Sequence[str]) -> Generator[None]:
    """While the block runs, new figures of ``run`` go to the sinks named, every two seconds.

    Raises:
        ConfigError: an unknown name. PrerequisiteError: its library is absent; before the block.
    """
    for name in names:
        if name not in SINKS:
            raise ConfigError(f"--sink {name}: expected one of {', '.join(SINKS)}")
        _library(name, name)
    over = threading.Event()
    threads = [threading.Thread(target=_follow, args=(run, name, over)) for name in names]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def _follow(run: Path, name: str, over: threading.Event) -> None:
    sink, size = None, 0
    try:
        while True:
            last = over.wait(SECONDS)
            if sink is None and (run / "status.json").exists():
                sink = open_sink(name, run)
            if sink is not None:
                size, _ = _forward(run, sink, size)
            if last:
                break
        if sink is not None:
            sink.close()
    except Exception as error:  # theirs, of any kind; our run is worth more
        print(f"sink {name} failed and is left out: {error!r}", file=sys.stderr)


def _forward(run: Path, sink: Sink, since: int) -> tuple[int, int]:
    """Log the whole lines after byte ``since``; (bytes read so far, steps logged)."""
    file = run / "metrics.jsonl"
    size = file.stat().st_size if file.exists() else 0
    if size == since:
        return since, 0
    since = 0 if size < since else since
    with file.open("rb") as opened:
        opened.seek(since)
        data = opened.read()
    whole = data[: data.rfind(b"\n") + 1]
    lines = [parse_json(line, str(file)) for line in whole.splitlines() if line.strip()]
    for line in lines:
        step = int(line.pop("step"))
        sink.log(step, {name: value for name, value in line.items() if value is not None})
    return since + len(whole), len(lines)


def _library(module: str, package: str) -> Any:
    try:
        return import_module(module)
    except ModuleNotFoundError:
        raise PrerequisiteError(
            f"{package} is not installed; run `pip install 'air-reasoning[{package}]'`"
        ) from None
