"""``air rl`` as a whole: what stops it, what it refuses, and what its switches do."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from air_reasoning.errors import AirError, AlarmError, ConfigError, DataError

pytestmark = pytest.mark.timeout(600)


def test_an_alarm_may_stop_the_run_and_the_state_is_saved(trainings, same_as_plain):
    bands = {"entropy": {"high": 0.0, "stop_after": 1}}
    with pytest.raises(AlarmError, match=r"after step 1: entropy is .* above 0 .* state is saved"):
        trainings.run("run", alarms=bands)
    folder = trainings.folder / "run"
    assert (folder / "checkpoints" / "step-000001" / "state.json").is_file()
    assert json.loads((folder / "status.json").read_text())["state"] == "failed"
    event = next(event for event in trainings.events("run") if event["kind"] == "alarm")
    assert (event["step"], event["name"], event["stop"]) == (1, "entropy", True)
    trainings.run("run", alarms={"entropy": {"high": None}})  # the same run, told to go on
    same_as_plain(trainings, "run", 0.0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"group_size": 1, "n_forbid": 0}, "group_size.*greater than or equal to 2, got 1"),
        ({"n_forbid": 4}, "n_forbid is 4 of group_size 4"),
        ({"rollout": {"temperature": 0}}, "rollout.temperature is 0"),
        ({"gradient_checkpointing": True}, "layout: padded or packed"),
        ({"lora": {"rank": 2}, "sharding": "fsdp2"}, "sharding: none"),
    ],
)
def test_settings_that_cannot_work_name_their_key(trainings, changes, words):
    with pytest.raises(ConfigError, match=words):
        trainings.run("run", **changes)
    assert not (trainings.folder / "run").exists()


def test_an_empty_task_file_is_named(trainings, tmp_path: Path):
    (tmp_path / "none.jsonl").write_text("")
    with pytest.raises(DataError, match=r"none\.jsonl: holds no task"):
        trainings.run("run", tasks=str(tmp_path / "none.jsonl"))


def test_a_checkpoint_of_another_model_is_refused(trainings, tokenizer, tmp_path: Path):
    from air_reasoning.models.tiny import build_tiny, save_tiny

    folder = trainings.run("run", steps=2)
    other = build_tiny(tokenizer, width=64, layers=1)
    save_tiny(tmp_path / "other", other, tokenizer, half=False)
    with pytest.raises(ConfigError, match=r"other settings.*\n.*model"):
        trainings.run("run", steps=2, model={"path": str(tmp_path / "other")})
    # and if somebody puts its weights into the run:
    weights = folder / "checkpoints" / "step-000002" / "model" / "model.safetensors"
    state = json.loads((weights.parents[1] / "state.json").read_text())
    weights.write_bytes((tmp_path / "other" / "model.safetensors").read_bytes())
    state["files"]["model/model.safetensors"] = weights.stat().st_size
    (weights.parents[1] / "state.json").write_text(json.dumps(state))
    with pytest.raises(DataError, match="weights of another"):
        trainings.run("run", steps=2)


def test_a_gradient_that_is_no_number_changes_no_weight(trainings):
    with pytest.raises(AirError, match=r"gradient norm is (nan|inf).*weights were not touched"):
        trainings.run("run", anchor={"weight": 1e39})
    assert not list((trainings.folder / "run").glob("checkpoints/step-*"))


def test_a_model_that_cannot_sample_is_an_error_and_no_empty_step(trainings, talking_model: Path):
    """Every trajectory is lost by our fault; nothing is scored, nothing is trained."""
    broken = trainings.folder / "broken"
    broken.mkdir()
    for file in talking_model.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    weights = load_file(broken / "model.safetensors")
    weights["model.language_model.norm.weight"][:] = float("inf")
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(AirError, match=r"every trajectory was lost. The first: .*sampler_error"):
        trainings.run("run", model={"path": str(broken)})
    assert trainings.metrics("run") == []


def test_several_updates_a_step_make_the_ratio_move(trainings):
    trainings.run("run", steps=2, updates=2, optimizer={"lr": 3e-3})
    ratios = [line["policy/ratio_max"] for line in trainings.metrics("run")]
    assert max(ratios) > 1.001


def test_kl_is_zero_at_first_and_then_grows(trainings):
    trainings.run("run", steps=3, loss={"kl_coef": 0.1}, optimizer={"lr": 3e-3})
    kl = [line["policy/kl"] for line in trainings.metrics("run")]
    assert kl[0] == pytest.approx(0.0, abs=1e-6)
    assert kl[2] > 1e-5


@pytest.mark.parametrize("layout", ["padded", "packed"])
def test_gradient_checkpointing_changes_nothing(trainings, same_as_plain, layout):
    trainings.run("run", gradient_checkpointing=True, layout=layout)
    same_as_plain(trainings, "run", 2e-3)


def test_lora_trains_adapters_resumes_and_leaves_a_plain_model(trainings, talking_model: Path):
    settings = {"lora": {"rank": 4}, "optimizer": {"lr": 3e-3, "freeze": ["model.visual"]}}
    whole = trainings.run("whole", **settings)
    with pytest.raises(AlarmError):
        trainings.run("run", alarms={"entropy": {"high": 0.0, "stop_after": 2}}, **settings)
    trainings.run("run", **settings)
    assert trainings.metrics("run") == trainings.metrics("whole")
    before = load_file(talking_model / "model.safetensors")
    after = trainings.weights("whole")
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {
        name for name in before if "language_model.layers" in name and "_proj" in name
    }
    assert (whole / "adapter" / "adapter_model.safetensors").is_file()
    name = next(iter(changed))
    assert torch.equal(after[name], trainings.weights("run")[name])


def test_roll_outs_of_the_next_step_run_while_one_trains(trainings):
    trainings.run("run", max_staleness=1)
    lines = trainings.metrics("run")
    assert [line["sampler/staleness"] for line in lines] == [0, 1, 1, 1]
    # The first two steps were rolled out by the same policy, so only the second is off-policy.
    gaps = [line["sampler/logprob_gap"] for line in lines]
    assert gaps[0] < 1e-4 < min(gaps[1:])


def test_a_folder_of_no_model_does_not_claim_the_run_folder(trainings, tmp_path: Path):
    with pytest.raises(DataError, match=r"config\.json: missing"):
        trainings.run("run", model={"path": str(tmp_path)})
    assert not (trainings.folder / "run").exists()
