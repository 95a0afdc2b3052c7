"""Log-probabilities of responses, with every prompt computed once for its whole group.

The prompt with its pictures goes through the model once; its keys and values are repeated for the
rows of the group, and gradients flow back through that repetition. With 8 roll-outs of a 100-token
prompt and 50-token responses this halves the work, and the vision tower runs once instead of 8
times. Pictures inside responses (tool results) go in with the response. Shapes: the legend of
``batch``, h hidden size, N trained tokens.

Works for models with the interface of Qwen2.5-VL and Qwen3-VL (``model.model`` takes
``position_ids`` and a cache, and has ``get_rope_index``) and for text models. Not guaranteed: right
probabilities for tokens sampled with ``top_p`` below 1, whose cut the trainer does not repeat.
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from air_reasoning.batch import GroupBatch, Pixels, join_pixels

Layout = Literal["shared", "padded", "packed"]

NEVER = -1e9
"""Logit of a banned token: probability 0 without the infinities that break the entropy."""


def response_logprobs(
    model: Any,
    batch: GroupBatch,
    *,
    temperature: float = 1.0,
    banned_ids: Sequence[int] = (),
    layout: Layout = "shared",
    autocast: bool = False,
    entropy_grad: bool = False,
    chunk_elements: int = 2**23,
) -> tuple[Tensor, Tensor]:
    """Log-probability and entropy of the model at every trained token.

    Only tokens with ``loss_mask > 0`` go through the head, in chunks whose logits are made again
    for the backward pass: logits of all tokens never exist at once.

    Args:
        model: a Qwen2.5-VL or Qwen3-VL ``ForConditionalGeneration``.
        batch: on the model's device.
        temperature: of sampling, above 0, where the batch has none of its own for each token.
        banned_ids: tokens that no row could sample (picture placeholders), as the sampler had them.
        layout: how rows go through the model, with the same result. shared: each prompt once.
            padded: every row in full, for gradient checkpointing, which cannot fill a cache.
            packed: every row in full, one behind the other without padding; for flash attention
            (other kinds pay for the squared length of the pack).
        autocast: run in bfloat16 but for the softmax. On a CPU this pays only with eager attention
            (``model.set_attn_implementation("eager")``): the bfloat16 backward of sdpa is slow.
        entropy_grad: let gradients through the entropy, for an entropy bonus.
        chunk_elements: logits held at once, in numbers; 2**23 are 32 MB.

    Returns:
        ``logprobs_BT`` and ``entropy_BT`` in nats, fp32, 0 where the loss mask is 0.
    """
    trained_BT = batch.loss_mask_BT > 0
    device = batch.response_ids_BT.device
    with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
        hidden_BTh = _HIDDEN[layout](model, batch)
        logprobs_N, entropy_N = _token_logprobs(
            model.lm_head,
            hidden_BTh[trained_BT],
            batch.response_ids_BT[trained_BT],
            _temperatures(batch, trained_BT, temperature),
            banned=torch.tensor(list(banned_ids), dtype=torch.long, device=device),
            entropy_grad=entropy_grad,
            chunk_elements=chunk_elements,
        )
    zeros_BT = torch.zeros_like(batch.loss_mask_BT)
    return (
        zeros_BT.masked_scatter(trained_BT, logprobs_N),
        zeros_BT.masked_scatter(trained_BT, entropy_N),
    )


def _hidden_shared(model: Any, batch: GroupBatch) -> Tensor:
    """[B, T, h]: the state from which each response token is drawn; every prompt runs once."""
    from transformers import DynamicCache

    positions_3PL = _positions(
        model, batch.prompt_ids_PL, batch.prompt_mask_PL, join_pixels(batch.prompt_pixels)
    )
    cache = DynamicCache(config=model.config.get_text_config())
    prompt_hidden = _forward(
        model,
        batch.prompt_ids_PL,
        batch.prompt_mask_PL,
        positions_3PL,
        join_pixels(batch.prompt_pixels),
        cache,
    )
    rows_B = batch.prompt_of_row_B
    cache.batch_select_indices(rows_B)
    response_hidden = _forward(
        model,
        batch.response_ids_BT,
        torch.cat([batch.prompt_mask_PL[rows_B], batch.response_mask_BT], 1),
        _response_positions(model, batch, positions_3PL),
        join_pixels(batch.response_pixels),
        cache,
    )
    return torch.cat([prompt_hidden[rows_B, -1:], response_hidden[:, :-1]], 1)


def _hidden_full(model: Any, batch: GroupBatch) -> Tensor:
    """The same states from one plain pass over whole rows."""
    ids, mask, pixels = _full_rows(batch)
    hidden = _forward(model, ids, mask, _positions(model, ids, mask, pixels), pixels, None)
    return hidden[:, batch.prompt_ids_PL.shape[1] - 1 : -1]


def _hidden_packed(model: Any, batch: GroupBatch) -> Tensor:
    """The same states from one row of all tokens; a position that restarts starts a new row."""
    ids, mask, pixels = _full_rows(batch)
    real = mask > 0
    positions = _positions(model, ids, mask, pixels)
    places = (mask.cumsum(1) - 1)[None]  # the fourth row, by which transformers tells rows apart
    packed = torch.cat([places, positions])[:, real][:, None]
    flat = _forward(model, ids[real][None], None, packed, pixels, None)[0]
    hidden = flat.new_zeros(*ids.shape, flat.shape[-1])
    hidden = hidden.masked_scatter(real[..., None], flat)
    return hidden[:, batch.prompt_ids_PL.shape[1] - 1 : -1]


_HIDDEN = {"shared": _hidden_shared, "padded": _hidden_full, "packed": _hidden_packed}


def _forward(
    model: Any,
    ids: Tensor,
    mask: Tensor | None,
    positions: Tensor,
    pixels: Pixels | None,
    cache: Any,
) -> Tensor:
    pictures = {"pixel_values": pixels.values, "image_grid_thw": pixels.grid} if pixels else {}
    return model.model(
        input_ids=ids,
        attention_mask=mask,
        position_ids=positions if _has_mrope(model) else positions[0],
        past_key_values=cache,
        use_cache=cache is not None,
        **pictures,
    ).last_hidden_state


def _has_mrope(model: Any) -> bool:
    """Qwen-VL has positions of three axes; a text model has plain ones."""
    return hasattr(model.model, "get_rope_index")


def _positions(model: Any, ids: Tensor, mask: Tensor, pixels: Pixels | None) -> Tensor:
    """Positions [3, rows, columns] of whole sequences, by the model's own rule.

    Those of a text model are plain, three times the same.
    """
    if not _has_mrope(model):
        return (mask.cumsum(1) - 1).clamp(min=0).expand(3, -1, -1)
    positions, _ = model.model.get_rope_index(
        input_ids=ids,
        mm_token_type_ids=(ids == model.config.image_token_id).long(),
        image_grid_thw=pixels.grid if pixels else None,
        attention_mask=mask,
    )
    return positions


def _response_positions(model: Any, batch: GroupBatch, positions_3PL: Tensor) -> Tensor:
    """Positions [3, B, T] that go on where each row's prompt ended."""
    next_P = positions_3PL.amax((0, 2)) + 1
    steps_T = torch.arange(batch.response_ids_BT.shape[1], device=next_P.device)
    positions = (next_P[batch.prompt_of_row_B, None] + steps_T).expand(3, -1, -1)
    if all(pixels is None for pixels in batch.response_pixels):
        return positions
    # A picture takes fewer positions than tokens, so everything after it moves.
    ids, mask, pixels = _full_rows(batch)
    return _positions(model, ids, mask, pixels)[:, :, batch.prompt_ids_PL.shape[1] :]


