"""The headline table for a terminal, for Markdown and for the report.

Takes ``checkpoints`` as ``summary.json`` holds them: ``{name: {decoding: {metric: {"value", "low",
"high"}}}}`` with decoding ``greedy`` or ``sampled``.
"""

from collections.abc import Iterator, Mapping
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
