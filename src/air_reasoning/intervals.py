"""95 % intervals without scipy: shares (Wilson), means (t), same-task differences (McNemar, t), and
what is made of sums otherwise (bootstrap).

Several roll-outs of one task are not independent. So values come in *clusters*, one a task, and
where a cluster has more than one member the interval is widened by the design effect (Kish 1965):
the variance that the cluster means show over the one that independent values would have. All
functions are pure and deterministic; the bootstrap draws the same resamples every time.
"""

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

Z95 = NormalDist().inv_cdf(0.975)


@dataclass(kw_only=True, slots=True, frozen=True)
class Metric:
    """A figure with its 95 % interval; all three are None where it is undefined (``n`` = 0)."""

    value: float | None
    low: float | None
    high: float | None
    n: int

    def to_json(self) -> dict[str, float | None]:
        """``{"value", "low", "high"}``."""
        return {"value": self.value, "low": self.low, "high": self.high}


UNDEFINED = Metric(value=None, low=None, high=None, n=0)


def share(hits: Sequence[bool], clusters: Sequence[Hashable]) -> Metric:
    """The share of True with a Wilson interval (Wilson 1927) on the effective number of values.

    ``share([True] * 8 + [False] * 2, range(10))`` is 0.8 in [0.490, 0.943]. Coverage is approximate
    for a handful of clusters.
    """
    n = len(hits)
    if n == 0:
        return UNDEFINED
    p = sum(hits) / n
    low, high = wilson(p, n / _design_effect([float(hit) for hit in hits], clusters))
    return Metric(value=p, low=low, high=high, n=n)


def ratio_share(pairs: Sequence[tuple[int, int]], clusters: Sequence[Hashable]) -> Metric:
    """Successes over trials, pooled over trajectories: ``pairs`` are (successes, trials) of each.

    ``n`` is the number of trials. Cells of one trajectory stand or fall together, so each
    trajectory's cluster is one unit of the interval.
    """
    hits = list[bool]()
    owners = list[Hashable]()
    for (successes, trials), cluster in zip(pairs, clusters, strict=True):
        hits += [True] * successes + [False] * (trials - successes)
        owners += [cluster] * trials
    return share(hits, owners)


def mean(values: Sequence[float], clusters: Sequence[Hashable]) -> Metric:
    """The mean over all values with a t interval over clusters; undefined ends for one cluster."""
    n = len(values)
    if n == 0:
        return UNDEFINED
    centre = math.fsum(values) / n
    groups = _sums(values, clusters, centre)
    k = len(groups)
    if k < 2:
        return Metric(value=centre, low=None, high=None, n=n)
    variance = math.fsum(total * total for total, _ in groups) * k / (k - 1) / n**2
    half = t95(k - 1) * math.sqrt(variance)
    return Metric(value=centre, low=centre - half, high=centre + half, n=n)


def bootstrap(
    units: Sequence[Mapping[str, float]],
    figures: Callable[[Mapping[str, float]], Mapping[str, float | None]],
    *,
    resamples: int = 2000,
) -> dict[str, Metric]:
    """Figures of sums over independent units, with percentile bootstrap intervals (Efron 1979).

    Each unit holds counts by name; ``figures`` makes figures of their sums, quotients for example.
    Units are drawn with replacement ``resamples`` times, from a fixed seed. Where all resamples
    agree, the data say nothing about the spread, and both ends are None. Coverage is approximate
    below some 30 units.

        bootstrap([{"n": 2, "right": 1}] * 3, lambda s: {"share": s["right"] / s["n"]})
    """
    import numpy as np  # most who import this module never draw

    if not units:
        return {}
    names = list(dict.fromkeys(name for unit in units for name in unit))
    counts = np.array([[unit.get(name, 0.0) for name in names] for unit in units], dtype=float)
    n = len(units)
    times = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=resamples)
    drawn = [figures(dict(zip(names, sums, strict=True))) for sums in (times @ counts).tolist()]
    found = dict[str, Metric]()
    for name, value in figures(dict(zip(names, counts.sum(0).tolist(), strict=True))).items():
        values = [v for one in drawn if (v := one.get(name)) is not None]
        ends = np.percentile(values, [2.5, 97.5]).tolist() if values else [0.0, 0.0]
        low, high = ends if value is not None and ends[0] < ends[1] else (None, None)
        found[name] = Metric(value=value, low=low, high=high, n=n)
    return found


def wilson(p: float, n: float, z: float = Z95) -> tuple[float, float]:
    """The Wilson score interval of a share ``p`` of ``n`` values (``n`` need not be whole)."""
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def t95(degrees: int) -> float:
    """The 97.5 % quantile of Student's t: exact for 1 and 2, else to 0.3 % (Cornish-Fisher)."""
    if degrees == 1:
        return math.tan(0.475 * math.pi)
    if degrees == 2:
        return 0.95 * math.sqrt(2 / (1 - 0.95**2))
    z, v = Z95, degrees
    return (
        z
        + (z**3 + z) / (4 * v)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)
    )


def mcnemar(only_a: int, only_b: int) -> float:
    """Exact two-sided p-value of McNemar's test on the discordant pairs; 1 if there are none."""
    n = only_a + only_b
    tail = sum(math.comb(n, k) for k in range(min(only_a, only_b) + 1))
    return min(1.0, 2 * tail / 2**n)


def _design_effect(values: Sequence[float], clusters: Iterable[Hashable]) -> float:
    """How many values of these are worth one independent value, at least 1.

    Where all values are equal the data say nothing about it; then a cluster counts as one value.
    """
    n, centre = len(values), math.fsum(values) / len(values)
    groups = _sums(values, clusters, centre)
    if len(groups) == n:
        return 1.0
    simple = math.fsum((value - centre) ** 2 for value in values)
    if simple == 0 or len(groups) == 1:
        return n / len(groups)
    return max(1.0, math.fsum(total * total for total, _ in groups) / simple)


def _sums(
    values: Sequence[float], clusters: Iterable[Hashable], centre: float
) -> list[tuple[float, int]]:
    """Sum of deviations from ``centre``, and size, of each cluster."""
    sums = dict[Hashable, tuple[float, int]]()
    for value, cluster in zip(values, clusters, strict=True):
        total, size = sums.get(cluster, (0.0, 0))
        sums[cluster] = (total + value - centre, size + 1)
    return list(sums.values())
