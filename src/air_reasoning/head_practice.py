"""Practice beside fine-tuning: cross entropy on text rows of comparisons, sums and programs.

Ours, not the paper's, and only for the small model: a large one compares numbers already.
"""

import random
from dataclasses import replace
from typing import NoReturn

import torch

from air_reasoning.batch import group_batch
from air_reasoning.logprobs import response_logprobs
from air_reasoning.loss import sft_loss
from air_reasoning.models.load import LoadedModel
from air_reasoning.models.token_text import Text, TokenText
from air_reasoning.renderer import Renderer
from air_reasoning.tasks.practice import PracticeRow, practice_row
from air_reasoning.turn_format import AIR
from air_reasoning.types import Answer, ImageRef, Part, Task, TrainingSample


def practice_loss(
    loaded: LoadedModel, step: int, *, rows: int, programs: float, seed: int, bf16: bool
) -> torch.Tensor:
    """Weighted mean cross entropy over ``rows`` rows; a pure function of seed, step and weights."""
    rng = random.Random(f"practice {seed} {step}")
    renderer, token_text = Renderer(loaded, AIR), TokenText(loaded.tokenizer)
    practiced = [
        _sample(practice_row(step, rng, programs), str(number), renderer, token_text)
        for number in range(rows)
    ]
    batch, _ = group_batch(
        [sample for sample, _ in practiced], _no_pixels,
        image_token_id=loaded.image_token_id, merge_size=loaded.merge_size,
    )  # fmt: skip
    assert batch is not None, "rows without pictures cannot mismatch"
    weights_BT = torch.zeros_like(batch.loss_mask_BT)
    for i, (_, weights) in enumerate(practiced):
        weights_BT[i, : len(weights)] = torch.tensor(weights)
    batch = replace(batch, loss_mask_BT=(weights_BT > 0).float()).to(loaded.device)
    logprobs_BT, _ = response_logprobs(
        loaded.model, batch, banned_ids=loaded.placeholder_ids, autocast=bf16, layout="padded"
    )
    weights_BT = weights_BT.to(loaded.device)
    return sft_loss(logprobs_BT, weights_BT, float(weights_BT.sum()))


def _sample(
    row: PracticeRow, group_id: str, renderer: Renderer, token_text: TokenText
) -> tuple[TrainingSample, list[float]]:
    """The row of the loss, and one weight for each of its response tokens."""
    prompt = [Part(kind="text", text=row.question)]
    task = Task(id=group_id, prompt=prompt, images=[], answer=Answer(value=""))
    token_ids, weights = list[int](), list[float]()
    for text, weight in [("<think>", 0.0), *row.pieces]:
        ids = token_text.encode([Text(text, tags=True)])
        token_ids += ids
        weights += [weight] * len(ids)
    sample = TrainingSample(
        group_id=group_id, prompt_ids=renderer.prompt_ids(task, []), token_ids=token_ids,
        loss_mask=[int(weight > 0) for weight in weights], logprobs=[0.0] * len(token_ids),
        advantage=0.0, images=[],
    )  # fmt: skip
    return sample, weights


def _no_pixels(ref: ImageRef) -> NoReturn:
    raise AssertionError("practice has no pictures")
