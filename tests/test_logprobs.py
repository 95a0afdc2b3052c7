"""Shared-prefix log-probabilities against plain unpadded rows, on real tiny Qwen-VL classes."""

import itertools
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)

from air_reasoning.batch import GroupBatch, Pixels, group_batch
from air_reasoning.logprobs import Layout, response_logprobs
from air_reasoning.loss import LossConfig, policy_loss
from air_reasoning.training_samples import trainable_tokens
from air_reasoning.types import ImageRef, TrainingSample

IMAGE, VIDEO, START, END = 90, 91, 92, 93
MERGE, PATCH = 2, 4
VOCABULARY = 96
ROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 2, 2]}
TEXT = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 256,
    "tie_word_embeddings": True,
    "initializer_range": 0.2,
}
IDS = {
    "image_token_id": IMAGE,
    "video_token_id": VIDEO,
    "vision_start_token_id": START,
    "vision_end_token_id": END,
    "tie_word_embeddings": True,
}


def qwen3_vl() -> Qwen3VLForConditionalGeneration:
    rope = ROPE | {"mrope_interleaved": True}
    vision = {
        "depth": 2,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_heads": 2,
        "patch_size": PATCH,
        "spatial_merge_size": MERGE,
        "temporal_patch_size": 2,
        "out_hidden_size": 32,
        "num_position_embeddings": 16,
        "deepstack_visual_indexes": [0],
        "initializer_range": 0.2,
    }
    text = TEXT | {"head_dim": 16, "rope_parameters": rope}
    config = Qwen3VLConfig(text_config=text, vision_config=vision, **IDS)
    return Qwen3VLForConditionalGeneration(config)


def qwen2_5_vl() -> Qwen2_5_VLForConditionalGeneration:
    vision = {
        "depth": 2,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_heads": 2,
        "patch_size": PATCH,
        "spatial_merge_size": MERGE,
        "temporal_patch_size": 2,
        "out_hidden_size": 32,
        "window_size": 16,
        "fullatt_block_indexes": [1],
    }
    text = TEXT | {"rope_parameters": ROPE}
    config = Qwen2_5_VLConfig(text_config=text, vision_config=vision, **IDS)
    return Qwen2_5_VLForConditionalGeneration(config)


@pytest.fixture(scope="module", params=[qwen3_vl, qwen2_5_vl], ids=["qwen3_vl", "qwen2_5_vl"])
def model(request):
    torch.manual_seed(0)
    return request.param().eval()


GRIDS = {"wide": (1, 4, 8), "small": (1, 4, 4), "tall": (1, 8, 4)}


def load(image: ImageRef) -> Pixels:
    """Noise in the shape of a picture, the same for the same name."""
    grid = torch.tensor([GRIDS[image.sha256]])
    generator = torch.Generator().manual_seed(len(image.sha256))
    values = torch.randn(int(grid.prod()), 3 * 2 * PATCH * PATCH, generator=generator)
    return Pixels(values=values, grid=grid)


def ref(name: str) -> ImageRef:
    return ImageRef(sha256=name, width=1, height=1, path="")


def shown(name: str) -> list[int]:
    tokens = load(ref(name)).tokens(MERGE)
    return [START, *[IMAGE] * tokens, END]


def row(
    group: str, prompt: list[int], ids: list[int], names: list[str], mask: list[int] | None = None
):
    return TrainingSample(
        group_id=group,
        prompt_ids=prompt,
        token_ids=ids,
        loss_mask=mask or [1] * len(ids),
        logprobs=[-0.5] * len(ids),
        advantage=1.0,
        images=[ref(name) for name in names],
    )


FIRST = [1, *shown("wide"), 2, 3, 4]
SECOND = [1, 2]
THIRD = [5, *shown("small"), 6, *shown("tall"), 7, 8, 9, 10]
RETURNED = [20, 21, 22, *shown("tall"), 23, 24]
SAMPLES = [
    row("a", FIRST, [10, 11, 12, 13, 14], ["wide"], [1, 1, 0, 0, 1]),
    row("a", FIRST, [15], ["wide"]),
    row("b", SECOND, [16, 17, 18], []),
    row("c", THIRD, [19, 11], ["small", "tall"]),
    row("c", THIRD, [30, 31, 32, 33, 34, 35, 36], ["small", "tall"]),
]
WITH_RETURNED_PICTURE = [
    *SAMPLES,
    row("a", FIRST, RETURNED, ["wide", "tall"], [1, 1, 1] + [0] * (len(RETURNED) - 4) + [1]),
    row("b", SECOND, [40, *shown("small"), 41], ["small"], [1, *[0] * 6, 1]),
]


def batch_of(samples: list[TrainingSample]) -> GroupBatch:
    batch, counts = group_batch(samples, load, image_token_id=IMAGE, merge_size=MERGE)
    assert batch is not None
    assert counts["batch/image_mismatch"] == 0
    return batch


