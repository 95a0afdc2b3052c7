"""``air solve``: settings, where the trajectory is kept, and what is printed."""

from collections.abc import Callable
from pathlib import Path

from pydantic import Field

from air_reasoning.answers import answer_text, extract_answer
from air_reasoning.api import (
    ENDPOINT_ROLLOUT,
    SHIPPED_ROLLOUT,
    TemporaryFolder,
    ask,
    opened_engine,
    question_task,
    run_here,
)
from air_reasoning.config import Config, Display, Resolved, load_config
from air_reasoning.engine import EngineConfig, SaveImage
from air_reasoning.errors import ConfigError, SamplerError
from air_reasoning.images import open_image
from air_reasoning.json_io import dump_line
from air_reasoning.models.shipped import ModelConfig
from air_reasoning.rollout import RolloutConfig
from air_reasoning.run_dir import RunDir
from air_reasoning.samplers.settings import EndpointConfig
from air_reasoning.stream import event_printer
from air_reasoning.turn_format import TURN_FORMATS
from air_reasoning.types import Trajectory


class SolveConfig(Config):
    """Which model answers, and how far it may go."""

    model: ModelConfig = ModelConfig()
    """A checkpoint on this machine; with an endpoint it is not used."""
    endpoint: EndpointConfig = EndpointConfig()
    """A model behind HTTP instead."""
    engine: EngineConfig = EngineConfig()
    """The model's surroundings."""
    rollout: RolloutConfig = RolloutConfig()
    """How far the trajectory may go, and how it is sampled."""
    seed: int = 0
    """Fixes the trajectory's random numbers where it is sampled."""
    max_pixels: int = Field(default=64_000_000, ge=1)
    """A larger picture (width x height) is refused before it is decoded."""


def solve_settings(
    files: list[Path], overrides: list[str], env: dict[str, str]
) -> Resolved[SolveConfig]:
    """The settings; the shipped model is given few tokens, every other one many.

    Raises:
        ConfigError: as ``load_config``.
    """
    resolved = load_config(SolveConfig, files=files, overrides=overrides, env=env)
    config = resolved.value
    shipped = config.model.path is None and not config.endpoint.url
    preset = (SHIPPED_ROLLOUT if shipped else ENDPOINT_ROLLOUT).model_dump(exclude_unset=True)
    return load_config(
        SolveConfig, files=files, overrides=overrides, env=env, preset={"rollout": preset}
    )


def solve_command(
    images: list[Path],
    question: str,
    settings: Resolved[SolveConfig],
    display: Display,
    save: Path | None,
) -> int:
    """Stream the trajectory, then its answer on a line of its own; keep it in the run ``save``.

    Raises:
        DataError, ConfigError, SandboxError: as ``solve``. SamplerError: the engine failed; what
            was written until then is in the run.
    """
    if save is None:
        trajectory = run_here(_solve(images, question, settings.value, display, TemporaryFolder()))
    else:
        with _run(save, settings) as run:
            trajectory = run_here(
                _solve(images, question, settings.value, display, run.save_image, run)
            )
    if trajectory.error:
        raise SamplerError(trajectory.error)
    _print_end(trajectory, display, save)
    return 0


def _run(save: Path, settings: Resolved[SolveConfig]) -> RunDir:
    """A run that grows with every question, whatever its settings: each record has its own."""
    return RunDir.open(save, command="solve", resolved_config=settings, fingerprint={})


async def _solve(
    images: list[Path],
    question: str,
    config: SolveConfig,
    display: Display,
    save_image: SaveImage,
    run: RunDir | None = None,
) -> Trajectory:
    pictures = [open_image(path, config.max_pixels) for path in images]
    if not question.strip():
        raise ConfigError("--question: is empty; say what to ask")
    told = _teller(display)
    if not config.endpoint.url and config.model.path is None:
        told("the shipped 1.7M-parameter model, which reads small charts; --model or --endpoint")
    opened = opened_engine(config.model.path, config.endpoint, config.engine, save_image, told)
    listener = event_printer(display, TURN_FORMATS[config.engine.format])
    async with opened as engine:
        trajectory = await ask(
            engine, pictures, question, config.rollout, on_event=listener, seed=config.seed
        )
        cost = getattr(engine.sampler, "cost", 0.0)
    if run is not None:
        task = question_task(pictures, question, save_image)
        run.write_trajectory({"task": task, "trajectory": trajectory, "cost_usd": cost})
    if cost:
        told(f"about {cost:.4f} USD")
    return trajectory


def _teller(display: Display) -> Callable[[str], None]:
    """Where remarks go: not into JSON."""
    quiet = display not in ("rich", "plain")
    return (lambda text: None) if quiet else (lambda text: print(f"model: {text}\n"))


def _print_end(trajectory: Trajectory, display: Display, save: Path | None) -> None:
    answer = extract_answer(answer_text(trajectory)).text
    match display:
        case "json":
            usage, timing = trajectory.usage, trajectory.timing
            row = {"kind": "answer", "answer": answer, "usage": usage, "timing": timing}
            print(dump_line(row).decode())
        case "none":
            print(answer)
        case _:
            kept = f"   kept: {save}" if save is not None else ""
            print(f"\nanswer: {answer or '(none)'}   stop: {trajectory.stop}{kept}")
