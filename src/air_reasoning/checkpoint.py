"""Checkpoints of a training run: whole or not there at all.

    checkpoints/step-000120/model/        save_pretrained, safetensors: loads in plain transformers
                            trainer.pt    optimiser and random states, plain tensors and numbers
                            state.json    step, score, extra, and the size of every file

A checkpoint is written into a hidden folder and renamed, so a kill at any moment leaves the earlier
ones as they were. Not guaranteed: bits that a disk flips later without changing a file's size.
"""

import json
import os
import random
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import torch
from safetensors import SafetensorError

from air_reasoning.errors import DataError

FORMAT = "air-reasoning checkpoint 1"
_NAME = re.compile(r"step-(\d{6,})")


class Stateful(Protocol):
    """What has a state to save: an optimiser."""

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to continue."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``."""
        ...


@dataclass(kw_only=True, slots=True)
class TrainerState:
    """``step`` optimiser steps are done; ``extra`` is the caller's, JSON (the data position)."""

    step: int
    score: float | None = None
    extra: dict[str, Any] = field(default_factory=dict[str, Any])


def save_checkpoint(
    folder: Path,
    step: int,
    model_saver: Callable[[Path], object],
    optimizer: Stateful,
    extra: dict[str, Any] | None = None,
    *,
    score: float | None = None,
    keep_last: int = 2,
) -> Path:
    """Write ``step-…`` with the random states of python, numpy and torch; prune the older ones.

    Args:
        folder: of all checkpoints of the run; made if absent. One writer at a time.
        step: optimiser steps done.
        model_saver: writes the model into the folder it is given, ``model.save_pretrained``.
        optimizer: its state is saved.
        extra: JSON-able state of the caller.
        score: higher is better; the best checkpoint survives pruning.
        keep_last: how many of the newest stay, at least 1.

    Raises:
        DataError: if it cannot be written; earlier checkpoints are as they were.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
        aside = Path(tempfile.mkdtemp(prefix=".step-", dir=folder))
    except OSError as error:
        raise _cannot_write(folder, step, error) from error
    try:
        state = TrainerState(step=step, score=score, extra=extra or {})
        _write(aside, state, model_saver, optimizer)
        target = folder / f"step-{step:06d}"
        if target.exists():
            target.rename(folder / f".step-old-{step:06d}")
        aside.rename(target)
        _sync(folder)
    except (OSError, SafetensorError, RuntimeError) as error:  # torch and safetensors wrap OSError
        raise _cannot_write(folder, step, error) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    _prune(folder, max(1, keep_last))
    _sweep(folder)
    return target


def latest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint with the most steps, or None if there is none.

    Raises:
        DataError: if it is truncated or not ours; the message names the one before it.
    """
    found = _checkpoints(folder)
    if not found:
        return None
    try:
        read_state(found[-1])
    except DataError as error:
        before = f"; or remove it to go on from {found[-2].name}" if len(found) > 1 else ""
        raise DataError(f"{error}{before}") from error
    return found[-1]


def best_checkpoint(folder: Path) -> Path | None:
    """The checkpoint with the highest score (the newest of equals), or None if none has one."""
    scored = [(read_state(path).score, path) for path in _checkpoints(folder)]
    ranked = [(score, path.name, path) for score, path in scored if score is not None]
    return max(ranked)[2] if ranked else None


def read_state(checkpoint: Path) -> TrainerState:
    """Step, score and extra of a checkpoint, after checking that all its files are whole.

    Raises:
        DataError: naming the file that is missing, truncated or foreign.
    """
    path = checkpoint / "state.json"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: not a checkpoint of this program ({error}); expected a folder step-NNNNNN "
            "written by a training command"
        ) from error
    if not isinstance(data, dict) or cast(dict[str, Any], data).get("format") != FORMAT:
        raise DataError(
            f"{path}: expected format {FORMAT!r}; written by another program or version"
        )
    data = cast(dict[str, Any], data)
    for name, size in data["files"].items():
        file = checkpoint / name
        actual = file.stat().st_size if file.is_file() else None
        if actual != size:
            found = "is missing" if actual is None else f"has {actual} bytes"
            raise DataError(f"{file}: the checkpoint is damaged: expected {size} bytes, it {found}")
    return TrainerState(step=data["step"], score=data["score"], extra=data["extra"])


def load_checkpoint(checkpoint: Path, optimizer: Stateful) -> TrainerState:
    """Restore the optimiser and the random states; the model is in ``checkpoint / "model"``.

    Raises:
        DataError: if the checkpoint is damaged or of another model or optimiser.
    """
    state = read_state(checkpoint)
    path = checkpoint / "trainer.pt"
    try:
        # weights_only: a checkpoint is data and must not be able to run code.
        saved = torch.load(path, map_location="cpu", weights_only=True)
        optimizer.load_state_dict(saved["optimizer"])
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except Exception as error:
        raise DataError(f"{path}: not the trainer state of this model: {error}") from error
    _set_random_states(saved["random"])
    return state


def _write(
    aside: Path,
    state: TrainerState,
    model_saver: Callable[[Path], object],
    optimizer: Stateful,
) -> None:
    (aside / "model").mkdir()
    model_saver(aside / "model")
    trainer = {"optimizer": optimizer.state_dict(), "random": _random_states()}
    torch.save(trainer, aside / "trainer.pt")
    files = sorted(path for path in aside.rglob("*") if path.is_file())
    manifest = {
        "format": FORMAT,
        "step": state.step,
        "score": state.score,
        "extra": state.extra,
        "files": {str(path.relative_to(aside)): path.stat().st_size for path in files},
    }
    (aside / "state.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    for path in [*files, aside / "state.json", aside / "model", aside]:
        _sync(path)
    aside.chmod(0o755)


def _random_states() -> dict[str, Any]:
    """Of all three generators, in types that ``weights_only`` loading accepts."""
    name, keys, *rest = cast(tuple[Any, ...], np.random.get_state(legacy=True))
    states: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": (name, keys.tolist(), *rest),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state_all()
    return states


def _set_random_states(states: dict[str, Any]) -> None:
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])
    torch.set_rng_state(states["torch"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(states["cuda"])


def _checkpoints(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if _NAME.fullmatch(path.name) and path.is_dir()]
    return sorted(found, key=lambda path: int(path.name.removeprefix("step-")))


def _prune(folder: Path, keep_last: int) -> None:
    found = _checkpoints(folder)
    scores = {path: _score(path) for path in found}
    best = max((s for s in scores.values() if s is not None), default=None)
    best_ones = [path for path in found if best is not None and scores[path] == best]
    keep = {*found[-keep_last:], *best_ones[-1:]}
    for path in found:
        if path not in keep:
            # Renamed first, so that a kill half-way leaves nothing that looks like a checkpoint.
            shutil.rmtree(path.rename(folder / f".step-old-{path.name}"), ignore_errors=True)


def _score(checkpoint: Path) -> float | None:
    """None also if it is damaged: such a one is never the best."""
    try:
        return read_state(checkpoint).score
    except DataError:
        return None


def _sweep(folder: Path) -> None:
    """Remove what an interrupted save or prune left."""
    for path in folder.glob(".step-*"):
        shutil.rmtree(path, ignore_errors=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _cannot_write(folder: Path, step: int, error: Exception) -> DataError:
    return DataError(
        f"{folder}: cannot write the checkpoint of step {step}: {error}. Earlier checkpoints are "
        "kept; if the disk is full, free some space and run the same command again"
    )
