"""The local engine against the plain forward pass of the same model."""

import asyncio

import pytest
import torch

from air_reasoning.errors import SamplerError
from air_reasoning.models.sampling import choose, uniforms
from air_reasoning.renderer import Renderer
from air_reasoning.samplers.base import SampleRequest, SamplingParams
from air_reasoning.samplers.local import LocalSampler
from air_reasoning.samplers.settings import LocalSamplerConfig
from air_reasoning.turn_format import AIR
from air_reasoning.types import Answer, Part, Task


def prompt(loaded, text, images=()):
    parts = [Part(kind="image", image=n) for n in range(len(images))]
    task = Task(
        id="t", images=[], answer=Answer(value="1"), prompt=[*parts, Part(kind="text", text=text)]
    )
    return Renderer(loaded, AIR).prompt_ids(task, images)


def request(name, ids, images=(), group="", **params):
    params = {"temperature": 1.0, "max_tokens": 12, "seed": 5} | params
    return SampleRequest(
        trajectory_id=name,
        group_id=group,
        token_ids=list(ids),
        images=list(images),
        params=SamplingParams(**params),
    )


def together(loaded, requests, **config):
    async def run():
        sampler = LocalSampler(loaded, LocalSamplerConfig(**config))
        return await asyncio.gather(*[sampler.sample(r) for r in requests])

    return asyncio.run(run())


def forward_logits(loaded, ids, images=()):
    """Logits [len(ids), vocabulary] of one plain pass without any cache."""
    x = torch.tensor([ids])
    extra = {}
    if images:
        pixels, grid = loaded.pixels(list(images))
        extra = {"pixel_values": pixels, "image_grid_thw": grid}
    types = (x == loaded.image_token_id).int()
    with torch.no_grad():
        positions, _ = loaded.model.model.get_rope_index(
            x, types, image_grid_thw=extra.get("image_grid_thw")
        )
        return loaded.model(input_ids=x, position_ids=positions, **extra).logits[0].float()


def expected_logprobs(loaded, ids, new, images=(), temperature=1.0, banned=()):
    logits = forward_logits(loaded, [*ids, *new], images)[len(ids) - 1 : -1] / temperature
    logits[:, [*loaded.placeholder_ids, *banned]] = -torch.inf
    return logits.log_softmax(-1)[torch.arange(len(new)), torch.tensor(new)]


def test_greedy_equals_transformers_generate(loaded, picture):
    images = [picture(40, 32), picture(64, 16, 2)]
    prompts = [prompt(loaded, "the value?", images), prompt(loaded, "print it, please", images)]
    answers = together(
        loaded,
        [request(str(n), ids, images, temperature=0.0) for n, ids in enumerate(prompts)],
    )
    pixels, grid = loaded.pixels(images)
    for ids, answer in zip(prompts, answers, strict=True):
        x = torch.tensor([ids])
        reference = loaded.model.generate(
            input_ids=x, pixel_values=pixels, image_grid_thw=grid, max_new_tokens=12,
            mm_token_type_ids=(x == loaded.image_token_id).int(), do_sample=False,
            eos_token_id=None, suppress_tokens=list(loaded.placeholder_ids),
        )  # fmt: skip
        assert answer.token_ids == reference[0, len(ids) :].tolist()
        assert answer.finish_reason == "length"


def test_logprobs_are_those_of_the_distribution_sampled_from(loaded, picture):
    images = [picture()]
    ids = prompt(loaded, "the value?", images)
    (answer,) = together(loaded, [request("a", ids, images, temperature=0.7, banned_ids=(70, 71))])
    expected = expected_logprobs(loaded, ids, answer.token_ids, images, 0.7, (70, 71))
    assert torch.tensor(answer.logprobs) == pytest.approx(expected, abs=1e-4)


def test_a_trajectory_does_not_depend_on_its_neighbours(loaded, picture):
    images = [picture()]
    mine = request("me", prompt(loaded, "the value?", images), images, seed=11)
    others = [
        request(str(n), prompt(loaded, "print " * n, images), images, seed=n, max_tokens=3 + 2 * n)
        for n in range(1, 6)
    ]
    (alone,) = together(loaded, [mine])
    among = together(loaded, [*others[:3], mine, *others[3:]])[3]
    assert among.token_ids == alone.token_ids


