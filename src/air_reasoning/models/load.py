"""A vision-language checkpoint as plain parts: model, tokenizer, image processor, special ids.

Works without torchvision: the stock processors of the Qwen-VL family need it for video, so the
image processor and the tokenizer are loaded by themselves and joined here. Any checkpoint of
transformers' image-text-to-text classes with one placeholder id per image token and a
``image_grid_thw`` (Qwen2.5-VL, Qwen3-VL) fits; no size and no name is special.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from air_reasoning.errors import DataError

_PLACEHOLDERS = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")


@dataclass(kw_only=True, slots=True)
class LoadedModel:
    """``placeholder_ids`` are the ids that only the renderer may write, never the sampler.

    ``eos_ids`` end an assistant turn. ``merge_size`` is the side, in patches, of the square that
    becomes one image token. ``model`` is in evaluation mode.
    """

    path: Path
    model: Any
    tokenizer: Any
    image_processor: Any
    image_token_id: int
    placeholder_ids: tuple[int, ...]
    eos_ids: tuple[int, ...]
    merge_size: int

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    @property
    def max_context(self) -> int:
        """Positions that the text model was made for, in tokens."""
        return int(self.model.config.get_text_config().max_position_embeddings)

    def image_tokens(self, image: Image.Image) -> int:
        """Placeholders that the picture takes: Σ grid / merge².

        Raises:
            DataError: the picture's shape cannot be turned into patches (side ratio above 200).
        """
        try:
            patches = self.image_processor.get_number_of_image_patches(image.height, image.width)
        except ValueError as error:
            raise DataError(f"picture of {image.width}x{image.height}: {error}; crop it") from None
        return patches // self.merge_size**2

    def pixels(self, images: list[Image.Image]) -> tuple[torch.Tensor, torch.Tensor]:
        """``pixel_values [patches, channels·t·patch²]`` and ``image_grid_thw [images, 3]``."""
        rgb = [image if image.mode == "RGB" else image.convert("RGB") for image in images]
        batch = self.image_processor(images=rgb, return_tensors="pt")
        device = self.device
        return batch["pixel_values"].to(device), batch["image_grid_thw"].to(device)


def load_model(
    path: str | Path,
    *,
    dtype: str = "float32",
    device: str = "cpu",
    min_pixels: int | None = None,
    max_pixels: int | None = None,
) -> LoadedModel:
    """Load a checkpoint folder, or a hub model that was downloaded before.

    ``min_pixels`` and ``max_pixels`` (width x height after resizing) override the checkpoint's.

    Raises:
        DataError: no model folder, a broken or truncated weight file, weights that do not match
            the configuration, or no tokenizer; the message names the file.
    """
    folder = _folder(path)
    _check_files(folder)
    from transformers import AutoImageProcessor, AutoTokenizer

    model = _model(folder, dtype).to(device).eval()
    tokenizer = _part(AutoTokenizer, folder, "tokenizer.json")
    processor = _part(AutoImageProcessor, folder, "preprocessor_config.json")
    _limit_pixels(processor, min_pixels, max_pixels)
    ids = (getattr(model.config, name, None) for name in _PLACEHOLDERS)
    return LoadedModel(
        path=folder,
        model=model,
        tokenizer=tokenizer,
        image_processor=processor,
        image_token_id=model.config.image_token_id,
        placeholder_ids=tuple(sorted({i for i in ids if i is not None})),
        eos_ids=_eos_ids(model, tokenizer),
        merge_size=processor.merge_size,
    )


def _folder(path: str | Path) -> Path:
    folder = Path(path)
    if folder.is_dir():
        return folder
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(str(path), local_files_only=True))
    except Exception:  # every way of not having it means the same here
        raise DataError(
            f"{path}: no such model folder; give a folder with config.json, model.safetensors "
            "and tokenizer.json, or download the hub model first"
        ) from None


def _check_files(folder: Path) -> None:
    """Name what is absent or broken before transformers fails in its own words."""
    config = folder / "config.json"
    if not config.is_file():
        raise DataError(f"{config}: missing, so {folder} is no model folder; expected a checkpoint")
    try:
        kind = json.loads(config.read_text())
    except ValueError as error:
        raise DataError(f"{config}: not JSON ({error}); restore the file") from None
    if not isinstance(kind, dict) or "image_token_id" not in kind:
        raise DataError(f"{config}: no image_token_id: not a model of the Qwen-VL kind")
    if not (folder / "tokenizer.json").is_file():
        raise DataError(f"{folder / 'tokenizer.json'}: missing; save the tokenizer with the model")
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


def _model(folder: Path, dtype: str) -> Any:
    from transformers import AutoModelForImageTextToText
    from transformers.utils import logging

    logging.disable_progress_bar()  # its bars for every load and save would cut through ours
    try:
        auto_class: Any = AutoModelForImageTextToText
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


def _part(auto_class: Any, folder: Path, file: str) -> Any:
    try:
        return auto_class.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the tokenizers library raises bare Exception
        raise DataError(f"{folder / file}: missing or broken ({error}); save it again") from None


def _limit_pixels(processor: Any, min_pixels: int | None, max_pixels: int | None) -> None:
    """Set the limits where both the processor and the placeholder count read them."""
    size = {key: value for key, value in dict(processor.size).items() if value is not None}
    if min_pixels is not None:
        size["shortest_edge"] = min_pixels
    if max_pixels is not None:
        size["longest_edge"] = max_pixels
    processor.size = type(processor.size)(**size)


def _eos_ids(model: Any, tokenizer: Any) -> tuple[int, ...]:
    configured = model.generation_config.eos_token_id
    ids = configured if isinstance(configured, list) else [configured]
    ids = [*ids, tokenizer.eos_token_id, tokenizer.get_added_vocab().get("<|im_end|>")]
    return tuple(sorted({i for i in ids if i is not None}))
