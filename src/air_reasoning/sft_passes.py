"""The rows of an SFT step cut into passes through the model, and the loss over all of them."""

from collections.abc import Iterator, Sequence

import torch

from air_reasoning.batch import LoadPixels, group_batch
from air_reasoning.data.cold_start import ColdStartSample, spread
from air_reasoning.errors import DataError
from air_reasoning.logprobs import Layout, response_logprobs
from air_reasoning.loss import sft_loss
from air_reasoning.models.load import LoadedModel
from air_reasoning.training_samples import micro_batches, prompt_images
from air_reasoning.types import Task, TrainingSample

Pair = tuple[Task, ColdStartSample]


def sft_sample(task: Task, sample: ColdStartSample) -> TrainingSample:
    """The row of the loss: every response token, masked where its weight is 0."""
    trajectory = sample.trajectory
    token_ids = [i for segment in trajectory.segments for i in segment.token_ids]
    weights = spread(sample.weights)
    if len(weights) != len(token_ids):
        raise DataError(
            f"sample of task {task.id}: {len(weights)} weights for {len(token_ids)} tokens; "
            "make the samples again"
        )
    return TrainingSample(
        group_id=task.id,
        prompt_ids=trajectory.prompt_ids,
        token_ids=token_ids,
        loss_mask=[int(weight > 0) for weight in weights],
        logprobs=[0.0] * len(token_ids),
        advantage=0.0,
        images=[*prompt_images(task), *(i for s in trajectory.segments for i in s.images)],
    )


def pass_losses(
    loaded: LoadedModel,
    chosen: Sequence[Pair],
    load_pixels: LoadPixels,
    *,
    layout: Layout,
    max_tokens: int | None,
    bf16: bool,
) -> Iterator[torch.Tensor]:
    """A scalar for each pass; their sum is sum(weight x cross entropy) / sum(weights) of all rows.

    Call ``backward`` on each before the next is asked for: only one pass is in memory.

    Raises:
        DataError: a sample's placeholders do not match its pictures, or its weights its tokens.
    """
    rows = [sft_sample(task, sample) for task, sample in chosen]
    weights = {
        id(row): spread(sample.weights) for row, (_, sample) in zip(rows, chosen, strict=True)
    }
    denominator = sum(map(sum, weights.values()))
    for part in passes(rows, layout, max_tokens):
        yield _loss(loaded, part, weights, denominator, load_pixels, layout, bf16)


def passes(
    rows: Sequence[TrainingSample], layout: Layout, max_tokens: int | None
) -> list[list[TrainingSample]]:
    """Rows by pass: padded ones of like length together, packed ones wherever there is room.

    Packing is first-fit decreasing: no pass holds more than ``max_tokens`` tokens but for a single
    row that is longer by itself. Nothing is cut off.
    """
    if max_tokens is None:
        return [list(rows)]
    if layout != "packed":
        return micro_batches(rows, max_tokens)
    packs: list[list[TrainingSample]] = []
    room: list[int] = []
    for row in sorted(rows, key=_length, reverse=True):
        place = next((n for n, left in enumerate(room) if left >= _length(row)), None)
        if place is None:
            packs.append([])
            room.append(max_tokens)
            place = len(packs) - 1
        packs[place].append(row)
        room[place] -= _length(row)
    return packs


def _length(row: TrainingSample) -> int:
    return len(row.prompt_ids) + len(row.token_ids)


def _loss(
    loaded: LoadedModel,
    rows: Sequence[TrainingSample],
    weights: dict[int, list[float]],
    denominator: float,
    load_pixels: LoadPixels,
    layout: Layout,
    bf16: bool,
) -> torch.Tensor:
    batch, counts = group_batch(
        rows, load_pixels, image_token_id=loaded.image_token_id, merge_size=loaded.merge_size
    )
    if batch is None or counts["batch/image_mismatch"]:
        raise DataError("a sample's placeholders do not match its pictures; make the samples again")
    weights_BT = torch.zeros_like(batch.loss_mask_BT)
    for n, row in enumerate(rows):
        own = weights[id(row)]
        weights_BT[n, : len(own)] = torch.tensor(own)
    device = next(loaded.model.parameters()).device
    logprobs_BT, _ = response_logprobs(
        loaded.model,
        batch.to(device),
        banned_ids=loaded.placeholder_ids,
        autocast=bf16,
        layout=layout,
    )
    return sft_loss(logprobs_BT, weights_BT.to(device), denominator)
