"""``air sandbox``: what isolation this host gives, and cells from files or as JSON.

air sandbox check
air sandbox run first.py second.py --image chart.png
air sandbox serve --host 0.0.0.0 --token-file token
echo '{"cells": ["x = 2", "x + 1"]}' | air sandbox run --json
"""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from air_reasoning.config import Config, load_config
from air_reasoning.errors import AirError, ConfigError, DataError
from air_reasoning.sandbox.settings import SandboxConfig
from air_reasoning.types import Execution

app = typer.Typer(no_args_is_help=True, help="Run cells in the sandbox, and see what it stops.")


class SandboxCommand(Config):
    """Settings of ``air sandbox``."""

    sandbox: SandboxConfig = SandboxConfig()
    """Sessions, their limits and their isolation."""


ConfigFiles = Annotated[
    list[Path] | None, typer.Option("-c", "--config", help="YAML or TOML settings; repeatable.")
]
Overrides = Annotated[
    list[str] | None, typer.Option("-o", "--override", help="sandbox.key=value; repeatable.")
]


def _settings(config: list[Path] | None, override: list[str] | None) -> SandboxConfig:
    files, overrides = config or (), override or ()
    resolved = load_config(SandboxCommand, files=files, overrides=overrides, env=os.environ)
    return resolved.value.sandbox


@app.command()
def check(config: ConfigFiles = None, override: Overrides = None) -> None:
    """Print the tier in force and what every layer answered. Exit code 4 if it would refuse.

    With sandbox.urls each of these servers is asked instead of this machine.
    """
    from air_reasoning.display import table
    from air_reasoning.sandbox.probing import probe_host

    settings = _settings(config, override)
    if settings.urls:
        single = [settings.model_copy(update={"urls": (url,)}) for url in settings.urls]
        works = [_works(one, f"{one.urls[0]}: ") for one in single]
        raise typer.Exit(0 if all(works) else 4)
    rows = [
        {"layer": name, "answer": "works" if not reason else f"missing: {reason}"}
        for name, reason in probe_host(settings).items()
    ]
    typer.echo(table(rows))
    typer.echo("")
    raise typer.Exit(0 if _works(settings) else 4)


def _works(settings: SandboxConfig, where: str = "") -> bool:
    """Whether a cell runs; the tier, or why not, is printed."""
    from air_reasoning.sandbox.opening import open_pool

    async def one_cell() -> Execution:
        async with open_pool(settings) as pool, pool.session() as session:
            return await session.run("1 + 1")

    try:
        execution = asyncio.run(one_cell())
    except AirError as error:
        typer.echo(f"{where}tier: none. {error}")
        return False
    told = f"{where}tier: {execution.tier}"
    if execution.value != "2":
        typer.echo(f"{told}, but 1 + 1 gave {execution.error}")
        return False
    typer.echo(f"{told} ({MEANING[execution.tier]}); 1 + 1 is {execution.value}")
    return True


MEANING = {
    "A": "namespaces, Landlock where there is, seccomp, limits",
    "B": "root without namespaces: a user for each session, Landlock, seccomp, limits",
    "C": "ordinary user without namespaces: Landlock, seccomp, limits; no processes",
    "unsafe": "NO ISOLATION: sandbox.unsafe is set and nothing else works here",
}


@app.command()
def run(
    files: Annotated[list[Path] | None, typer.Argument(help="A Python file for each cell.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help='Print JSON; without files read {"cells": [...]}.')
    ] = False,
    image: Annotated[
        list[Path] | None, typer.Option(help="A picture, image_1 and so on; repeatable.")
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(help="Seconds for each cell.  [default: 10]")
    ] = None,
    config: ConfigFiles = None,
    override: Overrides = None,
) -> None:
    """Run cells, one after the other, in one session. Exit code 0 also where a cell fails."""
    from air_reasoning.images import open_image

    if timeout is not None and not timeout > 0:
        raise ConfigError(f"--timeout {timeout:g}: expected seconds, more than 0")
    cells = [_read_cell(file) for file in files] if files else _read_cells(as_json)
    images = [open_image(path) for path in image or ()]
    settings = _settings(config, override)
    tier, executions = asyncio.run(_run_cells(cells, images, timeout, settings))
    if as_json:
        results = [_as_json(execution) for execution in executions]
        typer.echo(json.dumps({"tier": tier, "executions": results}))
    else:
        for number, execution in enumerate(executions, start=1):
            typer.echo(_as_text(number, execution), nl=False)


@app.command()
def serve(
    host: Annotated[
        str, typer.Option(help="Address to listen on; off loopback a token is needed.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 8090,
    token_file: Annotated[
        Path | None, typer.Option(help="File with the token that clients must send.")
    ] = None,
    config: ConfigFiles = None,
    override: Overrides = None,
) -> None:
    """Run cells for clients elsewhere (sandbox.urls) until Ctrl-C."""
    from air_reasoning.sandbox.serving import serve_sandbox

    serve_sandbox(_settings(config, override), host, port, token_file)


async def _run_cells(
    cells: list[str], images: list[Any], timeout: float | None, settings: SandboxConfig
) -> tuple[str, list[Execution]]:
    """One result for each cell; once the state is lost all that follow say so."""
    from air_reasoning.sandbox.opening import open_pool

    executions: list[Execution] = []
    lost = False
    async with open_pool(settings) as pool:
        async with pool.session() as trial:  # the tier is known, or refused, before any cell runs
            await trial.run("1")
        async with pool.session(images) as session:
            for cell in cells:
                execution = await session.run(cell, timeout)
                execution.state_lost = lost = lost or execution.state_lost
                executions.append(execution)
        return pool.tier, executions


def _read_cell(file: Path) -> str:
    try:
        # Bytes that are no text must reach the sandbox, whose answer is a syntax error.
        return file.read_bytes().decode("utf-8", "surrogateescape")
    except OSError as error:
        raise DataError(f"{file}: cannot read this cell ({error.strerror})") from None


def _read_cells(as_json: bool) -> list[str]:
    if not as_json:
        raise ConfigError('no cells: name Python files, or give {"cells": [...]} with --json')
    expected = 'standard input: expected one JSON object {"cells": ["x = 1", ...]}'
    try:
        data: Any = json.loads(sys.stdin.buffer.read())
    except ValueError as error:
        raise ConfigError(f"{expected}, found no JSON ({error})") from None
    cells = cast(dict[str, Any], data).get("cells") if isinstance(data, dict) else None
    if not isinstance(cells, list) or not all(isinstance(c, str) for c in cast(list[Any], cells)):
        raise ConfigError(expected)
    return cast(list[str], cells)


def _as_json(execution: Execution) -> dict[str, Any]:
    return {
        "status": execution.status,
        "stdout": execution.stdout,
        "stderr": execution.stderr,
        "value": execution.value,
        "error": execution.error,
        "images": [{"width": ref.width, "height": ref.height} for ref in execution.images],
        "wall_ms": execution.wall_ms,
        "state_lost": execution.state_lost,
    }


def _as_text(number: int, execution: Execution) -> str:
    lost = ", earlier variables are lost" if execution.state_lost else ""
    parts = [f"--- cell {number}: {execution.status}, {execution.wall_ms:.1f} ms{lost}\n"]
    texts = [execution.stdout, execution.stderr, execution.value]
    texts += [f"[image of {ref.width}x{ref.height}]" for ref in execution.images]
    texts += [execution.error["traceback"] if execution.error else None]
    parts += [text if text.endswith("\n") else f"{text}\n" for text in texts if text]
    return "".join(parts)
