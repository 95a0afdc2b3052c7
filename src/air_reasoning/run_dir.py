"""The run folder: one format for roll-outs, data, evaluation and training.

    run/ config.resolved.yaml   every value and where it came from
         env.json               versions and machine, no names of hosts or users
         status.json            schema, command, fingerprint, state: running, done, failed, ...
         metrics.jsonl          {"step": 3, "reward/correct": 0.5, ...}, one line a step
         events.jsonl           {"time": ..., "kind": ..., ...}
         trajectories/part-0000.jsonl    blobs/<sha256>.png    checkpoints/
         summary.json  report.html

    with RunDir.open(path, command="rl", resolved_config=resolved, fingerprint=prints) as run:
        run.write_metrics(0, {"reward/correct": 0.25})

Leaving the block sets the state to done, failed or interrupted. How writing survives a crash or a
full disk is said in ``files``.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, cast

from filelock import FileLock
from PIL import Image

from air_reasoning import run_reader
from air_reasoning.config import Config, Resolved, Resume, flat_values, render_config
from air_reasoning.environment import environment
from air_reasoning.errors import AirError
from air_reasoning.files import LineFile, atomic_write
from air_reasoning.images import open_image, save_blob
from air_reasoning.json_io import dump_line, dump_pretty, parse_json, to_json
from air_reasoning.run_admission import admit, lock_run
from air_reasoning.run_reader import SCHEMA, is_image_ref, read_status, trajectory_parts
from air_reasoning.types import ImageRef

State = Literal["running", "done", "failed", "interrupted"]
PART_BYTES = 256 * 2**20


class RunDir:
    """One run on disk. One process owns it (``RunDir.open``), others may add to it (``join``)."""

    def __init__(self, path: Path, lock: FileLock | None, *, resumed: bool) -> None:
        """Use ``RunDir.open``, which checks what is there, or ``RunDir.join``."""
        self.path = path
        self.resumed = resumed
        self._lock = lock
        self._open_line_files()

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        command: str,
        resolved_config: Resolved[Any],
        fingerprint: Mapping[str, Any],
        resume: Resume = "auto",
        overwrite: bool = False,
        parts: tuple[str, ...] = (),
    ) -> Self:
        """Start a run, or continue the one that is there if it is the same.

        Args:
            path: the run folder; made if absent.
            command: the subcommand, part of what must be equal on resuming.
            resolved_config: written to ``config.resolved.yaml``.
            fingerprint: dotted key -> plain value of everything that would change the result
                (``config.flat_values`` and hashes of inputs).
            resume: ``auto`` continues or starts, ``never`` refuses a used folder, ``must`` refuses
                an unused one.
            overwrite: remove the earlier run first.
            parts: further files and folders in ``path`` that belong to the run and go with it.

        Raises:
            ConfigError: another process is writing here; the folder holds something else, or a run
                that differs (the message names the changed keys); ``resume`` forbids it.
            DataError: the folder cannot be written, or its status is unreadable.
        """
        path = path.absolute()
        lock = lock_run(path)
        try:
            resumed = admit(path, command, to_json(dict(fingerprint)), resume, overwrite, parts)
            run = cls(path, lock, resumed=resumed)
            atomic_write(path / "config.resolved.yaml", render_config(resolved_config))
            atomic_write(path / "env.json", dump_pretty(environment()))
            prints = to_json(dict(fingerprint))
            run.set_status("running", schema=SCHEMA, command=command, fingerprint=prints)
            run.write_event("resumed" if resumed else "started", command=command)
            if torn := run._torn_bytes():
                run.write_event("torn_line_removed", bytes=torn)
        except BaseException:
            lock.release()
            raise
        return run

    @classmethod
    def join(cls, path: Path) -> Self:
        """Write into a run that another process owns: one rank of several, one of many workers.

        Trajectories, pictures, events and metrics of all writers go into the same files, a line at
        a time. The state stays the owner's, and so does ``truncate_after``: let the others join
        when the owner has resumed.

        Raises:
            DataError: there is no run, or it cannot be written.
        """
        read_status(path.absolute())
        return cls(path.absolute(), None, resumed=True)

    @property
    def blobs(self) -> Path:
        """Where pictures are."""
        return self.path / "blobs"

    @property
    def checkpoints(self) -> Path:
        """Where trainer states are."""
        return self.path / "checkpoints"

    def write_metrics(self, step: int, metrics: Mapping[str, float | None]) -> None:
        """Append one line of slash-named numbers; NaN and infinities become null (undefined)."""
        self._metrics.append(dump_line({"step": step, **metrics}))

    def write_event(self, kind: str, **fields: Any) -> None:
        """Append something that happened, with the time (UTC)."""
        self._events.append(dump_line({"time": _now(), "kind": kind, **fields}))

    def write_trajectory(self, record: Mapping[str, Any]) -> None:
        """Append one record, whatever its keys; dataclasses inside become JSON.

        Give it ``step`` if ``truncate_after`` shall know where it belongs. Every picture it refers
        to is kept in ``blobs`` and the reference made relative, so that the folder can be moved.
        """
        if self._trajectories.size >= PART_BYTES:
            self._trajectories.close()
            self._trajectories = LineFile(_next_part(self.path, after=self._trajectories.path))
        self._trajectories.append(dump_line(self._adopt(to_json(record))))

    def save_image(self, image: Image.Image) -> ImageRef:
        """Keep a picture in ``blobs``, once for each content."""
        return save_blob(image, self.blobs)

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Replace ``summary.json``."""
        atomic_write(self.path / "summary.json", dump_pretty(summary))

    def set_status(self, state: State, **fields: Any) -> None:
        """Replace the state; fields given earlier stay unless given again."""
        file = self.path / "status.json"
        earlier = read_status(self.path) if file.exists() else {}
        status = {**earlier, **fields, "state": state, "updated": _now()}
        atomic_write(file, dump_pretty(status), durable=state != "running")

    def truncate_after(self, step: int) -> int:
        """Forget metrics and trajectories of later steps than the checkpoint that is continued.

        Records without a ``step`` stay. Returns how many were dropped; an event says so, too.
        """
        self._close_line_files()
        files = [self.path / "metrics.jsonl", *trajectory_parts(self.path)]
        dropped = sum(_keep_until(file, step) for file in files)
        self._open_line_files()
        if dropped:
            self.write_event("truncated", after_step=step, records=dropped)
        return dropped

    def read_metrics(self) -> list[dict[str, Any]]:
        """All lines of metrics, in order."""
        return run_reader.read_metrics(self.path)

    def read_trajectories(self) -> Iterator[dict[str, Any]]:
        """All records, in order, picture paths absolute."""
        return run_reader.read_trajectories(self.path)

    def sync(self) -> None:
        """Wait until all lines are on the disk; call it before a checkpoint gets its name."""
        for file in (self._metrics, self._events, self._trajectories):
            file.sync()

    def close(self) -> None:
        """Close the files and let other processes in; harmless when repeated."""
        self._close_line_files()
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            stopped = not isinstance(error, Exception)  # Ctrl-C, cancellation
            stopped = stopped or (isinstance(error, AirError) and error.resumable)
            state: State = "done" if error is None else "interrupted" if stopped else "failed"
            if self._lock is not None:
                self.set_status(state)
            if error is not None:
                self.write_event(state, error=f"{type(error).__name__}: {error}"[:2000])
        except AirError:
            if error is None:
                raise  # otherwise the first error is the one to show: a full disk fails here again
        finally:
            self.close()

    def _open_line_files(self) -> None:
        self._metrics = LineFile(self.path / "metrics.jsonl")
        self._events = LineFile(self.path / "events.jsonl")
        parts = trajectory_parts(self.path)
        self._trajectories = LineFile(parts[-1] if parts else _next_part(self.path))

    def _close_line_files(self) -> None:
        for file in (self._metrics, self._events, self._trajectories):
            file.close()

    def _torn_bytes(self) -> int:
        files = (self._metrics, self._events, self._trajectories)
        return sum(file.torn_bytes for file in files)

    def _adopt(self, value: Any) -> Any:
        """``value`` with every picture kept in ``blobs`` and its path relative."""
        if isinstance(value, list):
            items = cast(list[Any], value)
            if items and not isinstance(items[0], dict | list):
                return items  # token ids and the like
            return [self._adopt(item) for item in items]
        if not isinstance(value, dict):
            return value
        data = cast(dict[str, Any], value)
        if is_image_ref(data):
            return {**data, "path": self._adopted_path(data)}
        return {key: self._adopt(inner) for key, inner in data.items()}

    def _adopted_path(self, ref: dict[str, Any]) -> str:
        name = f"{ref['sha256']}.png"
        if not (self.blobs / name).exists():
            if not ref["path"]:
                return ""  # a picture that nobody kept
            kept = save_blob(open_image(ref["path"]), self.blobs)
            name = Path(kept.path).name
        return f"blobs/{name}"


def config_fingerprint(config: Config, *, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """The settings that change a result: all but the sections or keys named in ``without``."""

    def left_out(key: str) -> bool:
        return any(key == name or key.startswith(f"{name}.") for name in without)

    return {key: value for key, value in flat_values(config).items() if not left_out(key)}


def _next_part(path: Path, after: Path | None = None) -> Path:
    number = int(after.stem.removeprefix("part-")) + 1 if after else 0
    return path / "trajectories" / f"part-{number:04d}.jsonl"


def _keep_until(file: Path, step: int) -> int:
    """Rewrite a file of records without those of later steps; the number dropped."""
    lines = [line for line in file.read_bytes().splitlines() if line.strip()]
    kept = [line for line in lines if _step(line, file) <= step]
    if len(kept) < len(lines):
        atomic_write(file, b"".join(line + b"\n" for line in kept))
    return len(lines) - len(kept)


def _step(line: bytes, file: Path) -> float:
    return parse_json(line, str(file)).get("step", float("-inf"))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
