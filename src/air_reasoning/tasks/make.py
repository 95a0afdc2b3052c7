"""``air tasks make``: a folder of tasks, drawn, asked and answered by program, each one different.

The split decides the tables: a test task never shows a table (or a handwritten digit) of training.
"""

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from PIL import Image
from pydantic import Field

from air_reasoning.config import Config, Resolved, RunOptions
from air_reasoning.display import progress, table
from air_reasoning.errors import ConfigError
from air_reasoning.images import image_hash
from air_reasoning.task_files import task_writer
from air_reasoning.tasks.charts import FAMILIES, Family, RendererName
from air_reasoning.tasks.content import judged, sample_item
from air_reasoning.tasks.families.draw import draw_task
from air_reasoning.tasks.families.item import Wanted
from air_reasoning.tasks.families.known import FAMILY_NAMES, FamilyName
from air_reasoning.tasks.questions import KINDS, Difficulty, Kind
from air_reasoning.tasks.tables import Split
from air_reasoning.types import Answer, ImageRef, Part, Task

FAMILY_SHARES: dict[Family, float] = {
    "bar": 0.2, "hbar": 0.18, "line": 0.16, "table": 0.2, "geometry": 0.12, "digits": 0.14,
}  # fmt: skip
MAX_ATTEMPTS = 50


class TasksConfig(Config):
    """Which tasks to make."""

    split: Split = "train"
    """Tables to draw from: train, dev (for choosing settings) or test."""
    count: int = Field(default=1000, ge=1)
    """Number of tasks."""
    seed: int = 0
    """The same seed gives the same tasks."""
    easy: float = Field(default=0.45, ge=0)
    """Share of easy tasks: reading and comparing."""
    medium: float = Field(default=0.2, ge=0)
    """Share of medium tasks: small sums and differences."""
    hard: float = Field(default=0.35, ge=0)
    """Share of hard tasks: products, means, deviations, growth, areas."""
    matplotlib: float = Field(default=0.5, ge=0, le=1)
    """Share of pictures drawn by matplotlib; the others by Pillow, twenty times as fast."""
    families: Literal["shipped", "all"] | tuple[FamilyName, ...] = "shipped"
    """``shipped``: the six kinds of 128-pixel pictures that the shipped models read. ``all``, or a
    list of names: larger pictures for larger models, where ``matplotlib`` plays no part."""
    side: int = Field(default=320, ge=160, le=2000)
    """Longer side of an ordinary picture in pixels (not of ``shipped`` ones)."""
    model_side: int = Field(default=448, ge=64)
    """Longer side of what the model sees, in pixels: small print is unreadable at that size."""
    bokeh: bool = False
    """Show tables of bokeh-sampledata too: needs the ``bokeh`` extra, and gives other tasks."""


@dataclass(kw_only=True, slots=True, frozen=True)
class _Draw:
    kind: Kind
    family: Family
    renderer: RendererName


def make_tasks(config: TasksConfig) -> Iterator[tuple[Task, Image.Image]]:
    """Tasks with their pictures, without repeats of (picture, question); deterministic by seed.

    ``meta`` holds split, difficulty, kind, family, renderer, needs_code, table, program (prints the
    answer) and reasoning (the transcription with location tokens and, for comparisons, the sign of
    the comparison; for the cold start). Those of other ``families`` are described in
    ``families.draw``.

    Raises:
        PrerequisiteError: the tables' packages are not installed.
    """
    if config.families != "shipped":
        yield from _make_large(config)
        return
    rng = random.Random(f"{config.split} {config.seed}")
    seen: set[tuple[str, str]] = set()
    while len(seen) < config.count:
        draw = _choose(config, rng)
        picture, question = sample_item(draw.kind, draw.family, draw.renderer, rng, config.split)
        digest = image_hash(picture.image)
        if (digest, question.text) in seen:
            continue
        seen.add((digest, question.text))
        meta = {
            "split": config.split, "difficulty": draw.kind.difficulty, "kind": draw.kind.name,
            "family": draw.family, "renderer": picture.renderer, "table": picture.source,
            "needs_code": draw.kind.difficulty == "hard", "program": question.program,
            "reasoning": judged(picture, question),
        }  # fmt: skip
        ref = ImageRef(
            sha256=digest, width=picture.image.width, height=picture.image.height, path=""
        )
        task = Task(
            id=f"{config.split}-{config.seed}-{len(seen) - 1:05d}",
            prompt=[Part(kind="image"), Part(kind="text", text=question.text)],
            images=[ref], answer=_answer(draw.kind, question.answer), source="air-reasoning/charts",
            license="Apache-2.0", meta=meta,
        )  # fmt: skip
        yield task, picture.image


