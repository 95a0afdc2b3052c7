import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from air_reasoning import run_dir
from air_reasoning.config import Config, flat_values, load_config
from air_reasoning.errors import ConfigError, DataError
from air_reasoning.images import save_blob
from air_reasoning.run_dir import RunDir, config_fingerprint
from air_reasoning.run_reader import read_metrics, read_status, read_trajectories
from air_reasoning.types import Segment, Trajectory


class Engine(Config):
    threads: int = 1


class Settings(Config):
    steps: int = 3
    seed: int = 0
    engine: Engine = Engine()


def start(path: Path, *overrides: str, command: str = "rl", **options: Any) -> RunDir:
    resolved = load_config(Settings, overrides=overrides)
    fingerprint = config_fingerprint(resolved.value, without=("engine",))
    return RunDir.open(
        path, command=command, resolved_config=resolved, fingerprint=fingerprint, **options
    )


def kinds(path: Path) -> list[str]:
    return [json.loads(line)["kind"] for line in (path / "events.jsonl").read_text().splitlines()]


def test_a_run_says_what_it_is_and_how_it_ended(tmp_path: Path):
    path = tmp_path / "runs" / "a"
    with start(path, "steps=5") as run:
        assert not run.resumed
        run.write_metrics(0, {"reward/correct": 0.25, "entropy": float("nan")})
        run.write_summary({"accuracy": {"value": 0.5}})
        assert read_status(path)["state"] == "running"
    status = read_status(path)
    assert status["state"] == "done"
    assert status["command"] == "rl"
    assert status["fingerprint"] == {"steps": 5, "seed": 0}
    assert read_metrics(path) == [{"step": 0, "reward/correct": 0.25, "entropy": None}]
    assert "steps: 5  # -o" in (path / "config.resolved.yaml").read_text()
    assert json.loads((path / "summary.json").read_text()) == {"accuracy": {"value": 0.5}}
    assert set(json.loads((path / "env.json").read_text())) >= {"python", "packages", "cpu"}
    assert kinds(path) == ["started"]


@pytest.mark.parametrize(
    ("error", "state"), [(KeyboardInterrupt(), "interrupted"), (ValueError("no"), "failed")]
)
def test_a_run_that_stops_early_says_so_and_is_continued(
    tmp_path: Path, error: BaseException, state: str
):
    def work() -> None:
        with start(tmp_path) as run:
            run.write_metrics(0, {"a": 1.0})
            raise error

    with pytest.raises(type(error)):
        work()
    assert read_status(tmp_path)["state"] == state
    with start(tmp_path) as run:
        assert run.resumed
        run.write_metrics(1, {"a": 2.0})
    assert [line["a"] for line in read_metrics(tmp_path)] == [1.0, 2.0]
    assert kinds(tmp_path) == ["started", state, "resumed"]


def test_a_changed_fingerprint_refuses_and_names_the_keys(tmp_path: Path):
    start(tmp_path).close()
    with pytest.raises(ConfigError, match=r"seed: 0 -> 1\n  steps: 3 -> 4\n") as caught:
        start(tmp_path, "steps=4", "seed=1")
    assert "--overwrite" in str(caught.value)
    with pytest.raises(ConfigError, match="command: 'rl' -> 'sft'"):
        start(tmp_path, command="sft")
    start(tmp_path, "engine.threads=2").close()  # changes no result


def test_overwrite_removes_the_run_and_nothing_else(tmp_path: Path, picture: Image.Image):
    with start(tmp_path) as run:
        run.write_metrics(0, {"a": 1.0})
        run.save_image(picture)
    (tmp_path / "notes.txt").write_text("mine")
    with start(tmp_path, "steps=4", overwrite=True) as run:
        assert not run.resumed
        assert run.read_metrics() == []
        assert not run.blobs.exists()
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_resume_never_and_must(tmp_path: Path):
    with pytest.raises(ConfigError, match="holds no run to resume"):
        start(tmp_path / "a", resume="must")
    start(tmp_path / "a").close()
    with pytest.raises(ConfigError, match="already holds a run"):
        start(tmp_path / "a", resume="never")
    start(tmp_path / "a", resume="must").close()


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path):
    (tmp_path / "thesis.tex").touch()
    for overwrite in (False, True):
        with pytest.raises(ConfigError, match=r"holds thesis\.tex and is no run folder"):
            start(tmp_path, overwrite=overwrite)
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be a run folder"):
        start(tmp_path / "file")


