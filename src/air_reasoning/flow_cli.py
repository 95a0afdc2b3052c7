"""Long commands: where each lives, the options that all share, and how one is run.

A flow is a settings class and a function ``run(resolved, options)``, imported when it is called.
"""

import importlib
import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import typer

from air_reasoning.config import (
    Config,
    Display,
    Resolved,
    Resume,
    RunOptions,
    config_keys,
    load_config,
)
from air_reasoning.errors import ConfigError, PrerequisiteError
from air_reasoning.sinks import following

Cli = dict[str, Any]


@dataclass(kw_only=True, slots=True, frozen=True)
class Flow:
    """Where a long command lives: its settings class and its function.

    ``folder`` is its run folder in ``runs``, ``words`` what is typed where that is not its name.
    """

    module: str
    config: str
    run: str
    folder: str
    words: str = ""


FLOWS = {
    "quickstart": Flow(
        module="quickstart", config="QuickstartConfig", run="run_quickstart", folder="quickstart"
    ),
    "base-model": Flow(
        module="base_model", config="BaseModelConfig", run="run_base_model", folder="base_model"
    ),
    "sft": Flow(module="train_sft", config="SFTConfig", run="run_sft", folder="sft"),
    "rl": Flow(module="train_rl", config="RLConfig", run="run_rl", folder="rl"),
    "eval": Flow(module="eval.evaluate", config="EvalConfig", run="run_eval", folder="eval"),
    "solve": Flow(module="solve_cli", config="SolveConfig", run="solve_command", folder="solve"),
    "serve": Flow(
        module="serve.command", config="ServeConfig", run="serve_command", folder="serve"
    ),
    "tasks-make": Flow(
        module="tasks.make",
        config="TasksConfig",
        run="run_make",
        folder="tasks",
        words="tasks make",
    ),
    "data-cold-start": Flow(
        module="data.two_stage",
        config="TwoStageConfig",
        run="run_cold_start",
        folder="cold_start",
        words="data cold-start",
    ),
    "data-filter": Flow(
        module="data.rl_filter",
        config="FilterConfig",
        run="run_filter",
        folder="filter",
        words="data filter",
    ),
    "verl-job": Flow(
        module="integrations.verl_job",
        config="VerlJobConfig",
        run="export_verl_job",
        folder="verl_job",
        words="export verl-job",
    ),
}
FlowName = Literal[
    "quickstart", "base-model", "sft", "rl", "eval", "solve", "serve", "tasks-make",
    "data-cold-start", "data-filter", "verl-job",
]  # fmt: skip

ConfigFiles = Annotated[
    list[Path] | None, typer.Option("-c", "--config", help="YAML or TOML settings; repeatable.")
]
Overrides = Annotated[
    list[str] | None, typer.Option("-o", "--override", help="section.key=value; repeatable.")
]
RunDirOption = Annotated[
    Path | None, typer.Option("--run-dir", help="Run folder.  [default: runs/COMMAND]")
]
ResumeOption = Annotated[
    Resume, typer.Option(help="Continue the run that is there, refuse to, or insist on it.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Remove the earlier run first.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Check settings, data and engine; start nothing.")
]
Limit = Annotated[int | None, typer.Option(min=1, help="Use only the first tasks.")]
Seed = Annotated[int | None, typer.Option(help="Short for -o seed=N.")]
MaxConnections = Annotated[int | None, typer.Option(min=1, help="Requests to the engine at once.")]
MaxSandboxes = Annotated[int | None, typer.Option(min=1, help="Sandbox sessions at once.")]
Processes = Annotated[int | None, typer.Option(min=1, help="Short for -o processes=N.")]
DisplayOption = Annotated[
    Display, typer.Option(help="Progress on stderr; rich becomes plain off a terminal.")
]
SinkOption = Annotated[
    list[str] | None,
    typer.Option("--sink", help="Figures also to tensorboard, trackio or wandb; repeatable."),
]


def add_flow(group: typer.Typer, name: str, flow_name: str, summary: str) -> None:
    """One subcommand with the options that all long commands share."""

    def command(
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
        processes: Processes = None,
        display: DisplayOption = "rich",
        sink: SinkOption = None,
    ) -> None:
        run_flow(flow_name, dict(locals()))

    command.__doc__ = summary
    group.command(name)(command)


def run_flow(name: str, cli: Cli) -> None:
    """Resolve the settings of a flow and run it; ``cli`` are the shared options by name."""
    flow = FLOWS[name]
    resolved = _resolve(name, cli)
    options = RunOptions(
        run_dir=cli["run_dir"] or Path("runs") / flow.folder,
        resume=cli["resume"],
        overwrite=cli["overwrite"],
        dry_run=cli["dry_run"],
        display=cli["display"],
        limit=cli["limit"],
    )
    run = getattr(load_part(flow.module), flow.run)
    with following(options.run_dir, cli["sink"] or ()):
        run(resolved, options)
    if (options.run_dir / "status.json").exists() and options.display in ("rich", "plain"):
        folder = shlex.quote(str(options.run_dir))
        typer.echo(f"look at it: air view {folder}", err=True)


def _resolve(name: str, cli: Cli) -> Resolved[Config]:
    cls = config_class(name)
    overrides = list(cli["override"] or [])
    for option, ending in (
        ("seed", "seed"),
        ("max_connections", "max_connections"),
        ("max_sandboxes", "sandbox.max_sessions"),
        ("processes", "processes"),
    ):
        if cli.get(option) is not None:
            overrides.append(f"{_key_ending(cls, ending, option)}={cli[option]}")
    return load_config(cls, files=cli["config"] or (), overrides=overrides, env=os.environ)


def _key_ending(cls: type[Config], ending: str, option: str) -> str:
    """The shortest key that an option stands for."""
    keys = [key for key in config_keys(cls) if key == ending or key.endswith(f".{ending}")]
    if not keys:
        raise ConfigError(f"--{option.replace('_', '-')}: this command has no setting {ending}")
    return min(keys, key=lambda key: key.count("."))


def config_class(name: str) -> type[Config]:
    """The settings class of a flow."""
    flow = FLOWS[name]
    return cast(type[Config], getattr(load_part(flow.module), flow.config))


def load_part(module: str) -> Any:
    """Import a part of the package; a library that is not installed is a prerequisite."""
    try:
        return importlib.import_module(f"air_reasoning.{module}")
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if missing.startswith("air_reasoning"):
            raise
        raise PrerequisiteError(
            f"{missing} is not installed; run `make setup`, or "
            "`pip install 'air-reasoning[train,data]'`"
        ) from None
