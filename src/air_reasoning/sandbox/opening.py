"""The pool that the settings ask for: processes of this machine, or servers elsewhere."""

from air_reasoning.sandbox.process import ProcessPool
from air_reasoning.sandbox.remote import RemotePool
from air_reasoning.sandbox.settings import SandboxConfig


def open_pool(config: SandboxConfig) -> ProcessPool | RemotePool:
    """Starts nothing yet. Raises ConfigError: a bad address in ``config.urls``."""
    return RemotePool(config) if config.urls else ProcessPool(config)
