"""The text of every token of a trajectory, where the run's tokenizer is at hand."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from air_reasoning.errors import PrerequisiteError
from air_reasoning.models.shipped import WEIGHTS

TAIL = "\ufffd"


def token_texts(run: Path, trajectory: Mapping[str, Any]) -> dict[str, Any]:
    """``{"prompt": [text, ...], "segments": [[text, ...], ...], "tokenizer": path}``.

    A token that is a part of a character has the text of the whole character at its last part and
    an empty text before it. Special tokens have their name.

    Raises:
        PrerequisiteError: the ``tokenizers`` library or the run's tokenizer is not here.
    """
    file = tokenizer_file(run)
    backend = _backend(file)
    segments = trajectory.get("segments", [])
    return {
        "prompt": _texts(backend, trajectory.get("prompt_ids", [])),
        "segments": [_texts(backend, segment.get("token_ids", [])) for segment in segments],
        "tokenizer": str(file),
    }


def tokenizer_file(run: Path) -> Path:
    """Where the run's tokenizer is: with its model, or with the model that it started from.

    Raises:
        PrerequisiteError: in none of the places.
    """
    places = [run / "model", *_configured(run)]
    for place in places:
        if (place / "tokenizer.json").is_file():
            return place / "tokenizer.json"
    raise PrerequisiteError(
        f"no tokenizer.json in {', '.join(map(str, places))}; copy the run's into {run / 'model'}"
    )


def _configured(run: Path) -> list[Path]:
    """The checkpoint folder that the settings name; the shipped one where they name none."""
    file = run / "config.resolved.yaml"
    settings = yaml.safe_load(file.read_text(encoding="utf-8")) if file.exists() else None
    model = (settings or {}).get("model")
    path = model.get("path") if isinstance(model, dict) else model
    return [Path(path)] if path else [WEIGHTS / "cold_start"]


@lru_cache(maxsize=4)
def _backend(file: Path) -> Any:
    try:
        from tokenizers import Tokenizer
    except ModuleNotFoundError:
        raise PrerequisiteError(
            "the library tokenizers is not installed; run `pip install tokenizers`"
        ) from None
    return Tokenizer.from_file(str(file))


def _texts(backend: Any, ids: Sequence[int]) -> list[str]:
    texts, held = list[str](), list[int]()
    for token_id in ids:
        held.append(token_id)
        text = backend.decode(held, skip_special_tokens=False)
        if text.endswith(TAIL) and len(held) < 4:
            texts.append("")
            continue
        texts.append(text)
        held.clear()
    if held:
        texts[-1] = backend.decode(held, skip_special_tokens=False)
    return texts
