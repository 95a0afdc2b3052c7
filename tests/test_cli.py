"""The command line over a flow of our own: real settings, real run folder, real exit codes."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from air_reasoning import cli, flow_cli
from air_reasoning.config import Config, Resolved, RunOptions
from air_reasoning.errors import DataError, PrerequisiteError, SamplerError
from air_reasoning.run_dir import RunDir, config_fingerprint
from air_reasoning.task_files import write_tasks
from air_reasoning.types import Answer, Part, Segment, Task, Trajectory


class Sandbox(Config):
    max_sessions: int = 64
    """Sessions out at the same time."""


class Count(Config):
    steps: int = 2
    """Steps to count."""
    seed: int = 0
    """Seed of everything."""
    fail: str = ""
    """How to end."""
    sandbox: Sandbox = Sandbox()
    """The sandbox."""


SEEN: list[tuple[Count, RunOptions]] = []


def run_count(resolved: Resolved[Count], options: RunOptions) -> None:
    """The smallest flow: a run folder and one line a step."""
    SEEN.append((resolved.value, options))
    if options.dry_run:
        return
    with RunDir.open(
        options.run_dir,
        command="rl",
        resolved_config=resolved,
        fingerprint=config_fingerprint(resolved.value, without=("fail",)),
        resume=options.resume,
        overwrite=options.overwrite,
    ) as run:
        for step in range(len(run.read_metrics()), resolved.value.steps):
            run.write_metrics(step, {"accuracy": 0.5})
        match resolved.value.fail:
            case "data":
                raise DataError("tasks.jsonl:3: no")
            case "sampler":
                raise SamplerError("the engine went away")
            case "prerequisite":
                raise PrerequisiteError("build the model first")
            case "interrupt":
                raise KeyboardInterrupt
            case "bug":
                raise ZeroDivisionError("of ours")
            case _:
                pass


@pytest.fixture(autouse=True)
def counting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Put the counting flow where ``air rl`` looks, in an empty folder."""
    module = ModuleType("air_reasoning.count_flow")
    module.__dict__.update(Count=Count, run_count=run_count)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    flow = flow_cli.Flow(module="count_flow", config="Count", run="run_count", folder="rl")
    monkeypatch.setitem(flow_cli.FLOWS, "rl", flow)
    monkeypatch.setitem(flow_cli.FLOWS, "eval", flow)
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("AIR_")]:
        monkeypatch.delenv(name)
    SEEN.clear()


def test_options_reach_the_flow(tmp_path: Path):
    (tmp_path / "a.yaml").write_text("steps: 5\n")
    words = "rl -c a.yaml -o seed=1 --seed 7 --max-sandboxes 3 --limit 4 --dry-run --run-dir x"
    assert cli.main([*words.split(), "--display", "none", "--resume", "must", "--overwrite"]) == 0
    ((value, options),) = SEEN
    assert value == Count(steps=5, seed=7, sandbox=Sandbox(max_sessions=3))
    assert options == RunOptions(
        run_dir=Path("x"), resume="must", overwrite=True, dry_run=True, display="none", limit=4
    )


def test_the_environment_is_a_layer(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AIR_SANDBOX__MAX_SESSIONS", "5")
    assert cli.main(["rl", "--dry-run"]) == 0
    assert SEEN[0][0].sandbox.max_sessions == 5


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("rl -o fail=data", 2, "error: tasks.jsonl:3: no"),
        ("rl -o fail=sampler", 1, "error: the engine went away"),
        ("rl -o fail=prerequisite", 4, "error: build the model first"),
        ("rl -o fail=bug", 1, "ZeroDivisionError: of ours"),
        ("rl -o stepz=1", 2, "stepz (from -o): unknown key; did you mean steps?"),
        ("rl -c none.yaml", 2, "none.yaml: cannot read"),
        ("rl --max-connections 2", 2, "--max-connections: this command has no setting"),
        ("rl --limit 0", 2, "limit"),
        ("rl --display loud", 2, "loud"),
        ("lr", 2, "lr"),
        ("view nowhere", 2, "nowhere: holds no run"),
        ("tasks list nowhere", 2, "nowhere: no such file"),
    ],
)
def test_errors_are_one_message_and_an_exit_code(
    words: str, code: int, message: str, capfd: pytest.CaptureFixture[str]
):
    assert cli.main(words.split()) == code
    shown = capfd.readouterr().err
    assert message in shown
    assert ("Traceback" in shown) == ("bug" in words)
    assert "\x1b" not in shown


