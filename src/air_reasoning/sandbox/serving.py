"""``air sandbox serve``: listen until a signal comes, with a token where others could connect."""

import ipaddress
import socket
from functools import partial
from pathlib import Path

import uvicorn

from air_reasoning.errors import ConfigError
from air_reasoning.sandbox.service import build_service
from air_reasoning.sandbox.settings import SandboxConfig

GRACE_S = 5
KEEP_ALIVE_S = 75  # longer than clients keep an idle connection


def serve_sandbox(config: SandboxConfig, host: str, port: int, token_file: Path | None) -> None:
    """Serve until SIGTERM or Ctrl-C; cells that run then are given five seconds.

    Raises:
        ConfigError: no token although others than this machine can connect, a token file that
            cannot be read or is empty, or an address that cannot be listened on.
        SandboxError: the sandbox cannot be started here.
    """
    if config.urls:
        raise ConfigError("sandbox.urls: a server runs cells itself; leave it out")
    token = _token(token_file)
    if not token and not _is_loopback(host):
        raise ConfigError(
            f"--host {host}: other machines could connect and run code; give a --token-file, or "
            "listen on 127.0.0.1"
        )
    with _listening(host, port) as listener:
        app = build_service(config, token, partial(_tell, listener))
        settings = uvicorn.Config(
            app, log_level="critical", lifespan="on", timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=GRACE_S,
        )  # fmt: skip
        uvicorn.Server(settings).run(sockets=[listener])
    if app.state.service.failure is not None:
        raise app.state.service.failure


def _tell(listener: socket.socket, tier: str) -> None:
    host, port = listener.getsockname()[:2]
    where = f"[{host}]" if ":" in host else host
    print(f"air sandbox serve: http://{where}:{port}  tier {tier}  (Ctrl-C ends it)", flush=True)


def _token(file: Path | None) -> str:
    if file is None:
        return ""
    try:
        token = file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--token-file {file}: cannot read it ({error})") from None
    if not token:
        raise ConfigError(f"--token-file {file}: is empty; put one line of random characters in it")
    return token


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise ConfigError(f"{host}:{port}: cannot listen there ({error})") from None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
