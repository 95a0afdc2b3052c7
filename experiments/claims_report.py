"""The report of ``claims.py``: tables with intervals, curves, and a verdict on each claim."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from air_reasoning.eval.svg import Interval, Series, interval_chart, line_chart
from air_reasoning.files import atomic_write
from air_reasoning.intervals import UNDEFINED, Metric, t95
from air_reasoning.metrics import Record, summarize
from air_reasoning.run_reader import read_metrics

Records = Mapping[str, Mapping[str, list[Record]]]
FIGURES = (
    *("accuracy", "accuracy_easy", "accuracy_hard", "accuracy_interleaved", "code_share_easy"),
    *("code_share_hard", "code_share_right", "code_share_wrong", "tool_success", "tokens_mean"),
)
CURVES = ("accuracy", "code_share_easy", "code_share_hard", "policy/entropy")
COLD_START = "cold_start"
OURS = "aware_forbid_2"
LONG = "aware_long"


def write_report(folder: Path, records: Records, about: Mapping[str, Any]) -> None:
    """``report.md`` and ``report/*.svg`` from whatever is finished."""
    values = arm_values(records)
    pictures = folder / "report"
    parts = [
        "# The paper's claims in miniature",
        "Every training starts from the same small cold start; rewards and formula of the group "
        "constraint are ours, the other rewards are described in `reward_neighbours.py`. The model "
        "has 1.7M parameters: this shows the mechanism, not the paper's figures.",
        ", ".join(f"{name}: {value}" for name, value in about["facts"].items()) + ".",
        "## Verdicts",
        verdict_table(values, folder, about["steps"]),
    ]
    for decoding in ("greedy", "sampled"):
        parts += [f"## {decoding.capitalize()}", figure_table(values, decoding)]
        name = f"accuracy-{decoding}.svg"
        atomic_write(pictures / name, accuracy_chart(values, decoding))
        parts.append(f"![accuracy, {decoding}](report/{name})")
    parts.append("## Curves")
    for figure in CURVES:
        name = f"{figure.replace('/', '-')}.svg"
        atomic_write(pictures / name, curve_chart(folder, figure, values))
        parts.append(f"![{figure}](report/{name})")
    ways = "\n".join(f"| {name} | `{settings}` |" for name, settings in about["arms"].items())
    parts += ["## Settings", f"| arm | settings |\n|---|---|\n{ways}"]
    atomic_write(folder / "report.md", "\n\n".join(parts) + "\n")


Values = dict[str, dict[str, dict[str, list[Metric]]]]
"""arm -> decoding -> figure -> one figure a seed in which it is defined."""


def arm_values(records: Records) -> Values:
    """Figures of every seed, by arm."""
    values: Values = {}
    for name, by_decoding in records.items():
        for decoding, rows in by_decoding.items():
            of_arm = values.setdefault(arm_of(name), {}).setdefault(decoding, {})
            for figure, metric in summarize(rows).items():
                if metric.value is not None:
                    of_arm.setdefault(figure, []).append(metric)
    return values


def arm_of(name: str) -> str:
    """``otc-0`` is a training of ``otc``; the cold start is itself."""
    return name if name == COLD_START else name.rpartition("-")[0]


def interval(seeds: Sequence[Metric]) -> Metric | None:
    """Mean over seeds and its 95 % t interval; of one seed that over tasks; None without any."""
    known = [metric.value for metric in seeds if metric.value is not None]
    if len(known) < 2:
        return seeds[0] if known else None
    centre, half = fmean(known), t95(len(known) - 1) * stdev(known) / math.sqrt(len(known))
    return Metric(value=centre, low=centre - half, high=centre + half, n=len(known))


def shown(seeds: Sequence[Metric], figure: str) -> str:
    """``61.2 [57.8, 64.6] (3)``: percent but for tokens, ends of the interval, seeds."""
    found = interval(seeds)
    if found is None or found.value is None:
        return "undefined"
    scale = 1 if figure.startswith("tokens") else 100
    ends = ""
    if found.low is not None and found.high is not None:
        low, high = found.low, found.high
        if scale == 100:  # the t interval of a share over two or three seeds may leave its range
            low, high = max(0.0, low), min(1.0, high)
        ends = f" [{scale * low:.1f}, {scale * high:.1f}]"
    return f"{scale * found.value:.1f}{ends} ({len(seeds)})"


def figure_table(values: Values, decoding: str) -> str:
    """Rows are arms, columns figures: mean over seeds, 95 % interval, (seeds)."""
    lines = ["| | " + " | ".join(FIGURES) + " |", "|---" * (len(FIGURES) + 1) + "|"]
    for arm, by_decoding in values.items():
        of = by_decoding.get(decoding, {})
        lines.append(f"| {arm} | " + " | ".join(shown(of.get(f, []), f) for f in FIGURES) + " |")
    return "\n".join(lines)


def accuracy_chart(values: Values, decoding: str) -> str:
    """One row an arm."""
    rows: list[tuple[str, list[Interval]]] = []
    for arm, by_decoding in values.items():
        found = interval(by_decoding.get(decoding, {}).get("accuracy", [])) or UNDEFINED
        one = Interval(label=decoding, value=found.value, low=found.low, high=found.high)
        rows.append((arm, [one]))
    return interval_chart(f"Accuracy, {decoding}", rows)


def curve_chart(folder: Path, figure: str, values: Values) -> str:
    """One line an arm, its first seed."""
    series: list[Series] = []
    for arm in values:
        lines = read_metrics(folder / "trainings" / f"{arm}-0") if arm != COLD_START else []
        points = [(line["step"], line[figure]) for line in lines if line.get(figure) is not None]
        if points:
            series.append(Series(label=arm, points=points, colour=len(series)))
    percent = not figure.startswith("policy")
    return line_chart(figure, series, y_range=(0, 1) if percent else None, percent=percent)


def verdict_table(values: Values, folder: Path, steps: int) -> str:
    """What the paper says, what was reached here, and whether it holds."""
    lines = ["| claim | here | holds |", "|---|---|---|"]
    for claim, reached, holds in verdicts(values, folder, steps):
        word = {True: "yes", False: "**no**", None: "not measured"}[holds]
        lines.append(f"| {claim} | {reached} | {word} |")
    return "\n".join(lines)


def verdicts(values: Values, folder: Path, steps: int) -> Iterator[tuple[str, str, bool | None]]:
    """(claim, what was reached, whether it holds; None: not measured)."""
    for decoding in ("greedy", "sampled"):
        gain = difference(values, "accuracy", decoding, OURS, COLD_START)
        yield f"+6.1 points on average, {decoding}", points(gain), at_least(gain, 6.1)
    gain = difference(values, "accuracy_interleaved", "sampled", OURS, COLD_START)
    yield "+9.9 points on interleaved samples, sampled", points(gain), at_least(gain, 9.9)
    for decoding in ("greedy", "sampled"):
        success = mean(values, "tool_success", decoding, OURS)
        text = "undefined" if success is None else f"{100 * success:.1f} %"
        yield f"tool success above 95 %, {decoding}", text, at_least(success, 0.95)
    yield collapse(folder, steps)
    yield held_out_after_twice(values)
    behind = difference(values, "accuracy", "sampled", OURS, "outcome")
    yield (
        "ours: no less accurate than outcome-only (1 point), sampled",
        points(behind),
        at_least(behind, -1.0),
    )
    fewer = difference(values, "code_share_easy", "sampled", "outcome", OURS)
    yield (
        "ours: 10 points less code on easy tasks than outcome-only, sampled",
        points(fewer),
        at_least(fewer, 10.0),
    )


def collapse(folder: Path, steps: int) -> tuple[str, str, bool | None]:
    """Accuracy of the last tenth of a doubled run beside that of the usual length."""
    claim = "no collapse over twice the steps"
    lines = read_metrics(folder / "trainings" / f"{LONG}-0")
    tenth = max(1, steps // 10)
    known = [(line["step"], line["accuracy"]) for line in lines if "accuracy" in line]
    usual = [value for step, value in known if steps - tenth < step <= steps]
    last = [value for step, value in known if step > 2 * steps - tenth]
    if not usual or not last:
        return claim, "no such run", None
    text = f"training accuracy {100 * fmean(usual):.1f} % at {steps}, {100 * fmean(last):.1f} % at "
    return claim, f"{text}{2 * steps}", fmean(last) >= fmean(usual) - 0.05


def held_out_after_twice(values: Values) -> tuple[str, str, bool | None]:
    """Of the same seed, held-out tasks; what is over-fitted shows here and not in training."""
    claim = "ours: held-out accuracy after twice the steps (5 points), sampled, seed 0"
    long, usual = (
        values.get(arm, {}).get("sampled", {}).get("accuracy", [])[:1] for arm in (LONG, OURS)
    )
    if not long or not usual or long[0].value is None or usual[0].value is None:
        return claim, "no such run", None
    change = 100 * (long[0].value - usual[0].value)
    return claim, points(change), at_least(change, -5.0)


def mean(values: Values, figure: str, decoding: str, arm: str) -> float | None:
    """Over the seeds in which it is defined."""
    found = values.get(arm, {}).get(decoding, {}).get(figure, [])
    middle = interval(found)
    return middle.value if middle else None


def difference(values: Values, figure: str, decoding: str, arm: str, other: str) -> float | None:
    """Of two arms' means, in points."""
    a, b = (mean(values, figure, decoding, name) for name in (arm, other))
    return None if a is None or b is None else 100 * (a - b)


def points(value: float | None) -> str:
    """``+6.1 points``."""
    return "undefined" if value is None else f"{value:+.1f} points"


def at_least(value: float | None, wanted: float) -> bool | None:
    """None if it is not known."""
    return None if value is None else value >= wanted