def _full_rows(batch: GroupBatch) -> tuple[Tensor, Tensor, Pixels | None]:
    """Ids, mask and pictures of ``[prompt | response]``, row by row."""
    rows_B = batch.prompt_of_row_B
    ids = torch.cat([batch.prompt_ids_PL[rows_B], batch.response_ids_BT], 1)
    mask = torch.cat([batch.prompt_mask_PL[rows_B], batch.response_mask_BT], 1)
    pictures: list[Pixels | None] = []
    for row, prompt in enumerate(rows_B.tolist()):
        pictures += [batch.prompt_pixels[prompt], batch.response_pixels[row]]
    return ids, mask, join_pixels(pictures)


def _temperatures(batch: GroupBatch, trained_BT: Tensor, temperature: float) -> Tensor:
    """[N]: at which each trained token was sampled."""
    if batch.temperatures_BT is not None:
        return batch.temperatures_BT[trained_BT]
    return torch.full((int(trained_BT.sum()),), temperature, device=trained_BT.device)


def _token_logprobs(
    head: Any,
    hidden_Nh: Tensor,
    targets_N: Tensor,
    temperatures_N: Tensor,
    *,
    banned: Tensor,
    entropy_grad: bool,
    chunk_elements: int,
) -> tuple[Tensor, Tensor]:
    def chunk_logprobs(
        hidden: Tensor, targets: Tensor, temperatures: Tensor
    ) -> tuple[Tensor, Tensor]:
        logits = head(hidden).float() / temperatures[:, None]
        logits = logits.index_fill(-1, banned, NEVER)
        logprobs = logits.log_softmax(-1)
        with torch.set_grad_enabled(entropy_grad and torch.is_grad_enabled()):
            entropy = -(logprobs.exp() * logprobs).sum(-1)
        return logprobs.gather(-1, targets[:, None])[:, 0], entropy

    size = max(1, chunk_elements // head.out_features)
    if len(targets_N) <= size:
        return chunk_logprobs(hidden_Nh, targets_N, temperatures_N)
    parts = (part.split(size) for part in (hidden_Nh, targets_N, temperatures_N))
    logprobs, entropies = zip(
        *(
            checkpoint(chunk_logprobs, *chunk, use_reentrant=False)
            for chunk in zip(*parts, strict=True)
        ),
        strict=True,
    )
    return torch.cat(logprobs), torch.cat(entropies)
