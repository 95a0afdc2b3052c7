"""`air rl --dry-run` looks at what a training needs; the set-ups of docs/scale.md pass it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from air_reasoning.cli import main
from air_reasoning.doctor.training import parameters
from air_reasoning.task_files import task_writer
from air_reasoning.tasks.make import TasksConfig, make_tasks

CONFIGS = Path(__file__).parent.parent / "configs"


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tasks")
    with task_writer(folder) as add:
        for task, image in make_tasks(TasksConfig(count=3, seed=5, matplotlib=0.0)):
            add(task, [image])
    return folder


def test_parameters_are_counted_from_the_headers(tiny_model):
    from air_reasoning.models.load import load_model

    model = load_model(tiny_model).model
    assert parameters(tiny_model) == sum(p.numel() for p in model.parameters())


def test_a_missing_checkpoint_has_no_parameters(tmp_path):
    with pytest.raises(ValueError, match="holds no"):
        parameters(tmp_path)


def test_a_set_up_is_checked_line_by_line_and_nothing_is_written(
    tasks, tiny_model, tmp_path, capsys
):
    run = tmp_path / "run"
    words = ["rl", "-o", f"tasks={tasks}", "-o", f"model.path={tiny_model}", "--dry-run"]
    words += ["--run-dir", str(run)]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "3 tasks; of the first 3 the longest prompt has" in shown
    assert "a cell ran" in shown
    assert f"{parameters(tiny_model) / 1e9:.2f}e9 parameters" in shown
    assert not run.exists()
    assert main([*words, "-o", "rollout.max_new_tokens=1000000"]) == 4
    assert "lower rollout.max_new_tokens" in capsys.readouterr().out


def test_every_sandbox_server_is_tried_by_itself(tasks, tiny_model, tmp_path, capsys):
    words = [sys.executable, "-m", "air_reasoning.cli", "sandbox", "serve", "--port", "0"]
    words += ["-o", "sandbox.preload=[[math]]"]
    paths = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "TMPDIR": str(tmp_path)}
    server = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=os.environ | paths)
    try:
        assert server.stdout is not None
        url = server.stdout.readline().split()[3]
        command = ["rl", "-o", f"tasks={tasks}", "-o", f"model.path={tiny_model}", "--dry-run"]
        command += ["--run-dir", str(tmp_path / "run")]
        assert main([*command, "-o", f"engine.sandbox.urls=[{url}]"]) == 0
        shown = capsys.readouterr().out
        assert any(f"sandbox {url}" in line and "a cell ran" in line for line in shown.splitlines())
        server.terminate()
        server.wait(60)
        assert main([*command, "-o", f"engine.sandbox.urls=[{url}]"]) == 4
        assert "air sandbox serve; check the token" in capsys.readouterr().out
    finally:
        server.kill()
        server.wait()
        if server.stdout is not None:
            server.stdout.close()


@pytest.mark.parametrize("name", ["scale-1gpu-lora.yaml", "qwen2.5-vl-7b-rl.yaml"])
def test_the_worked_set_ups_of_air_rl_pass(name, tasks, tiny_model, capsys):
    # The real model and tasks are not here; everything else is as in the file.
    words = ["rl", "-c", str(CONFIGS / name), "--dry-run", "-o", f"tasks={tasks}"]
    words += ["-o", f"model.path={tiny_model}", "-o", "rollout.max_new_tokens=32"]
    words += ["-o", "engine.max_pixels=null", "-o", "engine.system_prompt=x"]
    assert main(words) == 0
    assert "run it where the GPUs are" in capsys.readouterr().out


def test_the_worked_set_up_with_verl_passes(tasks, tiny_model, tmp_path):
    words = ["export", "verl-job", "-c", str(CONFIGS / "scale-4x8-verl.yaml"), "--dry-run"]
    words += ["-o", str(tmp_path / "job"), "--override", f"model.path={tiny_model}"]
    words += ["--override", f"tasks={tasks}", "--override", "prompts=3"]
    words += ["--override", "engine.max_pixels=null"]
    assert main(words) == 0
