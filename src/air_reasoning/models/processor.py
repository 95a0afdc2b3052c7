"""How one checkpoint reads text and pictures: tokenizer, image processor, placeholders; no torch.

The stock processors of the Qwen-VL family need torchvision for video, so the image processor and
the tokenizer are loaded by themselves and joined here. Three kinds of checkpoint differ only in
``image_ids``:

- one placeholder for each merged square of patches (Qwen2.5-VL, Qwen3-VL),
- tiles, each with a marker of its row and column and a fixed number of placeholders (Idefics3,
  SmolVLM),
- no pictures at all (a text model).
"""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from air_reasoning.errors import DataError

PictureKind = Literal["patches", "tiles", "none"]
_PLACEHOLDERS = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
_TILE_MARKER = re.compile(r"<(fake_token_around_image|image|global-img|row_\d+_col_\d+)>")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_HUB_FILES = ["*.json", "*.safetensors", "*.txt", "*.jinja", "*.model"]


@dataclass(kw_only=True, slots=True)
class Processor:
    """``placeholder_ids`` are the ids that only the renderer may write, never the sampler.

    ``image_token_id`` is the one that stands for image features (-1: the model sees no pictures).
    ``eos_ids`` end an assistant turn. ``merge_size`` is the side, in patches, of the square that
    becomes one image token; ``tile_tokens`` the image tokens of one tile. ``max_context`` is the
    positions that the text model was made for, in tokens.
    """

    path: Path
    tokenizer: Any
    image_processor: Any
    pictures: PictureKind
    image_token_id: int
    placeholder_ids: tuple[int, ...]
    eos_ids: tuple[int, ...]
    max_context: int
    merge_size: int = 1
    tile_tokens: int = 0
    _tile_ids: dict[tuple[int, int], list[int]] = field(
        default_factory=dict[tuple[int, int], list[int]]
    )

    def image_ids(self, image: Image.Image) -> list[int]:
        """The ids that stand for one picture, in place of the chat template's one placeholder.

        Raises:
            DataError: the picture's shape cannot be turned into patches (side ratio above 200), or
                the model sees no pictures.
        """
        if self.pictures == "none":
            raise DataError(f"{self.path}: a text model sees no pictures; ask without one")
        try:
            counted = self.image_processor.get_number_of_image_patches(
                image.height, image.width, {}
            )
        except ValueError as error:
            raise DataError(f"picture of {image.width}x{image.height}: {error}; crop it") from None
        if self.pictures == "patches":
            return [self.image_token_id] * (counted // self.merge_size**2)
        _, rows, columns = counted
        if (rows, columns) not in self._tile_ids:
            text = _tiles_text(rows, columns, self.tile_tokens)
            self._tile_ids[rows, columns] = self.tokenizer.encode(text, add_special_tokens=False)
        return self._tile_ids[rows, columns]

    def image_tokens(self, image: Image.Image) -> int:
        """Placeholders for image features that the picture takes. Raises DataError as above."""
        return self.image_ids(image).count(self.image_token_id)


def load_processor(
    path: str | Path, *, min_pixels: int | None = None, max_pixels: int | None = None
) -> Processor:
    """The processor of a checkpoint folder, or of a hub model (downloaded if it is not here yet).

    ``min_pixels`` and ``max_pixels`` (width x height after resizing) override the checkpoint's.
    For tiles ``max_pixels`` bounds the longest side at its square root; ``min_pixels`` is refused.

    Raises:
        DataError: no model folder, or no tokenizer; the message names the file.
    """
    folder = model_folder(path)
    _check_files(folder)
    from transformers import AutoConfig, AutoTokenizer

    config: Any = _part(AutoConfig, folder, "config.json")
    tokenizer = _part(AutoTokenizer, folder, "tokenizer.json")
    _legacy_template(tokenizer, folder)
    kind = _kind(config, folder)
    image_processor: Any = None if kind == "none" else _image_processor(folder)
    if image_processor is not None:
        _limit_pixels(image_processor, kind, min_pixels, max_pixels)
    return Processor(
        path=folder,
        tokenizer=tokenizer,
        image_processor=image_processor,
        pictures=kind,
        image_token_id=-1 if kind == "none" else config.image_token_id,
        placeholder_ids=_placeholder_ids(config, tokenizer, kind),
        eos_ids=_eos_ids(config, tokenizer, folder),
        max_context=int(config.get_text_config().max_position_embeddings),
        merge_size=getattr(image_processor, "merge_size", 1),
        tile_tokens=_tile_tokens(config) if kind == "tiles" else 0,
    )


def model_folder(path: str | Path) -> Path:
    """The folder of a checkpoint by its path or its hub id.

    Raises:
        DataError: there is no such folder, and the hub does not give it.
    """
    folder = Path(path)
    if folder.is_dir():
        return folder
    error: Exception | str = "not a folder"
    if _HUB_ID.fullmatch(str(path)):
        from huggingface_hub import snapshot_download

        for here_only in (True, False):
            try:
                return Path(
                    snapshot_download(
                        str(path), local_files_only=here_only, allow_patterns=_HUB_FILES
                    )
                )
            except Exception as problem:  # every way of not having it means the same here
                error = f"{type(problem).__name__} from the hub"
    raise DataError(
        f"{path}: no such model folder ({error}); give a folder with config.json, "
        "model.safetensors and tokenizer.json, or the id of a hub model"
    )


def _check_files(folder: Path) -> None:
    """Name what is absent or broken before transformers fails in its own words."""
    config = folder / "config.json"
    if not config.is_file():
        raise DataError(f"{config}: missing, so {folder} is no model folder; expected a checkpoint")
    try:
        kind = json.loads(config.read_text())
    except ValueError as error:
        raise DataError(f"{config}: not JSON ({error}); restore the file") from None
    if not isinstance(kind, dict) or "model_type" not in kind:
        raise DataError(f"{config}: no model_type, so no model of transformers; expected a VLM")
    if not (folder / "tokenizer.json").is_file():
        raise DataError(f"{folder / 'tokenizer.json'}: missing; save the tokenizer with the model")


def _part(auto_class: Any, folder: Path, file: str) -> Any:
    try:
        return auto_class.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the tokenizers library raises bare Exception
        raise DataError(f"{folder / file}: missing or broken ({error}); save it again") from None


def _image_processor(folder: Path) -> Any:
    from transformers import AutoImageProcessor

    return _part(AutoImageProcessor, folder, "preprocessor_config.json")


def _kind(config: Any, folder: Path) -> PictureKind:
    if getattr(config, "image_token_id", None) is None:
        if getattr(config, "vision_config", None) is not None:
            raise DataError(f"{folder}: has a vision tower but no image_token_id; not supported")
        return "none"
    return "tiles" if hasattr(config, "scale_factor") else "patches"


def _legacy_template(tokenizer: Any, folder: Path) -> None:
    """Older hub models keep the chat template beside the processor, where no tokenizer looks."""
    file = folder / "chat_template.json"
    if tokenizer.chat_template is None and file.is_file():
        tokenizer.chat_template = json.loads(file.read_text())["chat_template"]


def _limit_pixels(
    processor: Any, kind: PictureKind, min_pixels: int | None, max_pixels: int | None
) -> None:
    """Set the limits where both the processor and the placeholder count read them."""
    size = {key: value for key, value in dict(processor.size).items() if value is not None}
    if kind == "tiles":
        if min_pixels is not None:
            raise DataError("min_pixels: this model resizes to whole tiles; leave it unset")
        if max_pixels is not None:
            size["longest_edge"] = min(int(max_pixels**0.5), size["longest_edge"])
    else:
        if min_pixels is not None:
            size["shortest_edge"] = min_pixels
        if max_pixels is not None:
            size["longest_edge"] = max_pixels
    processor.size = type(processor.size)(**size)


def _placeholder_ids(config: Any, tokenizer: Any, kind: PictureKind) -> tuple[int, ...]:
    ids = {getattr(config, name, None) for name in _PLACEHOLDERS} if kind != "none" else set()
    if kind == "tiles":
        added = tokenizer.get_added_vocab()
        ids |= {number for text, number in added.items() if _TILE_MARKER.fullmatch(text)}
    return tuple(sorted(i for i in ids if i is not None))


def _eos_ids(config: Any, tokenizer: Any, folder: Path) -> tuple[int, ...]:
    file = folder / "generation_config.json"
    configured = json.loads(file.read_text()).get("eos_token_id") if file.is_file() else None
    if configured is None:
        configured = getattr(config.get_text_config(), "eos_token_id", None)
    ids = configured if isinstance(configured, list) else [configured]
    ids = [*ids, tokenizer.eos_token_id, tokenizer.get_added_vocab().get("<|im_end|>")]
    return tuple(sorted({i for i in ids if i is not None}))


def _tile_tokens(config: Any) -> int:
    """Image tokens of one tile: patches a side, squared, over the pixel shuffle's square."""
    side = config.vision_config.image_size // config.vision_config.patch_size
    return side**2 // config.scale_factor**2


def _tiles_text(rows: int, columns: int, tokens: int) -> str:
    """What one picture becomes: every tile with its place, then the whole picture.

    Source: the stock Idefics3 processor, whose output it equals (tested).
    """
    around, picture = "<fake_token_around_image>", "<image>" * tokens
    whole = f"{around}<global-img>{picture}{around}"
    if rows == 0:
        return whole
    lines = [
        "".join(f"{around}<row_{row}_col_{column}>{picture}" for column in range(1, columns + 1))
        for row in range(1, rows + 1)
    ]
    return "".join(f"{line}\n" for line in lines) + f"\n{whole}"
