"""Processed pictures by content, for the trainer."""

from air_reasoning.batch import Pixels
from air_reasoning.images import load_ref
from air_reasoning.models.load import LoadedModel
from air_reasoning.types import ImageRef


class PixelCache:
    """A training set of small pictures is processed once; large ones stay on the disk."""

    def __init__(self, loaded: LoadedModel, most_numbers: int = 2**28) -> None:
        """At most ``most_numbers`` floats (1 GB) are held; further pictures are made again."""
        self._loaded, self._room = loaded, most_numbers
        self._held: dict[str, Pixels] = {}

    def __call__(self, ref: ImageRef) -> Pixels:
        """Pixels of one picture. Raises DataError if it is missing or broken."""
        if ref.sha256 in self._held:
            return self._held[ref.sha256]
        values, grid = self._loaded.pixels([load_ref(ref)])
        pixels = Pixels(values=values, grid=grid)
        if values.numel() <= self._room:
            self._room -= values.numel()
            self._held[ref.sha256] = pixels
        return pixels
