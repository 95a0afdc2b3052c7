"""The reading anchor: while a small model learns to decide, it must not forget how to read.

Cross entropy on the whole thought - transcription and restated values, closing tag included - of
the step's own pictures. Ours, not the paper's; large models do not need it (``anchor.weight: 0``).
"""

from collections.abc import Sequence

import torch
from pydantic import Field

from air_reasoning.batch import LoadPixels, group_batch
from air_reasoning.config import Config
from air_reasoning.errors import DataError
from air_reasoning.images import load_ref
from air_reasoning.logprobs import response_logprobs
from air_reasoning.loss import sft_loss
from air_reasoning.models.load import LoadedModel
from air_reasoning.models.token_text import Text, TokenText
from air_reasoning.renderer import Renderer
from air_reasoning.training_samples import prompt_images
from air_reasoning.turn_format import AIR
from air_reasoning.types import Task, TrainingSample


class AnchorConfig(Config):
    """How strongly to hold on to reading."""

    weight: float = Field(default=1.0, ge=0)
    """Weight of the cross entropy beside the policy loss; 0 switches it off."""


def anchor_rows(loaded: LoadedModel, tasks: Sequence[Task]) -> list[TrainingSample]:
    """The thoughts of ``meta.reasoning`` as rows of the loss; tasks without one have none."""
    renderer, token_text = Renderer(loaded, AIR), TokenText(loaded.tokenizer)
    rows: list[TrainingSample] = []
    for number, task in enumerate(task for task in tasks if task.meta.get("reasoning")):
        ids = token_text.encode([Text(f"<think>{task.meta['reasoning']}</think>", tags=True)])
        rows.append(
            TrainingSample(
                group_id=str(number),
                prompt_ids=renderer.prompt_ids(task, [load_ref(ref) for ref in task.images]),
                token_ids=ids,
                loss_mask=[1] * len(ids),
                logprobs=[0.0] * len(ids),
                advantage=0.0,
                images=prompt_images(task),
            )
        )
    return rows


def anchor_loss(
    loaded: LoadedModel,
    rows: Sequence[TrainingSample],
    load_pixels: LoadPixels,
    denominator: float,
    *,
    bf16: bool,
) -> torch.Tensor:
    """Cross entropy over ``rows``, divided by the tokens of all rows of all processes.

    Raises:
        DataError: a row's placeholders do not match its pictures.
    """
    batch, counts = group_batch(
        rows, load_pixels, image_token_id=loaded.image_token_id, merge_size=loaded.merge_size
    )
    if batch is None or counts["batch/image_mismatch"]:
        raise DataError("a task's placeholders do not match its pictures; is one of them broken?")
    batch = batch.to(loaded.device)
    logprobs, _ = response_logprobs(
        loaded.model, batch, banned_ids=loaded.placeholder_ids, autocast=bf16, layout="padded"
    )
    return sft_loss(logprobs, batch.loss_mask_BT, denominator)
