"""Finished tasks of a data run: the rows of each in ``trajectories``, then one line in ``items``.

A task is finished once its line is in ``items.jsonl``. Rows of a task that a crash cut off before
that line are there already when the task is done again, and are not written twice.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from air_reasoning.files import LineFile
from air_reasoning.json_io import dump_line, read_jsonl
from air_reasoning.run_dir import RunDir
from air_reasoning.types import Task

NAME = "items.jsonl"


class Items:
    """``done``: ids of finished tasks. ``counts``: modes and reasons of their samples.

    ``lost`` are the ids of tasks that could not be finished this time.
    """

    def __init__(self, run: RunDir) -> None:
        """Raises DataError: a broken line."""
        self._run = run
        path = run.path / NAME
        self._file = LineFile(path)
        self.done: set[str] = set()
        self.counts: Counter[str] = Counter()
        self.lost: list[str] = []
        for _, line in read_jsonl(path):
            self.done.add(line["task_id"])
            self.counts.update(line["counts"])
        self._written = self._unfinished_rows() if run.resumed else set()

    def finish(self, task: Task, rows: Sequence[Mapping[str, Any]]) -> None:
        """Keep the samples of a task for good; each row has a trajectory, and mode or reason."""
        for row in rows:
            if row["trajectory"].id not in self._written:
                self._run.write_trajectory(row)
        counts = Counter(str(row["mode"] or row["reason"]) for row in rows)
        self._file.append(dump_line({"task_id": task.id, "counts": counts}))
        self.done.add(task.id)
        self.counts += counts

    def _unfinished_rows(self) -> set[str]:
        return {
            row["trajectory"]["id"]
            for row in self._run.read_trajectories()
            if row["task"]["id"] not in self.done
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()
