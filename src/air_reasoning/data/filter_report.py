"""The picture of a filter's tasks: pass rates with code against those without.

A square is one bin of the two rates; the number in it counts tasks. Above the diagonal code helps.
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

BINS = 10
SHOWN_DISPUTES = 50
_CELL, _LEFT, _TOP, _WIDTH = 32, 52, 36, 420


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
        charts.append(pass_rate_map("Pass rates of all tasks rolled out", _pairs(sampled)))
        charts.append(pass_rate_map("Pass rates of the tasks kept", _pairs(kept)))
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


def pass_rate_map(title: str, pairs: Sequence[tuple[float, float]]) -> str:
    """Counts of (p_text, p_code) as an SVG of squares; darker is more."""
    counts = Counter((_bin(p_text), _bin(p_code)) for p_text, p_code in pairs)
    most = max(counts.values(), default=1)
    parts = [_square(x, y, counts.get((x, y), 0), most) for x in range(BINS) for y in range(BINS)]
    end = _TOP + BINS * _CELL
    right = _LEFT + BINS * _CELL
    parts.append(
        f'<line x1="{_LEFT}" y1="{end}" x2="{right}" y2="{_TOP}" stroke="var(--muted, #6b7683)" '
        'stroke-dasharray="4 4"/>'
    )
    for tick in (0.0, 0.5, 1.0):
        x, y = _LEFT + tick * BINS * _CELL, end - tick * BINS * _CELL
        parts.append(_text(x, end + 16, f"{tick:g}", "middle"))
        parts.append(_text(_LEFT - 8, y + 4, f"{tick:g}", "end"))
    middle = _LEFT + BINS * _CELL / 2
    parts.append(_text(middle, end + 34, "pass rate without code", "middle"))
    across = f'transform="rotate(-90 14 {(end + _TOP) / 2})"'
    parts.append(_text(14, (end + _TOP) / 2, "pass rate with code", "middle", across))
    label = escape(f"{title}: {len(pairs)} tasks", quote=True)
    return (
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {end + 44}" role="img" aria-label="{label}" '
        f'font-family="inherit" xmlns="http://www.w3.org/2000/svg">'
        f'<text x="8" y="18" font-size="14" font-weight="600" fill="var(--ink, #1c2430)">'
        f"{escape(title)}</text>{''.join(parts)}</svg>"
    )


def _square(x: int, y: int, count: int, most: int) -> str:
    left, top = _LEFT + x * _CELL, _TOP + (BINS - 1 - y) * _CELL
    strength = 0.0 if not count else 0.15 + 0.85 * (count / most) ** 0.5
    square = (
        f'<rect x="{left}" y="{top}" width="{_CELL - 1}" height="{_CELL - 1}" '
        f'fill="var(--c1, #2f6fb3)" fill-opacity="{strength:.2f}" '
        'stroke="var(--grid, #e3e6ea)"/>'
    )
    if not count:
        return square
    ink = "#fff" if strength > 0.6 else "var(--ink, #1c2430)"
    place = f'x="{left + _CELL / 2 - 0.5}" y="{top + _CELL / 2 + 4}"'
    return square + f'<text {place} font-size="11" text-anchor="middle" fill="{ink}">{count}</text>'


def _text(x: float, y: float, text: str, anchor: str, more: str = "") -> str:
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="12" text-anchor="{anchor}" '
        f'fill="var(--muted, #6b7683)" {more}>{escape(text)}</text>'
    )


def _bin(rate: float) -> int:
    return min(int(rate * BINS + 1e-9), BINS - 1)


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
