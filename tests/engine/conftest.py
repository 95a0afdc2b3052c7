"""Tiny checkpoints of the real classes, made here, and a tokenizer trained here."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageDraw
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from air_reasoning.models.load import LoadedModel, load_model

TAGS = ["<think>", "</think>", "<code>", "</code>", "<interpreter>", "</interpreter>"]
TAGS += ["<answer>", "</answer>", "```python\n", "\n```", "\\boxed{"]
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"]
SPECIAL += ["<|image_pad|>", "<|video_pad|>", "<loc_000>", "<loc_001>"]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.content is string %}{{ m.content }}"
    "{% else %}{% for part in m.content %}{% if part.type == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part.text }}{% endif %}{% endfor %}"
    "{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% endif %}"
)
PROCESSOR = {
    "image_processor_type": "Qwen2VLImageProcessor",
    "patch_size": 8,
    "merge_size": 2,
    "temporal_patch_size": 2,
    "size": {"shortest_edge": 16 * 16, "longest_edge": 64 * 64},
}


def make_tokenizer(tags: bool):
    """Byte-level; with ``tags`` each tag is one added token, without it takes several."""
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )  # fmt: skip
    tokenizer.train_from_iterator(["print answer code user assistant the value is"] * 9, trainer)
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIAL])
    if tags:
        tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in TAGS])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    fast.chat_template = TEMPLATE
    return fast


def make_model(kind: str, tokenizer):
    from transformers import (
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen3VLConfig,
        Qwen3VLForConditionalGeneration,
    )

    token = tokenizer.convert_tokens_to_ids
    interleaved = {"mrope_interleaved": True} if kind == "qwen3" else {}
    text = {
        "vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 48,
        "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
        "max_position_embeddings": 512, "tie_word_embeddings": True, "initializer_range": 0.3,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1],
                            **interleaved},
    }  # fmt: skip
    vision = {"depth": 3, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2,
              "patch_size": 8, "spatial_merge_size": 2, "temporal_patch_size": 2,
              "initializer_range": 0.3, "out_hidden_size": 32}  # fmt: skip
    if kind == "qwen3":
        vision |= {"num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1]}
    else:
        vision |= {"window_size": 32, "fullatt_block_indexes": [1]}
    config_class, model_class = {
        "qwen3": (Qwen3VLConfig, Qwen3VLForConditionalGeneration),
        "qwen25": (Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration),
    }[kind]
    config = config_class(
        text_config=text, vision_config=vision, tie_word_embeddings=True,
        image_token_id=token("<|image_pad|>"), video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
    )  # fmt: skip
    torch.manual_seed(3)
    model = model_class._from_config(config, attn_implementation="sdpa")
    model.tie_weights()
    # The stock initialisation makes every next token nearly certain or nearly uniform.
    model.generation_config.eos_token_id = token("<|im_end|>")
    return model


def save(folder: Path, kind: str, tags: bool) -> Path:
    tokenizer = make_tokenizer(tags)
    make_model(kind, tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    return folder


@pytest.fixture(scope="session")
def tags_tokenizer():
    return make_tokenizer(tags=True)


@pytest.fixture(scope="session")
def qwen3(tmp_path_factory) -> LoadedModel:
    return load_model(save(tmp_path_factory.mktemp("qwen3"), "qwen3", tags=True))


@pytest.fixture(scope="session")
def qwen25(tmp_path_factory) -> LoadedModel:
    return load_model(save(tmp_path_factory.mktemp("qwen25"), "qwen25", tags=False))


@pytest.fixture(params=["qwen3", "qwen25"])
def loaded(request) -> LoadedModel:
    return request.getfixturevalue(request.param)


@pytest.fixture
def picture():
    def draw(width=40, height=32, mark=3) -> Image.Image:
        image = Image.new("RGB", (width, height), "white")
        ImageDraw.Draw(image).rectangle((mark, mark, mark + 9, mark + 5), fill="black")
        return image

    return draw
