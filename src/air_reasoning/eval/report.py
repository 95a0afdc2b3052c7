"""One self-contained ``report.html``: table, curves, example trajectories; no script, no network.

    write_report(run / "report.html", ReportData(title="Quickstart",
    checkpoints=summary["checkpoints"]))

Input is plain data as the run folder holds it. Everything that a model wrote is escaped, and the
page's own policy forbids scripts and any request, so hostile HTML in a trajectory is text. Light
and dark follow the reader's system; the page is made for 390 pixels and up.
"""

import base64
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from air_reasoning.errors import DataError
from air_reasoning.eval import tables
from air_reasoning.eval.svg import Interval, Series, interval_chart, line_chart
from air_reasoning.files import atomic_write
from air_reasoning.images import open_image

MAX_EXAMPLES = 12
MAX_CHARS = 4_000
MAX_PIXELS_SIDE = 320

_TEMPLATES = Path(__file__).parent / "templates"
_OPENING = re.compile(r"^\s*<(?:think|code|answer|interpreter|sandbox_output|tool_response)>\s?")
_CLOSING = re.compile(r"\s?</(?:think|code|answer|interpreter|sandbox_output|tool_response)>\s*$")
_FENCE = re.compile(r"^\s*```(?:python)?\n?|\n?```\s*$")

# (title, {metric: label}): dots of every checkpoint.
OVERVIEW = (
    (
        "Accuracy",
        {
            "accuracy": "all",
            "accuracy_easy": "easy",
            "accuracy_medium": "medium",
            "accuracy_hard": "hard",
        },
    ),
    (
        "Uses code",
        {
            "code_share_easy": "easy",
            "code_share_medium": "medium",
            "code_share_hard": "hard",
            "code_share_right": "when right",
        },
    ),
)
# (title, metric, percent): one line a run.
COMPARED = (
    ("Accuracy", "accuracy", True),
    ("Tool success", "tool_success", True),
    ("Tokens a trajectory", "tokens_mean", False),
    ("Entropy a token", "entropy", False),
)
# (title, {metric: label}, percent): one chart a run.
BY_RUN = (
    (
        "Uses code, by difficulty",
        {"code_share_easy": "easy", "code_share_medium": "medium", "code_share_hard": "hard"},
        True,
    ),
    (
        "Uses code, among right and wrong",
        {"code_share_right": "right", "code_share_wrong": "wrong"},
        True,
    ),
    (
        "Reward terms besides correctness",
        {
            "reward/over_call": "over-call",
            "reward/under_call": "under-call",
            "reward/error": "error",
            "reward/format": "format",
        },
        False,
    ),
)


@dataclass(kw_only=True, slots=True)
class Example:
    """One trajectory to show; ``task`` and ``trajectory`` are the JSON of their dataclasses.

    ``terms`` are the reward's named parts; None and empty are not shown.
    """

    task: Mapping[str, Any]
    trajectory: Mapping[str, Any]
    correct: bool | None = None
    extracted: str | None = None
    reward: float | None = None
    terms: Mapping[str, float] = field(default_factory=dict[str, float])
    advantage: float | None = None
    label: str = ""


@dataclass(kw_only=True, slots=True)
class ReportData:
    """What a report shows; every part may be empty and is then left out.

    ``checkpoints`` as in ``summary.json``; ``curves`` are lines of ``metrics.jsonl`` by run;
    ``groups`` are roll-outs of one task side by side; ``facts`` is everything that can move a
    score. ``further_tables`` and ``charts`` (SVG from ``svg``) stand below the results.
    """

    title: str
    lead: str = ""
    checkpoints: tables.Checkpoints = field(default_factory=dict[str, Any])
    curves: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict[str, Any])
    examples: Sequence[Example] = ()
    groups: Sequence[Sequence[Example]] = ()
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    notes: Sequence[str] = ()
    further_tables: Sequence[tables.PlainTable] = ()
    charts: Sequence[str] = ()


