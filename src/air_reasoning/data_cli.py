"""``air data``: make training data, select it, and bring it in and out of other formats.

air data cold-start -o tasks=tasks/train -o teacher.endpoint.url=http://localhost:8000/v1 --dry-run
air data prompts my-prompts

Heavy imports inside each subcommand.
"""

from pathlib import Path
from typing import Annotated

import typer

from air_reasoning.data import convert_cli
from air_reasoning.flow_cli import add_flow

app = typer.Typer(no_args_is_help=True, help="Make, select and convert training data.")

add_flow(app, "cold-start", "data-cold-start", "Have a teacher write solutions, with code in them.")
add_flow(app, "filter", "data-filter", "Select tasks for RL: duplicates, judge, pass rates.")
convert_cli.add_to(app)


@app.command()
def prompts(
    folder: Annotated[Path, typer.Argument(help="Where to put them.")] = Path("prompts"),
) -> None:
    """Write the shipped prompts to a folder, to be changed and named with -o prompts=FOLDER."""
    from air_reasoning.data.prompts import write_prompts

    for file in write_prompts(folder):
        typer.echo(file)
