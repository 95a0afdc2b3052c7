"""Each family of models against the stock processor and the plain forward pass of transformers."""

import asyncio
import copy
import json
from pathlib import Path

import pytest
import torch

from air_reasoning.errors import DataError
from air_reasoning.models.load import LoadedModel, load_model
from air_reasoning.models.lora import LoraConfig, add_adapter, save_adapter
from air_reasoning.models.processor import load_processor
from air_reasoning.renderer import Renderer
from air_reasoning.samplers.base import SampleRequest, SamplingParams
from air_reasoning.samplers.local import LocalSampler
from air_reasoning.turn_format import AIR
from air_reasoning.types import Answer, Part, Task

# The chat templates that the published checkpoints carry (Qwen2.5-VL-Instruct, SmolVLM-Instruct).
QWEN25_TEMPLATE = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ message['role'] }}\n{% if message['content'] is string %}"
    "{{ message['content'] }}<|im_end|>\n{% else %}{% for content in message['content'] %}"
    "{% if content['type'] == 'image' or 'image' in content or 'image_url' in content %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% elif 'text' in content %}"
    "{{ content['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SMOLVLM_TEMPLATE = (
    "<|im_start|>{% for message in messages %}{{message['role'] | capitalize}}"
    "{% if message['content'][0]['type'] == 'image' %}{{':'}}{% else %}{{': '}}{% endif %}"
    "{% for line in message['content'] %}{% if line['type'] == 'text' %}{{line['text']}}"
    "{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}"
    "<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
TILE_SPECIALS = ["<fake_token_around_image>", "<image>", "<global-img>", "<end_of_utterance>"]
TILE_SPECIALS += [f"<row_{r}_col_{c}>" for r in range(1, 7) for c in range(1, 7)]
TILE_PROCESSOR = {
    "image_processor_type": "Idefics3ImageProcessor",
    "do_image_splitting": True, "do_convert_rgb": True, "do_pad": True, "do_resize": True,
    "do_rescale": True, "do_normalize": True, "rescale_factor": 1 / 255, "resample": 1,
    "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
    "size": {"longest_edge": 64}, "max_image_size": {"longest_edge": 32},
}  # fmt: skip


