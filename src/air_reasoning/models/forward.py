"""The forward passes of generation: whole prompts, a stretch of one row, one step of all rows.

Written against ``model.model(...)`` and ``model.model.language_model(...)`` of the Qwen-VL classes.
Positions are given explicitly, so that nothing is remembered inside the model between calls.
_B rows, _T tokens, _D hidden size.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from transformers.cache_utils import Cache, DynamicCache

from air_reasoning.models.kv_rows import KVRows
from air_reasoning.models.load import LoadedModel


@dataclass(kw_only=True, slots=True)
class Prefilled:
    """``hidden [B, D]`` at each prompt's last token; ``position_shift [B]``: position - index.

    Pictures take fewer M-RoPE positions than tokens, so the shift behind them is negative.
    """

    cache: Cache
    hidden: torch.Tensor
    position_shift: list[int]


def prefill(
    loaded: LoadedModel, prompts: Sequence[Sequence[int]], images: Sequence[Image.Image]
) -> Prefilled:
    """Run whole prompts as one batch; ``images`` are all their pictures in order of placeholders.

    Prompts are padded at the right. No mask is needed: attention is causal, and nobody reads the
    states behind a prompt's end.
    """
    model, device = loaded.model, loaded.device
    lengths = torch.tensor([len(ids) for ids in prompts], device=device)
    width = int(lengths.max())
    ids_BT = torch.zeros((len(prompts), width), dtype=torch.long)
    for row, ids in enumerate(prompts):
        ids_BT[row, : len(ids)] = torch.tensor(ids)
    ids_BT = ids_BT.to(device)
    inside = torch.arange(width, device=device) < lengths[:, None]
    pixels, grid = loaded.pixels(list(images)) if images else (None, None)
    positions, shift = _positions(loaded, ids_BT, grid, inside)
    output = model.model(
        input_ids=ids_BT,
        position_ids=positions,
        pixel_values=pixels,
        image_grid_thw=grid,
        past_key_values=DynamicCache(config=model.config.get_text_config()),
        use_cache=True,
    )
    rows = torch.arange(len(prompts), device=device)
    return Prefilled(
        cache=output.past_key_values,
        hidden=output.last_hidden_state[rows, lengths - 1],
        position_shift=shift,
    )


def extend_row(
    loaded: LoadedModel,
    rows: KVRows,
    row: int,
    ids: Sequence[int],
    start: int,
    images: list[Image.Image],
) -> tuple[torch.Tensor, int]:
    """Run ``ids[start:]`` into one row that holds ``ids[:start]``; ``images`` are all of ``ids``.

    Returns the hidden state ``[D]`` of the last token and the row's new position shift.
    """
    model = loaded.model
    whole = torch.tensor([list(ids)], device=loaded.device)
    pixels, grid = loaded.pixels(images) if images else (None, None)
    positions, shift = _positions(loaded, whole, grid, torch.ones_like(whole, dtype=torch.bool))
    new_pixels, new_grid = _new_pictures(loaded, ids, start, pixels, grid)
    mask = rows.write_stretch(row, start, len(ids) - start, model.dtype)
    output = model.model(
        input_ids=whole[:, start:],
        position_ids=positions[..., start:],
        attention_mask=mask,
        pixel_values=new_pixels,
        image_grid_thw=new_grid,
        past_key_values=rows,
        use_cache=True,
    )
    return output.last_hidden_state[0, -1], shift[0]


def step(
    loaded: LoadedModel, rows: KVRows, ids_B: list[int], columns_B: list[int], shifts_B: list[int]
) -> torch.Tensor:
    """One token into every row, at that row's own end; returns hidden states ``[B, D]``."""
    model, device = loaded.model, loaded.device
    columns = torch.tensor(columns_B, device=device)
    positions = columns + torch.tensor(shifts_B, device=device)
    output = model.model.language_model(
        input_ids=torch.tensor(ids_B, device=device)[:, None],
        position_ids=positions[None, :, None].expand(3, -1, 1),
        attention_mask=rows.write_step(columns, model.dtype),
        past_key_values=rows,
        use_cache=True,
    )
    return output.last_hidden_state[:, 0]


def _positions(
    loaded: LoadedModel, ids_BT: torch.Tensor, grid: torch.Tensor | None, inside_BT: torch.Tensor
) -> tuple[torch.Tensor, list[int]]:
    """M-RoPE positions ``[3, B, T]`` and each row's shift."""
    positions, shift = loaded.model.model.get_rope_index(
        ids_BT,
        (ids_BT == loaded.image_token_id).int(),
        image_grid_thw=grid,
        attention_mask=inside_BT.int(),
    )
    return positions, shift.flatten().tolist()


def _new_pictures(
    loaded: LoadedModel,
    ids: Sequence[int],
    start: int,
    pixels: torch.Tensor | None,
    grid: torch.Tensor | None,
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """The pictures whose placeholders stand at or after ``start``."""
    if pixels is None or grid is None or loaded.image_token_id not in ids[start:]:
        return None, None
    patches = grid.prod(-1)
    seen_tokens = list(ids[:start]).count(loaded.image_token_id)
    seen = (patches.cumsum(0) // loaded.merge_size**2 <= seen_tokens).sum()
    return pixels[patches[:seen].sum() :], grid[seen:]