def _make_large(config: TasksConfig) -> Iterator[tuple[Task, Image.Image]]:
    """Every task has a seed of its own; one that was there already is drawn once more."""
    asked = config.families
    names = asked if isinstance(asked, tuple) else FAMILY_NAMES
    shares: dict[Difficulty, float] = {
        "easy": config.easy, "medium": config.medium, "hard": config.hard,
    }  # fmt: skip
    seen: set[bytes] = set()
    for number in range(config.count):
        for attempt in range(MAX_ATTEMPTS):
            seed = f"{config.split} {config.seed} {number} {attempt}"
            rng = random.Random(seed)
            task, image = draw_task(
                rng.choice(names),
                Wanted(
                    rng=rng, split=config.split, side=config.side, model_side=config.model_side,
                    difficulty=rng.choices(list(shares), list(shares.values()))[0],
                    bokeh=config.bokeh,
                ),
            )  # fmt: skip
            key = bytes.fromhex(task.images[0].sha256)[:16] + task.prompt[1].text.encode()[:64]
            if key not in seen:
                seen.add(key)
                yield replace(task, id=f"{config.split}-{config.seed}-{number:06d}"), image
                break
        else:
            raise ConfigError(
                f"families {', '.join(names)}: no new task after {MAX_ATTEMPTS} attempts; "
                f"{number} are all there are, so lower count or name more families"
            )


def _choose(config: TasksConfig, rng: random.Random) -> _Draw:
    shares: dict[Difficulty, float] = {
        "easy": config.easy,
        "medium": config.medium,
        "hard": config.hard,
    }
    difficulty = rng.choices(list(shares), list(shares.values()))[0]
    family = rng.choices(list(FAMILY_SHARES), list(FAMILY_SHARES.values()))[0]
    kinds = [k for k in KINDS if k.difficulty == difficulty and family in k.families]
    renderer: RendererName = "mpl" if rng.random() < config.matplotlib else "pil"
    return _Draw(kind=rng.choice(kinds), family=family, renderer=renderer)


def _answer(kind: Kind, text: str) -> Answer:
    if kind.answer == "name":
        return Answer(value=text, type="text")
    if kind.digits is None and "." not in text:
        return Answer(value=text, type="int")
    precision = kind.digits if kind.digits is not None else len(text.partition(".")[2])
    return Answer(value=text, type="float", precision=precision)


def run_make(resolved: Resolved[TasksConfig], options: RunOptions) -> None:
    """Write the task folder ``options.run_dir`` and print what it holds."""
    config = resolved.value
    if options.limit is not None:
        config = config.model_copy(update={"count": min(config.count, options.limit)})
    if config.easy + config.medium + config.hard <= 0:
        raise ConfigError("easy, medium and hard are all 0: give at least one a share")
    if (options.run_dir / "tasks.jsonl").exists() and not options.overwrite:
        raise ConfigError(f"{options.run_dir} holds tasks already: --overwrite replaces them")
    if options.dry_run:
        print(f"would write {config.count} {config.split} tasks to {options.run_dir}")
        return
    made: Counter[tuple[str, str]] = Counter()
    with (
        progress(options.display, config.count, "tasks") as bar,
        task_writer(options.run_dir) as add,
    ):
        for task, image in make_tasks(config):
            add(task, [image])
            made[task.meta["family"], task.meta["difficulty"]] += 1
            bar.advance()
    names = FAMILIES if config.families == "shipped" else sorted({family for family, _ in made})
    rows = [{"family": f, **{d: made[f, d] for d in ("easy", "medium", "hard")}} for f in names]
    print(table(rows))
