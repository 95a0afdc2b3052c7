"""The picture of a filter's tasks: pass rates with code against those without.

A square is a pair of rates; the number in it counts tasks. Above the diagonal code helps.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, Protocol

from air_reasoning.data.filter_config import FilterConfig
from air_reasoning.data.judging import TaskVerdict
from air_reasoning.data.pass_rates import PassRates
from air_reasoning.data.prompts import question_text
from air_reasoning.data.reasons import MEANING, Rejection
from air_reasoning.eval.report import ReportData, write_report
from air_reasoning.eval.tables import PlainTable
from air_reasoning.types import Task

LEVELS = 11
SHOWN_DISPUTES = 50
_SIDE, _LEFT, _TOP, _WIDTH = 320, 52, 36, 420


class _Found(Protocol):
    task: Task
    reason: Rejection | None
    rates: PassRates
    verdict: TaskVerdict | None


def write_filter_report(
    folder: Path, summary: Mapping[str, Any], found: Sequence[_Found], config: FilterConfig
) -> None:
    """``report.html``: funnel, distribution before and after, marks, what the judge disputes."""
    sampled = [item for item in found if item.rates.p is not None]
    kept = [item for item in sampled if item.reason is None]
    charts = []
    if sampled:
        k = config.k_text, config.k_code
        charts.append(pass_rate_map("Pass rates of all tasks rolled out", _pairs(sampled), *k))
        charts.append(pass_rate_map("Pass rates of the tasks kept", _pairs(kept), *k))
    data = ReportData(
        title="Data: filter",
        lead=f"{summary['funnel'][-1]['count']} of {len(found)} tasks kept.",
        facts={
            "band": f"{config.band[0]} to {config.band[1]}, ends excluded",
            "roll-outs a task": f"{config.k_code} with code, {config.k_text} without",
            "margin": config.margin,
            "similarity of questions": config.duplicates.similarity,
            "compared with": ", ".join(f"{k}: {n}" for k, n in summary["benchmarks"].items()),
            "lost tasks": summary["lost"],
        },
        further_tables=[*_tables(summary), *_disputes(found)],
        charts=charts,
    )
    write_report(folder / "report.html", data)


def pass_rate_map(
    title: str, pairs: Sequence[tuple[float, float]], k_text: int, k_code: int
) -> str:
    """Counts of (p_text, p_code) as an SVG of squares; darker is more.

    A column for each number of right ones out of ``k_text``, a row for each out of ``k_code``; of
    more than ``LEVELS`` roll-outs, that many equal bins.
    """
    columns, rows = _levels(k_text), _levels(k_code)
    counts = Counter((_level(t, columns), _level(c, rows)) for t, c in pairs)
    most = max(counts.values(), default=1)
    wide, high = _SIDE / columns, _SIDE / rows
    parts = [
        _square(_LEFT + x * wide, _TOP + (rows - 1 - y) * high, wide, high, counts[x, y] / most,
                counts[x, y])
        for x in range(columns)
        for y in range(rows)
    ]  # fmt: skip
    bottom, right = _TOP + _SIDE, _LEFT + _SIDE
    parts.append(
        f'<line x1="{_LEFT}" y1="{bottom}" x2="{right}" y2="{_TOP}" '
        'stroke="var(--muted, #6b7683)" stroke-dasharray="4 4"/>'
    )
    for tick in (0.0, 0.5, 1.0):
        x = _LEFT + wide / 2 + tick * (_SIDE - wide)
        y = bottom - high / 2 - tick * (_SIDE - high)
        parts.append(_text(x, bottom + 16, f"{tick:g}", "middle"))
        parts.append(_text(_LEFT - 8, y + 4, f"{tick:g}", "end"))
    middle = (_TOP + bottom) / 2
    parts.append(_text(_LEFT + _SIDE / 2, bottom + 34, "pass rate without code", "middle"))
    turned = f'transform="rotate(-90 14 {middle})"'
    parts.append(_text(14, middle, "pass rate with code", "middle", turned))
    label = escape(f"{title}: {len(pairs)} tasks", quote=True)
    return (
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {bottom + 44}" role="img" aria-label="{label}" '
        f'font-family="inherit" xmlns="http://www.w3.org/2000/svg">'
        f'<text x="8" y="18" font-size="14" font-weight="600" fill="var(--ink, #1c2430)">'
        f"{escape(title)}</text>{''.join(parts)}</svg>"
    )


def _levels(k: int) -> int:
    return min(k, LEVELS - 1) + 1


def _level(rate: float, levels: int) -> int:
    """The nearest of ``levels`` rates from 0 to 1."""
    return round(rate * (levels - 1))


def _square(left: float, top: float, wide: float, high: float, share: float, count: int) -> str:
    strength = 0.15 + 0.85 * share**0.5 if count else 0.0
    square = (
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{wide - 1:.1f}" height="{high - 1:.1f}" '
        f'fill="var(--c1, #2f6fb3)" fill-opacity="{strength:.2f}" '
        'stroke="var(--grid, #e3e6ea)"/>'
    )
    if not count:
        return square
    ink = "#fff" if strength > 0.6 else "var(--ink, #1c2430)"
    place = f'x="{left + wide / 2 - 0.5:.1f}" y="{top + high / 2 + 4:.1f}"'
    return square + f'<text {place} font-size="11" text-anchor="middle" fill="{ink}">{count}</text>'


def _text(x: float, y: float, text: str, anchor: str, more: str = "") -> str:
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="12" text-anchor="{anchor}" '
        f'fill="var(--muted, #6b7683)" {more}>{escape(text)}</text>'
    )


def _pairs(found: Sequence[_Found]) -> list[tuple[float, float]]:
    """(p_text, p_code); where one side was not rolled out the other stands for both."""
    both = [(item.rates.p_text, item.rates.p_code) for item in found]
    return [
        (
            p_text if p_text is not None else p_code or 0.0,
            p_code if p_code is not None else p_text or 0.0,
        )
        for p_text, p_code in both
    ]


def _tables(summary: Mapping[str, Any]) -> list[PlainTable]:
    stages = [[row["stage"], str(row["count"])] for row in summary["funnel"]]
    reasons = [
        [reason, str(count), MEANING[Rejection(reason)]]
        for reason, count in summary["rejected"].items()
    ]
    named = [[name, str(count)] for name, count in summary["marks"].items()]
    tables = [
        PlainTable(title="Funnel", heads=["stage", "tasks"], rows=stages),
        PlainTable(title="Rejected", heads=["reason", "tasks", "meaning"], rows=reasons),
        PlainTable(title="Marks of the kept", heads=["mark", "tasks"], rows=named),
    ]
    return [table for table in tables if table.rows]


def _disputes(found: Sequence[_Found]) -> list[PlainTable]:
    disputed = [f for f in found if f.verdict and f.verdict.rejection is Rejection.GOLD_DISPUTED]
    if not disputed:
        return []
    rows = [
        [f.task.id, question_text(f.task)[:200], f.task.answer.value, f.verdict.own_answer[:80],
         f.verdict.reason[:200]]
        for f in disputed[:SHOWN_DISPUTES]
        if f.verdict
    ]  # fmt: skip
    left = len(disputed) - len(rows)
    title = "Gold answers that the judge disputes" + (f" ({left} more in rejected)" if left else "")
    return [PlainTable(title=title, heads=["task", "question", "gold", "judge", "why"], rows=rows)]
