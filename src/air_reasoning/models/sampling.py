"""Choosing the next token, with random numbers that belong to the trajectory.

_B rows, _V vocabulary. One uniform number a token, a pure function of the trajectory's seed and the
token's place in its sequence, is put through the inverse of the row's distribution: what else is in
the batch, and in which row a trajectory sits, changes nothing.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


def uniforms(seeds_B: Sequence[int], places_B: Sequence[int]) -> NDArray[np.float64]:
    """One number in (0, 1) for each pair: SplitMix64 (Steele, Lea, Flood, 2014) of seed and place.

    32 bits, and never 0 or 1, so that a token of probability 0 cannot be hit.
    """
    seeds = np.array([seed & 0xFFFFFFFFFFFFFFFF for seed in seeds_B], dtype=np.uint64)
    places = np.array(places_B, dtype=np.uint64)
    with np.errstate(over="ignore"):
        mixed = _scrambled(_scrambled(seeds + _GOLDEN) + places * _GOLDEN)
    return (np.right_shift(mixed, np.uint64(32)).astype(np.float64) + 0.5) / 2.0**32


def _scrambled(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    x = (x ^ (x >> np.uint64(30))) * _MIX[0]
    x = (x ^ (x >> np.uint64(27))) * _MIX[1]
    return x ^ (x >> np.uint64(31))


def choose(
    logits_BV: torch.Tensor,
    temperatures_B: torch.Tensor,
    top_p_B: torch.Tensor | None,
    uniforms_B: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The chosen ids ``[B]`` and their log-probabilities ``[B]`` (natural log).

    The log-probabilities are of the distribution sampled from: after temperature, after bans
    (which are -inf in the logits) and after ``top_p``. Temperature 0 takes the most probable token,
    and its log-probability is that at temperature 1. ``top_p_B`` None means 1 everywhere.
    """
    greedy = temperatures_B == 0
    scaled = logits_BV.float() / torch.where(greedy, 1.0, temperatures_B)[:, None]
    logprobs = torch.log_softmax(scaled, dim=-1)
    if top_p_B is not None:
        logprobs = _nucleus(logprobs, torch.where(greedy, 1.0, top_p_B))
    cumulative = logprobs.exp().double().cumsum(-1)
    target = uniforms_B[:, None] * cumulative[:, -1:]
    ids = torch.searchsorted(cumulative, target, right=True)
    ids = torch.where(greedy[:, None], logprobs.argmax(-1, keepdim=True), ids)
    return ids[:, 0], logprobs.gather(1, ids)[:, 0]


def _nucleus(logprobs_BV: torch.Tensor, top_p_B: torch.Tensor) -> torch.Tensor:
    """Keep the fewest tokens that reach ``top_p`` together, and renormalise.

    Source: Holtzman et al., "The Curious Case of Neural Text Degeneration", 2020.
    """
    ordered, index = logprobs_BV.sort(dim=-1, descending=True)
    before = ordered.exp().cumsum(-1) - ordered.exp()
    # The first token stays whatever rounding makes of the sum.
    outside = (before >= top_p_B[:, None]) & (before > 0)
    outside = torch.zeros_like(outside).scatter(1, index, outside)
    return torch.log_softmax(logprobs_BV.masked_fill(outside, -torch.inf), dim=-1)
