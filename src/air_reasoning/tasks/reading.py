"""Batches for learning to read: transcription, look-up and scattered text, with per-patch letters.

Batch ``i`` of a seed is always the same batch, whatever was drawn before: a run can be resumed at
any step. matplotlib pictures are drawn ahead in shards (20 ms each), PIL pictures when needed.
"""

import pickle
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from air_reasoning.models.tiny import IMAGE_SIZE, MERGE, PATCH
from air_reasoning.tasks.charts import FAMILIES, Family, Picture, RendererName, draw
from air_reasoning.tasks.content import (
    known_name,
    reasoning,
    sample_content,
    sample_item,
    sample_soup,
    soup_transcript,
    transcript,
)
from air_reasoning.tasks.questions import BY_NAME
from air_reasoning.tasks.tables import Split

CHARACTERS = "0123456789.ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
WORD_POSITIONS = 6
SIDE = IMAGE_SIZE // PATCH
FAMILY_WEIGHTS: dict[Family, float] = {
    "bar": 1.0, "hbar": 0.9, "line": 1.3, "table": 1.1, "geometry": 0.6, "digits": 1.1,
}  # fmt: skip
LOOKUPS = ("read", "read", "larger", "smaller")


@dataclass(kw_only=True, slots=True)
class ReadingSample:
    """One picture with a prompt and what to write: pieces of (text, weight in the loss)."""

    picture: Picture
    pixels: np.ndarray
    shift: tuple[int, int]
    prompt: str
    pieces: list[tuple[str, float]] = field(default_factory=list[tuple[str, float]])


def draw_shard(seed: int, shard: int, size: int, split: Split = "train") -> list[Picture]:
    """``size`` matplotlib pictures of all charted families, and soup."""
    rng = random.Random(f"shard {seed} {shard}")
    charted: list[Family] = [f for f in FAMILIES if f != "digits"]
    weights = [FAMILY_WEIGHTS[f] for f in charted]
    pictures: list[Picture] = []
    for _ in range(size):
        if rng.random() < 0.12:
            pictures.append(sample_soup("mpl", rng, split))
            continue
        family = rng.choices(charted, weights)[0]
        content = sample_content(family, rng, split, made_up=0.35)
        pictures.append(draw(family, "mpl", content, rng, split))
    return pictures


def write_shard(path: Path, seed: int, shard: int, size: int) -> None:
    """Draw a shard and store it, whole or not at all."""
    if path.exists():
        return
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(pickle.dumps(draw_shard(seed, shard, size)))
    temporary.replace(path)


@dataclass(kw_only=True, slots=True)
class Mixture:
    """What a batch is made of, at a point of the run."""

    soup: float
    lookup: float
    shards: int