def test_a_second_live_process_is_refused(tmp_path: Path):
    code = (
        "import sys; from pathlib import Path; from filelock import FileLock\n"
        "lock = FileLock(Path(sys.argv[1]) / '.lock'); lock.acquire()\n"
        "print('held', flush=True); input()"
    )
    start(tmp_path).close()
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ConfigError, match="another process is writing"):
            start(tmp_path)
        other.communicate("\n")
    with start(tmp_path), pytest.raises(ConfigError, match="another process"):
        start(tmp_path)
    start(tmp_path).close()


def test_a_refused_run_lets_the_next_one_in(tmp_path: Path):
    start(tmp_path).close()
    with pytest.raises(ConfigError):
        start(tmp_path, "steps=4")
    start(tmp_path).close()


def test_trajectories_come_back_with_their_pictures_also_after_a_move(
    tmp_path: Path, picture: Image.Image
):
    path = tmp_path / "a"
    outside = save_blob(picture, tmp_path / "tasks")
    with start(path) as run:
        inside = run.save_image(picture.rotate(180))
        segment = Segment(kind="output", text="x", token_ids=[1, 2], images=[inside, outside])
        trajectory = Trajectory(id="t", task_id="a", group_id="g", segments=[segment])
        run.write_trajectory({"step": 0, "trajectory": trajectory, "reward": 1.0})
    assert str(tmp_path) not in (path / "trajectories" / "part-0000.jsonl").read_text()
    path.rename(tmp_path / "b")
    (tmp_path / "tasks").rename(tmp_path / "gone")
    (record,) = read_trajectories(tmp_path / "b")
    assert record["reward"] == 1.0
    (read,) = record["trajectory"]["segments"]
    assert read["token_ids"] == [1, 2]
    for image, ref in zip(read["images"], (inside, outside), strict=True):
        assert image["path"] == str(tmp_path / "b" / "blobs" / f"{ref.sha256}.png")
        assert Path(image["path"]).is_file()


def test_later_steps_than_the_checkpoint_are_forgotten(tmp_path: Path):
    with start(tmp_path) as run:
        run.write_trajectory({"note": "of no step"})
        for step in range(4):
            run.write_metrics(step, {"a": step})
            run.write_trajectory({"step": step})
        assert run.truncate_after(1) == 4
        assert run.truncate_after(1) == 0
        run.write_metrics(2, {"a": 9})
        assert [line["a"] for line in run.read_metrics()] == [0, 1, 9]
        assert list(run.read_trajectories()) == [{"note": "of no step"}, {"step": 0}, {"step": 1}]
    assert kinds(tmp_path) == ["started", "truncated"]


def test_torn_last_lines_are_left_out_and_then_cut_off(tmp_path: Path):
    with start(tmp_path) as run:
        run.write_metrics(0, {"a": 1})
        run.write_trajectory({"step": 0})
    for name in ("metrics.jsonl", "trajectories/part-0000.jsonl"):
        with (tmp_path / name).open("a") as file:
            file.write('{"step": 1, "a"')
    assert len(read_metrics(tmp_path)) == len(list(read_trajectories(tmp_path))) == 1
    with start(tmp_path) as run:
        run.write_metrics(1, {"a": 2})
    assert [line["a"] for line in read_metrics(tmp_path)] == [1, 2]
    assert kinds(tmp_path)[-1] == "torn_line_removed"


def test_a_broken_line_in_the_middle_is_named(tmp_path: Path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 0}\n{"step\n{"step": 2}\n')
    with pytest.raises(DataError, match=r"metrics\.jsonl:2: not valid JSON"):
        read_metrics(tmp_path)


def test_long_runs_go_on_in_another_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(run_dir, "PART_BYTES", 20)
    with start(tmp_path) as run:
        for step in range(5):
            run.write_trajectory({"step": step})
    parts = sorted(file.name for file in (tmp_path / "trajectories").iterdir())
    assert parts == ["part-0000.jsonl", "part-0001.jsonl", "part-0002.jsonl"]
    assert [record["step"] for record in read_trajectories(tmp_path)] == [0, 1, 2, 3, 4]


def test_the_fingerprint_leaves_out_what_changes_no_result():
    assert config_fingerprint(Settings(), without=("engine", "see")) == {"steps": 3, "seed": 0}
    assert flat_values(Settings()) == {"steps": 3, "seed": 0, "engine.threads": 1}
