"""``air eval score`` and ``air eval compare``; heavy imports inside."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from air_reasoning.eval.score import ScoredFile
    from air_reasoning.intervals import Metric


_SHORT = {
    **{name: name for name in ("data", "split", "scoring", "repeats", "code")},
    **{"model": "model.path", "endpoint": "endpoint.url"},
}


def eval_options(options: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The options of one evaluation a benchmark: short options as settings, a run folder each."""
    names: list[str] = options.pop("benchmark") or []
    short = {key: options.pop(name) for name, key in _SHORT.items()}
    given = [f"{key}={json.dumps(str(v))}" for key, v in short.items() if v is not None]
    override = [*(options["override"] or []), *given]
    folder = options["run_dir"] or Path("runs") / "eval"
    for name in names or [""]:
        own = [f"benchmark={json.dumps(name)}"] if name else []
        inner = folder / Path(name.partition(":")[0]).name if len(names) > 1 else folder
        yield {**options, "override": [*override, *own], "run_dir": inner}


def score(
    benchmark: Annotated[str, typer.Argument(help="mathvista, mathvision, logicvista, ...")],
    responses: Annotated[
        Path, typer.Option(help="File of responses (.json, .jsonl, .csv, .parquet, .gz) or run.")
    ],
    data: Annotated[
        Path | None,
        typer.Option(help="The benchmark's folder; pictures may be absent.  [env AIR_BENCHMARKS]"),
    ] = None,
    mode: Annotated[
        Literal["official", "strict"], typer.Option(help="The benchmark's rules, or ours.")
    ] = "official",
    start: Annotated[
        Literal["extraction", "response"],
        typer.Option("--from", help="Score the stored extraction, or the raw response."),
    ] = "response",
    json_out: Annotated[
        Path | None, typer.Option("--json", help="Write one JSON line an item here.")
    ] = None,
    split: Annotated[str, typer.Option(help="Split.  [default: the one with these ids]")] = "",
    judge_endpoint: Annotated[
        str, typer.Option(help="Chat-completions URL of a judge model (MathVerse, free-form).")
    ] = "",
    judge_model: Annotated[str, typer.Option(help="The judge's name there.")] = "",
    extractor_endpoint: Annotated[
        str, typer.Option(help="The same of a model that reads the answer off a response.")
    ] = "",
    extractor_model: Annotated[str, typer.Option(help="The extractor's name there.")] = "",
    replies: Annotated[Path, typer.Option(help="Where what they said is kept.")] = Path(
        "replies.jsonl"
    ),
) -> None:
    """Score responses that were made elsewhere and print the accuracy."""
    from air_reasoning.eval.judge import (
        ExtractorConfig,
        JudgeConfig,
        side_models,
    )
    from air_reasoning.eval.known import find_adapter
    from air_reasoning.eval.score import score_file
    from air_reasoning.files import atomic_write
    from air_reasoning.json_io import dump_line

    adapter = find_adapter(benchmark)
    judge = JudgeConfig(endpoint=judge_endpoint, model=judge_model)
    extractor = ExtractorConfig(endpoint=extractor_endpoint, model=extractor_model)
    with side_models(judge, extractor, replies) as models:
        scored = score_file(
            adapter, responses, data, mode=mode, start=start, split=split, models=models
        )
    scored.notes += [
        f"{role}: {model.identity}, asked {model.asked} times"
        for role, model in (("judge", models.judge), ("extractor", models.extractor))
        if model is not None
    ]
    if json_out is not None:
        lines = [dump_line(item.to_json()) for item in scored.items]
        atomic_write(json_out, b"".join(line + b"\n" for line in lines))
    for line in score_lines(scored, f"{adapter.name} {scored.split}, {mode}, from {start}"):
        typer.echo(line)


def score_lines(scored: "ScoredFile", label: str) -> list[str]:
    """What the command prints: accuracy first, then what else the benchmark reports."""
    metric = scored.accuracy
    right, n = sum(item.verdict.correct for item in scored.items), len(scored.items)
    interval = f"95% interval {_percent(metric.low)} to {_percent(metric.high)}"
    lines = [label, f"accuracy: {_percent(metric.value)} ({right}/{n}), {interval}"]
    lines += [f"{name}: {_with_interval(metric)}" for name, metric in scored.figures.items()]
    without = sum(item.verdict.extracted is None for item in scored.items)
    late = sum(item.verdict.timed_out for item in scored.items)
    lines.append(f"no answer: {without}, timed out: {late}, without a response: {scored.missing}")
    agreed, stored = scored.agreement
    if stored:
        share = f"{_percent(agreed / stored)} ({agreed}/{stored})"
        lines.append(f"agreement with the file's own verdicts: {share}")
    return lines + [f"note: {note}" for note in scored.notes]


def _with_interval(metric: "Metric") -> str:
    interval = f", 95% interval {_percent(metric.low)} to {_percent(metric.high)}"
    return _percent(metric.value) + (interval if metric.low is not None else "")


def _percent(value: float | None) -> str:
    return "undefined" if value is None else f"{100 * value:.2f}%"


def compare(
    run_a: Annotated[Path, typer.Argument(help="Run folder, or lines of air eval score --json.")],
    run_b: Annotated[Path, typer.Argument(help="The same, of the other model or setting.")],
    out: Annotated[Path | None, typer.Option(help="Folder for report.html and table.md.")] = None,
) -> None:
    """Compare two evaluations item by item: paired differences, flips, by group."""
    from air_reasoning.eval.charts import difference_chart
    from air_reasoning.eval.compare import (
        compare_runs,
        compare_tables,
        read_side,
        verdict_lines,
    )
    from air_reasoning.eval.report import ReportData, write_report
    from air_reasoning.eval.tables import markdown_plain
    from air_reasoning.files import atomic_write
    from air_reasoning.json_io import to_json

    compared = compare_runs(read_side(run_a), read_side(run_b))
    tables, lines = compare_tables(compared), verdict_lines(compared)
    text = "\n".join(lines) + "\n"
    text += "".join(f"\n{table.title}\n\n{markdown_plain(table)}" for table in tables)
    typer.echo(text, nl=False)
    for warning in compared.warnings:
        typer.secho(
            f"warning: these differ in what can move a score: {warning}", fg="yellow", err=True
        )
    if out is None:
        return
    charts = [difference_chart(name, to_json(pairs)) for name, pairs in compared.passes.items()]
    notes = [*lines, *(f"Warning, these differ: {warning}" for warning in compared.warnings)]
    data = ReportData(
        title=f"{compared.b} compared with {compared.a}",
        notes=notes,
        further_tables=tables,
        charts=[chart for chart in charts if chart],
    )
    out.mkdir(parents=True, exist_ok=True)
    write_report(out / "report.html", data)
    atomic_write(out / "table.md", text)
