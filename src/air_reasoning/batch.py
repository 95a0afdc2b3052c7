"""Rows of the loss as padded tensors; the rows of a group share one prompt.

Legend: P prompts, B rows (responses), L longest prompt, T longest response. Prompts are padded on
the left and responses on the right, so that ``[prompt | response]`` is one sequence and the last
prompt column is the state that the first response token is drawn from.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from air_reasoning.types import ImageRef, TrainingSample

LoadPixels = Callable[[ImageRef], "Pixels"]


@dataclass(kw_only=True, slots=True, frozen=True)
class Pixels:
    """Pictures as the vision tower takes them.

    ``values`` is [patches, patch size in numbers], ``grid`` [pictures, 3]: patches in time, height
    and width.
    """

    values: Tensor
    grid: Tensor

    def tokens(self, merge_size: int) -> int:
        """Placeholders that these pictures fill."""
        return int(self.grid.prod(-1).sum()) // merge_size**2


@dataclass(kw_only=True, slots=True)
class GroupBatch:
    """Rows of one or more groups; see the legend of this file for the shapes.

    ``prompt_pixels`` and ``response_pixels`` have one entry a prompt or row, None without pictures.
    ``logprobs_BT`` are the sampler's, at ``temperatures_BT`` where those differ within turns. Masks
    are 1 at real tokens; ``loss_mask_BT`` is float.
    """

    prompt_ids_PL: Tensor
    prompt_mask_PL: Tensor
    prompt_pixels: list[Pixels | None]
    prompt_of_row_B: Tensor
    response_ids_BT: Tensor
    response_mask_BT: Tensor
    response_pixels: list[Pixels | None]
    loss_mask_BT: Tensor
    logprobs_BT: Tensor
    temperatures_BT: Tensor | None
    advantages_B: Tensor
    code_banned_B: Tensor
    samples: list[TrainingSample]

    def to(self, device: torch.device | str) -> "GroupBatch":
        """The same batch with every tensor on ``device``."""

        def moved(pixels: Pixels | None) -> Pixels | None:
            if pixels is None:
                return None
            return Pixels(values=pixels.values.to(device), grid=pixels.grid.to(device))

        return replace(
            self,
            prompt_pixels=[moved(p) for p in self.prompt_pixels],
            response_pixels=[moved(p) for p in self.response_pixels],
            temperatures_BT=None
            if self.temperatures_BT is None
            else self.temperatures_BT.to(device),
            **{name: getattr(self, name).to(device) for name in _TENSORS},
        )


_TENSORS = (
    "prompt_ids_PL", "prompt_mask_PL", "prompt_of_row_B", "response_ids_BT", "response_mask_BT",
    "loss_mask_BT", "logprobs_BT", "advantages_B", "code_banned_B",
)  # fmt: skip


def group_batch(
    samples: Sequence[TrainingSample],
    load_pixels: LoadPixels,
    *,
    image_token_id: int,
    merge_size: int,
    pad_id: int = 0,
) -> tuple[GroupBatch | None, dict[str, float]]:
    """Pad samples into one batch; rows of a group share their prompt.

    A row whose placeholders do not match its pictures is dropped and counted, never the batch, and
    never trained without its pixels.

    Args:
        samples: rows; those of one group with the same prompt share it.
        load_pixels: pixels of one picture; called once a picture and batch.
        image_token_id: the placeholder.
        merge_size: patches per placeholder, along each side.
        pad_id: any token id; padding is masked everywhere.

    Returns:
        The batch (None if no row is left) and the counts ``batch/rows``, ``batch/prompts`` and
        ``batch/image_mismatch``.
    """
    rows = _checked_rows(samples, load_pixels, image_token_id, merge_size)
    prompts: dict[tuple[str, tuple[int, ...]], int] = {}
    prompt_pixels: list[Pixels | None] = []
    for row in rows:
        key = (row.sample.group_id, tuple(row.sample.prompt_ids))
        if key not in prompts:
            prompts[key] = len(prompts)
            prompt_pixels.append(row.prompt_pixels)
        row.prompt = prompts[key]
    counts = {
        "batch/rows": float(len(rows)),
        "batch/prompts": float(len(prompts)),
        "batch/image_mismatch": float(len(samples) - len(rows)),
    }
    if not rows:
        return None, counts
    return _batch(rows, [ids for _, ids in prompts], prompt_pixels, pad_id), counts


@dataclass(kw_only=True, slots=True)
class _Row:
    sample: TrainingSample
    prompt_pixels: Pixels | None
    response_pixels: Pixels | None
    prompt: int = -1


def _checked_rows(
    samples: Sequence[TrainingSample], load_pixels: LoadPixels, image_token_id: int, merge_size: int
) -> list[_Row]:
    cache: dict[str, Pixels] = {}
    rows: list[_Row] = []
    for sample in samples:
        pictures = [_cached(image, load_pixels, cache) for image in sample.images]
        split = _split_pictures(sample, pictures, image_token_id, merge_size)
        if split is not None:
            rows.append(_Row(sample=sample, prompt_pixels=split[0], response_pixels=split[1]))
    return rows


def _batch(
    rows: list[_Row],
    prompt_ids: list[tuple[int, ...]],
    prompt_pixels: list[Pixels | None],
    pad_id: int,
) -> GroupBatch:
    samples = [row.sample for row in rows]
    varied = any(sample.temperatures for sample in samples)
    return GroupBatch(
        prompt_ids_PL=_padded(prompt_ids, pad_id, left=True),
        prompt_mask_PL=_padded([[1] * len(ids) for ids in prompt_ids], 0, left=True),
        prompt_pixels=prompt_pixels,
        prompt_of_row_B=torch.tensor([row.prompt for row in rows]),
        response_ids_BT=_padded([s.token_ids for s in samples], pad_id),
        response_mask_BT=_padded([[1] * len(s.token_ids) for s in samples], 0),
        response_pixels=[row.response_pixels for row in rows],
        loss_mask_BT=_padded([s.loss_mask for s in samples], 0).float(),
        logprobs_BT=_padded([s.logprobs for s in samples], 0.0),
        temperatures_BT=_padded([s.temperatures for s in samples], 1.0) if varied else None,
        advantages_B=torch.tensor([s.advantage for s in samples]),
        code_banned_B=torch.tensor([s.code_banned for s in samples]),
        samples=samples,
    )


def join_pixels(parts: Sequence[Pixels | None]) -> Pixels | None:
    """All pictures in order as one; None if there are none."""
    present = [part for part in parts if part is not None]
    if not present:
        return None
    return Pixels(
        values=torch.cat([part.values for part in present]),
        grid=torch.cat([part.grid for part in present]),
    )


def _cached(image: ImageRef, load_pixels: LoadPixels, cache: dict[str, Pixels]) -> Pixels:
    if image.sha256 not in cache:
        cache[image.sha256] = load_pixels(image)
    return cache[image.sha256]


def _split_pictures(
    sample: TrainingSample, pictures: list[Pixels], image_token_id: int, merge_size: int
) -> tuple[Pixels | None, Pixels | None] | None:
    """Pictures of the prompt and of the response; None if placeholders and pictures differ."""
    missing = sample.prompt_ids.count(image_token_id)
    count = 0
    while missing > 0 and count < len(pictures):
        missing -= pictures[count].tokens(merge_size)
        count += 1
    inside = sum(picture.tokens(merge_size) for picture in pictures[count:])
    if missing != 0 or inside != sample.token_ids.count(image_token_id):
        return None
    return join_pixels(pictures[:count]), join_pixels(pictures[count:])


def _padded(rows: Sequence[Sequence[Any]], value: Any, *, left: bool = False) -> Tensor:
    width = max(len(row) for row in rows)
    return torch.tensor(
        [
            [value] * (width - len(row)) + list(row)
            if left
            else list(row) + [value] * (width - len(row))
            for row in rows
        ]
    )
