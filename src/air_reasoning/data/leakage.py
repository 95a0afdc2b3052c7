"""Evaluation items in training data: against any benchmark folder, by question, picture or both.

known = Evaluations.load(["mathvista:FOLDER", "tasks/test"])
known.find(signature(task))        # None, or Leak(of="mathvista/1234", by="picture")
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from air_reasoning.data.near_duplicates import Index, Pictures, Signature, signature
from air_reasoning.errors import ConfigError, DataError
from air_reasoning.eval.benchmarks.adapter import Adapter
from air_reasoning.eval.known import BENCHMARKS, data_folder, find_adapter
from air_reasoning.identity import tasks_identity
from air_reasoning.task_files import read_tasks
from air_reasoning.types import Task

LONG_WORDS = 12
"""Words from which on a question alone tells its item; shorter ones are asked of many pictures."""


@dataclass(kw_only=True, slots=True, frozen=True)
class Leak:
    """Which evaluation item a task repeats, and what gives it away."""

    of: str
    by: Literal["question and picture", "picture", "question"]


class Evaluations:
    """All items of some benchmarks; ``identity`` names their content, for a fingerprint."""

    def __init__(self, threshold: float = 0.8) -> None:
        self._both = Index(threshold)
        self._pictures = Pictures()
        self._texts: dict[str, str] = {}
        self.identity: dict[str, str] = {}
        self.counts: dict[str, int] = {}

    @classmethod
    def load(cls, places: Sequence[str], threshold: float = 0.8) -> Self:
        """Benchmarks as NAME or NAME:FOLDER, or task folders.

        Raises:
            ConfigError: a benchmark without its folder. DataError: it is not there or broken.
        """
        known = cls(threshold)
        for place in places:
            known.add(place, benchmark_tasks(place))
        return known

    def add(self, name: str, tasks: Sequence[Task]) -> None:
        """Take in the items of one benchmark."""
        short = name.partition(":")[0]
        self.identity[name] = tasks_identity(tasks)
        self.counts[name] = len(tasks)
        for item in map(signature, tasks):
            own = f"{short}/{item.id}"
            self._both.add(_renamed(item, own))
            for picture in item.looks:
                self._pictures.add(own, picture)
            if len(item.text.split()) >= LONG_WORDS:
                self._texts.setdefault(item.text, own)

    def find(self, item: Signature) -> Leak | None:
        """What an item repeats, if anything: its picture is enough, a long question, too."""
        if (of := self._both.find(item)) is not None:
            return Leak(of=of, by="question and picture")
        for picture in item.looks:
            if (of := self._pictures.find(picture)) is not None:
                return Leak(of=of, by="picture")
        if (of := self._texts.get(item.text)) is not None:
            return Leak(of=of, by="question")
        return None


def benchmark_tasks(place: str) -> list[Task]:
    """Every split of a known benchmark that is there, or the tasks of a folder.

    Where a split's pictures are absent only its questions are compared.

    Raises:
        ConfigError: a benchmark without its folder. DataError: no split of it is there.
    """
    name, _, folder = place.partition(":")
    if name not in BENCHMARKS:
        return read_tasks(place)
    adapter = find_adapter(name)
    where = data_folder(adapter, Path(folder) if folder else None)
    if where is None:
        raise ConfigError(f"benchmarks: {name} needs its folder, as in {name}:FOLDER")
    found, missing = dict[str, Task](), list[DataError]()
    for split in adapter.splits:
        try:
            items = _split(adapter, where, split)
        except DataError as error:
            missing.append(error)
            continue
        # A split whose pictures are absent must not hide those that another split has.
        found |= {item.id: item for item in items if item.images or item.id not in found}
    if not found:
        raise missing[0]
    return list(found.values())


def _split(adapter: Adapter, where: Path, split: str) -> list[Task]:
    try:
        return adapter.load(where, split)
    except DataError:
        return adapter.load(where, split, images=False)


def _renamed(item: Signature, name: str) -> Signature:
    return Signature(
        id=name, text=item.text, numbers=item.numbers, runs=item.runs, looks=item.looks
    )
