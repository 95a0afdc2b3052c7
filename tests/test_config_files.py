"""The settings files of configs/ are valid for the commands that their names and comments give."""

from pathlib import Path

import pytest

from air_reasoning.base_model import BaseModelConfig
from air_reasoning.config import Config, load_config
from air_reasoning.eval.evaluate import EvalConfig
from air_reasoning.integrations.verl_job import VerlJobConfig
from air_reasoning.train_rl import RLConfig
from air_reasoning.train_sft import SFTConfig

CONFIGS = Path(__file__).parent.parent / "configs"
CLASSES: dict[str, type[Config]] = {
    "rl.yaml": RLConfig,
    "sft.yaml": SFTConfig,
    "eval.yaml": EvalConfig,
    "qwen2.5-vl-7b-rl.yaml": RLConfig,
    "scale-1gpu-lora.yaml": RLConfig,
    "scale-8gpu-vllm.yaml": RLConfig,
    "scale-4x8-verl.yaml": VerlJobConfig,
}


def test_every_file_has_its_command():
    assert {file.name for file in CONFIGS.iterdir()} == set(CLASSES)


@pytest.mark.parametrize("name", CLASSES)
def test_file_is_valid(name):
    resolved = load_config(CLASSES[name], files=[CONFIGS / name])
    assert any(origin.startswith(f"{name}:") for origin in resolved.provenance.values())


def test_the_rl_file_trains_what_the_defaults_train():
    written = load_config(RLConfig, files=[CONFIGS / "rl.yaml"]).value
    assert written == RLConfig(tasks=Path("tasks/train"))


def test_the_sft_file_is_the_fine_tuning_of_the_base_model():
    written, made = (
        load_config(SFTConfig, files=[CONFIGS / "sft.yaml"]).value,
        BaseModelConfig().rounds[0],
    )
    assert (written.steps, written.batch) == (made.steps, made.batch)
    assert written.practice_rows == made.practice_rows
    assert written.practice_programs == made.practice_programs
    assert written.optimizer == made.optimizer


def test_the_large_model_has_no_anchor_and_a_frozen_vision_tower():
    config = load_config(RLConfig, files=[CONFIGS / "qwen2.5-vl-7b-rl.yaml"]).value
    assert (config.anchor.weight, config.optimizer.freeze) == (0, ("model.visual",))
    assert (config.engine.device, config.engine.dtype) == ("cuda", "float32")
