"""Reading batches and the pre-training that learns from them."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from air_reasoning import pretrain
from air_reasoning.models.tiny import save_tiny
from air_reasoning.pretrain import ReadingRun, learning_rate, reader_model, train_reader
from air_reasoning.tasks.canvas import Mark
from air_reasoning.tasks.charts import Picture
from air_reasoning.tasks.reading import (
    CHARACTERS,
    Mixture,
    ReadingBatches,
    draw_shard,
    letter_labels,
    mixture,
    prompt_text,
    write_shard,
)


@pytest.fixture
def batches(tokenizer, tmp_path):
    def make():
        return ReadingBatches(
            tokenizer, seed="0/0", steps=4000, batch=4, shard_folder=tmp_path, shards=0
        )

    return make


def same(left, right):
    return all(np.array_equal(left[name], right[name]) for name in left)


def test_a_batch_does_not_depend_on_those_before_it(batches):
    used = batches()
    for step in (0, 1, 3500):
        used[step]
    assert same(used[2000], batches()[2000])
    assert not same(used[2000], used[2001])


@pytest.mark.parametrize("step", [0, 2600])
def test_only_response_tokens_have_weight(batches, tokenizer, step):
    batch = batches()[step]
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    for ids, weights in zip(batch["ids"], batch["weights"], strict=True):
        response = list(ids).index(end) + 1 + len(tokenizer.encode("\n<|im_start|>assistant\n"))
        assert not weights[:response].any()
        assert weights[response:].any()
        text = tokenizer.decode(ids[:response])
        assert text.startswith("<|im_start|>user\n<|vision_start|><|image_pad|>")
        assert text.endswith("<|im_end|>\n<|im_start|>assistant\n")
        assert not weights[ids == tokenizer.pad_token_id].any()


def test_the_parts_of_a_look_up_are_weighted(tokenizer, batches):
    batch = batches()[3600]
    weights = {float(w) for w in np.unique(batch["weights"])}
    assert weights == {0.0, np.float32(0.4), 1.0}


def test_letters_stand_in_their_half_of_their_patch():
    # Patches of 8 pixels: x 10 is the left half (8..12) of column 1, x 15 its right half.
    mark = Mark(text="A7?", xs=(10.0, 15.0, 20.0), y=33.0)
    picture = Picture(
        image=Image.new("RGB", (128, 128)), family="soup", renderer="pil", entries=[], marks=[mark]
    )
    letters, places = letter_labels([picture])
    assert letters.shape == (1, 16, 16, 2)
    assert (letters[0, 4, 1, 0], places[0, 4, 1, 0]) == (1 + CHARACTERS.index("A"), 0)
    assert (letters[0, 4, 1, 1], places[0, 4, 1, 1]) == (1 + CHARACTERS.index("7"), 1)
    assert np.count_nonzero(letters) == 2  # the question mark is no letter
    assert np.count_nonzero(places != -100) == 2


def test_the_mixture_goes_from_letters_to_looking_up():
    assert mixture(0, 6) == Mixture(soup=0.35, lookup=0.0, shards=0)
    assert mixture(2000, 6) == Mixture(soup=0.15, lookup=0.35, shards=6)
    assert mixture(5000, 6) == Mixture(soup=0.05, lookup=0.5, shards=6)


def test_a_shard_is_drawn_once_and_read_back(tmp_path, tokenizer):
    path = tmp_path / "shard-000.pickle"
    write_shard(path, 0, 0, 3)
    before = path.stat().st_mtime_ns
    write_shard(path, 0, 0, 3)
    assert path.stat().st_mtime_ns == before
    batches = ReadingBatches(tokenizer, seed="0", steps=9, batch=1, shard_folder=tmp_path, shards=1)
    assert [p.marks for p in batches.shard(0)] == [p.marks for p in draw_shard(0, 0, 3)]


def test_learning_rate_rises_stays_and_falls():
    rates = [learning_rate(step, 1000, 1.0) for step in (0, 59, 119, 500, 800, 999)]
    assert rates == pytest.approx([1 / 120, 0.5, 1.0, 1.0, 0.5, 0.02])


def state_of(folder):
    return torch.load(folder / "state.pt", weights_only=True)


@pytest.mark.timeout(600)
def test_interrupted_pre_training_goes_on_to_the_same_weights(tmp_path, ctrl_c_when, tokenizer):
    settings = {"steps": 6, "batch": 2, "processes": 1, "shards": 0, "save_every": 3}
    whole = ReadingRun(folder=tmp_path / "whole", **settings)
    broken = ReadingRun(folder=tmp_path / "broken", **settings)
    for run in (whole, broken):
        (run.folder / "shards").mkdir(parents=True)
    pretrain._train_rank(0, whole, "")
    with ctrl_c_when((broken.folder / "state.pt").exists):
        pretrain._train_rank(0, broken, "")
    assert state_of(broken.folder)["step"] == 3

    train_reader(broken)
    expected, found = state_of(whole.folder), state_of(broken.folder)
    assert found["step"] == expected["step"] == 6
    assert all(map(torch.equal, found["master"], expected["master"]))
    loads_in_plain_transformers(broken.folder, tmp_path / "model")


def loads_in_plain_transformers(folder, checkpoint):
    from transformers import AutoTokenizer, Qwen3VLForConditionalGeneration

    model, tokenizer = reader_model(folder)
    save_tiny(checkpoint, model, tokenizer)
    plain, report = Qwen3VLForConditionalGeneration.from_pretrained(
        checkpoint, output_loading_info=True, dtype=torch.float32
    )
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert json.loads((checkpoint / "config.json").read_text())["model_type"] == "qwen3_vl"
    ids = AutoTokenizer.from_pretrained(checkpoint).encode(
        prompt_text("Read."), add_special_tokens=False
    )
    weight = model.get_input_embeddings().weight
    assert torch.equal(plain.get_input_embeddings().weight, weight.half().float())
    assert max(ids) < len(weight)
