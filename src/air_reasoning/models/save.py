"""Writing a model so that it loads again: by us, or by plain transformers."""

import copy
from pathlib import Path
from typing import Any

import torch

from air_reasoning.errors import DataError
from air_reasoning.models.load import LoadedModel
from air_reasoning.models.sharding import spread_like


def save_model(loaded: LoadedModel, folder: Path, *, dtype: torch.dtype | None = None) -> None:
    """Weights (safetensors), configuration, tokenizer, chat template and picture settings.

    ``dtype`` converts a copy; None keeps the weights as they are.
    """
    model = loaded.model if dtype is None else copy.deepcopy(loaded.model).to(dtype)
    model.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    if loaded.image_processor is not None:
        loaded.image_processor.save_pretrained(folder)


def load_weights(model: Any, folder: Path) -> None:
    """Weights of ``folder`` into a model in memory, in place.

    Raises:
        DataError: no such weights, or weights of another model.
    """
    from safetensors import SafetensorError, safe_open

    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise DataError(f"{folder} holds no *.safetensors")
    state: dict[str, torch.Tensor] = {}
    try:
        for file in files:
            with safe_open(file, framework="pt") as stored:
                state |= {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - no dict
        if hasattr(model, "call_with_weights"):  # spread over processes
            own = model.state_dict()
            state = {n: spread_like(v, own[n]) if n in own else v for n, v in state.items()}
        missing, unexpected = model.load_state_dict(state, strict=False)
    except (SafetensorError, RuntimeError) as error:
        raise DataError(f"{folder}: weights of another shape, or damaged: {error}") from error
    tied = set(getattr(model, "_tied_weights_keys", None) or ())
    if unexpected or set(missing) - tied:
        odd = sorted({*unexpected, *set(missing) - tied})
        names = ", ".join(odd[:3])
        raise DataError(f"{folder}: weights of another model: {len(odd)} do not fit ({names}, ...)")
