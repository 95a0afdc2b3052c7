"""``air data import | export | validate | stats``: subcommands that need no settings file."""

from pathlib import Path
from typing import Annotated

import typer

from air_reasoning.config import Display

Data = Annotated[Path, typer.Argument(help="File or folder of data.")]
FormatOption = Annotated[
    str, typer.Option("--format", help="Of the rows; auto: by the keys of the first one.")
]
Images = Annotated[Path | None, typer.Option(help="Where relative picture paths start.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Only the first rows.")]
DisplayOption = Annotated[Display, typer.Option(help="Progress on stderr.")]


def add_to(app: typer.Typer) -> None:
    """Put the subcommands into ``air data``."""
    app.command("import")(import_command)
    app.command("export")(export_command)
    app.command("validate")(validate_command)
    app.command("stats")(stats_command)


def import_command(
    data: Data,
    folder: Annotated[Path, typer.Argument(help="Folder to write.")],
    format_name: FormatOption = "auto",
    images: Images = None,
    split: Annotated[
        str, typer.Option(help="Of tasks that have none.  [default: by file name, else train]")
    ] = "",
    limit: Limit = None,
    display: DisplayOption = "rich",
) -> None:
    """Make a task folder of verl, TRL, ms-swift, LLaMA-Factory, EasyR1, ReTool, Thyme,
    DeepEyesV2, Geo170K or CSV data; solutions become samples for air sft.
    """
    from air_reasoning.data.importing import import_data
    from air_reasoning.data.reports import imported_text

    counts = import_data(
        data, folder, format_name=format_name, images=images, split=split, limit=limit,
        display=display,
    )  # fmt: skip
    typer.echo(imported_text(counts, folder))


def export_command(
    folder: Annotated[Path, typer.Argument(help="Task folder or data run.")],
    out: Annotated[Path, typer.Argument(help="New folder to write.")],
    format_name: Annotated[
        str, typer.Option("--format", help="verl, trl, swift, llamafactory, easyr1 or retool.")
    ],
    only: Annotated[str, typer.Option(help="auto, tasks or samples.")] = "auto",
    carry: Annotated[
        bool, typer.Option(help="Keep what the format has no field for in a column air.")
    ] = True,
    limit: Limit = None,
    display: DisplayOption = "rich",
) -> None:
    """Write tasks, or solutions, in another program's format, and say what it does not hold."""
    from air_reasoning.data.exporting import export_data, known_format, known_part
    from air_reasoning.data.reports import exported_text

    counts = export_data(
        folder, out, known_format(format_name), only=known_part(only), carry=carry, limit=limit,
        display=display,
    )  # fmt: skip
    typer.echo(exported_text(counts, out))


def validate_command(
    data: Data,
    benchmark: Annotated[
        list[str] | None,
        typer.Option(help="NAME, NAME:FOLDER or a task folder not to be in it; repeatable."),
    ] = None,
    replay: Annotated[bool, typer.Option("--replay", help="Run every cell again.")] = False,
    report: Annotated[Path | None, typer.Option(help="JSON lines of all findings.")] = None,
    images: Images = None,
    format_name: FormatOption = "auto",
    limit: Limit = None,
    display: DisplayOption = "rich",
) -> None:
    """Find broken pictures, tags, answers and outputs, duplicates and evaluation items.

    Ends with code 3 if there is any finding.
    """
    from air_reasoning.data.reports import validated_text
    from air_reasoning.data.validate import validate

    counts = validate(
        data, report=report, benchmarks=benchmark, replay=replay, images=images,
        format_name=format_name, limit=limit, display=display,
    )  # fmt: skip
    typer.echo(validated_text(counts, report))
    if counts.findings:
        raise typer.Exit(3)


def stats_command(
    data: Data, format_name: FormatOption = "auto", display: DisplayOption = "rich"
) -> None:
    """Count tasks, answers, pictures, lengths, cells and statuses; the funnel of a data run."""
    from air_reasoning.data.stats import data_stats, stats_text

    typer.echo(stats_text(data_stats(data, format_name, display), data))
