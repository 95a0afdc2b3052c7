"""How well a model reads: exact transcription of pictures of held-out tables, by kind of picture.

A picture counts as read if every name, value and shape is right, in order; where things stand (the
location tokens) is not asked.
"""

import random
import re
from collections.abc import Sequence

from air_reasoning.engine import Engine
from air_reasoning.images import image_hash
from air_reasoning.intervals import Metric, share
from air_reasoning.rollout import Prompt, RolloutConfig, derived_seed, rollout
from air_reasoning.tasks.charts import FAMILIES, Picture, RendererName, draw
from air_reasoning.tasks.content import sample_content, transcript
from air_reasoning.tasks.tables import Split
from air_reasoning.types import Answer, ImageRef, Part, Task

READ = "Read."
"""The prompt that asks for a transcription."""
_LOCATION = re.compile(r"<loc_\d+>")


def reading_pictures(split: Split, each: int, seed: int = 0) -> list[Picture]:
    """``each`` pictures of every family, half by PIL and half by matplotlib, real values only."""
    rng = random.Random(f"reading {split} {seed}")
    pictures: list[Picture] = []
    for family in FAMILIES:
        for number in range(each):
            renderer: RendererName = "mpl" if number % 2 else "pil"
            content = sample_content(family, rng, split)
            pictures.append(draw(family, renderer, content, rng, split))
    return pictures


async def read_all(engine: Engine, pictures: Sequence[Picture]) -> list[tuple[str, str]]:
    """(expected, written) transcription of each picture, greedily decoded."""
    import asyncio

    config = RolloutConfig(temperature=0, max_turns=1, max_new_tokens=160)

    async def one(number: int, picture: Picture) -> tuple[str, str]:
        size = picture.image.size
        ref = ImageRef(sha256=image_hash(picture.image), width=size[0], height=size[1], path="")
        task = Task(
            id=str(number), prompt=[Part(kind="image"), Part(kind="text", text=READ)],
            images=[ref], answer=Answer(value=""),
        )  # fmt: skip
        prompt = Prompt(
            ids=engine.renderer.prompt_ids(task, [picture.image]),
            images=[picture.image],
            shown=[picture.image],
        )
        trajectory = await rollout(
            task, engine, config, trajectory_id=f"reading/{number}", prompt=prompt,
            seed=derived_seed("reading", number), code_banned=True,
        )  # fmt: skip
        written = "".join(s.text for s in trajectory.segments if s.kind == "think")
        return _LOCATION.sub("", transcript(picture)), re.sub(r"</?think>", "", written)

    return await asyncio.gather(*(one(n, p) for n, p in enumerate(pictures)))


async def reading_accuracy(engine: Engine, pictures: Sequence[Picture]) -> dict[str, Metric]:
    """Share of exact transcriptions by family, with 95 % intervals, and ``all``."""
    pairs = await read_all(engine, pictures)
    right = [expected == written for expected, written in pairs]
    scores: dict[str, Metric] = {}
    for family in FAMILIES:
        of = [i for i, p in enumerate(pictures) if p.family == family]
        if of:
            scores[family] = share([right[i] for i in of], [str(i) for i in of])
    scores["all"] = share(right, [str(i) for i in range(len(right))])
    return scores
