"""Runs, Run and Group in a real browser, and how they follow a run that goes on."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from air_reasoning.run_dir import RunDir
from air_reasoning.task_files import task_writer
from air_reasoning.tasks.make import TasksConfig, make_tasks

Served = Callable[..., str]


def test_runs_show_state_and_figures_and_follow(
    page: Any, made_run: Path, served: Served, maker: ModuleType
):
    page.goto(served(made_run))
    row = page.locator("tr[data-run=rl]")
    row.wait_for()
    assert row.inner_text().split()[:7] == ["rl", "rl", "done", "3", "75.0", "%", "0.6"]
    row.get_by_role("img", name="reward/total over the steps").wait_for()
    with maker.open_run(made_run / "new") as run:
        page.locator("tr[data-run=new]").get_by_text("running").wait_for()
        run.write_metrics(1, {"accuracy": 0.125})
        page.locator("tr[data-run=new]").get_by_text("12.5 %").wait_for()
    page.locator("tr[data-run=new]").get_by_text("done").wait_for()
    page.get_by_label("find runs").fill("nothing like it")
    page.get_by_text("No run has that name.").wait_for()


def test_an_empty_folder_waits_for_its_first_run(
    page: Any, tmp_path: Path, served: Served, maker: ModuleType
):
    page.goto(served(tmp_path))
    page.get_by_text("No run here yet").wait_for()
    with maker.open_run(tmp_path / "first"):
        page.locator("tr[data-run=first]").wait_for()


def test_a_killed_run_is_not_called_running(
    page: Any, tmp_path: Path, served: Served, maker: ModuleType
):
    maker.open_run(tmp_path / "dead").close()  # as after a kill: nobody changed the state
    page.goto(served(tmp_path))
    page.locator("tr[data-run=dead]").get_by_text("stopped").wait_for()


def test_a_run_shows_curves_alarms_settings(page: Any, made_run: Path, served: Served):
    page.goto(f"{served(made_run)}#/run/rl")
    page.locator("figure").first.wait_for()
    titles = page.locator("figure").evaluate_all("all => all.map((one) => one.dataset.chart)")
    assert titles == ["Reward", "Reward by term", "Accuracy", "Code among right and wrong"]
    page.get_by_role("img", name="Accuracy; last values: all 75.0 %").wait_for()
    assert page.locator(".plot canvas").count() == 4
    page.get_by_label("alarms").get_by_text("step 2: entropy 0.01 is below 0.05").wait_for()
    page.locator(".config").get_by_text("-o").wait_for()
    page.locator(".events").get_by_text("started").wait_for()
    page.get_by_label("smoothing").fill("0.5")
    page.wait_for_url("**smooth=0.5**")
    page.locator("figure[data-chart=Accuracy] .legend button").click()
    page.wait_for_url("**hide=Accuracy*")
    page.get_by_label("find a curve").fill("term")
    page.locator("figure[data-chart=Accuracy]").wait_for(state="detached")
    page.reload()
    page.locator("figure[data-chart='Reward by term']").wait_for()
    assert page.locator("figure").count() == 1


def test_an_open_run_page_goes_on_with_the_run(
    page: Any, made_run: Path, served: Served, maker: ModuleType
):
    page.goto(f"{served(made_run)}#/run/rl")
    page.get_by_text("75.0 %").first.wait_for()
    with maker.open_run(made_run / "rl") as run:
        page.get_by_text("running").wait_for()
        run.write_metrics(4, {"accuracy": 0.875})
        page.get_by_role("img", name="Accuracy; last values: all 87.5 %").wait_for()
        run.truncate_after(2)
        page.get_by_role("img", name="Accuracy; last values: all 50.0 %").wait_for()


def test_new_trajectories_appear_in_an_open_list(
    page: Any, made_run: Path, served: Served, maker: ModuleType
):
    page.goto(f"{served(made_run)}#/run/rl/samples?sort=-n")
    page.locator("#row-0[data-key='c/39']").wait_for()
    with RunDir.join(made_run / "rl") as run:
        run.write_trajectory(maker.row(run, "d/0", step=4))
        page.locator("#row-0[data-key='d/0']").wait_for()
    page.locator(".status-line b", has_text="45").wait_for()


def test_a_group_says_why_one_was_paid_more(page: Any, made_run: Path, served: Served):
    page.goto(f"{served(made_run)}#/run/rl/trajectory/a%2F0")
    page.get_by_role("link", name="side by side").click()
    page.locator(".member").nth(1).wait_for()
    assert page.locator(".member").evaluate_all("all => all.map((one) => one.dataset.key)") == [
        *("a/0", "a/1")
    ]
    paid = page.locator(".payments tbody tr").first.inner_text()
    assert paid.split() == ["1", "✓", "right", "5", "1", "5", "+1", "0", "+1", "+0.5"]
    why = page.locator(".why").inner_text()
    assert "code among right" in why
    assert "100.0 %" in why
    page.get_by_role("button", name="by reward").click()
    page.wait_for_url("**sort=reward")
    page.locator(".member .segment.code .hljs-built_in").first.wait_for()


@pytest.mark.timeout(600)
def test_a_running_training_is_followed(
    page: Any, tmp_path: Path, served: Served, tiny_model: Path
):
    """A real ``air rl`` in a process of its own: its steps appear while it runs."""
    with task_writer(tmp_path / "tasks") as add:
        for task, image in make_tasks(TasksConfig(count=4, seed=5, matplotlib=0.0)):
            add(task, [image])
    words = ["rl", "--run-dir", str(tmp_path / "live"), "--display", "none"]
    settings = [
        *(f"tasks={tmp_path / 'tasks'}", f"model.path={tiny_model}", "steps=4", "prompts=2"),
        *("group_size=2", "n_forbid=0", "write_every=1", "rollout.max_new_tokens=12"),
    ]
    options = [word for setting in settings for word in ("-o", setting)]
    command = [sys.executable, "-m", "air_reasoning.cli", *words, *options]
    page.set_default_timeout(300_000)
    page.goto(served(tmp_path))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=environment) as training:
        page.locator("tr[data-run=live]").get_by_text("running").wait_for()
        page.get_by_role("link", name="live").click()
        page.get_by_role("img", name="Reward; last values").wait_for()
        page.get_by_role("link", name="Samples").first.click()
        page.locator(".row[data-key]").first.wait_for()
        page.locator(".status-line b", has_text=re.compile("^16$")).wait_for()
        assert training.wait() == 0
    page.get_by_role("link", name="Overview").click()
    page.get_by_text("done").wait_for()
