"""Vector pictures of an evaluation: accuracy by group, and what code is worth by group."""

from collections.abc import Mapping
from typing import Any

from air_reasoning.eval import tables
from air_reasoning.eval.svg import Interval, interval_chart

MAX_GROUPS = 24


def eval_charts(summary: Mapping[str, Any]) -> list[str]:
    """SVG charts from ``summary.json``; groups of which there is only one are not drawn."""
    charts = [
        _accuracy(summary.get(part, {}), title)
        for part, title in (("kinds", "Accuracy by kind"), ("subjects", "Accuracy by subject"))
    ]
    for decoding, pairs in summary.get("tool_benefit", {}).items():
        name = tables.DECODINGS.get(decoding, decoding)
        charts.append(difference_chart(f"What code is worth, {name}", pairs))
    return [chart for chart in charts if chart]


def difference_chart(title: str, pairs: Mapping[str, Any]) -> str:
    """Accuracy differences with their intervals, one row a group; "" without two groups."""
    rows = [
        (name, [_interval(pair["difference"], "difference", 0)])
        for name, pair in list(pairs.items())[:MAX_GROUPS]
        if pair["n"] > 1
    ]
    ends = [abs(end or 0) for _, row in rows for i in row for end in (i.low, i.high)]
    reach = min(1.0, max([*ends, 0.1]) * 1.1)
    return interval_chart(title, rows, x_range=(-reach, reach)) if len(rows) > 1 else ""


def _accuracy(part: Mapping[str, Any], title: str) -> str:
    passes = [
        (f"{tables.display_name(name)}, {tables.DECODINGS.get(decoding, decoding)}", groups)
        for name, decodings in part.items()
        for decoding, groups in decodings.items()
    ]
    names = list(dict.fromkeys(group for _, groups in passes for group in groups))
    if len(names) < 2:
        return ""
    rows = [
        (
            group,
            [
                _interval(groups[group]["accuracy"], name, colour)
                for colour, (name, groups) in enumerate(passes)
                if group in groups
            ],
        )
        for group in names[:MAX_GROUPS]
    ]
    return interval_chart(title, rows)


def _interval(metric: Mapping[str, Any], label: str, colour: int) -> Interval:
    return Interval(
        label=label, value=metric["value"], low=metric["low"], high=metric["high"], colour=colour
    )
