"""The command ``air``: subcommands only. Everything heavy is imported inside the one that needs it.

Exit codes: 0 done, 1 an error of ours, 2 usage or settings, 3 finished above the error threshold,
4 something has to be installed or built first, 130 interrupted with the state saved.
"""

import json
import os
import shlex
import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer

from air_reasoning import __version__, data_cli, export_cli, sandbox_cli, tasks_cli
from air_reasoning.command_group import default_command
from air_reasoning.config import config_schema, draft_config, render_config
from air_reasoning.doctor.command import doctor
from air_reasoning.errors import AirError, ConfigError
from air_reasoning.eval.commands import compare, eval_options, score
from air_reasoning.flow_cli import (
    FLOWS,
    ConfigFiles,
    DisplayOption,
    DryRun,
    FlowName,
    Limit,
    MaxConnections,
    MaxSandboxes,
    Overrides,
    Overwrite,
    ResumeOption,
    RunDirOption,
    Seed,
    SinkOption,
    add_flow,
    config_class,
    load_part,
    run_flow,
)
from air_reasoning.serve.commands import serve
from air_reasoning.viewer.commands import run_app, view_app

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
config_app = typer.Typer(no_args_is_help=True, help="Settings of a command.")
eval_app = typer.Typer(
    cls=default_command("run"),
    help="Measure a model (air eval BENCHMARK ...), score responses, compare runs.",
)
app.add_typer(tasks_cli.app, name="tasks")
app.add_typer(config_app, name="config")
app.add_typer(eval_app, name="eval")
eval_app.command()(score)
eval_app.command()(compare)
app.add_typer(view_app, name="view")
app.add_typer(run_app, name="run")
app.add_typer(sandbox_cli.app, name="sandbox")
app.add_typer(data_cli.app, name="data")
app.add_typer(export_cli.app, name="export")


def main(argv: list[str] | None = None) -> int:
    """Run one command line and return its exit code; the console script calls it."""
    words = sys.argv[1:] if argv is None else argv
    try:
        app(args=words, prog_name="air")
    except AirError as error:
        typer.secho(f"error: {error}", fg="red", err=True)
        return error.exit_code
    except KeyboardInterrupt:
        return _interrupted(words)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(bool(stop.code))
        return _interrupted(words) if code == 130 else code
    except Exception:
        traceback.print_exc()
        typer.secho("This is a fault of air itself; what was written is kept.", err=True)
        return 1
    return 0


def _interrupted(words: list[str]) -> int:
    again = [word for word in words if word != "--overwrite"]
    typer.echo(f"\ninterrupted; to continue: {shlex.join(['air', *again])}", err=True)
    return 130


@app.callback(invoke_without_command=True)
def top(
    version: Annotated[bool, typer.Option("--version", help="Show the version and stop.")] = False,
) -> None:
    """Multimodal models that reason and compute by turns: train, run, evaluate, look at them."""
    if version:
        typer.echo(f"air-reasoning {__version__}")
        raise typer.Exit


add_flow(app, "quickstart", "quickstart", "Train the shipped small model by RL and show the gain.")
add_flow(app, "base-model", "base-model", "Build the shipped small models from nothing.")
add_flow(app, "sft", "sft", "Fine-tune on interleaved solutions (cold start).")
add_flow(app, "rl", "rl", "Train with group-constrained reinforcement learning.")
add_flow(tasks_cli.app, "make", "tasks-make", "Make tasks with pictures drawn from real tables.")


@eval_app.command("run")
def evaluate(
    benchmark: Annotated[
        list[str] | None, typer.Argument(help="Benchmarks (NAME or NAME:FOLDER), or task folders.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of the benchmark's files.")] = None,
    split: Annotated[str | None, typer.Option(help="Split of the benchmark.")] = None,
    scoring: Annotated[str | None, typer.Option(help="official or strict.")] = None,
    model: Annotated[Path | None, typer.Option(help="Checkpoint folder.")] = None,
    endpoint: Annotated[str | None, typer.Option(help="URL of a service that samples.")] = None,
    repeats: Annotated[int | None, typer.Option(help="Sampled roll-outs a task.")] = None,
    code: Annotated[str | None, typer.Option(help="allow, forbid or both.")] = None,
    config: ConfigFiles = None,
    override: Overrides = None,
    run_dir: RunDirOption = None,
    resume: ResumeOption = "auto",
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    limit: Limit = None,
    seed: Seed = None,
    max_connections: MaxConnections = None,
    max_sandboxes: MaxSandboxes = None,
    display: DisplayOption = "rich",
    sink: SinkOption = None,
) -> None:
    """Measure a model on tasks, with intervals, and write a report."""
    for one in eval_options(dict(locals())):
        run_flow("eval", one)


@app.command()
def solve(
    images: Annotated[list[Path], typer.Argument(help="Pictures, in order; file.pdf#2: a page.")],
    question: Annotated[str, typer.Option("-q", "--question", help="What to ask.")],
    model: Annotated[Path | None, typer.Option(help="Checkpoint folder or hub id.")] = None,
    endpoint: Annotated[str, typer.Option(help="Address of a chat-completions server.")] = "",
    name: Annotated[str, typer.Option(help="The model's name there.")] = "",
    config: ConfigFiles = None,
    override: Overrides = None,
    save: Annotated[Path | None, typer.Option(help="Keep it in this run folder.")] = None,
    cache: Annotated[Path | None, typer.Option(help="Keep the endpoint's answers here.")] = None,
    plain: Annotated[bool, typer.Option("--plain", help="The model's own text, tags too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One event a line.")] = False,
    display: DisplayOption = "rich",
) -> None:
    """Answer a question about pictures and show the reasoning as it comes."""
    module = load_part("solve_cli")
    given = {"model.path": model, "endpoint.url": endpoint, "endpoint.model": name}
    pairs = [*given.items(), ("endpoint.cache", cache)]
    extra = [f"{key}={json.dumps(str(value))}" for key, value in pairs if value]
    settings = module.solve_settings(config or [], [*(override or []), *extra], dict(os.environ))
    shown = "json" if as_json else "plain" if plain else display
    raise typer.Exit(module.solve_command(images, question, settings, shown, save))


app.command()(serve)
app.command()(doctor)


@config_app.command("show")
def config_show(command: FlowName, config: ConfigFiles = None, override: Overrides = None) -> None:
    """All settings of a command, what they mean and where each value came from."""
    cls = config_class(command)
    resolved = draft_config(cls, files=config or (), overrides=override or (), env=os.environ)
    typer.echo(render_config(resolved), nl=False)


@config_app.command("schema")
def config_print_schema(command: FlowName) -> None:
    """The JSON schema of a command's settings."""
    from air_reasoning.json_io import dump_pretty

    typer.echo(dump_pretty(config_schema(config_class(command))).decode(), nl=False)


@config_app.command("init")
def config_init(
    command: FlowName,
    path: Annotated[Path | None, typer.Argument(help="File.  [default: COMMAND.yaml]")] = None,
) -> None:
    """Write a settings file with every default and its meaning."""
    from air_reasoning.files import atomic_write

    path = path or Path(f"{command}.yaml")
    if path.exists():
        raise ConfigError(f"{path}: is there already; remove it or name another file")
    atomic_write(path, render_config(draft_config(config_class(command))))
    typer.echo(f"wrote {path}; use it with: air {FLOWS[command].words or command} -c {path}")


if __name__ == "__main__":
    raise SystemExit(main())