def test_the_same_seed_gives_the_same_bits(loaded, picture):
    images = [picture()]
    ids = prompt(loaded, "the value?", images)
    requests = [request(str(n), ids, images, group="g", seed=n) for n in range(6)]
    first, second = together(loaded, requests), together(loaded, requests)
    assert [a.token_ids for a in first] == [a.token_ids for a in second]
    assert [a.logprobs for a in first] == [a.logprobs for a in second]
    assert len({tuple(a.token_ids) for a in first}) == 6


def test_a_group_shares_one_prefill_and_samples_as_if_alone(loaded, picture, monkeypatch):
    images = [picture()]
    ids = prompt(loaded, "the value?", images)
    prompts_run = []
    forward = loaded.model.model.forward

    def counted(*args, **kwargs):
        prompts_run.append(len(kwargs["input_ids"]))
        return forward(*args, **kwargs)

    monkeypatch.setattr(loaded.model.model, "forward", counted)
    shared = together(loaded, [request(str(n), ids, images, "g", seed=n) for n in range(4)])
    assert prompts_run == [1]
    apart = [together(loaded, [request(str(n), ids, images, seed=n)])[0] for n in range(4)]
    assert [a.token_ids for a in shared] == [a.token_ids for a in apart]


def two_turns(loaded, ids, images, suffix, new_images, force_limit, neighbour):
    """Sample, append ``suffix``, sample again; a neighbour keeps the batch busy meanwhile."""

    async def one(sampler):
        first = await sampler.sample(request("a", ids, images, temperature=0.0, max_tokens=5))
        seen = [*ids, *first.token_ids, *suffix]
        second = await sampler.sample(
            request("a", seen, [*images, *new_images], temperature=0.0, max_tokens=6)
        )
        sampler.release("a")
        return seen, second

    async def run():
        config = LocalSamplerConfig(force_limit=force_limit, wait_for_tools_ms=0)
        sampler = LocalSampler(loaded, config)
        sampler.open("a")
        busy = sampler.sample(request("b", neighbour, images, max_tokens=30))
        return (await asyncio.gather(one(sampler), busy))[0]

    return asyncio.run(run())


@pytest.mark.parametrize("force_limit", [24, 1], ids=["forced", "one stretch"])
def test_a_tool_result_costs_only_its_own_tokens_and_changes_nothing(loaded, picture, force_limit):
    images = [picture()]
    ids = prompt(loaded, "the value?", images)
    suffix = Renderer(loaded, AIR).output_ids("3 print 4")
    seen, second = two_turns(
        loaded, ids, images, suffix, [], force_limit, prompt(loaded, "print", images)
    )
    expected = forward_logits(loaded, [*seen, *second.token_ids], images)[len(seen) - 1 : -1]
    expected[:, list(loaded.placeholder_ids)] = -torch.inf
    assert second.token_ids == expected.argmax(-1).tolist()
    reference = expected_logprobs(loaded, seen, second.token_ids, images)
    assert torch.tensor(second.logprobs) == pytest.approx(reference, abs=1e-4)


def test_a_picture_in_a_tool_result_is_seen_at_its_place(loaded, picture):
    images, new = [picture()], [picture(48, 48, 20)]
    ids = prompt(loaded, "the value?", images)
    suffix = Renderer(loaded, AIR).output_ids("[1 image]", new)
    seen, second = two_turns(loaded, ids, images, suffix, new, 24, prompt(loaded, "a", images))
    reference = expected_logprobs(loaded, seen, second.token_ids, images + new)
    assert torch.tensor(second.logprobs) == pytest.approx(reference, abs=1e-4)


def test_only_the_suffix_is_run_in_the_second_turn(qwen3, picture, monkeypatch):
    images = [picture()]
    ids = prompt(qwen3, "the value?", images)
    runs = []
    forward = qwen3.model.model.forward
    monkeypatch.setattr(
        qwen3.model.model,
        "forward",
        lambda **kw: runs.append(kw["input_ids"].shape) or forward(**kw),
    )
    two_turns(qwen3, ids, images, [70] * 40, [], 24, prompt(qwen3, "a", images))
    # Both prompts in one pass; then the 40 tokens and the last sampled one, nothing before them.
    assert [tuple(shape) for shape in runs][1:] == [(1, 41)]


