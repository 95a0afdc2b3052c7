"""The examples run as their docstrings say; the documents compute what the code computes."""

import doctest
import runpy
import sys
from pathlib import Path

import pytest

from air_reasoning.config import Resolved
from air_reasoning.errors import PrerequisiteError
from air_reasoning.images import save_blob
from air_reasoning.models.shipped import shipped_model
from air_reasoning.models.tiny import build_tiny, save_tiny
from air_reasoning.pretrain import task_tokenizer
from air_reasoning.run_dir import RunDir
from air_reasoning.task_files import write_tasks
from air_reasoning.tasks.make import TasksConfig, make_tasks
from air_reasoning.types import Answer, Execution, Part, Segment, Task, Trajectory

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A checkpoint of the real class with random weights."""
    folder = tmp_path_factory.mktemp("model")
    tokenizer = task_tokenizer()
    save_tiny(folder, build_tiny(tokenizer, width=32, layers=1), tokenizer)
    return folder


@pytest.fixture
def run_example(monkeypatch, capsys):
    def run(name: str, *words: object) -> str:
        monkeypatch.setattr(sys, "argv", [name, *map(str, words)])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return run


def test_hello_rollout_executes_the_cell_in_the_sandbox(run_example, model):
    lines = run_example("hello_rollout.py", model).splitlines()
    assert lines[2] == "output  <interpreter>113.75</interpreter>"
    assert lines[4].startswith("Outcome(correct=True, calls=1, failed_calls=0, format_ok=True")


def test_custom_reward_prints_the_worked_example(run_example):
    lines = run_example("custom_reward.py").splitlines()
    assert lines[:2] == [
        "group_constrained",
        "  right calls 1  +0.7481  advantage +0.2329",
    ]
    assert lines[7] == "  right calls 3  +0.9000  advantage +0.2988"


def test_read_a_run_folder_shows_a_trajectory_that_called(run_example, tmp_path, picture):
    ref = save_blob(picture, tmp_path / "pictures")
    task = Task(id="t", prompt=[Part(kind="image")], images=[ref], answer=Answer(value="3"))
    cell = Segment(
        kind="output", text="<interpreter>3</interpreter>", execution=Execution(status="ok")
    )
    trajectory = Trajectory(id="a", task_id="t", group_id="g", segments=[cell])
    run = tmp_path / "run"
    resolved = Resolved(value=TasksConfig(), provenance={})
    with RunDir.open(run, command="rl", resolved_config=resolved, fingerprint={}) as writer:
        writer.write_metrics(7, {"accuracy": 0.5})
        for calls in (0, 1):
            record = {"task": task, "trajectory": trajectory, "record": {"calls": calls}}
            writer.write_trajectory(record)
    out = run_example("read_a_run_folder.py", run)
    assert out.startswith("air rl: done, ")
    assert "step             7" in out
    assert "2 trajectories, 1 called code" in out
    assert f"{run}/blobs/{ref.sha256}.png\n  [output] <interpreter>3</interpreter>" in out


def test_evaluate_a_checkpoint_counts_every_task(run_example, model, tmp_path):
    made = list(make_tasks(TasksConfig(split="test", count=2, matplotlib=0)))
    pictures = {task.images[0].sha256: image for task, image in made}
    write_tasks(tmp_path, [task for task, _ in made], pictures)
    out = run_example("evaluate_a_checkpoint.py", tmp_path, model)
    accuracy = next(line for line in out.splitlines() if line.startswith("accuracy "))
    assert accuracy.endswith("n = 2")


def test_solve_shows_question_answer_and_gold(run_example, model):
    out = run_example("solve_with_shipped_model.py", model)
    assert "\nanswer: " in out
    assert "\ngold:   " in out


def test_solve_with_the_shipped_model_itself(run_example):
    try:
        shipped_model()
    except PrerequisiteError as error:
        pytest.skip(str(error))
    assert "stop: answered" in run_example("solve_with_shipped_model.py")


def test_every_example_is_listed_and_short():
    listed = (EXAMPLES / "README.md").read_text()
    for file in EXAMPLES.glob("*.py"):
        assert f"`{file.name}" in listed
        assert len(file.read_text().splitlines()) < 30, file.name


def test_the_worked_examples_of_the_method_are_what_the_code_computes():
    failed, tried = doctest.testfile(str(ROOT / "docs" / "method.md"), module_relative=False)
    assert tried == 11
    assert failed == 0
