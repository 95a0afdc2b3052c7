"""What a roll-out runs on: a sampler, a sandbox pool and a renderer, opened and closed together.

Loads torch only where a model is loaded here (``open_local``, ``open_engine``).
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from PIL import Image
from pydantic import Field

from air_reasoning.chat_renderer import ChatRenderer
from air_reasoning.config import Config
from air_reasoning.errors import ConfigError
from air_reasoning.models.processor import Processor, load_processor
from air_reasoning.renderer import Renderer
from air_reasoning.samplers.base import Sampler
from air_reasoning.samplers.openai import OpenAISampler
from air_reasoning.samplers.settings import EndpointConfig, LocalSamplerConfig
from air_reasoning.samplers.vllm import VllmSampler
from air_reasoning.sandbox.base import SandboxPool
from air_reasoning.sandbox.opening import open_pool
from air_reasoning.sandbox.settings import SandboxConfig
from air_reasoning.turn_format import TURN_FORMATS
from air_reasoning.types import ImageRef

if TYPE_CHECKING:
    from air_reasoning.models.load import LoadedModel

SaveImage = Callable[[Image.Image], ImageRef]


@dataclass(kw_only=True, slots=True)
class Engine:
    """``save_image`` stores a picture that a cell gave back; without it references have no path."""

    sampler: Sampler
    sandboxes: SandboxPool
    renderer: Renderer | ChatRenderer
    save_image: SaveImage | None = None


class EngineConfig(Config):
    """The model's surroundings."""

    format: Literal["air", "thyme", "deepeyesv2"] = "air"
    """Tags in which the model writes thoughts, code and answers."""
    system_prompt: str = ""
    """System turn; empty: what the chat template says, and for a chat endpoint how to use the
    tags."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Number format of the weights."""
    device: str = "cpu"
    """Where the model runs, in torch's words."""
    min_pixels: int | None = Field(default=None, ge=1)
    """Smallest picture (width x height) that the model is shown; None: the checkpoint's."""
    max_pixels: int | None = Field(default=None, ge=1)
    """Largest picture (width x height) that the model is shown; None: the checkpoint's."""
    sampler: LocalSamplerConfig = LocalSamplerConfig()
    """The local batch."""
    sandbox: SandboxConfig = SandboxConfig(max_sessions=256)
    """Where the model's code runs."""


def load_for(config: EngineConfig, model_path: str | Path) -> "LoadedModel":
    """Load a checkpoint as ``config`` says. Raises DataError: no such model, or a broken one."""
    from air_reasoning.models.load import load_model

    return load_model(
        model_path,
        dtype=config.dtype,
        device=config.device,
        min_pixels=config.min_pixels,
        max_pixels=config.max_pixels,
    )


@asynccontextmanager
async def open_engine(
    loaded: "LoadedModel",
    config: EngineConfig | None = None,
    *,
    save_image: SaveImage | None = None,
) -> AsyncIterator[Engine]:
    """Sampler, sandbox and renderer around a model that is in memory already."""
    from air_reasoning.samplers.local import LocalSampler

    config = config or EngineConfig()
    renderer = Renderer(loaded, TURN_FORMATS[config.format], config.system_prompt)
    sampler = LocalSampler(loaded, config.sampler)
    async with _around(sampler, renderer, config, save_image) as engine:
        yield engine


@asynccontextmanager
async def open_local(
    model_path: str | Path,
    config: EngineConfig | None = None,
    *,
    save_image: SaveImage | None = None,
) -> AsyncIterator[Engine]:
    """Load a checkpoint and open everything around it.

        async with open_local("weights/cold-start") as engine:
            trajectory = await rollout(task, engine, RolloutConfig(), trajectory_id="1")

    Raises:
        DataError: no such model, or a broken one.
    """
    config = config or EngineConfig()
    loaded = load_for(config, model_path)
    async with open_engine(loaded, config, save_image=save_image) as engine:
        yield engine


@asynccontextmanager
async def open_endpoint(
    endpoint: EndpointConfig,
    config: EngineConfig | None = None,
    *,
    save_image: SaveImage | None = None,
    told: Callable[[str], None] | None = None,
    processor: Processor | None = None,
) -> AsyncIterator[Engine]:
    """Open everything around a model behind HTTP; loads no torch.

    ``told`` gets one line about what was found there. ``processor`` stands for
    ``endpoint.processor`` where the checkpoint is in memory.

    Raises:
        ConfigError: no address, or a bad one. SamplerError: the server is not there or not usable.
    """
    config = config or EngineConfig()
    if not endpoint.url:
        raise ConfigError("endpoint.url: must be set, as in http://localhost:8000/v1")
    form = TURN_FORMATS[config.format]
    sampler: OpenAISampler | VllmSampler
    renderer: Renderer | ChatRenderer
    if endpoint.api == "vllm":
        if processor is None and not endpoint.processor:
            raise ConfigError("endpoint.processor: must be set for api vllm: the model's folder")
        pixels = {"min_pixels": config.min_pixels, "max_pixels": config.max_pixels}
        processor = processor or load_processor(endpoint.processor, **pixels)
        sampler = VllmSampler(processor, endpoint)
        renderer = Renderer(processor, form, config.system_prompt)
    else:
        sampler = OpenAISampler(endpoint, form, config.max_pixels)
        renderer = ChatRenderer(form, config.system_prompt)
    async with _around(sampler, renderer, config, save_image) as engine:
        found = await sampler.connect()
        if told is not None:
            told(found)
        yield engine


@asynccontextmanager
async def _around(
    sampler: Sampler,
    renderer: Renderer | ChatRenderer,
    config: EngineConfig,
    save_image: SaveImage | None,
) -> AsyncIterator[Engine]:
    sandboxes = open_pool(config.sandbox)
    try:
        # A sandbox that cannot start is known before anything is sampled, and no step waits for it.
        async with sandboxes.session() as session:
            await session.run("0")
        yield Engine(sampler=sampler, sandboxes=sandboxes, renderer=renderer, save_image=save_image)
    finally:
        await sampler.close()
        await sandboxes.close()