def test_a_request_that_does_not_extend_its_row_starts_afresh(qwen3):
    async def run():
        sampler = LocalSampler(qwen3)
        await sampler.sample(request("a", prompt(qwen3, "one"), temperature=0.0))
        again = await sampler.sample(request("a", prompt(qwen3, "other"), temperature=0.0))
        same = await sampler.sample(request("a", prompt(qwen3, "other"), temperature=0.0))
        return again, same

    again, same = asyncio.run(run())
    (fresh,) = together(qwen3, [request("b", prompt(qwen3, "other"), temperature=0.0)])
    assert again.token_ids == fresh.token_ids == same.token_ids


def test_placeholders_and_banned_ids_are_never_sampled(qwen3):
    ids = prompt(qwen3, "x")
    allowed = {70, 71, 72}
    banned = tuple(set(range(len(qwen3.tokenizer))) - allowed - set(qwen3.placeholder_ids))
    requests = [
        request(str(n), ids, temperature=50.0, banned_ids=banned, seed=n, max_tokens=30)
        for n in range(8)
    ]
    sampled = {i for answer in together(qwen3, requests) for i in answer.token_ids}
    assert sampled == allowed


def test_a_banned_text_cannot_be_spelled_by_pieces(qwen25):
    """Here ``<c>`` is three tokens; the one that would complete it is drawn again."""
    token = qwen25.tokenizer.convert_tokens_to_ids
    allowed = {token("<"), token("c"), token(">")}
    others = set(range(len(qwen25.tokenizer))) - allowed - set(qwen25.placeholder_ids)
    ban = {"banned_ids": tuple(others), "max_tokens": 40, "temperature": 50.0}
    requests = [request(str(n), prompt(qwen25, "x"), seed=n, **ban) for n in range(8)]
    assert any("<c>" in answer.text for answer in together(qwen25, requests))
    requests = [
        request(str(n), prompt(qwen25, "x"), seed=n, banned_texts=("<c>",), **ban) for n in range(8)
    ]
    assert not any("<c>" in answer.text for answer in together(qwen25, requests))


def test_a_stop_text_of_several_tokens_ends_the_turn(qwen25):
    token = qwen25.tokenizer.convert_tokens_to_ids
    allowed = {token("<"), token("c"), token(">")}
    others = set(range(len(qwen25.tokenizer))) - allowed - set(qwen25.placeholder_ids)
    (answer,) = together(
        qwen25,
        [
            request(
                "a",
                prompt(qwen25, "x"),
                banned_ids=tuple(others),
                stop_texts=("<c>",),
                temperature=50.0,
                max_tokens=300,
            )
        ],
    )
    assert answer.finish_reason == "stop"
    assert answer.text.endswith("<c>")
    assert answer.text.count("<c>") == 1


def test_the_end_of_the_context_is_a_reason_of_its_own(qwen3):
    ids = prompt(qwen3, "x")
    requests = [request("a", ids, max_tokens=99), request("b", [*ids, *[70] * 30])]
    short, none = together(qwen3, requests, max_context=len(ids) + 7)
    assert (short.finish_reason, len(short.token_ids)) == ("context", 7)
    assert (none.finish_reason, none.token_ids) == ("context", [])


def test_a_released_trajectory_gives_its_row_back(qwen3):
    async def run():
        sampler = LocalSampler(qwen3, LocalSamplerConfig(wait_for_tools_ms=0))
        requests = [request(str(n), prompt(qwen3, "x"), max_tokens=2) for n in range(4)]
        await asyncio.gather(*[sampler.sample(r) for r in requests])
        before = sampler._batch._kv.count
        for name in "012":
            sampler.release(name)
            sampler.release(name)
        await sampler.sample(request("new", prompt(qwen3, "x"), max_tokens=2))
        left = sampler._batch._kv.count
        sampler.release("3")
        sampler.release("new")
        return before, left, sampler._batch._kv.count

    assert asyncio.run(run()) == (4, 2, 0)


