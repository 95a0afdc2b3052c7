"""A frozen vision tower sees each picture once: its features are remembered by content.

With the tower frozen, the features of a picture never change during a training, yet sampler, update
and anchor all ask for them, step after step. On a CPU this is a third of a step.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

Features = list[Tensor]
"""Pooled features of one picture, then those for each deepstack layer."""


@contextmanager
def remember_pictures(model: Any, megabytes: int = 1024) -> Iterator[None]:
    """Inside the block ``model.model.visual`` computes a picture once, if all of it is frozen.

    At most ``megabytes`` are held, the least recently used go first. Features are computed in the
    weights' own precision, whatever autocast says. Nothing happens if a part of the tower trains.
    """
    visual = getattr(model.model, "visual", None)  # a text model has none
    if visual is None or any(parameter.requires_grad for parameter in visual.parameters()):
        yield
        return
    before = vars(visual).get("forward")
    memory = _Memory(visual.forward, visual.config.spatial_merge_size**2, megabytes * 2**20)
    visual.forward = memory.forward
    try:
        yield
    finally:
        del visual.forward  # the class's own again
        if before is not None:
            visual.forward = before


class _Memory:
    def __init__(self, compute: Any, patches_per_token: int, room: int) -> None:
        self._compute, self._patches_per_token, self._room = compute, patches_per_token, room
        self._known: OrderedDict[bytes, Features] = OrderedDict()
        self._held = 0
        self._output: Any = None

    def forward(self, hidden_states: Tensor, grid_thw: Tensor, **kwargs: Any) -> Any:
        """The tower's output for pictures side by side; ``last_hidden_state`` is left out."""
        patches = hidden_states.split(grid_thw.prod(-1).tolist())
        keys = [_content(values, grid) for values, grid in zip(patches, grid_thw, strict=True)]
        places = {key: place for place, key in enumerate(keys) if key not in self._known}
        new = list(places.values())
        if new:
            self._learn(list(places), [patches[i] for i in new], grid_thw[new], kwargs)
        found = [self._known[key] for key in keys]
        for key in keys:
            self._known.move_to_end(key)
        self._forget()
        pooled, *deepstack = (torch.cat(parts) for parts in zip(*found, strict=True))
        extra = {"deepstack_features": deepstack} if "deepstack_features" in self._output else {}
        return type(self._output)(pooler_output=pooled, **extra)

    @torch.no_grad()
    def _learn(self, keys: list[bytes], patches: list[Tensor], grid: Tensor, kwargs: Any) -> None:
        values = torch.cat(patches)
        with torch.autocast(values.device.type, enabled=False):
            self._output = self._compute(values, grid, **kwargs)
        sizes = [len(part) // self._patches_per_token for part in patches]
        pooled = self._output.pooler_output.split(sizes)
        deepstack = self._output.get("deepstack_features") or []
        layers = [layer.split(sizes) for layer in deepstack]
        for i, key in enumerate(keys):
            self._known[key] = [pooled[i].clone(), *(layer[i].clone() for layer in layers)]
            self._held += _bytes(self._known[key])

    def _forget(self) -> None:
        while self._held > self._room and len(self._known) > 1:
            _, parts = self._known.popitem(last=False)
            self._held -= _bytes(parts)


def _bytes(parts: Features) -> int:
    return sum(part.numel() * part.element_size() for part in parts)


def _content(values: Tensor, grid: Tensor) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    digest.update(repr(grid.tolist()).encode())
    digest.update(values.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.digest()