def mixture(step: int, shards: int) -> Mixture:
    """Letters first, then layouts, then looking values up; one more shard every 140 steps."""
    soup = 0.35 if step < 840 else 0.15 if step < 2500 else 0.05
    lookup = 0.0 if step < 1700 else 0.35 if step < 3000 else 0.5
    return Mixture(soup=soup, lookup=lookup, shards=min(shards, step // 140))


def sample_reading(
    rng: random.Random, mix: Mixture, shard: Callable[[int], list[Picture]]
) -> ReadingSample:
    """One training sample of the mixture."""
    kind = rng.random()
    if kind < mix.soup:
        return _augmented(sample_soup("pil", rng, "train"), rng, "Read.", None)
    if kind < mix.soup + mix.lookup:
        return _lookup_sample(rng)
    if mix.shards and rng.random() < 0.55:
        picture = rng.choice(shard(rng.randrange(mix.shards)))
        return _augmented(picture, rng, "Read.", None)
    families = list(FAMILY_WEIGHTS)
    family = rng.choices(families, [FAMILY_WEIGHTS[f] for f in families])[0]
    content = sample_content(family, rng, "train", made_up=0.35)
    return _augmented(draw(family, "pil", content, rng, "train"), rng, "Read.", None)


def _lookup_sample(rng: random.Random) -> ReadingSample:
    """Transcription known by now counts little; restating the asked values and answering counts."""
    kind = BY_NAME[rng.choice(LOOKUPS)]
    family = rng.choice(kind.families)
    renderer: RendererName = "mpl" if rng.random() < 0.12 else "pil"
    picture, question = sample_item(kind, family, renderer, rng, "train")
    thought = reasoning(picture, question)
    read, asked = thought.split(";")
    pieces = [
        (f"<think>{read}", 0.4),
        (f";{asked}</think><answer>\\boxed{{{question.answer}}}</answer><|im_end|>", 1.0),
    ]
    return _augmented(picture, rng, question.text, pieces)


def _augmented(
    picture: Picture, rng: random.Random, prompt: str, pieces: list[tuple[str, float]] | None
) -> ReadingSample:
    """Shift, mix channels, change contrast; the transcription follows the shift."""
    pixels = np.asarray(picture.image)
    shift = (0, 0) if pieces is not None else _shift(picture, rng)
    if shift != (0, 0):
        pixels = _shifted(pixels, *shift)
    if rng.random() < 0.4:
        pixels = pixels[..., rng.sample(range(3), 3)]
    if rng.random() < 0.4:
        gain, offset = rng.uniform(0.75, 1.05), rng.uniform(-5, 25)
        lut = np.clip(np.arange(256) * gain + offset, 0, 255).astype(np.uint8)
        pixels = lut[pixels]
    moved = _moved(picture, *shift)
    if pieces is None and picture.family == "soup":
        pieces = []
        for place, text in soup_transcript(moved, rng):
            pieces += [(place, 0.0), (text + ",", 1.0)]
    elif pieces is None:
        pieces = [(f"<think>{transcript(moved)}</think><|im_end|>", 1.0)]
    return ReadingSample(picture=moved, pixels=pixels, shift=shift, prompt=prompt, pieces=pieces)


def _shift(picture: Picture, rng: random.Random) -> tuple[int, int]:
    xs = [x for mark in picture.marks for x in mark.xs]
    ys = [mark.y for mark in picture.marks]
    if not xs:
        return 0, 0
    dx = min(max(rng.randint(-4, 4), 5 - int(min(xs))), IMAGE_SIZE - 5 - int(max(xs)))
    dy = min(max(rng.randint(-4, 4), 6 - int(min(ys))), IMAGE_SIZE - 6 - int(max(ys)))
    return dx, dy


def _shifted(pixels: np.ndarray, dx: int, dy: int) -> np.ndarray:
    height, width, _ = pixels.shape
    out = np.empty_like(pixels)
    out[:] = pixels[0, 0]
    kept = pixels[max(-dy, 0) : height - max(dy, 0), max(-dx, 0) : width - max(dx, 0)]
    top, left = max(dy, 0), max(dx, 0)
    out[top : top + kept.shape[0], left : left + kept.shape[1]] = kept
    return out


def _moved(picture: Picture, dx: int, dy: int) -> Picture:
    if (dx, dy) == (0, 0):
        return picture
    from dataclasses import replace

    def move(mark: Any) -> Any:
        return mark and replace(mark, xs=tuple(x + dx for x in mark.xs), y=mark.y + dy)

    entries = [
        replace(e, name_mark=move(e.name_mark), value_mark=move(e.value_mark))
        for e in picture.entries
    ]
    return replace(picture, entries=entries, marks=[move(m) for m in picture.marks])


def letter_labels(pictures: list[Picture]) -> tuple[np.ndarray, np.ndarray]:
    """Which character sits in the left and right half of each patch, and its place in its word.

    Returns two int64 arrays [B, SIDE, SIDE, 2]: the class (0 nothing, else 1 + index in CHARACTERS)
    and the position (-100 where there is no character).
    """
    letters = np.zeros((len(pictures), SIDE, SIDE, 2), np.int64)
    places = np.full(letters.shape, -100, np.int64)
    for i, picture in enumerate(pictures):
        for mark in picture.marks:
            for j, (character, x) in enumerate(zip(mark.text, mark.xs, strict=True)):
                found = CHARACTERS.find(character)
                if found < 0:
                    continue
                half = min(max(int(x * 2 / PATCH), 0), 2 * SIDE - 1)
                row = min(max(int(mark.y / PATCH), 0), SIDE - 1)
                letters[i, row, half // 2, half % 2] = 1 + found
                places[i, row, half // 2, half % 2] = min(j, WORD_POSITIONS - 1)
    return letters, places


class ReadingBatches:
    """Map-style data set of whole batches: ``self[step]`` is the batch of that step."""

    def __init__(
        self, tokenizer: Any, *, seed: str, steps: int, batch: int, shard_folder: Path, shards: int
    ) -> None:
        self.tokenizer, self.seed, self.steps, self.batch = tokenizer, seed, steps, batch
        self.shard_folder, self.shards = shard_folder, shards
        self._loaded: dict[int, list[Picture]] = {}
        self._encoded: dict[str, list[int]] = {}

    def __len__(self) -> int:
        return self.steps

    def shard(self, index: int) -> list[Picture]:
        """A shard's pictures; waits for the process that draws them."""
        if index not in self._loaded:
            path = self.shard_folder / f"shard-{index:03d}.pickle"
            while not path.exists():
                time.sleep(0.5)
            self._loaded[index] = pickle.loads(path.read_bytes())
        return self._loaded[index]

    def __getitem__(self, step: int) -> dict[str, Any]:
        rng = random.Random(f"batch {self.seed} {step}")
        mix = mixture(step, self.shards)
        samples = [sample_reading(rng, mix, self.shard) for _ in range(self.batch)]
        return self.collate(samples)

    def collate(self, samples: list[ReadingSample]) -> dict[str, Any]:
        """Arrays: pixels [B,H,W,3] uint8, ids and weights [B,T] right-padded, letters, places."""
        rows = [self._row(sample) for sample in samples]
        longest = max(len(ids) for ids, _ in rows)
        ids = np.full((len(rows), longest), self.tokenizer.pad_token_id, np.int64)
        weights = np.zeros((len(rows), longest), np.float32)
        for i, (row, weight) in enumerate(rows):
            ids[i, : len(row)], weights[i, : len(row)] = row, weight
        letters, places = letter_labels([s.picture for s in samples])
        pixels = np.stack([s.pixels for s in samples])
        return {
            "pixels": pixels,
            "ids": ids,
            "weights": weights,
            "letters": letters,
            "places": places,
        }

    def _row(self, sample: ReadingSample) -> tuple[list[int], list[float]]:
        ids = list(self.encode(prompt_text(sample.prompt)))
        weights = [0.0] * len(ids)
        for text, weight in sample.pieces:
            piece = self.encode(text)
            ids += piece
            weights += [weight] * len(piece)
        return ids, weights

    def encode(self, text: str) -> list[int]:
        """Token ids."""
        return self.tokenizer.encode(text, add_special_tokens=False)


def prompt_text(question: str) -> str:
    """The chat template of the tiny model, with its 64 image tokens written out."""
    pad = "<|image_pad|>" * ((SIDE // MERGE) ** 2)
    return (
        f"<|im_start|>user\n<|vision_start|>{pad}<|vision_end|>{question}<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


__all__ = ["ReadingBatches", "draw_shard", "known_name", "letter_labels", "write_shard"]