def test_an_interrupted_run_tells_how_to_continue_and_does(capfd: pytest.CaptureFixture[str]):
    assert cli.main(["rl", "--overwrite", "-o", "fail=interrupt", "--run-dir", "my run"]) == 130
    shown = capfd.readouterr().err
    assert "to continue: air rl -o fail=interrupt --run-dir 'my run'" in shown
    assert cli.main(["rl", "--run-dir", "my run", "-o", "steps=3"]) == 2
    assert cli.main(["rl", "--run-dir", "my run", "--resume", "must"]) == 0
    assert cli.main(["view", "my run", "--list"]) == 0
    assert "done" in capfd.readouterr().out


def test_a_real_ctrl_c_is_130(tmp_path: Path):
    code = (
        "import sys, signal; from air_reasoning import cli\n"
        "@cli.app.command('wait')\ndef wait() -> None:\n"
        "    print('ready', flush=True)\n    signal.pause()\n"
        "sys.exit(cli.main(['wait']))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, shown = process.communicate()
    assert process.returncode == 130
    assert "interrupted; to continue: air wait" in shown
    assert "Traceback" not in shown


def test_settings_are_shown_described_and_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert cli.main(["config", "show", "rl", "-o", "steps=9"]) == 0
    assert "# Steps to count.\nsteps: 9  # -o\n" in capsys.readouterr().out
    assert cli.main(["config", "schema", "rl"]) == 0
    assert '"description": "Steps to count."' in capsys.readouterr().out
    assert cli.main(["config", "init", "rl", "new.yaml"]) == 0
    assert cli.main(["config", "init", "rl", "new.yaml"]) == 2
    assert cli.main(["rl", "-c", "new.yaml", "--dry-run"]) == 0
    assert SEEN[-1][0] == Count()


def test_a_library_that_is_not_installed_is_a_prerequisite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "air_reasoning.loss", raising=False)
    flow = flow_cli.Flow(module="loss", config="LossConfig", run="none", folder="rl")
    monkeypatch.setitem(flow_cli.FLOWS, "rl", flow)
    assert cli.main(["rl"]) == 4
    assert "torch is not installed; run `make setup`" in capsys.readouterr().err


def test_a_trajectory_is_shown_without_control_characters(capsys: pytest.CaptureFixture[str]):
    assert cli.main(["rl"]) == 0
    segments = [Segment(kind="code", text="print(1)\x1b[2J"), Segment(kind="output", text="1")]
    trajectory = Trajectory(id="t1", task_id="a", group_id="g", segments=segments)
    resolved = Resolved(value=Count(), provenance={})
    with RunDir.open(
        Path("runs/rl"),
        command="rl",
        resolved_config=resolved,
        fingerprint=config_fingerprint(Count(), without=("fail",)),
    ) as run:
        run.write_trajectory({"step": 1, "trajectory": trajectory})
    assert cli.main(["view", "--trajectory", "t1"]) == 0
    shown = capsys.readouterr().out
    assert "[code]\nprint(1)?[2J\n\n[output]\n1\n" in shown
    assert cli.main(["view", "--trajectory", "t2"]) == 2
    assert "known ids: t1" in capsys.readouterr().err
    assert cli.main(["view", "--list"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:5] == ["rl", "rl", "done", "1", "0.5"]


def test_tasks_are_counted(capsys: pytest.CaptureFixture[str]):
    meta = {"kind": "bar", "difficulty": "easy"}
    prompt = [Part(kind="text", text="?")]
    made = [
        Task(id=str(i), prompt=prompt, images=[], answer=Answer(value="1"), source="s", meta=meta)
        for i in range(3)
    ]
    write_tasks(Path("tasks"), made)
    assert cli.main(["tasks", "list", "tasks"]) == 0
    assert "s       bar   easy                   3\n\n3 tasks" in capsys.readouterr().out


def test_the_version(capsys: pytest.CaptureFixture[str]):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("air-reasoning 0.")
