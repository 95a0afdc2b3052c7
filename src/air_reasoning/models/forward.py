"""The forward passes of generation: whole prompts, a stretch of one row, one step of all rows.

Written against ``model.model(...)`` and the text model inside it. Positions are given explicitly,
so that nothing is remembered inside the model between calls: M-RoPE of three axes for the Qwen-VL
classes, plain ones for models of tiles (Idefics3, SmolVLM) and text models.
_B rows, _T tokens, _D hidden size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

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
    pictures = _pictures(loaded, images)
    positions, shift = _positions(loaded, ids_BT, pictures.get("image_grid_thw"), inside)
    output = model.model(
        input_ids=ids_BT,
        position_ids=positions,
        **pictures,
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
    pictures = _pictures(loaded, images)
    inside = torch.ones_like(whole, dtype=torch.bool)
    positions, shift = _positions(loaded, whole, pictures.get("image_grid_thw"), inside)
    mask = rows.write_stretch(row, start, len(ids) - start, model.dtype)
    output = model.model(
        input_ids=whole[:, start:],
        position_ids=positions[..., start:],
        attention_mask=mask,
        **_new_pictures(loaded, ids, start, images, pictures),
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
    position_ids = positions[:, None]
    if loaded.pictures == "patches":
        position_ids = position_ids.expand(3, -1, -1)
    output = _text_model(model)(
        input_ids=torch.tensor(ids_B, device=device)[:, None],
        position_ids=position_ids,
        attention_mask=rows.write_step(columns, model.dtype),
        past_key_values=rows,
        use_cache=True,
    )
    return output.last_hidden_state[:, 0]


def _text_model(model: Any) -> Any:
    """The decoder inside: of Qwen-VL, of Idefics3, or the model's own body."""
    body = model.model
    return getattr(body, "language_model", None) or getattr(body, "text_model", None) or body


def _pictures(loaded: LoadedModel, images: Sequence[Image.Image]) -> dict[str, torch.Tensor]:
    """What the model takes for pictures, by the name of its argument; nothing without pictures."""
    if not images:
        return {}
    if loaded.pictures == "tiles":
        return loaded.tiles(list(images))
    values, grid = loaded.pixels(list(images))
    return {"pixel_values": values, "image_grid_thw": grid}


def _positions(
    loaded: LoadedModel, ids_BT: torch.Tensor, grid: torch.Tensor | None, inside_BT: torch.Tensor
) -> tuple[torch.Tensor, list[int]]:
    """Positions, ``[3, B, T]`` of M-RoPE or ``[B, T]``, and each row's shift."""
    if loaded.pictures != "patches":
        places = torch.arange(ids_BT.shape[1], device=ids_BT.device)
        return places.expand_as(ids_BT), [0] * len(ids_BT)
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
    images: Sequence[Image.Image],
    pictures: dict[str, torch.Tensor],
) -> dict[str, torch.Tensor]:
    """``pictures`` without those whose placeholders stand before ``start``."""
    if not pictures or loaded.image_token_id not in ids[start:]:
        return {}
    seen_tokens, seen = list(ids[:start]).count(loaded.image_token_id), 0
    while seen_tokens > 0:
        seen_tokens -= loaded.image_tokens(images[seen])
        seen += 1
    if loaded.pictures == "tiles":
        return _pictures(loaded, images[seen:])
    grid = pictures["image_grid_thw"]
    first = grid[:seen].prod(-1).sum()
    return {"pixel_values": pictures["pixel_values"][first:], "image_grid_thw": grid[seen:]}
