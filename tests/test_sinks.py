import json
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from air_reasoning import sinks
from air_reasoning.errors import ConfigError, DataError, PrerequisiteError
from air_reasoning.sinks import following, open_sink, send_run


class Tracker(ModuleType):
    """Stands for the library trackio: remembers what it was told."""

    def __init__(self) -> None:
        super().__init__("trackio")
        self.told: list[Any] = []

    def init(self, **options: Any) -> None:
        self.told.append(("init", options["name"]))

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        self.told.append((step, dict(metrics)))

    def finish(self) -> None:
        self.told.append("finish")


@pytest.fixture
def trackio(monkeypatch: pytest.MonkeyPatch) -> Tracker:
    tracker = Tracker()
    monkeypatch.setitem(sys.modules, "trackio", tracker)
    return tracker


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "rl").mkdir()
    (tmp_path / "rl" / "status.json").write_text('{"state": "done", "fingerprint": {"seed": 0}}')
    return tmp_path / "rl"


def write(run: Path, *lines: dict[str, Any]) -> None:
    with (run / "metrics.jsonl").open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def test_a_run_is_sent_step_by_step_without_what_is_undefined(run: Path, trackio: Tracker):
    write(run, {"step": 1, "a": 0.5, "b": None}, {"step": 2, "a": 0.75})
    assert send_run(run, "trackio") == 2
    assert trackio.told == [("init", "rl"), (1, {"a": 0.5}), (2, {"a": 0.75}), "finish"]


def test_a_running_one_is_followed_to_its_last_line(
    run: Path, trackio: Tracker, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sinks, "SECONDS", 0.01)
    with following(run, ["trackio"]):
        for step in range(50):
            write(run, {"step": step, "a": step})
    assert [entry[0] for entry in trackio.told[1:-1]] == list(range(50))


def test_a_sink_that_breaks_does_not_break_the_run(
    run: Path, trackio: Tracker, capsys: pytest.CaptureFixture[str]
):
    trackio.log = None  # type: ignore[assignment]
    write(run, {"step": 1, "a": 1})
    with following(run, ["trackio"]):
        write(run, {"step": 2, "a": 1})
    assert "sink trackio failed and is left out" in capsys.readouterr().err


def test_unknown_and_absent_ones_are_refused_before_the_run(run: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match="expected one of tensorboard"), following(run, ["x"]):
        pytest.fail("started")
    with pytest.raises(DataError):
        send_run(tmp_path, "trackio")


def test_a_library_that_is_not_there_says_how_to_get_it(run: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(PrerequisiteError, match=r"pip install 'air-reasoning\[wandb\]'"):
        open_sink("wandb", run)


def test_tensorboard_reads_what_was_written(run: Path):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    write(run, {"step": 1, "reward/total": 0.5}, {"step": 7, "reward/total": 0.75})
    send_run(run, "tensorboard")
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("reward/total")] == [(1, 0.5), (7, 0.75)]
