"""``air view``: the web viewer, the plain listing, and the bundle to put on a file server."""

from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperGroup


class _DefaultGroup(TyperGroup):
    """``air view runs`` is ``air view show runs``: what is no subcommand is a folder."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # pyright: ignore[reportIncompatibleMethodOverride]
        if not (args and (args[0] in self.commands or args[0] == "--help")):
            args = ["show", *args]
        return super().parse_args(ctx, args)


view_app = typer.Typer(
    cls=_DefaultGroup, help="Look at runs in the browser: air view [DIR], air view bundle DIR."
)

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