def test_more_trajectories_than_rows_wait_for_each_other(qwen3):
    async def one(sampler, name):
        answer = await sampler.sample(request(name, prompt(qwen3, "x"), max_tokens=3))
        sampler.release(name)
        return len(answer.token_ids)

    async def run():
        sampler = LocalSampler(qwen3, LocalSamplerConfig(max_rows=2))
        return await asyncio.gather(*[one(sampler, str(n)) for n in range(5)])

    assert asyncio.run(run()) == [3] * 5


def test_new_weights_count_from_the_next_trajectory_on(qwen3, tmp_path):
    async def run():
        sampler = LocalSampler(qwen3)
        first = await sampler.sample(request("a", prompt(qwen3, "x"), temperature=0.0))
        with pytest.raises(SamplerError, match="1 trajectories are open"):
            await sampler.load_weights(qwen3.model, 1)
        sampler.release("a")
        state = {name: value.clone() for name, value in qwen3.model.state_dict().items()}
        head = "model.language_model.norm.weight"
        await sampler.load_weights({**state, head: -state[head]}, 1)
        second = await sampler.sample(request("a", prompt(qwen3, "x"), temperature=0.0))
        sampler.release("a")
        await sampler.load_weights(state, 2)
        with pytest.raises(SamplerError, match="do not fit"):
            await sampler.load_weights({}, 3)
        return first, second

    first, second = asyncio.run(run())
    assert (first.policy_version, second.policy_version) == (0, 1)
    assert first.token_ids != second.token_ids


def test_failures_are_ours_and_reach_everybody(qwen3, monkeypatch):
    with pytest.raises(SamplerError, match="0 placeholders, but its 1 pictures take 4"):
        together(
            qwen3,
            [
                request(
                    "a", prompt(qwen3, "x"), [__import__("PIL.Image").Image.new("RGB", (32, 32))]
                )
            ],
        )

    def broken(**_):
        raise RuntimeError("out of memory")

    async def run():
        sampler = LocalSampler(qwen3)
        requests = [request(str(n), prompt(qwen3, "x")) for n in range(3)]
        with monkeypatch.context() as patch:
            patch.setattr(qwen3.model.model.language_model, "forward", broken)
            failed = await asyncio.gather(
                *[sampler.sample(r) for r in requests], return_exceptions=True
            )
        again = await sampler.sample(request("0", prompt(qwen3, "x")))
        return failed, again

    failed, again = asyncio.run(run())
    assert [type(error) for error in failed] == [SamplerError] * 3
    assert "out of memory" in str(failed[0])
    assert len(again.token_ids) == 12


def test_a_cancelled_request_leaves_no_row(qwen3):
    async def run():
        sampler = LocalSampler(qwen3)
        task = asyncio.create_task(sampler.sample(request("a", prompt(qwen3, "x"), max_tokens=400)))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return len(sampler._batch)

    assert asyncio.run(run()) == 0


def test_uniforms_belong_to_seed_and_place():
    numbers = uniforms([1, 1, 2, 2**63 + 5], [0, 1, 0, 0])
    assert len(set(numbers)) == 4
    assert uniforms([2], [0])[0] == numbers[2]
    many = uniforms([7] * 20_000, list(range(20_000)))
    assert abs(many.mean() - 0.5) < 0.01
    assert abs((many < 0.1).mean() - 0.1) < 0.01


def test_choose_follows_the_distribution_and_top_p():
    logits = torch.tensor([[0.1, 0.2, 0.4, 0.3]]).log().expand(4, 4)
    numbers = torch.tensor([0.05, 0.2, 0.69, 0.999], dtype=torch.double)
    ids, logprobs = choose(logits, torch.ones(4), None, numbers)
    assert ids.tolist() == [0, 1, 2, 3]
    assert logprobs.exp().tolist() == pytest.approx([0.1, 0.2, 0.4, 0.3])
    ids, logprobs = choose(logits, torch.ones(4), torch.full((4,), 0.6), numbers)
    assert ids.tolist() == [2, 2, 3, 3]  # {2, 3} reach 0.7, renormalised 4/7 and 3/7
    assert logprobs.exp().tolist() == pytest.approx([4 / 7, 4 / 7, 3 / 7, 3 / 7])
    ids, logprobs = choose(logits, torch.zeros(4), None, numbers)
    assert ids.tolist() == [2] * 4
    assert logprobs.exp().tolist() == pytest.approx([0.4] * 4)
