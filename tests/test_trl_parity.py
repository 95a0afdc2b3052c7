"""The same model, batch and advantages through TRL's trainer give the same loss and gradients.

TRL lives in an environment of its own: `make trl-env`. Without it the test is skipped.
"""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from air_reasoning.batch import GroupBatch, Pixels, group_batch, join_pixels
from air_reasoning.logprobs import response_logprobs
from air_reasoning.loss import LossConfig, policy_loss
from air_reasoning.models.load import load_model
from air_reasoning.training_samples import trainable_tokens
from air_reasoning.types import ImageRef, TrainingSample

ROOT = Path(__file__).parent.parent
PYTHON = Path(os.environ.get("TRL_PYTHON", ROOT / ".venv-trl" / "bin" / "python"))
pytestmark = [
    pytest.mark.skipif(
        not PYTHON.exists(), reason="TRL 1.16 is not installed beside us: `make trl-env`"
    ),
    pytest.mark.timeout(600),
]
CAP = 1.5
CASES: dict[str, tuple[dict[str, Any], LossConfig]] = {
    "ppo": ({"loss_type": "dapo"}, LossConfig(sampler_weight_cap=None)),
    "tis": ({"loss_type": "dapo"}, LossConfig(sampler_weight_cap=CAP)),
    "kl": (  # TRL can also weight the estimate by the ratio
        {"loss_type": "dapo", "beta": 0.1, "use_bias_correction_kl": False},
        LossConfig(sampler_weight_cap=None, kl_coef=0.1),
    ),
    "entropy": (
        {"loss_type": "dapo", "entropy_coef": 0.05},
        LossConfig(sampler_weight_cap=None, entropy_coef=0.05),
    ),
    "cispo": (  # TRL's bound is the ratio itself, ours its distance from 1
        {"loss_type": "cispo", "epsilon_high": 1.28},
        LossConfig(kind="cispo", sampler_weight_cap=None),
    ),
    "gspo": (
        {"loss_type": "dapo", "importance_sampling_level": "sequence"},
        LossConfig(kind="gspo", sampler_weight_cap=None),
    ),
}


def pixels(image: ImageRef) -> Pixels:
    """Noise for a picture of 32 x 48: 4 x 6 patches of 8, merged to 2 x 3 tokens."""
    generator = torch.Generator().manual_seed(int(image.sha256))
    grid = torch.tensor([[1, 4, 6]])
    return Pixels(values=torch.randn(24, 3 * 8 * 8, generator=generator), grid=grid)


def rows(image: int) -> list[TrainingSample]:
    """Two groups; tool tokens in the middle, and a picture that a tool returned."""
    shown = [image] * 6
    prompt, other = [300, 301, *shown, 302], [300, 303]
    spec = [
        ("a", prompt, [310, 311, 312, 313], [1, 0, 0, 1], 1.0, 1),
        ("a", prompt, [314, *shown, 315, 316], [1, *[0] * 6, 1, 1], -0.7, 2),
        ("b", other, [317], [1], 0.4, 0),
        ("b", other, [318, 319, 320], [1, 1, 1], -0.9, 0),
    ]
    return [
        TrainingSample(
            group_id=group,
            prompt_ids=ids,
            token_ids=response,
            loss_mask=mask,
            logprobs=[0.0] * len(response),
            advantage=advantage,
            images=[ImageRef(sha256=str(n), width=48, height=32, path="") for n in range(pictures)],
        )
        for group, ids, response, mask, advantage, pictures in spec
    ]


def trl_inputs(batch: GroupBatch, image: int, logs: dict[str, Tensor], n: int) -> dict[str, Any]:
    """The batch as TRL's loss takes it: every row with its whole prompt and its own pictures."""
    of_row = batch.prompt_of_row_B
    prompt_ids = batch.prompt_ids_PL[of_row]
    pictures = []
    for row, prompt in enumerate(of_row.tolist()):
        pictures += [batch.prompt_pixels[prompt], batch.response_pixels[row]]
    joined = join_pixels(pictures)
    assert joined is not None
    ids = torch.cat([prompt_ids, batch.response_ids_BT], 1)
    gap = logs["old"] - logs["sampler"]
    return {
        "prompt_ids": prompt_ids,
        "prompt_mask": batch.prompt_mask_PL[of_row],
        "completion_ids": batch.response_ids_BT,
        "completion_mask": batch.response_mask_BT,
        "tool_mask": batch.loss_mask_BT,
        "advantages": batch.advantages_B,
        "old_per_token_logps": logs["old"],
        "ref_per_token_logps": logs["reference"],
        "importance_sampling_ratio": gap.exp().clamp(max=CAP),
        "num_items_in_batch": torch.tensor(float(n)),
        "pixel_values": joined.values,
        "image_grid_thw": joined.grid,
        "num_images": [len(sample.images) for sample in batch.samples],
        "mm_token_type_ids": (ids == image).long(),
    }


def test_loss_and_gradients_equal_those_of_trl(tiny_model: Path, tmp_path: Path):
    loaded = load_model(tiny_model)
    image = loaded.image_token_id
    samples = rows(image)
    batch, _ = group_batch(samples, pixels, image_token_id=image, merge_size=2)
    assert batch is not None
    with torch.no_grad():
        now, _ = response_logprobs(loaded.model, batch)
    torch.manual_seed(0)
    logs = {name: now + 0.4 * torch.randn_like(now) for name in ("old", "sampler", "reference")}
    cases = {
        name: {"settings": settings, "sampler_weights": config.sampler_weight_cap is not None}
        for name, (settings, config) in CASES.items()
    }
    for case in cases.values():
        case["settings"] = {"epsilon": 0.2, "epsilon_high": 0.28} | case["settings"]
    total = trainable_tokens(samples)
    inputs = trl_inputs(batch, image, logs, total)
    torch.save({"inputs": inputs, "cases": cases}, tmp_path / "cases.pt")
    script = Path(__file__).parent / "parity" / "trl_loss.py"
    command = [PYTHON, script, tiny_model, tmp_path / "cases.pt", tmp_path / "results.pt"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    theirs = torch.load(tmp_path / "results.pt")

    for name, (_, config) in CASES.items():
        loaded.model.zero_grad()
        logprobs, entropy = response_logprobs(loaded.model, batch, entropy_grad=True)
        loss, _ = policy_loss(
            logprobs,
            logs["old"],
            logs["sampler"],
            batch.advantages_B,
            batch.loss_mask_BT,
            config,
            total,
            entropy_BT=entropy,
            reference_logprobs_BT=logs["reference"],
        )
        loss.backward()
        assert loss.item() == pytest.approx(theirs[name]["loss"], abs=1e-5), name
        for parameter_name, gradient in theirs[name]["gradients"].items():
            ours = loaded.model.get_parameter(parameter_name).grad
            torch.testing.assert_close(
                ours, gradient, atol=1e-5, rtol=1e-4, msg=f"{name} {parameter_name}"
            )
