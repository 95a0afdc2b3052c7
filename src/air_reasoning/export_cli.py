"""``air export``: hand a training over to another framework.

air export verl-job -c rl.yaml -o job       # a folder that verl trains from
air export template slurm -o air.sbatch     # a cluster's job, to be filled in

Heavy imports inside each subcommand.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer

from air_reasoning.errors import ConfigError
from air_reasoning.flow_cli import ConfigFiles, DryRun, Limit, run_flow

app = typer.Typer(no_args_is_help=True, help="Hand a training over to another framework.")


TEMPLATES = Path(__file__).parent / "integrations" / "templates"
FILES = {
    "slurm": "slurm.sbatch",
    "slurm-verl": "slurm-verl.sbatch",
    "kubernetes": "kubernetes.yaml",
    "ray-verl": "ray-verl.yaml",
}


@app.callback()
def export() -> None:
    """Hand a training over to another framework."""


@app.command("verl-job")
def verl_job(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write.")],
    config: ConfigFiles = None,
    override: Annotated[
        list[str] | None, typer.Option("--override", help="section.key=value; repeatable.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Write into a folder that is not empty.")
    ] = False,
    dry_run: DryRun = False,
    limit: Limit = None,
) -> None:
    """Write tasks, settings and launch script of a training for verl."""
    shared = {"resume": "never", "display": "plain", "sink": None}
    given = {"config": config, "override": override, "run_dir": output, "limit": limit}
    run_flow("verl-job", shared | given | {"overwrite": overwrite, "dry_run": dry_run})


@app.command()
def template(
    name: Annotated[
        Literal["slurm", "slurm-verl", "kubernetes", "ray-verl"], typer.Argument(help="Which.")
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File to write.  [default: the terminal]")
    ] = None,
) -> None:
    """A cluster's job file with what has to be filled in at its top."""
    text = (TEMPLATES / FILES[name]).read_text(encoding="utf-8")
    if output is None:
        typer.echo(text, nl=False)
        return
    if output.exists():
        raise ConfigError(f"{output}: is there already; remove it or name another file")
    output.write_text(text, encoding="utf-8")
    typer.echo(f"wrote {output}; fill in what its first lines say")
