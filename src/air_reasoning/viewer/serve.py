"""Starting the web viewer: where it listens, what it prints, how it ends."""

import secrets
import socket
import webbrowser
from pathlib import Path

import typer
import uvicorn

from air_reasoning.errors import ConfigError, DataError
from air_reasoning.viewer.app import viewer_app
from air_reasoning.viewer.security import LOCAL


def serve(folder: Path, *, host: str, port: int, token: str = "", open_browser: bool) -> None:
    """Serve the runs of ``folder`` until Ctrl-C. Without a loopback ``host`` a token is made.

    Raises:
        DataError: no such folder. ConfigError: the port is taken or not allowed.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: holds no run; start one with `air quickstart`")
    if host not in LOCAL and not token:
        token = secrets.token_urlsafe(24)
    listening = _listen(host, port)
    shown = "localhost" if host in LOCAL else host
    address = f"http://{shown}:{listening.getsockname()[1]}/" + (f"?token={token}" if token else "")
    typer.echo(f"{folder} on {address}   (Ctrl-C ends it)")
    if open_browser:
        webbrowser.open(address)
    config = uvicorn.Config(
        viewer_app(folder, token=token), log_level="warning", timeout_graceful_shutdown=1
    )
    uvicorn.Server(config).run(sockets=[listening])


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(128)  # before the address is printed: who comes early waits, and is served
    except OSError as error:
        listening.close()
        raise ConfigError(
            f"{host}:{port}: cannot listen there ({error.strerror}); choose another --port"
        ) from None
    return listening
