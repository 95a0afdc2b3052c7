"""``air view`` (web viewer, listing, bundle) and ``air run`` (report, figures sent elsewhere)."""

from pathlib import Path
from typing import Annotated

import typer

from air_reasoning.command_group import default_command

view_app = typer.Typer(
    cls=default_command("show"),
    help="Look at runs in the browser: air view [DIR], air view bundle DIR.",
)
run_app = typer.Typer(no_args_is_help=True, help="What to make of a run that is there.")

Folder = Annotated[Path, typer.Argument(help="A run folder, or a folder of them.")]


@view_app.command("show")
def show(
    folder: Folder = Path("runs"),
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 7576,
    host: Annotated[
        str, typer.Option(help="Address to listen on; other than loopback makes a token.")
    ] = "127.0.0.1",
    open_browser: Annotated[bool, typer.Option("--open", help="Open the browser.")] = False,
    token: Annotated[
        str, typer.Option(envvar="AIR_VIEW_TOKEN", help="Asked for on every request.")
    ] = "",
    plain: Annotated[bool, typer.Option("--list", help="Print the runs and stop.")] = False,
    trajectory: Annotated[
        str, typer.Option(help="Print the trajectories of this id and stop.")
    ] = "",
) -> None:
    """Look at runs in the browser."""
    from air_reasoning.viewer import listing

    if trajectory:
        typer.echo(listing.show_trajectory(folder, trajectory))
    elif plain:
        typer.echo(listing.run_listing(folder))
    else:
        from air_reasoning.viewer.serve import serve

        serve(folder, host=host, port=port, token=token, open_browser=open_browser)


@view_app.command("bundle")
def bundle(
    folder: Folder,
    out: Annotated[Path, typer.Option("-o", "--out", help="New or empty folder.")],
    limit: Annotated[
        int, typer.Option(min=0, help="Trajectories of each run, the last ones.")
    ] = 1000,
) -> None:
    """Write the viewer with its data as files, for any file server."""
    from air_reasoning.viewer.bundle import write_bundle

    counts = write_bundle(folder, out, limit=limit)
    left_out = f"; {counts['left_out']} left out (--limit)" if counts["left_out"] else ""
    typer.echo(f"{out}: {counts['runs']} runs, {counts['trajectories']} trajectories{left_out}")
    typer.echo(f"look at it: python -m http.server --bind 127.0.0.1 -d {out}")


@run_app.command("report")
def report(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="File.  [default: RUN/report.html]")
    ] = None,
) -> None:
    """Write one self-contained HTML page: figures, curves, telling trajectories, settings."""
    from air_reasoning.eval.run_report import write_run_report

    typer.echo(f"report: {write_run_report(run, out or run / 'report.html')}")


@run_app.command("send")
def send(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    to: Annotated[list[str], typer.Option(help="tensorboard, trackio or wandb; repeatable.")],
) -> None:
    """Send the figures of a run to another tracker; a running one is followed with --sink."""
    from air_reasoning.sinks import send_run

    for name in to:
        typer.echo(f"{name}: {send_run(run, name)} steps")
