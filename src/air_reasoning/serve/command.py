"""``air serve``: listen until Ctrl-C."""

from pathlib import Path

from air_reasoning.api import ENDPOINT_ROLLOUT, SHIPPED_ROLLOUT
from air_reasoning.config import Resolved, load_config
from air_reasoning.errors import ConfigError
from air_reasoning.serve.app import build_app
from air_reasoning.serve.settings import ServeConfig

KEEP_ALIVE_S = 75
"""Longer than clients keep an idle connection (httpx 5 s): else both close it at the same moment,
and a request that is on its way is lost."""


def serve_settings(
    files: list[Path], overrides: list[str], env: dict[str, str]
) -> Resolved[ServeConfig]:
    """The settings; the shipped model is given few tokens, every other one many."""
    config = load_config(ServeConfig, files=files, overrides=overrides, env=env).value
    shipped = config.model.path is None and not config.endpoint.url
    preset = (SHIPPED_ROLLOUT if shipped else ENDPOINT_ROLLOUT).model_dump(exclude_unset=True)
    return load_config(
        ServeConfig, files=files, overrides=overrides, env=env, preset={"rollout": preset}
    )


def serve_command(settings: Resolved[ServeConfig]) -> int:
    """Serve until a signal comes; requests under way are given ten seconds.

    Raises:
        ConfigError: keys are needed and there are none. Other errors come from opening the engine.
    """
    import uvicorn

    config = settings.value
    app = build_app(config)
    print(f"air serve: http://{config.host}:{config.port}/v1  (Ctrl-C ends it)", flush=True)
    try:
        uvicorn.run(
            app, host=config.host, port=config.port, log_level="critical",
            timeout_graceful_shutdown=10, timeout_keep_alive=KEEP_ALIVE_S,
        )  # fmt: skip
    except SystemExit:
        if app.state.server.failure is None:
            raise ConfigError(f"{config.host}:{config.port}: cannot listen there") from None
    if app.state.server.failure is not None:
        raise app.state.server.failure
    return 0
