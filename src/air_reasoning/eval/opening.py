"""The engine of an evaluation: a checkpoint, an endpoint, or a script that is played back."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

from PIL import Image

from air_reasoning.api import opened_engine
from air_reasoning.engine import Engine, load_for
from air_reasoning.errors import DataError
from air_reasoning.eval.measure import Measure
from air_reasoning.eval.settings import EvalConfig
from air_reasoning.json_io import read_json
from air_reasoning.models.shipped import shipped_model
from air_reasoning.renderer import Renderer
from air_reasoning.samplers.scripted import ScriptedSampler
from air_reasoning.sandbox.opening import open_pool
from air_reasoning.turn_format import TURN_FORMATS
from air_reasoning.types import ImageRef, Task


@asynccontextmanager
async def open_for(
    config: EvalConfig,
    model: Path | None,
    measures: Sequence[Measure],
    tasks: Sequence[Task],
    *,
    save_image: Callable[[Image.Image], ImageRef] | None = None,
) -> AsyncIterator[Engine]:
    """Open what the settings name. Raises DataError: no such model or script."""
    if config.model.script is None:
        async with opened_engine(model, config.endpoint, config.engine, save_image) as engine:
            yield engine
        return
    loaded = load_for(config.engine, model or shipped_model())
    pool = open_pool(config.engine.sandbox)
    turns = read_script(config.model.script, measures, tasks)
    try:
        yield Engine(
            sampler=ScriptedSampler(loaded.tokenizer, turns),
            sandboxes=pool,
            renderer=Renderer(
                loaded, TURN_FORMATS[config.engine.format], config.engine.system_prompt
            ),
            save_image=save_image,
        )
    finally:
        await pool.close()


def read_script(
    path: Path, measures: Sequence[Measure], tasks: Sequence[Task]
) -> dict[str, list[str]]:
    """Turns by group id; a task that the file does not name plays "*".

    Raises:
        DataError: no such file, or not an object of lists of text.
    """
    data: Any = read_json(path)
    if not isinstance(data, dict) or not all(_is_turns(v) for v in data.values()):
        raise DataError(f"{path}: expected an object of lists of turns, by task id or *")
    script = cast(dict[str, list[str]], data)
    return {
        measure.group_id(task): script.get(task.id, script.get("*", []))
        for measure in measures
        for task in tasks
    }


def _is_turns(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(turn, str) for turn in value)
