"""Several trainings at once, each an ``air rl`` process of its own, watched from here.

Ctrl-C reaches only this process, which passes it on, once: each training saves its state and ends,
and the same call goes on later. A training that is done is not started again. Where this process is
killed, its trainings die with it (on Linux): a survivor would keep its run folder locked.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from air_reasoning.config import Display
from air_reasoning.display import progress
from air_reasoning.errors import AirError
from air_reasoning.files import atomic_write
from air_reasoning.run_reader import read_metrics, read_status

PR_SET_PDEATHSIG = 1  # linux/prctl.h
STOP_SECONDS = 60
"""How long a training may take to save its state when it is stopped."""


@dataclass(kw_only=True, slots=True, frozen=True)
class Training:
    """One ``air rl``: its run folder and settings."""

    name: str
    folder: Path
    settings: dict[str, Any]
    steps: int

    @property
    def done(self) -> bool:
        """Whether it ended well: its final model is there, and whole."""
        if not (self.folder / "status.json").exists():
            return False
        return read_status(self.folder).get("state") == "done"


def train_side_by_side(trainings: Sequence[Training], processes: int, display: Display) -> None:
    """Run all that are not done, ``processes`` at a time.

    Raises:
        AirError: one of them failed; the message ends with what it said last.
    """
    waiting = [t for t in trainings if not t.done]
    running: dict[str, subprocess.Popen[bytes]] = {}
    steps = sum(t.steps for t in trainings)
    before = sum(_steps(t) for t in trainings)
    with progress(display, steps, "training", done=before) as bar:
        shown = before
        try:
            while waiting or running:
                while waiting and len(running) < processes:
                    training = waiting.pop(0)
                    running[training.name] = _start(training)
                time.sleep(0.5)
                for training in trainings:
                    process = running.get(training.name)
                    if process is not None and process.poll() is not None:
                        del running[training.name]
                        _check(training, process.returncode)
                now = sum(_steps(t) for t in trainings)
                if now > shown:
                    bar.advance(now - shown, headline=_headline(trainings))
                    shown = now
        finally:
            _stop(list(running.values()))


def _start(training: Training) -> subprocess.Popen[bytes]:
    file = training.folder.with_suffix(".yaml")
    atomic_write(file, yaml.safe_dump(training.settings, sort_keys=False))
    command = [
        sys.executable, "-m", "air_reasoning.cli", "rl", "-c", str(file),
        "--run-dir", str(training.folder), "--display", "none",
    ]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    log = training.folder.with_suffix(".log").open("ab")
    with log:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment,
            process_group=0, preexec_fn=_die_with_parent,
        )  # fmt: skip


def _die_with_parent() -> None:
    """In the child: be killed when the thread that started it ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _check(training: Training, code: int) -> None:
    if code != 0 or not training.done:
        log = training.folder.with_suffix(".log")
        last = log.read_text(errors="replace").strip().splitlines()[-3:]
        raise AirError(
            f"training {training.name} ended with exit code {code} ({log}): " + " ".join(last)
        )


def _steps(training: Training) -> int:
    with contextlib.suppress(AirError, OSError, IndexError, KeyError):
        return int(read_metrics(training.folder)[-1]["step"])
    return 0


def _headline(trainings: Sequence[Training]) -> dict[str, float | None]:
    """Code share on easy and hard tasks of each training, over its last five steps."""
    shown: dict[str, float | None] = {}
    for training in trainings:
        with contextlib.suppress(AirError, OSError):
            lines = read_metrics(training.folder)[-5:]
            for difficulty in ("easy", "hard"):
                values = [
                    v for line in lines if (v := line.get(f"code_share_{difficulty}")) is not None
                ]
                label = f"{training.name.split('_')[0]}: code on {difficulty}"
                shown[label] = sum(values) / len(values) if values else None
    return shown


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Ask for an orderly end, wait for saved states, then insist."""
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT)
    deadline = time.monotonic() + STOP_SECONDS
    for process in processes:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
