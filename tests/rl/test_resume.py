"""An interrupted training ends where an uninterrupted one does, bit for bit."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from air_reasoning.errors import DataError

pytestmark = pytest.mark.timeout(600)  # a process of its own has to import everything


def lines(file: Path) -> int:
    return file.read_bytes().count(b"\n") if file.exists() else 0


def test_kill_9_and_the_same_command(trainings, same_as_plain):
    """Killed while the fourth step is under way, whatever it is doing; the third is forgotten."""
    process = trainings.start("killed")
    metrics = trainings.folder / "killed" / "metrics.jsonl"
    deadline = time.monotonic() + 300
    while lines(metrics) < 3 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert lines(metrics) == 3
    trainings.run("killed")
    same_as_plain(trainings, "killed", 0.0)
    kinds = [event["kind"] for event in trainings.events("killed")]
    assert [kind for kind in kinds if kind != "alarm"] == ["started", "resumed", "truncated"]


def test_ctrl_c_saves_and_goes_on(trainings, same_as_plain, ctrl_c_when):
    metrics = trainings.folder / "run" / "metrics.jsonl"
    with ctrl_c_when(lambda: lines(metrics) >= 1):
        trainings.run("run")
    assert (trainings.folder / "run" / "checkpoints").is_dir()
    trainings.run("run")
    same_as_plain(trainings, "run", 0.0)


def test_a_truncated_checkpoint_is_named_and_nothing_is_lost(trainings):
    folder = trainings.run("run", keep_last=2)
    checkpoint = folder / "checkpoints" / "step-000004"
    weights = checkpoint / "model" / "model.safetensors"
    before = trainings.metrics("run")
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(DataError, match=r"model\.safetensors.*damaged.*step-000002"):
        trainings.run("run")
    assert trainings.metrics("run") == before


def test_the_best_checkpoint_stays_beside_the_last(trainings):
    folder = trainings.run("run", steps=4, save_every=1, keep_last=1)
    states = {
        path.parent.name: json.loads(path.read_text())["score"]
        for path in (folder / "checkpoints").glob("step-*/state.json")
    }
    accuracies = [line["accuracy"] for line in trainings.metrics("run")]
    best = max(range(4), key=lambda step: (accuracies[step], step)) + 1
    assert states == {f"step-{step:06d}": accuracies[step - 1] for step in {best, 4}}


def test_a_checkpoint_loads_in_plain_transformers(plain_run):
    from transformers import Qwen3VLForConditionalGeneration

    folder = plain_run.folder / "plain" / "checkpoints" / "step-000004" / "model"
    model = Qwen3VLForConditionalGeneration.from_pretrained(folder)
    name, tensor = next(iter(plain_run.weights("plain").items()))
    assert model.state_dict()[name].equal(tensor)
