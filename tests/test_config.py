import dataclasses
from pathlib import Path

import pytest
from pydantic import Field

from air_reasoning.config import (
    Config,
    config_keys,
    config_schema,
    draft_config,
    flat_values,
    load_config,
    render_config,
)
from air_reasoning.errors import ConfigError


class Optim(Config):
    """A section."""

    lr: float = Field(default=1e-4, gt=0)
    """Learning rate at its highest."""
    warmup: int = 10
    """Updates, in steps."""


class Training(Config):
    """A command's settings."""

    steps: int = Field(default=100, ge=1)
    """Updates, in steps."""
    optim: Optim = Optim()
    """The optimizer."""
    second: Optim | None = None
    """A second optimizer."""
    name: str | None = None
    """Free text."""
    weights: dict[str, float] = Field(default_factory=dict)
    """Weight by task kind."""
    tags: list[str] = Field(default_factory=list)
    """Free text each."""


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_later_layers_win_key_by_key(tmp_path: Path):
    first = written(tmp_path / "a.yaml", "optim:\n  lr: 0.5\n  warmup: 3\nsteps: 7\n")
    second = written(tmp_path / "b.toml", "[optim]\nwarmup = 4\n")
    resolved = load_config(
        Training,
        preset={"steps": 1, "name": "p"},
        files=[first, second],
        env={"AIR_STEPS": "8", "PATH": "/bin"},
        overrides=["tags=[x, y]"],
    )
    assert resolved.value == Training(
        steps=8, optim=Optim(lr=0.5, warmup=4), name="p", tags=["x", "y"]
    )
    assert resolved.provenance == {
        "steps": "AIR_STEPS",
        "optim.lr": "a.yaml:2",
        "optim.warmup": "b.toml",
        "second": "default",
        "name": "preset",
        "weights": "default",
        "tags": "-o",
    }


def test_half_of_a_required_pair_may_come_from_each_layer(tmp_path: Path):
    class Pair(Config):
        low: int
        high: int

    class Holder(Config):
        pair: Pair

    file = written(tmp_path / "a.yaml", "pair: {low: 1}\n")
    assert load_config(Holder, files=[file], overrides=["pair.high=2"]).value.pair.high == 2
    with pytest.raises(ConfigError, match=r"pair.high: must be set, .* -o pair.high="):
        load_config(Holder, files=[file])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optim.warmpu=1", r"optim\.warmpu \(from -o\): unknown key; did you mean optim\.warmup\?"),
        ("lr=1", r"lr \(from -o\): unknown key; did you mean optim\.lr\?"),
        ("optim.lr=-1", r"optim\.lr \(from -o\): .*greater than 0, got -1"),
        ("optim=3", r"optim \(from -o\)"),
        ("zzz=3", r"unknown key; known keys: steps, optim, "),
        ("steps", r"-o steps: expected section\.key=value"),
        ("tags=[a", r"-o tags: '\[a' is not a YAML value"),
    ],
)
def test_wrong_keys_and_values_are_named(override: str, message: str):
    with pytest.raises(ConfigError, match=message):
        load_config(Training, overrides=[override])


def test_all_faults_are_told_at_once_with_file_and_line(tmp_path: Path):
    file = written(tmp_path / "run.yaml", "# a comment\nsteps: none\noptim:\n  lr: high\n")
    with pytest.raises(ConfigError) as caught:
        load_config(Training, files=[file])
    assert "2 settings are wrong" in str(caught.value)
    assert "steps (from run.yaml:2)" in str(caught.value)
    assert "optim.lr (from run.yaml:4)" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.yaml", "steps: 1\nsteps: 2\n", r"a\.yaml:2: steps is written twice"),
        ("a.yaml", "- 1\n", "expected `key: value` lines, found a list"),
        ("a.yaml", "steps: [1\n", "not valid .yaml"),
        ("a.toml", "steps = = 1\n", "not valid .toml"),
    ],
)
def test_broken_files_are_named(tmp_path: Path, name: str, text: str, message: str):
    with pytest.raises(ConfigError, match=message):
        load_config(Training, files=[written(tmp_path / name, text)])


def test_an_absent_file_is_named(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: cannot read"):
        load_config(Training, files=[tmp_path / "nowhere.yaml"])


def test_unknown_environment_variables_are_refused():
    with pytest.raises(ConfigError, match=r"AIR_OPTIM__LT: .*did you mean AIR_OPTIM__LR"):
        load_config(Training, env={"AIR_OPTIM__LT": "1"})
    assert load_config(Training, env={"AIR_OPTIM__LR": "1e-3"}).value.optim.lr == 1e-3


def test_a_section_of_comments_keeps_its_defaults(tmp_path: Path):
    file = written(tmp_path / "a.yaml", "optim:\n  # lr: 3\nsecond:\n")
    value = load_config(Training, files=[file]).value
    assert value.optim == Optim()
    assert value.second is None


def test_rendered_settings_read_back_equal(tmp_path: Path):
    resolved = load_config(
        Training,
        overrides=[
            "weights={bar: 0.5}",
            "tags=['no', '1', 'a: b', \"two\\nlines\"]",
            "second={lr: 2}",
        ],
    )
    text = render_config(resolved)
    assert "# Learning rate at its highest.\n  lr: 0.0001  # default" in text
    assert "weights: {bar: 0.5}  # -o" in text
    again = load_config(Training, files=[written(tmp_path / "again.yaml", text)])
    assert again.value == resolved.value


def test_what_must_be_set_is_left_open_in_a_draft(tmp_path: Path):
    class Data(Config):
        tasks: Path
        """Task folder."""

    class Needs(Config):
        name: str
        data: Data
        steps: int = 1

    text = render_config(draft_config(Needs, overrides=["name=x"]))
    assert text == (
        "name: x  # -o\ndata:\n  # Task folder.\n  # tasks:  # must be set\nsteps: 1  # default\n"
    )
    file = written(tmp_path / "a.yaml", text)
    with pytest.raises(ConfigError, match="must be set"):
        load_config(Needs, files=[file])
    assert load_config(Needs, files=[file], overrides=["data.tasks=t"]).value.data.tasks == Path(
        "t"
    )


def test_keys_values_and_schema():
    assert "optim.lr" in config_keys(Training)
    assert flat_values(Training())["optim.warmup"] == 10
    described = config_schema(Training)["properties"]["steps"]["description"]
    assert described == "Updates, in steps."


def test_values_never_change():
    with pytest.raises(ValueError, match="frozen"):
        Training().steps = 3  # type: ignore[misc]
    assert dataclasses.is_dataclass(load_config(Training))
