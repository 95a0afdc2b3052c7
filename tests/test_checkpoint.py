import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from transformers import Qwen2Config, Qwen2ForCausalLM

from air_reasoning.checkpoint import (
    best_checkpoint,
    latest_checkpoint,
    load_checkpoint,
    read_state,
    save_checkpoint,
)
from air_reasoning.errors import DataError
from air_reasoning.optim import ModelOptimizer, OptimizerConfig, build_optimizer


def tiny() -> Qwen2ForCausalLM:
    config = Qwen2Config(
        vocab_size=11,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
    )
    return Qwen2ForCausalLM(config)


def stepped(model: nn.Module) -> ModelOptimizer:
    optimizer = build_optimizer(model, OptimizerConfig())
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return optimizer


def save(folder: Path, step: int, **settings) -> Path:
    model = tiny()
    return save_checkpoint(folder, step, model.save_pretrained, stepped(model), **settings)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_everything_comes_back(tmp_path):
    model = tiny()
    optimizer = stepped(model)
    extra = {"epoch": 2, "position": 17}
    path = save_checkpoint(tmp_path, 120, model.save_pretrained, optimizer, extra, score=0.5)
    drawn = (random.random(), np.random.rand(), torch.rand(1).item())

    loaded = Qwen2ForCausalLM.from_pretrained(path / "model")
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, loaded.get_parameter(name)), name
    fresh = build_optimizer(loaded, OptimizerConfig())
    state = load_checkpoint(path, fresh)
    assert (state.step, state.score, state.extra) == (120, 0.5, extra)
    assert (random.random(), np.random.rand(), torch.rand(1).item()) == drawn
    before, after = optimizer.state_dict(), fresh.state_dict()
    assert before["shapes"] == after["shapes"]
    moments = before["parts"][0]["state"]
    for index, values in after["parts"][0]["state"].items():
        assert torch.equal(values["exp_avg"], moments[index]["exp_avg"])
    assert (path / "model" / "model.safetensors").is_file()


def test_the_newest_and_the_best_are_kept(tmp_path):
    for step, score in [(10, 0.3), (20, 0.9), (30, None), (40, 0.5), (50, 0.4)]:
        save(tmp_path, step, score=score, keep_last=2)
    assert names(tmp_path) == ["step-000020", "step-000040", "step-000050"]
    latest, best = latest_checkpoint(tmp_path), best_checkpoint(tmp_path)
    assert latest is not None
    assert best is not None
    assert (latest.name, best.name) == ("step-000050", "step-000020")


def test_no_checkpoints_is_none(tmp_path):
    assert latest_checkpoint(tmp_path / "absent") is None
    (tmp_path / "notes").mkdir()
    assert latest_checkpoint(tmp_path) is None
    assert best_checkpoint(tmp_path) is None


@pytest.mark.parametrize("file", ["trainer.pt", "model/model.safetensors"])
def test_a_truncated_file_is_named_and_the_one_before_offered(tmp_path, file):
    save(tmp_path, 1)
    damaged = save(tmp_path, 2) / file
    os.truncate(damaged, damaged.stat().st_size // 2)
    with pytest.raises(DataError, match=rf"{file}.*damaged.*remove it to go on from step-000001"):
        latest_checkpoint(tmp_path)
    save(tmp_path, 3, keep_last=1)  # a damaged neighbour does not stop the next save
    assert names(tmp_path) == ["step-000003"]


def test_a_missing_file_and_foreign_folders_are_named(tmp_path):
    path = save(tmp_path, 1)
    (path / "trainer.pt").unlink()
    with pytest.raises(DataError, match=r"trainer.pt.*is missing"):
        read_state(path)
    (path / "state.json").write_text('{"format": "something else"}')
    with pytest.raises(DataError, match="written by another program"):
        read_state(path)
    (path / "state.json").write_text('{"for')
    with pytest.raises(DataError, match=r"state\.json: not a checkpoint"):
        latest_checkpoint(tmp_path)


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    path = save(tmp_path, 1)
    with pytest.raises(DataError, match=r"trainer\.pt: .*another model: parameter weight"):
        load_checkpoint(path, build_optimizer(nn.Linear(2, 2), OptimizerConfig()))


def test_a_checkpoint_cannot_run_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "owned"),)

    path = save(tmp_path, 1)
    size = (path / "trainer.pt").stat().st_size
    torch.save({"optimizer": Evil()}, path / "trainer.pt")
    manifest = (path / "state.json").read_text()
    new = (path / "trainer.pt").stat().st_size
    (path / "state.json").write_text(
        manifest.replace(f'"trainer.pt": {size}', f'"trainer.pt": {new}')
    )
    with pytest.raises(DataError, match="trainer state"):
        load_checkpoint(path, build_optimizer(tiny(), OptimizerConfig()))
    assert not (tmp_path / "owned").exists()


def test_a_failed_save_leaves_the_earlier_ones(tmp_path):
    save(tmp_path, 1)

    def full(folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(DataError, match=r"step 2.*No space left.*Earlier checkpoints are kept"):
        save_checkpoint(tmp_path, 2, full, stepped(tiny()))
    assert names(tmp_path) == ["step-000001"]


def test_a_kill_in_the_middle_of_a_save_leaves_the_earlier_ones(tmp_path):
    first = save(tmp_path, 1)
    program = f"""
import os, signal, torch
from pathlib import Path
from air_reasoning.checkpoint import save_checkpoint
from air_reasoning.optim import OptimizerConfig, build_optimizer
def saver(folder):
    (folder / "model.safetensors").write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
model = torch.nn.Linear(2, 2)
save_checkpoint(Path({str(tmp_path)!r}), 2, saver, build_optimizer(model, OptimizerConfig()))
"""
    done = subprocess.run([sys.executable, "-c", program], check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(names(tmp_path)) == 2  # the half-written folder is there, hidden
    assert latest_checkpoint(tmp_path) == first
    save(tmp_path, 3)
    assert names(tmp_path) == ["step-000001", "step-000003"]


def test_saving_a_step_again_replaces_it(tmp_path):
    save(tmp_path, 5, extra={"attempt": 1})
    path = save(tmp_path, 5, extra={"attempt": 2})
    assert read_state(path).extra == {"attempt": 2}
    assert names(tmp_path) == ["step-000005"]
