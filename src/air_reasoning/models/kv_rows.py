"""Keys and values of many sequences in one buffer, each row with a length of its own.

One buffer per layer, ``[rows, kv heads, columns, head dim]``. Row r uses columns 0 .. length-1;
what lies behind is masked. A step writes one column a row, wherever that row ends, and copies
nothing. transformers sees an ordinary ``Cache``; masks come from here: only we know the lengths.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

_COLUMN_STEP = 64


@dataclass(slots=True)
class _Write:
    """Where the next forward pass writes: one column in each row, or a stretch of one row."""

    rows: torch.Tensor
    columns: torch.Tensor
    width: int
    row: int | None = None


class _RowLayer(CacheLayerMixin):
    """One layer's buffer. ``keys`` and ``values`` are ``[rows, heads, columns, dim]``."""

    keys: Any
    values: Any

    def __init__(self, write: _Write) -> None:
        super().__init__()
        self.write = write

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Store the new states and return all states up to the widest row."""
        write = self.write
        if write.row is None:
            self.keys[write.rows, :, write.columns] = key_states[:, :, 0]
            self.values[write.rows, :, write.columns] = value_states[:, :, 0]
            return self.keys[:, :, : write.width], self.values[:, :, : write.width]
        here = slice(write.row, write.row + 1)
        start = write.width - key_states.shape[2]
        self.keys[here, :, start : write.width] = key_states
        self.values[here, :, start : write.width] = value_states
        return self.keys[here, :, : write.width], self.values[here, :, : write.width]

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Nothing to do: ``KVRows.add`` made the buffers."""

    def get_seq_length(self) -> int:
        """Columns in use; transformers asks only where we give no positions, which is never."""
        return self.write.width

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Width and offset of a mask that transformers would make; ours is always given."""
        return self.write.width, 0

    def get_max_length(self) -> int:
        """No maximum: the buffers grow."""
        return -1

    def get_max_cache_shape(self) -> int:
        """The same under its older name (transformers 5.9, which verl wants)."""
        return -1


class KVRows(Cache):
    """All rows of the running batch. Rows are numbered 0 .. ``count``-1 in the order of ``add``."""

    def __init__(self, n_layers: int, device: torch.device) -> None:
        """An empty batch for a text model of ``n_layers``."""
        self.count = 0
        self._device = device
        self._write = _Write(rows=torch.arange(0), columns=torch.arange(0), width=0)
        self._rows = [_RowLayer(self._write) for _ in range(n_layers)]
        super().__init__(layers=[*self._rows])

    @property
    def columns(self) -> int:
        """Capacity of a row, in tokens."""
        return self._rows[0].keys.shape[2] if self.count else 0

    def add(self, prefilled: Cache, sources: Sequence[int], columns: int) -> None:
        """Append one row per entry of ``sources``, a copy of that row of ``prefilled``.

        ``columns`` is the capacity to have at least. Room is filled with zeros, not left as found:
        a masked NaN would still be a NaN.
        """
        index = torch.tensor(sources, device=self._device)
        columns = -(-max(columns, self.columns) // _COLUMN_STEP) * _COLUMN_STEP
        filled: list[Any] = list(prefilled.layers)
        for mine, new in zip(self._rows, filled, strict=True):
            mine.keys = self._joined(mine.keys, new.keys, index, columns)
            mine.values = self._joined(mine.values, new.values, index, columns)
        self._resized(self.count + len(sources))

    def reserve(self, columns: int) -> None:
        """Make rows hold at least ``columns`` tokens."""
        if columns > self.columns:
            none = torch.empty(0, dtype=torch.long, device=self._device)
            columns = -(-columns // _COLUMN_STEP) * _COLUMN_STEP
            for layer in self._rows:
                layer.keys = self._joined(layer.keys, layer.keys, none, columns)
                layer.values = self._joined(layer.values, layer.values, none, columns)

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all rows but these, which are renumbered in this order."""
        index = torch.tensor(rows, dtype=torch.long, device=self._device)
        for layer in self._rows:
            if layer.keys is not None:
                layer.keys = layer.keys.index_select(0, index)
                layer.values = layer.values.index_select(0, index)
        self._resized(len(rows))

    def write_step(self, columns: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Point the next pass at ``columns [rows]``; returns the mask ``[rows, 1, 1, width]``.

        The mask is additive, so that the layers do not each convert a boolean one.
        """
        width = int(columns.max()) + 1
        self._write.columns, self._write.width, self._write.row = columns, width, None
        ahead = torch.arange(width, device=self._device) > columns[:, None]
        mask = torch.zeros(ahead.shape, dtype=dtype, device=self._device)
        return mask.masked_fill_(ahead, -torch.inf)[:, None, None, :]

    def write_stretch(self, row: int, start: int, length: int, dtype: torch.dtype) -> torch.Tensor:
        """Point the next pass at ``length`` columns of a row; returns ``[1, 1, length, width]``."""
        width = start + length
        self._write.width, self._write.row = width, row
        ahead = torch.ones((length, width), dtype=torch.bool, device=self._device).triu(start + 1)
        mask = torch.zeros(ahead.shape, dtype=dtype, device=self._device)
        return mask.masked_fill_(ahead, -torch.inf)[None, None]

    def _joined(
        self, old: torch.Tensor | None, new: torch.Tensor, index: torch.Tensor, columns: int
    ) -> torch.Tensor:
        """``old`` then rows ``index`` of ``new``, both widened to ``columns``."""
        n_old = self.count
        joined = new.new_zeros((n_old + len(index), new.shape[1], columns, new.shape[3]))
        if old is not None and n_old:
            joined[:n_old, :, : old.shape[2]] = old
        if len(index):
            joined[n_old:, :, : new.shape[2]] = new.index_select(0, index)
        return joined

    def _resized(self, count: int) -> None:
        self.count = count
        self._write.rows = torch.arange(count, device=self._device)
