"""Choosing how attention is computed, for a while."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def attention(model: Any, kind: str) -> Iterator[None]:
    """Compute with ``kind`` (eager, sdpa, flash_attention_2) inside the block; empty: no change.

    On a CPU a bf16 update is 1.5 times as fast with eager, and sampling faster with sdpa.
    """
    before = model.config.get_text_config()._attn_implementation
    if not kind or kind == before:
        yield
        return
    model.set_attn_implementation(kind)
    try:
        yield
    finally:
        model.set_attn_implementation(before)
