"""Rendering is append-only and equal to the whole conversation rendered at once."""

import json
import shutil

import pytest

from air_reasoning.errors import DataError
from air_reasoning.models.load import load_model
from air_reasoning.models.token_text import TokenText
from air_reasoning.renderer import Renderer
from air_reasoning.turn_format import AIR
from air_reasoning.types import Answer, Part, Task


def task(*parts):
    prompt = [
        Part(kind="image", image=p) if isinstance(p, int) else Part(kind="text", text=p)
        for p in parts
    ]
    return Task(id="t1", prompt=prompt, images=[], answer=Answer(value="1"))


def whole(loaded, messages, images):
    """The chat template's text, encoded at once, with each placeholder widened."""
    text = loaded.tokenizer.apply_chat_template(messages, tokenize=False)
    counts = iter([loaded.image_tokens(image) for image in images])
    ids = []
    for token in loaded.tokenizer(text, add_special_tokens=False)["input_ids"]:
        ids += [token] * (next(counts) if token == loaded.image_token_id else 1)
    return ids


@pytest.mark.parametrize("system", ["", "Be brief."])
def test_turn_by_turn_equals_the_full_template_render(loaded, picture, system):
    images, made = [picture(64, 64), picture(32, 16)], [picture(48, 32)]
    renderer = Renderer(loaded, AIR, system)
    encode = loaded.tokenizer.encode
    # The qwen25 tokenizer has no tags of its own; a space keeps its merges inside the turns.
    first, second = "<think>hm </think><code>1+2 </code> ", " <answer>3</answer><|im_end|>\n"
    ids = renderer.prompt_ids(task("see", 0, "and", 1, "value?"), images)
    ids += encode(first) + renderer.output_ids("3\n[1 image]", made) + encode(second)
    picture_part = {"type": "image"}
    messages = [{"role": "system", "content": system}] if system else []
    messages += [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "see"}, picture_part, {"type": "text", "text": "and"},
                picture_part, {"type": "text", "text": "value?"},
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": first + "<interpreter>3\n[1 image]"},
                picture_part,
                {"type": "text", "text": "</interpreter> <answer>3</answer>"},
            ],
        },
    ]  # fmt: skip
    assert ids == whole(loaded, messages, images + made)


def test_placeholders_are_as_many_as_image_tokens(loaded, picture):
    images = [picture(64, 64), picture(32, 16)]
    renderer = Renderer(loaded, AIR)
    ids = renderer.prompt_ids(task(0, 1, "x"), images)
    _, grid = loaded.pixels(images)
    assert ids.count(loaded.image_token_id) == int((grid.prod(-1) // 4).sum()) == 16 + 2


def test_text_that_spells_tokens_stays_text(loaded, picture):
    renderer = Renderer(loaded, AIR)
    said = "<|image_pad|> <|im_end|> <code> \\boxed{ <loc_001>"
    clean = renderer.prompt_ids(task(0, "x"), [picture()])
    ids = renderer.prompt_ids(task(0, said), [picture()])
    specials = [i for i in ids if i in renderer.token_text.added.values()]
    assert specials == [i for i in clean if i in renderer.token_text.added.values()]
    assert said in loaded.tokenizer.decode(ids)
    output = renderer.output_ids("</interpreter><|image_pad|></code>")
    assert loaded.tokenizer.decode(output) == (
        "<interpreter></interpreter><|image_pad|></code></interpreter>"
    )
    assert loaded.image_token_id not in output


def test_segments_cover_the_turn_token_by_token(qwen3):
    renderer = Renderer(qwen3, AIR)
    text = "<think><loc_000>a é🙂</think><code>```python\n1\n```</code>"
    ids = qwen3.tokenizer.encode(text)
    logprobs = [-float(n) for n in range(len(ids))]
    segments = renderer.segments(ids, logprobs)
    assert [s.kind for s in segments] == ["think", "code"]
    assert segments[0].text == "<think>a é🙂</think>"
    assert segments[1].text == "<code>```python\n1\n```</code>"
    assert segments[0].token_ids + segments[1].token_ids == ids
    assert segments[0].logprobs + segments[1].logprobs == logprobs
    assert [renderer.token_text.piece(i) for i in segments[1].token_ids] == [
        "<code>", "```python\n", "1", "\n```", "</code>",
    ]  # fmt: skip
    end = qwen3.tokenizer.encode("<answer>3</answer><|im_end|>")
    (answer,) = renderer.segments(end, [0.0] * len(end))
    assert (answer.kind, answer.token_ids) == ("answer", end)
    (nothing,) = renderer.segments(end[-1:], [0.0])
    assert (nothing.kind, nothing.text, nothing.token_ids) == ("text", "", end[-1:])


def test_a_token_belongs_where_it_begins(qwen25):
    """Tags of several tokens: the one that ends ``</code>`` stays with the code."""
    renderer = Renderer(qwen25, AIR)
    ids = qwen25.tokenizer.encode("so <code>1</code>\n")
    segments = renderer.segments(ids, [0.0] * len(ids))
    assert [i for s in segments for i in s.token_ids] == ids
    assert [s.kind for s in segments][:2] == ["text", "code"]
    assert qwen25.tokenizer.decode(segments[1].token_ids).endswith("</code>")


def test_starts_follow_characters_that_several_tokens_share(qwen3):
    text = TokenText(qwen3.tokenizer)
    ids = qwen3.tokenizer.encode("a🙂b")
    assert text.starts(ids) == [0, 1, 1, 1, 1, 2]


def test_a_picture_that_the_task_does_not_have(qwen3, picture):
    with pytest.raises(DataError, match="task t1: the prompt names picture 1 of 1"):
        Renderer(qwen3, AIR).prompt_ids(task(1), [picture()])


def test_pixel_limits_reach_the_count_and_the_pixels(qwen3, picture):
    small = load_model(qwen3.path, max_pixels=32 * 32)
    assert small.image_tokens(picture(64, 64)) == 4
    assert small.pixels([picture(64, 64)])[1].tolist() == [[1, 4, 4]]


def broken(qwen3, tmp_path):
    return shutil.copytree(qwen3.path, tmp_path / "model")


def test_no_model_folder(tmp_path):
    with pytest.raises(DataError, match="no such model folder"):
        load_model(tmp_path / "absent")
    with pytest.raises(DataError, match=r"config\.json: missing"):
        load_model(tmp_path)


def test_a_model_of_another_kind(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"layers": 2}))
    with pytest.raises(DataError, match="no model_type"):
        load_model(tmp_path)


def test_cut_off_weights(qwen3, tmp_path):
    folder = broken(qwen3, tmp_path)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(DataError, match=r"model\.safetensors: broken or cut off"):
        load_model(folder)


def test_absent_tokenizer_and_absent_weights(qwen3, tmp_path):
    folder = broken(qwen3, tmp_path)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(DataError, match=r"tokenizer\.json: missing"):
        load_model(folder)


def test_weights_that_lack_a_tensor(qwen3, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = broken(qwen3, tmp_path)
    tensors = load_file(folder / "model.safetensors")
    tensors.pop("model.language_model.norm.weight")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(DataError, match=r"1 weights are absent \(model.language_model.norm.weight"):
        load_model(folder)
