"""Low-rank adapters (LoRA, arXiv 2106.09685) on the language model, by peft.

The adapter sits inside the model's own layers, so that everything else sees the same class and the
same calls. What is saved for use is the merged model, which plain transformers loads; the adapter
lies beside it, for going on and for engines that serve adapters.
"""

import copy
from pathlib import Path
from typing import Any

from pydantic import Field

from air_reasoning.config import Config
from air_reasoning.errors import DataError


class LoraConfig(Config):
    """Which matrices get an adapter, and how large it is."""

    rank: int = Field(default=0, ge=0)
    """Rank of the adapters; 0: no adapters, the weights themselves are trained."""
    alpha: float = Field(default=32.0, gt=0)
    """The adapter's output is scaled by alpha / rank."""
    targets: tuple[str, ...] = (
        *("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
    )
    """Matrices of the language model, by the last part of their name."""


def add_adapter(model: Any, config: LoraConfig, seed: int = 0) -> Any:
    """Put adapters into ``model``, in place, and freeze everything else.

    Returns:
        The peft model around it, or None if ``rank`` is 0. A fresh adapter changes no output.
    """
    if config.rank == 0:
        return None
    import torch
    from peft import LoraConfig as PeftConfig
    from peft import get_peft_model

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return get_peft_model(
            model,
            PeftConfig(
                r=config.rank,
                lora_alpha=config.alpha,  # pyright: ignore[reportArgumentType] - a float works
                # Vision towers have matrices of the same names.
                target_modules=rf"(?!.*vis(ual|ion)).*\.({'|'.join(config.targets)})",
            ),
        )


def merge_adapter(model: Any, folder: Path) -> Any:
    """``model`` with the saved adapter added to its weights: W + (alpha / rank) · B · A.

    Raises:
        DataError: no adapter there, or one that belongs to another model.
    """
    from peft import PeftModel

    if not (folder / "adapter_config.json").is_file():
        raise DataError(f"{folder / 'adapter_config.json'}: missing; expected a PEFT adapter")
    try:
        return PeftModel.from_pretrained(model, str(folder)).merge_and_unload()
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise DataError(f"{folder}: does not fit the model: {error}") from None


def merged(adapter: Any) -> Any:
    """A copy of the model with the adapter added to its weights; the original is as it was."""
    return copy.deepcopy(adapter).merge_and_unload()


def save_adapter(adapter: Any, folder: Path) -> None:
    """``adapter_config.json`` and ``adapter_model.safetensors`` as peft and vLLM read them."""
    adapter.save_pretrained(folder)


def load_adapter(adapter: Any, folder: Path) -> None:
    """Weights of ``folder`` into an adapter in memory. Raises DataError: not the adapter's."""
    from peft import set_peft_model_state_dict
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    file = folder / "adapter_model.safetensors"
    try:
        result = set_peft_model_state_dict(adapter, load_file(file))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise DataError(f"{file}: not the adapter of this model: {error}") from error
    if result.unexpected_keys:
        raise DataError(f"{file}: an adapter of other layers ({result.unexpected_keys[0]}, ...)")
