"""The headline table for a terminal, for Markdown and for the report.

Takes ``checkpoints`` as ``summary.json`` holds them: ``{name: {decoding: {metric: {"value", "low",
"high"}}}}`` with decoding ``greedy`` or ``sampled``.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

Checkpoints = Mapping[str, Mapping[str, Mapping[str, Mapping[str, Any]]]]

DECODINGS = {"greedy": "greedy", "sampled": "T = 1"}
NAMES = {
    "cold_start": "Cold start",
    "outcome_grpo": "Outcome-only GRPO",
    "group_constrained": "Group-constrained GRPO",
}


@dataclass(kw_only=True, slots=True, frozen=True)
class Column:
    """One figure of the table; shares are shown in percent."""

    key: str
    group: str
    name: str
    percent: bool = True


COLUMNS = (
    Column(key="n", group="", name="n", percent=False),
    Column(key="accuracy", group="Accuracy", name="all"),
    Column(key="accuracy_easy", group="Accuracy", name="easy"),
    Column(key="accuracy_medium", group="Accuracy", name="medium"),
    Column(key="accuracy_hard", group="Accuracy", name="hard"),
    Column(key="accuracy_interleaved", group="Accuracy", name="interleaved"),
    Column(key="code_share_easy", group="Uses code", name="easy"),
    Column(key="code_share_medium", group="Uses code", name="medium"),
    Column(key="code_share_hard", group="Uses code", name="hard"),
    Column(key="code_share_right", group="Uses code", name="right"),
    Column(key="code_share_wrong", group="Uses code", name="wrong"),
    Column(key="tool_success", group="Tool", name="success"),
    Column(key="tokens_mean", group="Tokens", name="mean", percent=False),
)


def rows(checkpoints: Checkpoints) -> Iterator[tuple[str, str, Mapping[str, Mapping[str, Any]]]]:
    """``(checkpoint, decoding, summary)`` in order, both names as people read them."""
    for name, decodings in checkpoints.items():
        for decoding, summary in decodings.items():
            yield display_name(name), DECODINGS.get(decoding, decoding), summary


def display_name(name: str) -> str:
    """``Cold start`` for ``cold_start``; other names keep their letters."""
    return NAMES.get(name, name.replace("_", " "))


def value_text(metric: Mapping[str, Any] | None, column: Column) -> str:
    """``93.4``, a whole count for n, an en dash where undefined."""
    value = metric.get("value") if metric else None
    return _number(value, column)


def interval_text(metric: Mapping[str, Any] | None, column: Column) -> str:
    """``90.5-95.5`` with an en dash; empty where there is none to show."""
    if not metric or column.key == "n" or metric.get("low") is None or metric.get("high") is None:
        return ""
    return f"{_number(metric['low'], column)}–{_number(metric['high'], column)}"


def markdown_table(checkpoints: Checkpoints) -> str:
    """A Markdown table for a paper or a README: shares in percent, 95 % intervals in brackets.

    Columns that are undefined in every row are left out.
    """
    columns = _used(checkpoints)
    heads = [f"{column.group.lower()} {column.name}".strip() for column in columns]
    lines = [
        "| " + " | ".join(["checkpoint", "decoding", *heads]) + " |",
        "|" + "---|---|" + "---:|" * len(columns),
    ]
    for name, decoding, summary in rows(checkpoints):
        cells = [_markdown_cell(summary.get(column.key), column) for column in columns]
        lines.append("| " + " | ".join([name, decoding, *cells]) + " |")
    return "\n".join(lines) + "\n"


def terminal_table(checkpoints: Checkpoints, *, title: str = "") -> "Table":
    """A rich table, one line a figure and one column a checkpoint and decoding: fits 100 columns.

    Each cell is the value and the wider half of its 95 % interval, shares in percent.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=title or None,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1),
    )
    table.add_column(Text("%"), no_wrap=True, style="bold", vertical="bottom")
    for name, decoding, _ in rows(checkpoints):
        head = Text(name.replace("-", "-\n").replace(" ", "\n") + "\n").append(
            decoding, style="dim"
        )
        table.add_column(head, justify="right", no_wrap=True, vertical="bottom")
    summaries = [summary for _, _, summary in rows(checkpoints)]
    columns = _used(checkpoints)
    for index, column in enumerate(columns):
        cells = [Text(_terminal_cell(s.get(column.key), column)) for s in summaries]
        last = index + 1 == len(columns) or columns[index + 1].group != column.group
        label = Text(f"{column.group} {column.name}".strip().lower())
        table.add_row(label, *cells, end_section=last)
    return table


@dataclass(kw_only=True, slots=True, frozen=True)
class PlainTable:
    """Words and numbers as they are shown: a title, heads, and rows of as many cells."""

    title: str
    heads: list[str]
    rows: list[list[str]]


def markdown_plain(table: PlainTable) -> str:
    """The table in Markdown, first column left, others right."""
    lines = ["| " + " | ".join(table.heads) + " |"]
    lines.append("|---|" + "---:|" * (len(table.heads) - 1))
    lines += [
        "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in table.rows
    ]
    return "\n".join(lines) + "\n"