def write_report(path: Path, data: ReportData) -> None:
    """Write the page whole or not at all.

    At most ``MAX_EXAMPLES`` examples and groups are shown and long texts are cut in the middle; the
    page says so where it happens. A picture that is gone is named in its place.

    Raises:
        DataError: the file cannot be written.
    """
    atomic_write(path, render_report(data))


def render_report(data: ReportData) -> str:
    """The page's text."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html.j2")
    names = dict.fromkeys([*data.checkpoints, *data.curves])
    colours = {
        name: index for index, name in enumerate(names)
    }  # one colour a checkpoint throughout
    return page.render(
        data=data,
        table=_table(data.checkpoints),
        overview=_overview(data.checkpoints, colours) if data.checkpoints else [],
        compared=_compared(data.curves, colours),
        by_run=[(tables.display_name(name), _by_run(lines)) for name, lines in data.curves.items()],
        charts=[Markup(chart) for chart in data.charts],
        examples=[_shown(example) for example in data.examples[:MAX_EXAMPLES]],
        examples_left_out=max(0, len(data.examples) - MAX_EXAMPLES),
        groups=[
            [_shown(member) for member in group] for group in data.groups[:MAX_EXAMPLES] if group
        ],
    )


def _table(checkpoints: tables.Checkpoints) -> dict[str, Any]:
    """Column groups with their widths, and cells as (value, interval)."""
    groups = list[list[Any]]()
    for column in tables.COLUMNS:
        if groups and groups[-1][0] == column.group:
            groups[-1][1] += 1
        else:
            groups.append([column.group, 1])
    lines = list[dict[str, Any]]()
    for name, decodings in checkpoints.items():
        for index, (_, decoding, summary) in enumerate(tables.rows({name: decodings})):
            cells = [
                (
                    tables.value_text(summary.get(c.key), c),
                    tables.interval_text(summary.get(c.key), c),
                )
                for c in tables.COLUMNS
            ]
            span = len(decodings) if index == 0 else 0
            line = {"name": tables.display_name(name), "span": span, "decoding": decoding}
            lines.append(line | {"cells": cells})
    return {"groups": groups, "columns": tables.COLUMNS, "lines": lines}


def _overview(checkpoints: tables.Checkpoints, colours: Mapping[str, int]) -> list[Markup]:
    """Accuracy and code share by difficulty, sampled if there, else greedy."""
    chosen = {
        name: decodings.get("sampled") or next(iter(decodings.values()))
        for name, decodings in checkpoints.items()
        if decodings
    }
    sampled = any("sampled" in decodings for decodings in checkpoints.values())
    charts = list[Markup]()
    for title, keys in OVERVIEW:
        rows = [
            (label, [_interval(s, key, name, colours[name]) for name, s in chosen.items()])
            for key, label in keys.items()
        ]
        chart = interval_chart(title + (", T = 1" if sampled else ""), rows)
        charts.append(Markup(chart))
    return charts


def _interval(summary: Mapping[str, Any], key: str, name: str, colour: int) -> Interval:
    metric = summary.get(key) or {}
    ends = [metric.get(end) for end in ("value", "low", "high")]
    label = tables.display_name(name)
    return Interval(label=label, value=ends[0], low=ends[1], high=ends[2], colour=colour)


def _compared(
    curves: Mapping[str, Sequence[Mapping[str, Any]]], colours: Mapping[str, int]
) -> list[Markup]:
    charts = list[Markup]()
    for title, metric, percent in COMPARED:
        series = [
            Series(
                label=tables.display_name(name), points=_points(lines, metric), colour=colours[name]
            )
            for name, lines in curves.items()
        ]
        if any(one.points for one in series):
            chart = line_chart(title, series, percent=percent, y_range=_share_range(percent))
            charts.append(Markup(chart))
    return charts


def _by_run(lines: Sequence[Mapping[str, Any]]) -> list[Markup]:
    charts = list[Markup]()
    for title, metrics, percent in BY_RUN:
        series = [
            Series(label=label, points=_points(lines, metric), colour=index)
            for index, (metric, label) in enumerate(metrics.items())
        ]
        if any(one.points for one in series):
            chart = line_chart(title, series, percent=percent, y_range=_share_range(percent))
            charts.append(Markup(chart))
    return charts


def _share_range(percent: bool) -> tuple[float, float] | None:
    return (0.0, 1.0) if percent else None


def _points(lines: Sequence[Mapping[str, Any]], metric: str) -> list[tuple[float, float]]:
    """Of a metric by its full name, or by its last part (evaluations during training apart)."""
    names = dict.fromkeys(key for line in lines for key in line)
    matching = [
        key
        for key in names
        if key == metric or (key.endswith(f"/{metric}") and not key.startswith("eval/"))
    ]
    if not matching:
        return []
    key = metric if metric in matching else matching[0]
    return [(line["step"], line[key]) for line in lines if line.get(key) is not None]


def _shown(example: Example) -> dict[str, Any]:
    """An example as the template wants it: text cut, code coloured, pictures embedded."""
    task, trajectory = example.task, example.trajectory
    meta = task.get("meta", {})
    segments = [_segment(segment) for segment in trajectory.get("segments", [])]
    question = "".join(part.get("text", "") for part in task.get("prompt", []))
    gold = task.get("answer", {}).get("value", "")
    return {
        "example": example,
        "id": task.get("id", ""),
        "meta": [str(meta[key]) for key in ("kind", "difficulty") if meta.get(key)],
        "question": _cut(question),
        "gold": _cut(str(gold)),
        "pictures": [_picture(ref) for ref in task.get("images", [])],
        "segments": segments,
        "stop": trajectory.get("stop", ""),
        "banned": trajectory.get("code_banned", False),
        "calls": sum(segment["status"] != "" for segment in segments),
        "tokens": trajectory.get("usage", {}).get("model", 0),
        "terms": {name: value for name, value in example.terms.items() if value},
    }


def _segment(segment: Mapping[str, Any]) -> dict[str, Any]:
    kind = segment["kind"]
    body = _CLOSING.sub("", _OPENING.sub("", segment.get("text", ""))).strip("\n")
    if kind == "code":
        body = _FENCE.sub("", segment.get("code") or body)
    execution = segment.get("execution") or {}
    return {
        "kind": kind,
        "body": _coloured(_cut(body)) if kind == "code" else _cut(body),
        "status": execution.get("status", ""),
        "wall_ms": execution.get("wall_ms", 0.0),
        "tokens": len(segment.get("token_ids", [])),
        "pictures": [_picture(ref) for ref in segment.get("images", [])],
    }


def _coloured(code: str) -> Markup:
    """Python with ``<span class=...>`` for its words; Pygments escapes the text itself."""
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer

    lexer = PythonLexer(stripnl=False, ensurenl=False)
    return Markup(highlight(code, lexer, HtmlFormatter(nowrap=True)))


def _cut(text: str) -> str:
    """Text with its middle left out where it is very long."""
    if len(text) <= MAX_CHARS:
        return text
    half = MAX_CHARS // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half} characters left out ...]\n{text[-half:]}"


def _picture(ref: Mapping[str, Any]) -> dict[str, Any]:
    """``src`` is a data URI, or "" if the picture is gone."""
    size = {"width": ref.get("width", 0), "height": ref.get("height", 0)}
    try:
        image = open_image(ref.get("path", ""))
    except DataError:
        return {"src": "", "name": str(ref.get("sha256", ""))[:12], **size}
    image.thumbnail((MAX_PIXELS_SIDE, MAX_PIXELS_SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=82, method=4)
    data = base64.b64encode(buffer.getvalue()).decode()
    return {"src": f"data:image/webp;base64,{data}", "name": "", **size}
