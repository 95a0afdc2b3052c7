"""``air serve`` on the command line; heavy imports inside."""

import os
from pathlib import Path
from typing import Annotated

import typer

from air_reasoning.errors import PrerequisiteError


def serve(
    model: Annotated[Path | None, typer.Option(help="Checkpoint folder or hub id.")] = None,
    endpoint: Annotated[str, typer.Option(help="Address of a chat-completions server.")] = "",
    host: Annotated[
        str, typer.Option(help="Off loopback keys are needed.  [default: 127.0.0.1]")
    ] = "",
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="[default: 8088]")] = None,
    config: Annotated[
        list[Path] | None, typer.Option("-c", "--config", help="YAML or TOML settings; repeatable.")
    ] = None,
    override: Annotated[
        list[str] | None, typer.Option("-o", "--override", help="section.key=value; repeatable.")
    ] = None,
) -> None:
    """Answer OpenAI clients: /v1/responses and /v1/chat/completions, code run on this side."""
    try:
        from air_reasoning.serve.command import serve_command, serve_settings
    except ModuleNotFoundError as error:
        raise PrerequisiteError(
            f"{error.name} is not installed; run `pip install 'air-reasoning[serve]'`"
        ) from None
    given = {"model.path": model, "endpoint.url": endpoint, "host": host, "port": port}
    extra = [f"{key}={value}" for key, value in given.items() if value not in (None, "")]
    settings = serve_settings(config or [], [*(override or []), *extra], dict(os.environ))
    raise typer.Exit(serve_command(settings))