def reference_logprobs(model, sample: TrainingSample, temperature: float = 1.0) -> Tensor:
    """One unpadded row through the stock forward; log-probabilities of its trained tokens."""
    ids = torch.tensor([sample.prompt_ids + sample.token_ids])
    pixels = [load(image) for image in sample.images]
    logits = model(
        input_ids=ids,
        mm_token_type_ids=(ids == IMAGE).int(),
        pixel_values=torch.cat([p.values for p in pixels]) if pixels else None,
        image_grid_thw=torch.cat([p.grid for p in pixels]) if pixels else None,
    ).logits[0]
    logits[:, [IMAGE, VIDEO]] = -1e9
    logprobs = (logits[len(sample.prompt_ids) - 1 : -1].float() / temperature).log_softmax(-1)
    picked = logprobs.gather(-1, torch.tensor(sample.token_ids)[:, None])[:, 0]
    return picked[torch.tensor(sample.loss_mask) > 0]


def gradients(model, loss: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    loss.backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("layout", ["shared", "padded", "packed"])
@pytest.mark.parametrize("samples", [SAMPLES, WITH_RETURNED_PICTURE], ids=["text", "pictures"])
def test_logprobs_and_gradients_equal_plain_rows(model, samples, layout):
    logprobs, _ = response_logprobs(
        model, batch_of(samples), banned_ids=(IMAGE, VIDEO), layout=layout
    )
    expected = [reference_logprobs(model, sample) for sample in samples]
    for index, (sample, row_logprobs) in enumerate(zip(samples, expected, strict=True)):
        trained = torch.tensor(sample.loss_mask) > 0
        got = logprobs[index, : len(sample.token_ids)][trained]
        torch.testing.assert_close(got, row_logprobs, atol=1e-4, rtol=0)
    assert (logprobs == 0).sum() == logprobs.numel() - sum(map(len, expected))

    got = gradients(model, logprobs.square().sum())
    plain = gradients(model, torch.cat(expected).square().sum())
    assert got.keys() == plain.keys()
    assert any(name.startswith("model.visual") for name in got)
    for name, gradient in plain.items():
        scale = gradient.abs().max().item() + 1e-3
        torch.testing.assert_close(got[name], gradient, atol=1e-4 * scale, rtol=0, msg=name)


def test_each_prompt_and_its_pictures_run_once(model):
    patches: list[int] = []
    hook = model.model.visual.register_forward_pre_hook(
        lambda _, args: patches.append(len(args[0]))
    )
    tokens: list[tuple[int, ...]] = []
    layer = model.model.language_model.layers[0]
    second = layer.mlp.register_forward_pre_hook(lambda _, args: tokens.append(args[0].shape[:2]))
    response_logprobs(model, batch_of(SAMPLES))
    hook.remove()
    second.remove()
    assert patches == [32 + 16 + 32]  # wide, small and tall once each
    assert tokens == [(3, len(THIRD)), (5, 7)]


def test_chunks_change_nothing(model):
    batch = batch_of(SAMPLES)
    whole, whole_entropy = response_logprobs(model, batch)
    chunked, entropy = response_logprobs(model, batch, chunk_elements=2 * VOCABULARY)
    torch.testing.assert_close(chunked, whole)
    torch.testing.assert_close(entropy, whole_entropy)
    expected = gradients(model, whole.sum())
    for name, gradient in gradients(model, chunked.sum()).items():
        torch.testing.assert_close(gradient, expected[name], atol=1e-4, rtol=1e-4)


SPLITS = ([7], [4, 3], [1, 2, 3, 1])
LOSSES = [
    LossConfig(),
    LossConfig(kind="cispo", entropy_coef=0.01),
    LossConfig(kind="gspo", sampler_weight_cap=None),
]


@pytest.mark.parametrize("config", LOSSES, ids=lambda config: config.kind)
def test_any_split_padding_or_packing_gives_the_same_loss_and_gradients(model, config):
    """Groups cut apart, each part laid out and padded in its own way; far from the first update."""

    def step(split: list[int], layout: Layout) -> tuple[float, dict[str, Tensor]]:
        total, start = torch.zeros(()), 0
        for size in split:
            batch = batch_of(WITH_RETURNED_PICTURE[start : start + size])
            logprobs, entropy = response_logprobs(
                model, batch, banned_ids=(IMAGE, VIDEO), layout=layout, entropy_grad=True
            )
            old = logprobs.detach() - 0.1  # a ratio of 1.1
            loss, _ = policy_loss(
                logprobs,
                old,
                batch.logprobs_BT,
                batch.advantages_B,
                batch.loss_mask_BT,
                config,
                trainable_tokens(WITH_RETURNED_PICTURE),
                entropy_BT=entropy,
            )
            total, start = total + loss, start + size
        return total.item(), gradients(model, total)

    loss, expected = step([7], "shared")
    layouts: tuple[Layout, ...] = ("shared", "padded", "packed")
    for split, layout in itertools.product(SPLITS, layouts):
        part_loss, got = step(split, layout)
        assert part_loss == pytest.approx(loss, abs=1e-5)
        for name, gradient in expected.items():
            torch.testing.assert_close(got[name], gradient, atol=1e-5, rtol=1e-4, msg=name)


def test_eager_attention_agrees(model):
    """It is the faster one for bfloat16 training on a CPU."""
    batch = batch_of(WITH_RETURNED_PICTURE)
    expected, _ = response_logprobs(model, batch)
    model.set_attn_implementation("eager")
    got, _ = response_logprobs(model, batch)
    model.set_attn_implementation("sdpa")
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=0)