def make_idefics3(tokenizer):
    from transformers import Idefics3Config, Idefics3ForConditionalGeneration

    token = tokenizer.convert_tokens_to_ids
    text = {
        "model_type": "llama", "vocab_size": len(tokenizer), "hidden_size": 32,
        "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 512,
        "tie_word_embeddings": True, "initializer_range": 0.3, "pad_token_id": 0,
    }  # fmt: skip
    vision = {
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 2, "image_size": 32, "patch_size": 8, "initializer_range": 0.3,
    }  # fmt: skip
    config = Idefics3Config(
        text_config=text, vision_config=vision, scale_factor=2, tie_word_embeddings=True,
        image_token_id=token("<image>"), pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(3)
    model = Idefics3ForConditionalGeneration._from_config(config, attn_implementation="sdpa")
    model.tie_weights()
    model.generation_config.eos_token_id = token("<end_of_utterance>")
    return model


def save_idefics3(folder: Path, tokenizer) -> Path:
    from tokenizers import AddedToken

    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.add_special_tokens(
        {"additional_special_tokens": [AddedToken(t, normalized=False) for t in TILE_SPECIALS]}
    )
    tokenizer.chat_template = SMOLVLM_TEMPLATE
    make_idefics3(tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(TILE_PROCESSOR))
    return folder


def stock_processor(loaded):
    """The processor class of transformers for this family; without its video half for Qwen-VL."""
    parts = loaded.image_processor, loaded.tokenizer
    if loaded.pictures == "tiles":
        from transformers import Idefics3Processor

        return Idefics3Processor(*parts, image_seq_len=loaded.tile_tokens)
    from transformers.models.qwen2_5_vl.processing_qwen2_5_vl import Qwen2_5_VLProcessor
    from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor

    is_qwen3 = loaded.model.config.model_type == "qwen3_vl"
    stock = Qwen3VLProcessor if is_qwen3 else Qwen2_5_VLProcessor

    class WithoutVideo(stock):
        def __init__(self, image_processor, tokenizer):
            super().__init__(image_processor, tokenizer, None)

    return WithoutVideo(*parts)


@pytest.fixture(scope="session")
def idefics3(tmp_path_factory, tags_tokenizer) -> LoadedModel:
    return load_model(save_idefics3(tmp_path_factory.mktemp("idefics3"), tags_tokenizer))


@pytest.fixture(scope="session")
def text_model(tmp_path_factory, tags_tokenizer) -> LoadedModel:
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("llama")
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=len(tags_tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512,
        initializer_range=0.3, eos_token_id=tags_tokenizer.eos_token_id,
        bos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tags_tokenizer.save_pretrained(folder)
    return load_model(folder)


@pytest.fixture(params=["qwen25", "qwen3", "idefics3"])
def family(request) -> LoadedModel:
    return request.getfixturevalue(request.param)


def task(text, count):
    parts = [Part(kind="image", image=n) for n in range(count)]
    return Task(
        id="t", images=[], answer=Answer(value="1"), prompt=[*parts, Part(kind="text", text=text)]
    )


def one_image(loaded):
    """What the template writes for a picture, as text that an assistant's turn can hold."""
    return (
        "<image>" if loaded.pictures == "tiles" else "<|vision_start|><|image_pad|><|vision_end|>"
    )


def test_many_turns_equal_the_stock_processor_on_the_full_render(family, picture, monkeypatch):
    """Prompt, two calls with pictures in their results, answer: appended, against one render."""
    if family.model.config.model_type == "qwen2_5_vl":
        monkeypatch.setattr(family.tokenizer, "chat_template", QWEN25_TEMPLATE)
    prompt_images, first, second = [picture(64, 64), picture(40, 32)], picture(48, 32), picture()
    renderer, encode = Renderer(family, AIR), family.tokenizer.encode
    end = family.tokenizer.convert_ids_to_tokens(family.eos_ids[-1])
    space = " " if family.pictures == "tiles" else ""  # its template writes "Assistant: "
    turns = [
        "<think>hm </think><code>1+2 </code> ",
        " so <code>3+4 </code> ",
        " <answer>7</answer>",
    ]
    ids = renderer.prompt_ids(task("value?", 2), prompt_images)
    ids += encode(space + turns[0]) + renderer.output_ids("3\n[1 image]", [first])
    ids += encode(turns[1]) + renderer.output_ids("7", [second]) + encode(turns[2] + end + "\n")
    mark = one_image(family)
    said = (
        f"{turns[0]}<interpreter>3\n[1 image]{mark}</interpreter>"
        f"{turns[1]}<interpreter>7{mark}</interpreter>{turns[2]}"
    )
    user = [{"type": "image"}, {"type": "image"}, {"type": "text", "text": "value?"}]
    messages = [
        {"role": "user", "content": user},
        {"role": "assistant", "content": [{"type": "text", "text": said}]},
    ]
    whole = family.tokenizer.apply_chat_template(messages, tokenize=False)
    stock = stock_processor(family)
    images = [*prompt_images, first, second]
    batch = stock(text=[whole], images=[images], return_tensors="pt")
    assert ids == batch["input_ids"][0].tolist()
    assert sum(family.image_tokens(i) for i in images) == ids.count(family.image_token_id)
    if family.pictures == "patches":
        values, grid = family.pixels(images)
        assert torch.equal(values, batch["pixel_values"])
        assert torch.equal(grid, batch["image_grid_thw"])
    else:
        assert torch.equal(family.tiles(images)["pixel_values"], batch["pixel_values"])


def plain_logits(loaded, ids, images):
    x = torch.tensor([ids])
    if loaded.pictures == "patches":
        values, grid = loaded.pixels(images)
        types = (x == loaded.image_token_id).int()
        positions, _ = loaded.model.model.get_rope_index(x, types, image_grid_thw=grid)
        pictures = {"pixel_values": values, "image_grid_thw": grid, "position_ids": positions}
    else:
        pictures = loaded.tiles(images) if images else {}
    with torch.no_grad():
        return loaded.model(input_ids=x, **pictures).logits[0].float()


@pytest.mark.parametrize("name", ["idefics3", "text_model"])
def test_sampling_over_two_turns_equals_the_plain_forward_pass(name, picture, request):
    """Continued with a tool result (and its picture) out of the cache, like one whole pass."""
    loaded = request.getfixturevalue(name)
    images = [picture(64, 40)] if loaded.pictures != "none" else []
    made = [picture(30, 30)] if loaded.pictures != "none" else []
    renderer = Renderer(loaded, AIR)
    prompt = renderer.prompt_ids(task("the value?", len(images)), images)
    params = SamplingParams(max_tokens=8, seed=5)

    async def run():
        sampler = LocalSampler(loaded)
        one = SampleRequest(
            trajectory_id="a", group_id="", token_ids=prompt, images=images, params=params
        )
        first = await sampler.sample(one)
        longer = prompt + first.token_ids + renderer.output_ids("3", made)
        two = SampleRequest(
            trajectory_id="a", group_id="", token_ids=longer, images=images + made, params=params
        )
        return first, longer, await sampler.sample(two)

    first, longer, second = asyncio.run(run())
    ids, shown = longer + second.token_ids, images + made
    logits = plain_logits(loaded, ids, shown)
    logits[:, list(loaded.placeholder_ids)] = -torch.inf
    logprobs = logits.log_softmax(-1)
    for start, completion in ((len(prompt), first), (len(longer), second)):
        expected = [float(logprobs[start + n - 1, i]) for n, i in enumerate(completion.token_ids)]
        assert completion.logprobs == pytest.approx(expected, abs=1e-4)
        assert not set(completion.token_ids) & set(loaded.placeholder_ids)


def test_markers_of_tiles_cannot_be_sampled(idefics3):
    added = idefics3.tokenizer.get_added_vocab()
    marked = {added[t] for t in TILE_SPECIALS} - {added["<end_of_utterance>"]}
    assert set(idefics3.placeholder_ids) == marked
    assert added["<end_of_utterance>"] in idefics3.eos_ids


def test_a_text_model_refuses_pictures(text_model, picture):
    with pytest.raises(DataError, match="a text model sees no pictures"):
        text_model.image_ids(picture())
    assert not Renderer(text_model, AIR).can_show(picture())


def test_max_pixels_bounds_the_tiles(idefics3, picture):
    small = load_processor(idefics3.path, max_pixels=32 * 32)
    assert (idefics3.image_tokens(picture(64, 64)), small.image_tokens(picture(64, 64))) == (20, 4)
    with pytest.raises(DataError, match="min_pixels"):
        load_processor(idefics3.path, min_pixels=16)


def test_the_processor_needs_no_torch(qwen3):
    import subprocess
    import sys

    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from PIL import Image\n"
        "from air_reasoning.models.processor import load_processor\n"
        "from air_reasoning.renderer import Renderer\n"
        "from air_reasoning.turn_format import AIR\n"
        f"renderer = Renderer(load_processor({str(qwen3.path)!r}), AIR)\n"
        "print(len(renderer.output_ids('3', [Image.new('RGB', (64, 64))])))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(1 + 1 + 1 + 16 + 1 + 1)


def trained_adapter(loaded, folder):
    """An adapter that changes something: its B is not zero."""
    fresh = load_model(loaded.path)
    adapter = add_adapter(fresh.model, LoraConfig(rank=4, alpha=8))
    trained = {name: p for name, p in adapter.named_parameters() if p.requires_grad}
    assert trained
    assert not any("vis" in name for name in trained)
    torch.manual_seed(1)
    for parameter in trained.values():
        torch.nn.init.normal_(parameter, std=0.3)
    save_adapter(adapter, folder)
    return fresh


def test_an_adapter_is_saved_and_merged(family, picture, tmp_path):
    trained = trained_adapter(family, tmp_path)
    images = [picture(40, 32)]
    ids = Renderer(family, AIR).prompt_ids(task("the value?", 1), images)
    changed = plain_logits(trained, ids, images)
    assert not torch.allclose(changed, plain_logits(family, ids, images), atol=0.01)
    merged = load_model(family.path, adapter=tmp_path)
    assert torch.allclose(plain_logits(merged, ids, images), changed, atol=2e-4)
    named_by_itself = load_model(tmp_path)
    assert torch.allclose(plain_logits(named_by_itself, ids, images), changed, atol=2e-4)
    assert not [name for name, _ in merged.model.named_parameters() if "lora" in name]


def test_an_adapter_that_is_not_there(qwen3, tmp_path):
    with pytest.raises(DataError, match="adapter_config"):
        load_model(qwen3.path, adapter=tmp_path)
