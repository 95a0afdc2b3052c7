"""Answer one question about pictures, in one call.

    from air_reasoning import solve
    trajectory = solve("chart.png", "What is the mean of all values?")
    print(trajectory.segments[-1].text)

``solve_async`` is the same for programs that have an event loop.
"""

import asyncio
import tempfile
import uuid
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image

from air_reasoning.engine import Engine, EngineConfig, SaveImage, open_endpoint, open_local
from air_reasoning.errors import SamplerError
from air_reasoning.images import as_rgb, image_hash, open_image, save_blob
from air_reasoning.models.shipped import shipped_model
from air_reasoning.rollout import Event, RolloutConfig, prepare, rollout
from air_reasoning.samplers.settings import EndpointConfig
from air_reasoning.types import Answer, ImageRef, Part, Task, Trajectory

Picture = str | Path | Image.Image
ResultT = TypeVar("ResultT")

ENDPOINT_ROLLOUT = RolloutConfig(temperature=0, max_turns=10, max_new_tokens=8192)
SHIPPED_ROLLOUT = RolloutConfig(temperature=0)


def solve(
    images: Picture | Sequence[Picture],
    question: str,
    *,
    model: str | Path | None = None,
    endpoint: str | EndpointConfig | None = None,
    engine: EngineConfig | None = None,
    config: RolloutConfig | None = None,
    on_event: Callable[[Event], None] | None = None,
    save_image: SaveImage | None = None,
) -> Trajectory:
    """One trajectory, decoded greedily unless ``config`` says otherwise.

    Args:
        images: a picture or several: a path (PNG, JPEG, WebP, GIF, a page of a PDF as
            ``file.pdf#2``) or a PIL image.
        question: what to ask.
        model: checkpoint folder or hub id; None: the small model that the package ships, which
            reads small charts and nothing else.
        endpoint: address of a chat-completions server (``http://localhost:8000/v1``) or its full
            settings; then ``model`` is the model's name there.
        engine: tags, system prompt, sandbox and the like.
        config: turns, tokens and temperature.
        on_event: called with every piece of text, every segment and the end, as they come.
        save_image: where figures of the sandbox go; None: a temporary folder, made when needed.

    Raises:
        DataError: a picture or the model is missing or broken. SamplerError: the engine failed.
        ConfigError: a bad address. SandboxError: no sandbox.
    """
    coroutine = solve_async(
        images, question, model=model, endpoint=endpoint, engine=engine, config=config,
        on_event=on_event, save_image=save_image,
    )  # fmt: skip
    return run_here(coroutine)


async def solve_async(
    images: Picture | Sequence[Picture],
    question: str,
    *,
    model: str | Path | None = None,
    endpoint: str | EndpointConfig | None = None,
    engine: EngineConfig | None = None,
    config: RolloutConfig | None = None,
    on_event: Callable[[Event], None] | None = None,
    save_image: SaveImage | None = None,
) -> Trajectory:
    """See ``solve``."""
    one = isinstance(images, str | Path | Image.Image)
    pictures = [_opened(image) for image in ([images] if one else images)]
    opened = opened_engine(model, endpoint, engine, save_image or TemporaryFolder())
    if config is None:
        config = SHIPPED_ROLLOUT if model is None and endpoint is None else ENDPOINT_ROLLOUT
    async with opened as running:
        trajectory = await ask(running, pictures, question, config, on_event=on_event)
    if trajectory.error:
        raise SamplerError(trajectory.error)
    return trajectory


def opened_engine(
    model: str | Path | None,
    endpoint: str | EndpointConfig | None,
    engine: EngineConfig | None,
    save_image: SaveImage | None = None,
    told: Callable[[str], None] | None = None,
) -> AbstractAsyncContextManager[Engine]:
    """The engine that ``solve``'s arguments describe, to be entered."""
    if isinstance(endpoint, EndpointConfig) and not endpoint.url:
        endpoint = None
    if endpoint is None:
        return open_local(model or shipped_model(), engine, save_image=save_image)
    if isinstance(endpoint, str):
        endpoint = EndpointConfig(url=endpoint, model="" if model is None else str(model))
    return open_endpoint(endpoint, engine, save_image=save_image, told=told)


async def ask(
    engine: Engine,
    pictures: list[Image.Image],
    question: str,
    config: RolloutConfig,
    *,
    on_event: Callable[[Event], None] | None = None,
    seed: int = 0,
) -> Trajectory:
    """One trajectory on an engine that is open. Its id is unique."""
    task = question_task(pictures, question)
    prompt = prepare(task, engine, pictures)
    name = f"solve-{uuid.uuid4().hex[:12]}"
    return await rollout(
        task, engine, config, trajectory_id=name, seed=seed, prompt=prompt, on_event=on_event
    )


def question_task(
    pictures: Sequence[Image.Image], question: str, save_image: SaveImage | None = None
) -> Task:
    """A task without a gold answer: pictures first, then the question."""
    refs = [
        save_image(p)
        if save_image is not None
        else ImageRef(sha256=image_hash(p), width=p.width, height=p.height, path="")
        for p in pictures
    ]
    parts = [Part(kind="image", image=i) for i in range(len(refs))]
    return Task(
        id="question", prompt=[*parts, Part(kind="text", text=question)], images=refs,
        answer=Answer(value=""),
    )  # fmt: skip


class TemporaryFolder:
    """Keeps pictures in a temporary folder of its own, made with the first one; it stays."""

    def __init__(self) -> None:
        self.path: Path | None = None

    def __call__(self, image: Image.Image) -> ImageRef:
        """Store it."""
        if self.path is None:
            self.path = Path(tempfile.mkdtemp(prefix="air-solve-"))
        return save_blob(image, self.path)


def run_here(coroutine: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Run to the end, also where a loop is running already (a notebook): then in a thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


def _opened(image: Picture) -> Image.Image:
    return as_rgb(image) if isinstance(image, Image.Image) else open_image(image)
