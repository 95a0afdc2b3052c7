"""Settings of ``air serve``."""

from typing import Literal

from pydantic import Field

from air_reasoning.config import Config
from air_reasoning.engine import EngineConfig
from air_reasoning.models.shipped import ModelConfig
from air_reasoning.rollout_setup import RolloutConfig
from air_reasoning.samplers.settings import EndpointConfig


class ServeConfig(Config):
    """What answers, where it listens, and what it refuses."""

    model: ModelConfig = ModelConfig()
    """A checkpoint on this machine; with an endpoint it is not used."""
    endpoint: EndpointConfig = EndpointConfig()
    """A model behind HTTP instead."""
    engine: EngineConfig = EngineConfig()
    """The model's surroundings."""
    rollout: RolloutConfig = RolloutConfig()
    """Limits and sampling where a request does not say; its tokens are also the most allowed."""
    name: str = ""
    """The model's name for clients; empty: the endpoint's name, or the folder's."""
    host: str = "127.0.0.1"
    """Address to listen on; anything but loopback needs keys."""
    port: int = Field(default=8088, ge=0, le=65535)
    """Port to listen on; 0: any free one."""
    keys_env: str = "SERVE_API_KEYS"
    """Environment variable with the keys that clients may use, separated by commas."""
    code: Literal["always", "asked", "never"] = "always"
    """When a request may run code; asked: it lists the tool code_interpreter."""
    per_key: int = Field(default=32, ge=1)
    """Requests under way at the same time for one key; more get 429."""
    max_requests: int = Field(default=256, ge=1)
    """Requests under way at the same time in all; more get 429."""
    max_body_mb: float = Field(default=32.0, gt=0)
    """Largest request body, in MiB; more gets 413."""
    max_images: int = Field(default=32, ge=0)
    """Pictures in one request."""
    max_image_pixels: int = Field(default=64_000_000, ge=1)
    """Width times height of one picture; checked before it is decoded."""
    image_hosts: tuple[str, ...] = ()
    """Hosts from which pictures may be fetched by https; none: only data URLs are taken."""
