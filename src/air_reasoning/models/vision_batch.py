"""A batched forward of the Qwen3-VL vision tower for pictures of one size.

The stock forward attends picture by picture in a Python loop; pre-training on a CPU needs the
batched form, which gives the same numbers (tested against the stock one).
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def patches_of(images: Tensor, patch: int, merge: int) -> Tensor:
    """uint8 [B, H, W, 3] -> normalised patches [B, N, 3 * patch**2] in Qwen's merge order.

    The same as ``Qwen2VLImageProcessor`` with mean and std 0.5 and ``temporal_patch_size`` 1.
    """
    count, height, width, _ = images.shape
    rows, columns = height // patch // merge, width // patch // merge
    scaled = images.float().mul_(1 / 127.5).sub_(1.0)
    blocks = scaled.view(count, rows, merge, patch, columns, merge, patch, 3)
    return blocks.permute(0, 1, 4, 2, 5, 7, 3, 6).reshape(count, -1, 3 * patch * patch)


def merge_order(side: int, merge: int) -> Tensor:
    """Index of the row-major patch that stands at each position of the merge order, [side**2]."""
    grid = torch.arange(side * side).view(side // merge, merge, side // merge, merge)
    return grid.permute(0, 2, 1, 3).reshape(-1)


class BatchedVision:
    """Positions computed once for one picture size, then used for every batch."""

    def __init__(self, visual: Any, side: int) -> None:
        """``visual`` is ``model.model.visual``; ``side`` the number of patches along each edge."""
        self.visual, self.side = visual, side
        self.order = merge_order(side, visual.spatial_merge_size)
        position_ids = torch.stack([self.order // side, self.order % side], dim=1)
        with torch.no_grad():
            cos, sin = visual.rotary_pos_emb(torch.zeros(1), position_ids)
        self.cos, self.sin = cos[None, None], sin[None, None]

    def __call__(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """[B, N, P] -> (last states [B, N, width], features [B, N / merge**2, text width])."""
        visual = self.visual
        weight = visual.patch_embed.proj.weight
        hidden = F.linear(patches.to(weight.dtype), weight.flatten(1), visual.patch_embed.proj.bias)
        hidden = hidden + visual.pos_embed.weight[self.order]
        cos, sin = self.cos.to(hidden.dtype), self.sin.to(hidden.dtype)
        for block in visual.blocks:
            hidden = hidden + self._attend(block.attn, block.norm1(hidden), cos, sin)
            hidden = hidden + block.mlp(block.norm2(hidden))
        batch, patch_count, width = hidden.shape
        merged = visual.merger(hidden.reshape(batch * patch_count, width))
        return hidden, merged.view(batch, patch_count // visual.spatial_merge_unit, -1)

    @staticmethod
    def _attend(attention: Any, hidden: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        batch, count, width = hidden.shape
        qkv = attention.qkv(hidden).view(batch, count, 3, attention.num_heads, -1)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        query, key = _rotate(query, cos, sin), _rotate(key, cos, sin)
        scores = torch.matmul(query * attention.scaling, key.transpose(-1, -2))
        mixed = torch.matmul(scores.softmax(-1).to(value.dtype), value)
        return attention.proj(mixed.transpose(1, 2).reshape(batch, count, width))


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    return x * cos + torch.cat((-x[..., half:], x[..., :half]), -1) * sin
