"""A tiny model of a real class: ``Qwen3VLForConditionalGeneration`` with 1.7M parameters.

Nothing else in the package knows that it is tiny: the folder that ``save_tiny`` writes loads like
any Qwen3-VL checkpoint. Its tokenizer is byte-level, with whole words for the vocabulary of the
tasks and 128 location tokens (as PaliGemma has them) that say where on the picture a text stands.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

LOCATION_ROWS, LOCATION_COLUMNS = 8, 16
IMAGE_SIZE, PATCH, MERGE = 128, 8, 2
IMAGE_TOKENS = (IMAGE_SIZE // PATCH // MERGE) ** 2

SPECIAL_TOKENS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>",
    "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
TAG_TOKENS = (
    "<think>", "</think>", "<code>", "</code>", "<interpreter>", "</interpreter>",
    "<answer>", "</answer>", "```python\n", "\n```", "\\boxed{",
)  # fmt: skip

CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.content is string %}{{ m.content }}{% else %}{% for part in m.content %}"
    "{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ part.text }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def location_token(x: float, y: float, size: int = IMAGE_SIZE) -> str:
    """The token of the cell that holds a point.

    >>> location_token(0, 0), location_token(127, 127)
    ('<loc_000>', '<loc_127>')
    """
    row = min(max(int(y * LOCATION_ROWS / size), 0), LOCATION_ROWS - 1)
    column = min(max(int(x * LOCATION_COLUMNS / size), 0), LOCATION_COLUMNS - 1)
    return f"<loc_{row * LOCATION_COLUMNS + column:03d}>"


def build_tokenizer(corpus: Iterable[str], words: Iterable[str], vocab_size: int = 768) -> Any:
    """Byte-level BPE; digits, letters of the alphabet used as names and every word are one token.

    ``words`` are repeated so often that each becomes a single token; the rest of the vocabulary
    goes to ``corpus``. Deterministic. Returns a ``PreTrainedTokenizerFast``.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    pieces = Regex(r"[A-Z](?![a-z])|[A-Za-z]+|[0-9]|`+| |\n|[^\sA-Za-z0-9]")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(pieces, "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    locations = [f"<loc_{i:03d}>" for i in range(LOCATION_ROWS * LOCATION_COLUMNS)]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(SPECIAL_TOKENS) - len(TAG_TOKENS) - len(locations),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        min_frequency=2,
        show_progress=False,
    )
    texts = [*corpus, *(word for word in words for _ in range(1000))]
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens(
        [AddedToken(t, special=True, normalized=False) for t in SPECIAL_TOKENS]
    )
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in locations])
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in TAG_TOKENS])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>",
        clean_up_tokenization_spaces=False, model_max_length=1024,
    )  # fmt: skip
    fast.chat_template = CHAT_TEMPLATE
    return fast


def tiny_config(tokenizer: Any, *, width: int = 128, layers: int = 4) -> Any:
    """Four text and four vision layers of width 128; 64 image tokens for a 128-pixel picture."""
    from transformers import Qwen3VLConfig

    token = tokenizer.convert_tokens_to_ids
    rope = {
        "rope_type": "default",
        "rope_theta": 10000.0,
        "mrope_section": [6, 5, 5],
        "mrope_interleaved": True,
    }
    text = {
        "vocab_size": len(tokenizer), "hidden_size": width, "intermediate_size": 2 * width,
        "num_hidden_layers": layers, "num_attention_heads": width // 32, "num_key_value_heads": 1,
        "head_dim": 32, "max_position_embeddings": 1024, "rope_parameters": rope,
        "tie_word_embeddings": True, "initializer_range": 0.03,
        "pad_token_id": tokenizer.pad_token_id,
    }  # fmt: skip
    vision = {
        "depth": 4, "hidden_size": 128, "intermediate_size": 384, "num_heads": 2, "in_channels": 3,
        "patch_size": PATCH, "spatial_merge_size": MERGE, "temporal_patch_size": 1,
        "out_hidden_size": width, "num_position_embeddings": (IMAGE_SIZE // PATCH) ** 2,
        "deepstack_visual_indexes": [], "initializer_range": 0.03, "hidden_act": "silu",
    }  # fmt: skip
    return Qwen3VLConfig(
        text_config=text, vision_config=vision, tie_word_embeddings=True,
        image_token_id=token("<|image_pad|>"), video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
    )  # fmt: skip


def build_tiny(tokenizer: Any, *, seed: int = 0, width: int = 128, layers: int = 4) -> Any:
    """A freshly initialised model in fp32."""
    import torch
    from transformers import Qwen3VLForConditionalGeneration

    torch.manual_seed(seed)
    config = tiny_config(tokenizer, width=width, layers=layers)
    model = Qwen3VLForConditionalGeneration._from_config(config, attn_implementation="sdpa")
    model.tie_weights()
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model


PROCESSOR = {
    "image_processor_type": "Qwen2VLImageProcessor", "patch_size": PATCH, "merge_size": MERGE,
    "temporal_patch_size": 1, "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
    "rescale_factor": 1 / 255, "do_resize": True, "do_rescale": True, "do_normalize": True,
    "do_convert_rgb": True, "resample": 3,
    "size": {"shortest_edge": 64 * 64, "longest_edge": IMAGE_SIZE * IMAGE_SIZE},
}  # fmt: skip


def save_tiny(folder: Path, model: Any, tokenizer: Any, *, half: bool = True) -> None:
    """Write a checkpoint that plain transformers loads; fp16 by default (3.4 MB)."""
    import copy

    import torch

    folder.mkdir(parents=True, exist_ok=True)
    stored = copy.deepcopy(model).to(torch.float16) if half else model
    stored.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PROCESSOR, indent=2) + "\n")
