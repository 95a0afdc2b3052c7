"""Short real trainings of a tiny model, in this process or in one of their own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

SMALL = {
    "steps": 4, "prompts": 3, "group_size": 4, "n_forbid": 1, "bf16": False, "write_every": 1,
    "save_every": 2, "rollout": {"max_turns": 3, "max_new_tokens": 60},
    "samples": {"mask_truncated": False, "mask_void_turns": False},
    "engine": {"sandbox": {"max_sessions": 8}},
}  # fmt: skip


class Trainings:
    """``run`` in this process, ``start`` in one of its own; then ``metrics`` and ``weights``."""

    def __init__(self, model: Path, tasks: Path, folder: Path) -> None:
        self.model, self.tasks, self.folder = model, tasks, folder

    def settings(self, **changes: Any) -> dict[str, Any]:
        return SMALL | {"model": {"path": str(self.model)}, "tasks": str(self.tasks)} | changes

    def run(self, name: str, **changes: Any) -> Path:
        from air_reasoning.config import RunOptions, load_config
        from air_reasoning.train_rl import RLConfig, run_rl

        resolved = load_config(RLConfig, preset=self.settings(**changes))
        run_rl(resolved, RunOptions(run_dir=self.folder / name, display="none"))
        return self.folder / name

    def start(self, name: str, *words: str, **changes: Any) -> "subprocess.Popen[str]":
        file = self.folder / f"{name}.yaml"
        file.write_text(yaml.safe_dump(self.settings(**changes)))
        command = [sys.executable, "-m", *(words or ("air_reasoning.cli", "rl"))]
        command += ["-c", str(file), "--run-dir", str(self.folder / name), "--display", "none"]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
        )

    def metrics(self, name: str) -> list[dict[str, Any]]:
        """All lines, without what a clock says."""
        lines = map(json.loads, (self.folder / name / "metrics.jsonl").read_text().splitlines())
        clocks = ("time/", "seconds_")
        return [{k: v for k, v in line.items() if not k.startswith(clocks)} for line in lines]

    def weights(self, name: str) -> dict[str, torch.Tensor]:
        return load_file(self.folder / name / "model" / "model.safetensors")

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = (self.folder / name / "events.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]


@pytest.fixture
def trainings(talking_model: Path, cold_start_data: Path, tmp_path: Path) -> Trainings:
    return Trainings(talking_model, cold_start_data, tmp_path)


@pytest.fixture(scope="session")
def plain_run(
    talking_model: Path, cold_start_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Trainings:
    """One uninterrupted training called ``plain``, for others to be compared with."""
    made = Trainings(talking_model, cold_start_data, tmp_path_factory.mktemp("plain"))
    made.run("plain")
    return made


@pytest.fixture
def same_as_plain(plain_run: Trainings) -> Callable[[Trainings, str, float], None]:
    """Compares a training's curve and final weights with those of ``plain``."""

    def compare(other: Trainings, name: str, tolerance: float) -> None:
        ours, theirs = other.metrics(name), plain_run.metrics("plain")
        assert [line["step"] for line in ours] == [line["step"] for line in theirs]
        for line, expected in zip(ours, theirs, strict=True):
            assert line == pytest.approx(expected, abs=tolerance)
        weights = other.weights(name)
        for key, tensor in plain_run.weights("plain").items():
            torch.testing.assert_close(weights[key], tensor, atol=tolerance, rtol=0)

    return compare
