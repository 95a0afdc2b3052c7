"""The tiny model is a real one: its tokenizer, its batched vision tower, its checkpoint."""

import numpy as np
import pytest
import torch
from PIL import Image

from air_reasoning.errors import DataError
from air_reasoning.models.load import load_model
from air_reasoning.models.pixels import PixelCache
from air_reasoning.models.save import load_weights, save_model
from air_reasoning.models.tiny import TAG_TOKENS, location_token
from air_reasoning.models.vision_batch import BatchedVision, merge_order, patches_of
from air_reasoning.tasks.questions import ORDINALS
from air_reasoning.tasks.tables import LETTERS, WORDS
from air_reasoning.types import ImageRef


@pytest.fixture(scope="module")
def loaded(tiny_model):
    return load_model(tiny_model)


@pytest.fixture(scope="module")
def pictures():
    numbers = np.random.default_rng(0).integers(0, 256, (3, 128, 128, 3), dtype=np.uint8)
    return [Image.fromarray(array) for array in numbers]


def ids_of(tokenizer, text):
    return tokenizer.encode(text, add_special_tokens=False)


@pytest.mark.parametrize(
    "texts", [WORDS, LETTERS, ORDINALS, "0123456789", TAG_TOKENS, ("<loc_000>", "<loc_127>")]
)
def test_words_letters_digits_and_tags_are_one_token_each(tokenizer, texts):
    assert {text: len(ids_of(tokenizer, text)) for text in texts} == dict.fromkeys(texts, 1)


def test_a_word_is_the_same_token_wherever_it_stands(tokenizer):
    (wheat,) = ids_of(tokenizer, "wheat")
    assert ids_of(tokenizer, "<loc_017>wheat=<loc_033>24,wheat=6.5").count(wheat) == 2


def test_any_text_comes_back(tokenizer):
    for text in ("πr² ≈ 3,14 🙂\n\n  x", "日本 \t`````` É", "What is A's mean?", "<|nothing|>", ""):
        assert tokenizer.decode(ids_of(tokenizer, text)) == text


def test_location_tokens_count_eight_rows_of_sixteen():
    assert [location_token(x, y) for x, y in ((0, 0), (127, 0), (0, 16), (500, -3), (64, 64))] == [
        "<loc_000>", "<loc_015>", "<loc_016>", "<loc_015>", "<loc_072>",
    ]  # fmt: skip


def test_the_chat_template_is_the_prompt_of_pre_training(tokenizer, loaded):
    from air_reasoning.renderer import Renderer
    from air_reasoning.tasks.reading import prompt_text
    from air_reasoning.turn_format import AIR
    from air_reasoning.types import Answer, Part, Task

    parts = [Part(kind="image"), Part(kind="text", text="Read.")]
    ref = ImageRef(sha256="", width=128, height=128, path="")
    task = Task(id="1", prompt=parts, images=[ref], answer=Answer(value=""))
    image = Image.new("RGB", (128, 128))
    assert Renderer(loaded, AIR).prompt_ids(task, [image]) == ids_of(
        tokenizer, prompt_text("Read.")
    )


def test_merge_order_of_a_four_by_four_grid():
    assert merge_order(4, 2).tolist() == [0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15]


def test_patches_are_those_of_the_image_processor(loaded, pictures):
    stacked = torch.from_numpy(np.stack([np.asarray(p) for p in pictures]))
    expected, grid = loaded.pixels(pictures)
    assert grid.tolist() == [[1, 16, 16]] * 3
    torch.testing.assert_close(patches_of(stacked, 8, 2).flatten(0, 1), expected, atol=1e-5, rtol=0)


def test_the_batched_tower_gives_the_features_of_the_stock_one(loaded, pictures):
    values, grid = loaded.pixels(pictures)
    visual = loaded.model.model.visual
    with torch.no_grad():
        stock = visual(values, grid)
        hidden, features = BatchedVision(visual, 16)(values.view(3, 256, -1))
    torch.testing.assert_close(features.flatten(0, 1), stock.pooler_output, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(hidden.flatten(0, 1), stock.last_hidden_state, atol=1e-5, rtol=1e-5)


def test_saved_weights_come_back_and_others_are_refused(loaded, tmp_path):
    save_model(loaded, tmp_path / "half", dtype=torch.float16)
    assert loaded.model.dtype == torch.float32
    again = load_model(tmp_path / "half")
    name, weight = next(iter(loaded.model.named_parameters()))
    torch.testing.assert_close(dict(again.model.named_parameters())[name], weight.half().float())

    with torch.no_grad():
        next(again.model.parameters()).zero_()
    load_weights(again.model, loaded.path)
    torch.testing.assert_close(dict(again.model.named_parameters())[name], weight)

    with pytest.raises(DataError, match=r"holds no \*.safetensors"):
        load_weights(again.model, tmp_path)
    with pytest.raises(DataError, match=r"another model: \d+ do not fit \(model\.lang"):
        load_weights(torch.nn.Sequential(), loaded.path)
    weights = next(loaded.path.glob("*.safetensors")).read_bytes()
    (tmp_path / "model.safetensors").write_bytes(weights[:1000])
    with pytest.raises(DataError, match="another shape, or damaged"):
        load_weights(again.model, tmp_path)


def test_pixels_are_processed_once_while_there_is_room(loaded, tmp_path):
    Image.new("RGB", (128, 128), "red").save(tmp_path / "red.png")
    ref = ImageRef(sha256="red", width=128, height=128, path=str(tmp_path / "red.png"))
    roomy, full = PixelCache(loaded), PixelCache(loaded, most_numbers=10)
    assert roomy(ref) is roomy(ref)
    assert full(ref) is not full(ref)
    (tmp_path / "red.png").unlink()
    assert roomy(ref).tokens(2) == 64
    with pytest.raises(DataError, match="no such picture"):
        full(ref)
