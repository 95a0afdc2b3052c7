"""A checkpoint as plain parts: the model's weights beside its ``Processor``.

Any checkpoint of transformers' image-text-to-text classes with patches (Qwen2.5-VL, Qwen3-VL) or
tiles (Idefics3, SmolVLM), and any causal language model, fits; no size and no name is special.
Works without torchvision.
"""

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from air_reasoning.errors import DataError
from air_reasoning.models.processor import Processor, load_processor, model_folder


@dataclass(kw_only=True, slots=True)
class LoadedModel(Processor):
    """A processor with its weights. ``model`` is in evaluation mode."""

    model: Any

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    def pixels(self, images: list[Image.Image]) -> tuple[torch.Tensor, torch.Tensor]:
        """``pixel_values [patches, channels·t·patch²]`` and ``image_grid_thw [images, 3]``.

        Raises:
            DataError: a model of tiles has no such grid.
        """
        if self.pictures != "patches":
            raise DataError(f"{self.path}: no patches; training takes models of the Qwen-VL kind")
        batch = self.image_processor(images=[_rgb(image) for image in images], return_tensors="pt")
        device = self.device
        return batch["pixel_values"].to(device), batch["image_grid_thw"].to(device)

    def tiles(self, images: list[Image.Image]) -> dict[str, torch.Tensor]:
        """``pixel_values [1, tiles, channels, height, width]`` and their mask, for tiles."""
        nested = [[_rgb(image) for image in images]]
        batch = self.image_processor(images=nested, return_tensors="pt")
        names = ("pixel_values", "pixel_attention_mask")
        return {name: batch[name].to(self.device) for name in names}


def load_model(
    path: str | Path,
    *,
    adapter: str | Path | None = None,
    dtype: str = "float32",
    device: str = "cpu",
    min_pixels: int | None = None,
    max_pixels: int | None = None,
) -> LoadedModel:
    """Load a checkpoint folder or a hub model; a LoRA adapter is merged into its weights.

    ``path`` may itself be an adapter's folder: then its base model is loaded from where the
    adapter says. ``min_pixels`` and ``max_pixels`` as in ``load_processor``.

    Raises:
        DataError: no model folder, a broken or truncated weight file, weights that do not match
            the configuration, no tokenizer, or an adapter of another model; the message names the
            file.
    """
    folder = model_folder(path)
    if (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file():
        folder, adapter = _base_of(folder), folder
    processor = load_processor(folder, min_pixels=min_pixels, max_pixels=max_pixels)
    _check_weights(folder)
    model = _model(folder, dtype, text_only=processor.pictures == "none")
    if adapter is not None:
        from air_reasoning.models.lora import merge_adapter

        model = merge_adapter(model, model_folder(adapter))
    parts = {f.name: getattr(processor, f.name) for f in fields(Processor)}
    return LoadedModel(model=model.to(device).eval(), **parts)


def _base_of(adapter: Path) -> Path:
    named = json.loads((adapter / "adapter_config.json").read_text()).get("base_model_name_or_path")
    if not named:
        raise DataError(f"{adapter / 'adapter_config.json'}: names no base model; give both")
    return model_folder(named)


def _rgb(image: Image.Image) -> Image.Image:
    return image if image.mode == "RGB" else image.convert("RGB")


def _check_weights(folder: Path) -> None:
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise DataError(f"{folder}: no *.safetensors; save the model with save_pretrained")
    from safetensors import SafetensorError, safe_open

    for file in weights:
        try:
            with safe_open(file, framework="pt"):
                pass
        except (SafetensorError, OSError) as error:
            raise DataError(
                f"{file}: broken or cut off ({error}); copy it again or go back to an earlier one"
            ) from None


def _model(folder: Path, dtype: str, *, text_only: bool) -> Any:
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText
    from transformers.utils import logging

    logging.disable_progress_bar()  # its bars for every load and save would cut through ours
    auto_class: Any = AutoModelForCausalLM if text_only else AutoModelForImageTextToText
    try:
        model, report = auto_class.from_pretrained(
            folder,
            dtype=getattr(torch, dtype),
            attn_implementation="sdpa",
            local_files_only=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise DataError(f"{folder}: cannot be loaded as a model: {error}") from None
    # transformers fills absent weights with random numbers and only warns.
    if report["missing_keys"]:
        names = ", ".join(sorted(report["missing_keys"])[:3])
        raise DataError(
            f"{folder}: {len(report['missing_keys'])} weights are absent ({names}, ...)"
        )
    return model