def test_temperature_and_entropy(model):
    batch = batch_of(SAMPLES[:1])
    logprobs, _ = response_logprobs(model, batch, temperature=2.0, banned_ids=(IMAGE, VIDEO))
    expected = reference_logprobs(model, SAMPLES[0], temperature=2.0)
    torch.testing.assert_close(logprobs[0, [0, 1, 4]], expected, atol=1e-4, rtol=0)
    _, entropy = response_logprobs(model, batch, banned_ids=range(1, VOCABULARY))
    assert entropy.abs().max() < 1e-6  # only token 0 is left
    _, entropy = response_logprobs(model, batch, temperature=1e6, entropy_grad=True)
    assert entropy[0, 0].item() == pytest.approx(torch.tensor(float(VOCABULARY)).log().item())
    assert entropy.requires_grad


def test_tokens_sampled_at_their_own_temperatures(model):
    hot = [1.0, 1.0, 1.0, 0.5, 2.0]
    rows = [replace(SAMPLES[0], temperatures=hot), replace(SAMPLES[1], temperatures=[0.5])]
    logprobs, _ = response_logprobs(
        model, batch_of(rows), temperature=7.0, banned_ids=(IMAGE, VIDEO), chunk_elements=VOCABULARY
    )
    at_one = reference_logprobs(model, SAMPLES[0])[:2]
    torch.testing.assert_close(logprobs[0, :2], at_one, atol=1e-4, rtol=0)
    at_two = reference_logprobs(model, SAMPLES[0], temperature=2.0)[2:]
    torch.testing.assert_close(logprobs[0, 4:], at_two, atol=1e-4, rtol=0)
    at_half = reference_logprobs(model, SAMPLES[1], temperature=0.5)
    torch.testing.assert_close(logprobs[1, :1], at_half, atol=1e-4, rtol=0)


def test_autocast_stays_close_and_returns_fp32(model):
    batch = batch_of(SAMPLES)
    exact, _ = response_logprobs(model, batch)
    rough, _ = response_logprobs(model, batch, autocast=True)
    assert rough.dtype == torch.float32
    assert (rough - exact).abs().max() < 0.5
    assert not torch.equal(rough, exact)


def test_a_row_with_wrong_placeholders_is_dropped_and_counted():
    short = row("a", FIRST, [10], [])  # the picture is gone
    surplus = row("a", FIRST, [10], ["wide", "tall"])  # a picture that nothing shows
    sampled = row("b", SECOND, [10, IMAGE], [])  # a placeholder that nothing fills
    batch, counts = group_batch(
        [short, SAMPLES[0], surplus, sampled], load, image_token_id=IMAGE, merge_size=MERGE
    )
    assert batch is not None
    assert batch.samples == SAMPLES[:1]
    assert counts == {"batch/rows": 1, "batch/prompts": 1, "batch/image_mismatch": 3}
    nothing, counts = group_batch([short], load, image_token_id=IMAGE, merge_size=MERGE)
    assert nothing is None
    assert counts["batch/image_mismatch"] == 1


def test_padding_sides_masks_and_sharing():
    batch = batch_of(
        [
            row("a", [1, 2, 3], [4, 5], [], [1, 0]),
            row("a", [1, 2, 3], [6], []),
            row("b", [7], [8], []),
        ]
    ).to("cpu")
    assert batch.prompt_ids_PL.tolist() == [[1, 2, 3], [0, 0, 7]]
    assert batch.prompt_mask_PL.tolist() == [[1, 1, 1], [0, 0, 1]]
    assert batch.prompt_of_row_B.tolist() == [0, 0, 1]
    assert batch.response_ids_BT.tolist() == [[4, 5], [6, 0], [8, 0]]
    assert batch.response_mask_BT.tolist() == [[1, 1], [1, 0], [1, 0]]
    assert batch.loss_mask_BT.tolist() == [[1, 0], [1, 0], [1, 0]]
    assert batch.logprobs_BT.tolist() == [[-0.5, -0.5], [-0.5, 0.0], [-0.5, 0.0]]


def test_groups_with_the_same_text_stay_groups():
    """Two tasks may read alike and show different pictures."""
    prompt = [1, *shown("wide"), 2]
    other = [1, *shown("tall"), 2]
    assert prompt == other
    batch = batch_of([row("a", prompt, [3], ["wide"]), row("b", other, [3], ["tall"])])
    assert batch.prompt_of_row_B.tolist() == [0, 1]
    assert [p.grid.tolist() for p in batch.prompt_pixels if p] == [[[1, 4, 8]], [[1, 8, 4]]]
