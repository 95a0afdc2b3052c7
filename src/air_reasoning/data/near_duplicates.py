"""Near-duplicates: the same question about the same picture, in other words and other pixels.

Two items are near-duplicates if their texts hold the same numbers and share most of their
five-letter runs, and their pictures look the same in the same order: a picture that was rescaled,
recompressed or padded by a pixel is the same, a chart of the same layout with other bars is not.

    index = Index()
    index.find(signature(task))        # None, or the id of what it repeats
    index.add(signature(task))

Candidates share a quarter of a 64-bit difference hash of their first picture, so pictures that
differ in at most three bits of it are always compared; texts without pictures by MinHash, which
misses about 2 in 100 at the threshold. Not found: crops, rotations, translations.
"""

import re
import unicodedata
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from air_reasoning.data.solution import task_text
from air_reasoning.images import load_ref
from air_reasoning.types import Task

SIDE = 32
BITS = 3
"""Largest difference of two hashes of one picture."""
MEAN_DIFFERENCE = 4.0
LOCAL_DIFFERENCE = 40.0
"""Of grey values (0 to 255) of two thumbnails of one picture: on the mean, and in any place."""
BLANK = 2.0
"""Standard deviation of grey values below which a picture shows nothing to compare."""
_WORD = re.compile(r"[^\W\d_]+|\d+(?:[.,]\d+)*")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_PRIME = 2**31 - 1
_HASHES = np.random.default_rng(7).integers(1, _PRIME, size=(2, 32), dtype=np.int64)


@dataclass(kw_only=True, slots=True, frozen=True)
class Look:
    """A picture as it is compared: 64 bits and a grey thumbnail; ``blank`` ones never match."""

    bits: int
    thumbnail: NDArray[np.uint8]
    blank: bool


@dataclass(kw_only=True, slots=True, frozen=True)
class Signature:
    """A task as it is compared. ``runs`` are hashes of five-letter runs of the plain text."""

    id: str
    text: str
    numbers: tuple[str, ...]
    runs: frozenset[int]
    looks: tuple[Look, ...]


def signature(task: Task) -> Signature:
    """Raises DataError: a picture is missing or broken.

    Of an evaluation item the bare question counts, not the prompt that its benchmark puts around.
    """
    bare = task.meta.get("question")
    whole = "\n".join([bare, *task.choices]) if isinstance(bare, str) else task_text(task)
    text = plain_text(whole)
    return Signature(
        id=task.id,
        text=text,
        numbers=tuple(sorted(_NUMBER.findall(text))),
        runs=frozenset(_runs(text)),
        looks=tuple(look(load_ref(ref)) for ref in task.images),
    )


def plain_text(text: str) -> str:
    r"""Words and numbers in lower case, one space between them.

    >>> plain_text("What is\n the *Mean*  of 1,200?")
    'what is the mean of 1,200'
    """
    return " ".join(_WORD.findall(unicodedata.normalize("NFKC", text).casefold()))


def look(image: Image.Image) -> Look:
    """What a picture looks like from afar."""
    grey = image.convert("L")
    thumbnail = np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.uint8)
    small = np.asarray(grey.resize((9, 8), Image.Resampling.BOX), dtype=np.int16)
    falling = (small[:, 1:] < small[:, :-1]).ravel()
    bits = int.from_bytes(np.packbits(falling).tobytes(), "big")
    return Look(bits=bits, thumbnail=thumbnail, blank=float(thumbnail.std()) < BLANK)


def same_picture(a: Look, b: Look) -> bool:
    """Whether two pictures look the same."""
    if a.blank or b.blank or (a.bits ^ b.bits).bit_count() > BITS:
        return False
    difference = np.abs(a.thumbnail.astype(np.int16) - b.thumbnail)
    return float(difference.mean()) <= MEAN_DIFFERENCE and int(difference.max()) <= LOCAL_DIFFERENCE


def similarity(a: Signature, b: Signature) -> float:
    """Share of five-letter runs that two texts have in common (Jaccard); 1 for equal texts."""
    if a.text == b.text:
        return 1.0
    union = len(a.runs | b.runs)
    return len(a.runs & b.runs) / union if union else 1.0


class Index:
    """Signatures to be found again; one comparison costs microseconds, a bucket is small."""

    def __init__(self, threshold: float = 0.8) -> None:
        """``threshold``: least similarity of texts."""
        self.threshold = threshold
        self._buckets: dict[Any, list[Signature]] = {}

    def find(self, item: Signature) -> str | None:
        """The id of an earlier near-duplicate."""
        seen = set[str]()
        for key in _keys(item):
            for other in self._buckets.get(key, ()):
                if other.id in seen:
                    continue
                seen.add(other.id)
                if self._same(item, other):
                    return other.id
        return None

    def add(self, item: Signature) -> None:
        """Keep it for later ones."""
        for key in _keys(item):
            self._buckets.setdefault(key, []).append(item)

    def _same(self, a: Signature, b: Signature) -> bool:
        if len(a.looks) != len(b.looks) or a.numbers != b.numbers:
            return False
        if not all(map(same_picture, a.looks, b.looks)):
            return False
        return similarity(a, b) >= self.threshold


class Pictures:
    """Pictures alone, to be found again whatever is asked about them."""

    def __init__(self) -> None:
        self._buckets: dict[Any, list[tuple[str, Look]]] = {}

    def find(self, picture: Look) -> str | None:
        """The name under which a picture that looks the same was added."""
        for key in _bands(picture):
            for name, other in self._buckets.get(key, ()):
                if same_picture(picture, other):
                    return name
        return None

    def add(self, name: str, picture: Look) -> None:
        """Keep it, unless it is blank."""
        if not picture.blank:
            for key in _bands(picture):
                self._buckets.setdefault(key, []).append((name, picture))


def _bands(picture: Look) -> Iterator[tuple[int, int]]:
    """Four quarters of the hash: three different bits leave one of them as it is."""
    for band in range(4):
        yield band, picture.bits >> 16 * band & 0xFFFF


def _keys(item: Signature) -> Iterator[Any]:
    if item.looks:
        for band in _bands(item.looks[0]):
            yield band, item.numbers, len(item.looks)
        return
    least = _min_hashes(item.runs)
    for band in range(8):
        yield "text", band, tuple(least[4 * band : 4 * band + 4]), item.numbers


def _min_hashes(runs: frozenset[int]) -> list[int]:
    """32 MinHashes (Broder 1997)."""
    if not runs:
        return [0] * 32
    values = np.fromiter(runs, dtype=np.int64, count=len(runs)) % _PRIME
    hashed = (values[:, None] * _HASHES[0] + _HASHES[1]) % _PRIME
    return hashed.min(0).tolist()


def _runs(text: str) -> Iterator[int]:
    for start in range(max(1, len(text) - 4)):
        yield zlib.crc32(text[start : start + 5].encode())
