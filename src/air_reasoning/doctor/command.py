"""``air doctor`` on the command line: every check, one line each."""

import asyncio
import os
from pathlib import Path
from typing import Annotated

import typer

from air_reasoning.config import Config, load_config
from air_reasoning.doctor.finding import Finding
from air_reasoning.json_io import dump_line
from air_reasoning.samplers.settings import EndpointConfig
from air_reasoning.sandbox.settings import SandboxConfig


class DoctorConfig(Config):
    """What to look at besides this machine."""

    endpoint: EndpointConfig = EndpointConfig()
    """A model behind HTTP."""
    sandbox: SandboxConfig = SandboxConfig(max_sessions=256)
    """The sandbox as it is to be used."""


def doctor(
    endpoint: Annotated[
        str, typer.Option(help="Address of a server to try; costs a few tokens.")
    ] = "",
    name: Annotated[str, typer.Option(help="The model's name there.")] = "",
    run_dir: Annotated[
        Path, typer.Option("--run-dir", help="Where runs will go; its disk is looked at.")
    ] = Path(),
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    config: Annotated[
        list[Path] | None, typer.Option("-c", "--config", help="YAML or TOML settings; repeatable.")
    ] = None,
    override: Annotated[
        list[str] | None, typer.Option("-o", "--override", help="section.key=value; repeatable.")
    ] = None,
) -> None:
    """Check this machine and an engine. Exit code 4: something that is needed does not work."""
    given = {"endpoint.url": endpoint, "endpoint.model": name}
    extra = [f"{key}={value}" for key, value in given.items() if value]
    settings = load_config(
        DoctorConfig, files=config or (), overrides=[*(override or ()), *extra], env=os.environ
    ).value
    found = examine(settings, run_dir)
    failed = any(finding.state == "failure" for finding in found)
    if as_json:
        typer.echo(dump_line({"ok": not failed, "checks": found}))
    else:
        typer.echo(report(found))
    raise typer.Exit(4 if failed else 0)


def examine(config: DoctorConfig, run_dir: Path) -> list[Finding]:
    """All findings, in the order in which they are shown."""
    from air_reasoning.doctor import machine
    from air_reasoning.doctor.engine import engine_findings
    from air_reasoning.doctor.packages import package_findings

    existing = next(folder for folder in [run_dir.absolute(), *run_dir.absolute().parents]
                    if folder.is_dir())  # fmt: skip
    return [
        *package_findings(),
        machine.sandbox_finding(config.sandbox),
        machine.model_finding(),
        machine.memory_finding(),
        *machine.disk_findings(existing),
        machine.files_finding(config.sandbox.max_sessions, config.endpoint.max_connections),
        machine.key_finding(config.endpoint.key_env, os.environ),
        *asyncio.run(engine_findings(config.endpoint)),
    ]


def report(found: list[Finding]) -> str:
    """A line for each finding, its mend below it, and the count of each state."""
    width = max(len(finding.check) for finding in found)
    lines: list[str] = []
    for finding in found:
        lines.append(f"{finding.state:8} {finding.check:{width}}  {finding.found}")
        if finding.mend:
            lines.append(f"{'':8} {'':{width}}  -> {finding.mend}")
    states = [finding.state for finding in found]
    counted = [f"{states.count(state)} {state}" for state in ("ok", "warning", "failure")]
    return "\n".join([*lines, "", ", ".join(counted)])
