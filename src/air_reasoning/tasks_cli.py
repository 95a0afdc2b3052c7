"""``air tasks list`` and ``air tasks gallery``; ``air tasks make`` is a flow of its own."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Make, list and look at tasks.")
Folder = Annotated[Path, typer.Argument(help="Task folder or task file.")]


@app.command("list")
def tasks_list(folder: Folder) -> None:
    """Count the tasks of a folder by kind, difficulty and split."""
    from air_reasoning.viewer.listing import task_listing

    typer.echo(task_listing(folder))


@app.command()
def gallery(
    folder: Folder,
    page: Annotated[
        Path | None, typer.Argument(help="HTML file.  [default: in the folder]")
    ] = None,
    per_group: Annotated[
        int, typer.Option(min=1, help="Tasks of each difficulty of each family.")
    ] = 4,
) -> None:
    """Write one page that shows tasks with pictures, answers and programs."""
    from air_reasoning.tasks.gallery import write_gallery

    page = page or (folder if folder.is_dir() else folder.parent) / "gallery.html"
    shown = write_gallery(folder, page, per_group=per_group)
    typer.echo(f"{shown} tasks in {page}")
