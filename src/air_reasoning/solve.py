"""Answer one question about pictures: from the terminal, or from Python.

from air_reasoning.solve import solve
trajectory = solve(["chart.png"], "What is the mean of all values?")
"""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

from air_reasoning.answers import answer_text, extract_answer
from air_reasoning.config import Display
from air_reasoning.engine import EngineConfig, open_local
from air_reasoning.errors import SamplerError
from air_reasoning.images import image_hash, open_image
from air_reasoning.models.shipped import shipped_model
from air_reasoning.rollout import Event, Prompt, RolloutConfig, rollout
from air_reasoning.stream import event_printer
from air_reasoning.types import Answer, ImageRef, Part, Task, Trajectory


def solve(
    images: Sequence[str | Path],
    question: str,
    *,
    model: str | Path | None = None,
    config: RolloutConfig | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> Trajectory:
    """One trajectory, greedily decoded; ``model`` None is the small model that the package ships.

    Raises:
        DataError: a picture or the model folder is missing or broken.
    """
    pictures = [open_image(path) for path in images]
    return asyncio.run(_solve(pictures, question, model or shipped_model(), config, on_event))


async def _solve(
    pictures: list[Image.Image],
    question: str,
    model: str | Path,
    config: RolloutConfig | None,
    on_event: Callable[[Event], None] | None,
) -> Trajectory:
    config = config or RolloutConfig(temperature=0)
    task = question_task(pictures, question)
    async with open_local(model, EngineConfig()) as engine:
        prompt = Prompt(
            ids=engine.renderer.prompt_ids(task, pictures),
            images=pictures,
            shown=engine.renderer.prompt_images(task, pictures),
        )
        return await rollout(
            task, engine, config, trajectory_id="solve", prompt=prompt, on_event=on_event
        )


def question_task(pictures: Sequence[Image.Image], question: str) -> Task:
    """A task without a gold answer: pictures first, then the question."""
    refs = [
        ImageRef(sha256=image_hash(p), width=p.width, height=p.height, path="") for p in pictures
    ]
    parts = [Part(kind="image", image=i) for i in range(len(refs))]
    return Task(
        id="question", prompt=[*parts, Part(kind="text", text=question)], images=refs,
        answer=Answer(value=""),
    )  # fmt: skip


def solve_command(images: list[Path], question: str, model: Path | None, display: Display) -> int:
    """``air solve``: stream the trajectory, then its answer on a line of its own.

    Raises:
        DataError: as ``solve``. SamplerError: the engine failed.
    """
    if model is None and display in ("rich", "plain"):
        print("model: the shipped 1.7M-parameter cold start; --model FOLDER for another\n")
    trajectory = solve(images, question, model=model, on_event=event_printer(display))
    if trajectory.error:
        raise SamplerError(trajectory.error)
    if display in ("rich", "plain"):
        answer = extract_answer(answer_text(trajectory)).text
        print(f"\nanswer: {answer or '(none)'}   stop: {trajectory.stop}")
    return 0
