"""Supervised fine-tuning: what the loss counts, resuming, and what it refuses."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from air_reasoning.config import Resolved, RunOptions
from air_reasoning.data.cold_start import read_samples, write_samples
from air_reasoning.errors import AirError, DataError
from air_reasoning.models.shipped import ModelConfig
from air_reasoning.optim import OptimizerConfig
from air_reasoning.task_files import read_tasks, write_tasks
from air_reasoning.train_sft import SFTConfig, run_sft, sft_sample


def config(model: Path, data: Path, **changes) -> SFTConfig:
    settings = {
        "model": ModelConfig(path=model), "data": data, "steps": 8, "batch": 4, "bf16": False,
        "save_every": 3, "practice_rows": 2,
        "optimizer": OptimizerConfig(kind="muon", lr=2e-3, warmup_steps=2),
    }  # fmt: skip
    return SFTConfig(**settings | changes)


def run(settings: SFTConfig, folder: Path, **options):
    options = RunOptions(**{"run_dir": folder, "display": "none"} | options)
    run_sft(Resolved(value=settings, provenance={}), options)


def curve(folder: Path) -> list[tuple[int, float, float]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line["loss/sft"], line["loss/practice"]) for line in lines]


def test_an_interrupted_run_goes_on_as_if_it_had_not_been(
    tiny_model, cold_start_data, tmp_path, ctrl_c_when
):
    settings = config(tiny_model, cold_start_data)
    run(settings, tmp_path / "whole")
    metrics = tmp_path / "cut" / "metrics.jsonl"
    with ctrl_c_when(lambda: metrics.exists() and metrics.read_bytes().count(b"\n") >= 4):
        run(settings, tmp_path / "cut")
    assert len(curve(tmp_path / "cut")) < 8
    run(settings, tmp_path / "cut")
    assert curve(tmp_path / "cut") == curve(tmp_path / "whole")
    whole, cut = (
        load_file(tmp_path / name / "model" / "model.safetensors") for name in ("whole", "cut")
    )
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


def test_the_loss_counts_what_the_model_wrote_and_nothing_of_the_sandbox(cold_start_data):
    counted = {"output": set(), "code": set(), "answer": set()}
    for task, sample in read_samples(cold_start_data):
        row = sft_sample(task, sample)
        mask = iter(row.loss_mask)
        for segment in sample.trajectory.segments:
            marks = {next(mask) for _ in segment.token_ids}
            if segment.kind in counted:
                counted[segment.kind] |= marks
        assert next(mask, None) is None
    assert counted == {"output": {0}, "code": {1}, "answer": {1}}


def test_other_settings_are_refused_and_overwrite_starts_anew(
    tiny_model, cold_start_data, tmp_path
):
    run(config(tiny_model, cold_start_data, steps=1), tmp_path / "run")
    other = config(tiny_model, cold_start_data, steps=1, practice_rows=0)
    with pytest.raises(AirError, match="practice_rows"):
        run(other, tmp_path / "run")
    run(other, tmp_path / "run", overwrite=True)
    assert "loss/practice" not in (tmp_path / "run" / "metrics.jsonl").read_text()


def test_evaluation_tasks_are_refused(tiny_model, cold_start_data, tmp_path):
    tasks = read_tasks(cold_start_data)
    tasks[3].meta["split"] = "test"
    samples = [sample for _, sample in read_samples(cold_start_data)]
    write_tasks(tmp_path / "data", tasks)
    write_samples(tmp_path / "data", samples)
    with pytest.raises(DataError, match=rf"task {tasks[3].id} is marked split: test"):
        run(config(tiny_model, tmp_path / "data"), tmp_path / "run")


def test_a_sample_whose_weights_do_not_fit_is_an_error_of_ours(cold_start_data):
    task, sample = read_samples(cold_start_data)[0]
    broken = replace(sample, weights=[*sample.weights, [1, 1.0]])
    with pytest.raises(DataError, match=rf"sample of task {task.id}: \d+ weights for \d+ tokens"):
        sft_sample(task, broken)


def test_a_loss_that_is_no_number_ends_the_run(tiny_model, cold_start_data, tmp_path):
    wild = OptimizerConfig(kind="adamw", lr=1e30, warmup_steps=0, max_grad_norm=1e30)
    with pytest.raises(AirError, match="sft step"):
        run(config(tiny_model, cold_start_data, optimizer=wild), tmp_path / "run")
