"""The main job at a tiny scale: whole, repeatable, resumed, refused. Real trainings and cells."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from air_reasoning.config import Resolved, RunOptions
from air_reasoning.errors import ConfigError
from air_reasoning.models.shipped import ModelConfig
from air_reasoning.quickstart import QuickstartConfig, run_quickstart

KEYS = {
    "n", "accuracy", "accuracy_easy", "accuracy_medium", "accuracy_hard", "accuracy_interleaved",
    "code_share_easy", "code_share_medium", "code_share_hard", "code_share_right",
    "code_share_wrong", "tool_success", "tokens_mean",
}  # fmt: skip


SMALL = {
    "steps": 2, "train_tasks": 12, "test_tasks": 6, "processes": 2,
    "rl": {"prompts": 2, "group_size": 4, "n_forbid": 1, "save_every": 1, "write_every": 1},
}  # fmt: skip


def run(folder: Path, model: Path, **options):
    config = QuickstartConfig(model=ModelConfig(path=model), **SMALL)
    options = {"run_dir": folder, "display": "none"} | options
    run_quickstart(Resolved(value=config, provenance={}), RunOptions(**options))


@pytest.fixture(scope="module")
def first(tmp_path_factory, talking_model) -> Path:
    folder = tmp_path_factory.mktemp("quickstart") / "first"
    run(folder, talking_model)
    return folder


def summary(folder: Path):
    return json.loads((folder / "summary.json").read_text())


@pytest.mark.timeout(400)
def test_it_leaves_a_summary_a_report_and_two_models(first):
    checkpoints = summary(first)["checkpoints"]
    assert list(checkpoints) == ["cold_start", "outcome_grpo", "group_constrained"]
    for decodings in checkpoints.values():
        assert list(decodings) == ["greedy", "sampled"]
        for figures in decodings.values():
            assert set(figures) >= KEYS
            assert figures["n"]["value"] == 6
            assert set(figures["accuracy"]) >= {"value", "low", "high"}
    assert "<svg" in (first / "report.html").read_text()
    for name in ("outcome_grpo", "group_constrained"):
        assert (first / name / "model" / "model.safetensors").exists()


@pytest.mark.timeout(400)
def test_ctrl_c_in_the_middle_of_training_costs_nothing(
    first, talking_model, tmp_path, ctrl_c_when
):
    folder = tmp_path / "cut"
    metrics = [folder / name / "metrics.jsonl" for name in ("outcome_grpo", "group_constrained")]
    with ctrl_c_when(lambda: any(m.exists() and m.stat().st_size for m in metrics)):
        run(folder, talking_model)
    assert not (folder / "summary.json").exists()
    run(folder, talking_model)
    # The same seed, made in another folder and in two goes: the same summary to the last digit.
    assert summary(folder) == summary(first)


@pytest.mark.timeout(400)
def test_after_kill_9_the_same_command_goes_on_at_once(first, talking_model, tmp_path):
    """The trainings die with it: one that lived on would keep its folder locked."""
    folder, file = tmp_path / "cut", tmp_path / "small.yaml"
    file.write_text(yaml.safe_dump(SMALL | {"model": {"path": str(talking_model)}}))
    command = [sys.executable, "-m", "air_reasoning.cli", "quickstart", "-c", str(file)]
    command += ["--run-dir", str(folder), "--display", "none"]
    process = subprocess.Popen(command, start_new_session=True)
    while not any(m.stat().st_size for m in folder.glob("*/metrics.jsonl")):
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    run(folder, talking_model)
    assert summary(folder) == summary(first)


def test_a_finished_run_is_not_made_again_and_other_settings_are_refused(first, talking_model):
    before = {p: p.stat().st_mtime_ns for p in first.glob("*/model/model.safetensors")}
    assert len(before) == 2
    run(first, talking_model)
    assert {p: p.stat().st_mtime_ns for p in before} == before
    config = QuickstartConfig(model=ModelConfig(path=talking_model), steps=3, test_tasks=6)
    with pytest.raises(ConfigError, match="steps"):
        run_quickstart(Resolved(value=config, provenance={}), RunOptions(run_dir=first))
