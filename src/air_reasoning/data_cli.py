"""``air data``: make training data, select it, and bring it in and out of other formats.

air data cold-start -o tasks=tasks/train -o teacher.endpoint.url=http://localhost:8000/v1
air data filter -o tasks=tasks/train -o model.path=runs/sft/model

Heavy imports inside each subcommand.
"""

import typer

app = typer.Typer(no_args_is_help=True, help="Make, select and convert training data.")


@app.callback()
def data() -> None:
    """Make, select and convert training data."""