def eval_tables(summary: Mapping[str, Any]) -> list[PlainTable]:
    """Tables of an evaluation besides the headline one; empty ones are left out.

    Repeats (mean@k, pass@k, maj@k), the benchmark's own figures, accuracy and code by kind and by
    subject, tool benefit by group, extraction routes, stop reasons, and cost.
    """
    found = [
        _by_pass(summary.get("repeats", {}), "Several roll-outs a task", percent_text),
        _by_pass(summary.get("official", {}), "The benchmark's own figures", percent_text),
        *(_grouped(summary.get(part, {}), title) for part, title in _GROUPED),
        *(_benefits(d, pairs) for d, pairs in summary.get("tool_benefit", {}).items()),
        _by_pass(summary.get("routes", {}), "How answers were found", percent_text),
        _by_pass(summary.get("stops", {}), "Why trajectories ended", percent_text),
        _by_pass(summary.get("cost", {}), "Cost", lambda value: f"{value:,.6g}"),
    ]
    return [table for table in found if table.rows]


_GROUPED = (("kinds", "By kind"), ("subjects", "By subject"))


def percent_text(metric: Mapping[str, Any]) -> str:
    """``61.2 [58.0–64.3]`` in percent, an en dash where undefined."""
    if metric["value"] is None:
        return "–"
    ends = [metric["low"], metric["high"]]
    interval = "" if None in ends else f" [{100 * ends[0]:.1f}–{100 * ends[1]:.1f}]"
    return f"{100 * metric['value']:.1f}{interval}"


def points_text(metric: Mapping[str, Any]) -> str:
    """``+2.1 [-3.8 to +0.4]`` in points, for differences."""
    if metric["value"] is None:
        return "–"
    ends = [metric["low"], metric["high"]]
    interval = "" if None in ends else f" [{100 * ends[0]:+.1f} to {100 * ends[1]:+.1f}]"
    return f"{100 * metric['value']:+.1f}{interval}"


def _by_pass(
    part: Mapping[str, Mapping[str, Mapping[str, Any]]], title: str, text: Callable[[Any], str]
) -> PlainTable:
    """One row a figure, one column a pass."""
    passes = [
        (f"{display_name(name)}, {DECODINGS.get(decoding, decoding)}", figures)
        for name, decodings in part.items()
        for decoding, figures in decodings.items()
    ]
    names = dict.fromkeys(name for _, figures in passes for name in figures)
    rows = [
        [name, *(text(figures[name]) if name in figures else "–" for _, figures in passes)]
        for name in names
    ]
    return PlainTable(title=title, heads=["", *(name for name, _ in passes)], rows=rows)


def _grouped(part: Mapping[str, Any], title: str) -> PlainTable:
    """Accuracy of every group and its count, for each pass; a single group says nothing."""
    flat = {
        name: {
            decoding: {group: figures["accuracy"] | {"n": figures["n"]["value"]}
                       for group, figures in groups.items()}
            for decoding, groups in decodings.items()
        }
        for name, decodings in part.items()
    }  # fmt: skip
    table = _by_pass(flat, f"Accuracy. {title}", lambda m: f"{percent_text(m)} n={m['n']:.0f}")
    return table if len(table.rows) > 1 else PlainTable(title=title, heads=[""], rows=[])


def _benefits(decoding: str, pairs: Mapping[str, Any]) -> PlainTable:
    rows = [
        [
            name,
            points_text(pair["difference"]),
            f"{pair['only_a']}",
            f"{pair['only_b']}",
            f"{pair['p_value']:.2g}",
            f"{pair['n']}",
        ]
        for name, pair in pairs.items()
        if pair["n"]
    ]
    heads = ["", "points", "only with code", "only without", "McNemar p", "n"]
    title = f"What code is worth, {DECODINGS.get(decoding, decoding)}"
    return PlainTable(title=title, heads=heads, rows=rows)


def _used(checkpoints: Checkpoints) -> list[Column]:
    summaries = [summary for _, _, summary in rows(checkpoints)]
    return [c for c in COLUMNS if any(value_text(s.get(c.key), c) != "–" for s in summaries)]


def _markdown_cell(metric: Mapping[str, Any] | None, column: Column) -> str:
    interval = interval_text(metric, column)
    return value_text(metric, column) + (f" [{interval}]" if interval else "")


def _terminal_cell(metric: Mapping[str, Any] | None, column: Column) -> str:
    text = value_text(metric, column)
    if not metric or not interval_text(metric, column):
        return text
    half = max(metric["high"] - metric["value"], metric["value"] - metric["low"])
    return f"{text} ±{_number(half, column)}"


def _number(value: float | None, column: Column) -> str:
    if value is None:
        return "–"
    if column.key == "n":
        return f"{value:.0f}"
    return f"{100 * value:.1f}" if column.percent else f"{value:.1f}"
