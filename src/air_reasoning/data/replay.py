"""Play written turns through the real turn loop: cells are run, real outputs come back.

The loop, the sandbox and the rendering of outputs are those of roll-outs and training, so that a
sample looks to the model exactly as its own trajectories will.
"""

from collections.abc import Sequence
from typing import Any

from PIL import Image

from air_reasoning.chat_renderer import ChatRenderer
from air_reasoning.engine import Engine, SaveImage
from air_reasoning.errors import SamplerError
from air_reasoning.rollout import RolloutConfig, rollout
from air_reasoning.rollout_setup import Prompt
from air_reasoning.samplers.base import Completion, SampleRequest
from air_reasoning.sandbox.base import SandboxPool
from air_reasoning.turn_format import TurnFormat
from air_reasoning.types import Task, Trajectory


class WrittenTurns:
    """A sampler without tokens that says one list of turns."""

    def __init__(self, turns: Sequence[str]) -> None:
        self._turns = iter(turns)

    async def sample(self, request: SampleRequest) -> Completion:
        """The next turn. Raises SamplerError: there is none."""
        text = next(self._turns, None)
        if text is None:
            raise SamplerError(f"{request.trajectory_id}: no further turn was written")
        tokens = max(1, len(text) // 4)
        return Completion(token_ids=[], logprobs=[], text=text, finish_reason="stop", tokens=tokens)

    def open(self, trajectory_id: str) -> None:
        """Nothing to gather."""

    def release(self, trajectory_id: str) -> None:
        """Nothing to forget."""

    async def load_weights(self, weights: Any, version: int) -> None:
        """What is written stays."""

    async def close(self) -> None:
        """Nothing to free."""


async def play(
    task: Task,
    turns: Sequence[str],
    sandboxes: SandboxPool,
    form: TurnFormat,
    *,
    trajectory_id: str,
    images: list[Image.Image],
    output_chars: int = 2000,
    cell_timeout_s: float | None = None,
    save_image: SaveImage | None = None,
    seed: int = 0,
) -> Trajectory:
    """The trajectory of these turns; each but the last ends with a cell, which is executed.

    Without token ids: they belong to a model, which is not known here. ``images`` are the task's.

    Raises:
        SandboxError: no sandbox can be had here. A cell that fails is an ``Execution``.
    """
    engine = Engine(
        sampler=WrittenTurns(turns),
        sandboxes=sandboxes,
        renderer=ChatRenderer(form),
        save_image=save_image,
    )
    config = RolloutConfig(
        max_turns=len(turns) + 1,
        max_new_tokens=10**9,
        output_chars=output_chars,
        cell_timeout_s=cell_timeout_s,
    )
    prompt = Prompt(ids=[], images=images, shown=engine.renderer.prompt_images(task, images))
    return await rollout(
        task, engine, config, trajectory_id=trajectory_id, group_id=task.id, prompt=prompt,
        seed=seed,
    )  # fmt: skip
