"""The turn loop, with a script for the model and the real sandbox, and with a real tiny model."""

import asyncio
from dataclasses import replace

import pytest

from air_reasoning.batch import group_batch
from air_reasoning.chat_renderer import ChatRenderer
from air_reasoning.engine import Engine, EngineConfig, open_engine, open_local
from air_reasoning.errors import ConfigError, DataError
from air_reasoning.images import save_blob
from air_reasoning.logprobs import response_logprobs
from air_reasoning.models.pixels import PixelCache
from air_reasoning.renderer import Renderer
from air_reasoning.rollout import (
    RolloutConfig,
    derived_seed,
    rollout,
    rollout_group,
    rollout_groups,
)
from air_reasoning.rollout_setup import sampling_params
from air_reasoning.samplers.local import LocalSampler
from air_reasoning.samplers.scripted import ScriptedSampler
from air_reasoning.samplers.settings import LocalSamplerConfig
from air_reasoning.sandbox.process import ProcessPool
from air_reasoning.training_samples import SamplesConfig, training_samples
from air_reasoning.turn_format import AIR
from air_reasoning.types import Answer, Execution, ImageRef, Part, StopReason, Task

ANSWER = "<answer>\\boxed{3}</answer>"


def question(**changes):
    fields = {"id": "q", "prompt": [Part(kind="text", text="1+2?")], "images": []} | changes
    return Task(answer=Answer(value="3"), **fields)


def cell(code):
    return f"<code>```python\n{code}\n```</code>"


def play(loaded, turns, task=None, save_image=None, **options):
    """Roll out with a script in the model's place."""
    config = RolloutConfig(**options.pop("config", {}))

    async def run():
        sandboxes = ProcessPool()
        engine = Engine(
            sampler=ScriptedSampler(loaded.tokenizer, turns),
            sandboxes=sandboxes,
            renderer=Renderer(loaded, AIR),
            save_image=save_image,
        )
        try:
            return await rollout(task or question(), engine, config, trajectory_id="t", **options)
        finally:
            await sandboxes.close()

    return asyncio.run(run())


def written(trajectory):
    return "".join(segment.text for segment in trajectory.segments)


def test_a_call_and_its_answer(qwen3):
    said = []
    t = play(qwen3, ["<think>hm</think>" + cell("x = 1+2\nx"), ANSWER], on_event=said.append)
    assert t.stop is StopReason.ANSWERED
    assert written(t) == (
        "<think>hm</think><code>```python\nx = 1+2\nx\n```</code><interpreter>3</interpreter>"
        "<answer>\\boxed{3}</answer>"
    )
    assert [s.kind for s in t.segments] == ["think", "code", "output", "answer"]
    assert [s.trainable for s in t.segments] == [True, True, False, True]
    assert t.segments[1].code == "x = 1+2\nx"
    assert [e.value for e in t.executions] == ["3"]
    ids = [i for s in t.segments for i in s.token_ids]
    assert ids == qwen3.tokenizer.encode(written(t) + "<|im_end|>")
    outputs = [s for s in t.segments if s.kind == "output"]
    assert (t.usage.prompt, t.usage.output) == (len(t.prompt_ids), len(outputs[0].token_ids))
    assert t.usage.model == len(ids) - len(outputs[0].token_ids)
    assert "".join(e.text for e in said if e.kind == "delta") == written(t).replace(
        "<interpreter>3</interpreter>", ""
    )
    assert [e.segment.kind for e in said if e.segment] == ["think", "code", "output", "answer"]
    assert said[-1].stop is StopReason.ANSWERED


def test_variables_live_from_cell_to_cell_and_errors_are_data(qwen3):
    t = play(qwen3, [cell("x = 4"), cell("x / 0"), cell("x"), ANSWER])
    assert [e.status for e in t.executions] == ["ok", "error", "ok"]
    assert [s.text for s in t.segments if s.kind == "output"] == [
        "<interpreter>(no output)</interpreter>",
        "<interpreter>ZeroDivisionError: division by zero</interpreter>",
        "<interpreter>4</interpreter>",
    ]


@pytest.mark.parametrize("code", ["", "   \n", "# only a thought\n\n# and one more"])
def test_a_void_cell_is_no_call_and_the_model_is_told(qwen3, code):
    t = play(qwen3, [cell(code), ANSWER])
    assert t.stop is StopReason.ANSWERED
    assert t.executions == []
    assert [s.code for s in t.segments if s.kind == "code"] == [""]
    assert "(empty cell: nothing was executed)" in written(t)


def test_a_closing_tag_in_a_string_does_not_end_the_cell(qwen3):
    """The engine stops at the tag; the loop sees that it closed nothing, and goes on."""
    t = play(qwen3, ['<code>```python\nprint("</code>', '")\n```</code>', ANSWER])
    assert [e.stdout for e in t.executions] == ["</code>\n"]
    assert [s.kind for s in t.segments] == ["code", "output", "answer"]


def test_a_lone_closing_tag_is_no_call(qwen3):
    t = play(qwen3, ["print(1)</code>", "so " + ANSWER])
    assert (t.stop, t.executions) == (StopReason.ANSWERED, [])


@pytest.mark.parametrize("turn", [cell("print(1)") + "!", "print(1)</code>!", cell("print(1)")])
def test_under_a_ban_nothing_is_executed_whatever_is_written(qwen3, turn):
    t = play(qwen3, [turn, ANSWER], code_banned=True)
    assert t.code_banned
    assert t.executions == []
    assert not any(s.kind == "output" for s in t.segments)


@pytest.mark.parametrize(
    ("turns", "config", "stop"),
    [
        (["nothing to say"], {}, StopReason.VOID_TURN),
        (["it is \\boxed{3}"], {}, StopReason.ANSWERED),
        ([cell("1"), cell("2")], {"max_turns": 2}, StopReason.MAX_TURNS),
        (["<think>" + "a" * 50], {"max_new_tokens": 9}, StopReason.MAX_TOKENS),
        ([cell("1"), "a" * 50], {"max_new_tokens": 9}, StopReason.MAX_TOKENS),
        ([cell("1")], {}, StopReason.SAMPLER_ERROR),
    ],
)
def test_every_end_has_its_reason(qwen3, turns, config, stop):
    t = play(qwen3, turns, config=config)
    assert t.stop is stop
    assert t.usage.model <= config.get("max_new_tokens", 256)
    assert t.stop.our_fault == bool(t.error)


def test_a_cell_in_the_last_turn_is_not_executed(qwen3):
    t = play(qwen3, [cell("1"), cell("2")], config={"max_turns": 2})
    assert [e.value for e in t.executions] == ["1"]
    assert [s.code for s in t.segments if s.kind == "code"] == ["1", ""]


class LostPool(ProcessPool):
    """The real pool, but each session's process is gone when it is needed."""

    def session(self, images=None, seed=None):
        context = super().session(images, seed)

        class Lost:
            async def __aenter__(self):
                self.session = await context.__aenter__()

                async def run(code, timeout_s=None):
                    return Execution(status="lost")

                self.session.run = run
                return self.session

            async def __aexit__(self, *error):
                return await context.__aexit__(*error)

        return Lost()


def test_a_lost_sandbox_is_our_fault(qwen3):
    async def run():
        sampler = ScriptedSampler(qwen3.tokenizer, [cell("1"), ANSWER])
        engine = Engine(sampler=sampler, sandboxes=LostPool(), renderer=Renderer(qwen3, AIR))
        return await rollout(question(), engine, RolloutConfig(), trajectory_id="t")

    t = asyncio.run(run())
    assert t.stop is StopReason.SANDBOX_LOST
    assert [e.status for e in t.executions] == ["lost"]


def test_pictures_go_into_the_cell_and_come_back_to_the_model(qwen3, picture, tmp_path):
    ref = save_blob(picture(40, 32), tmp_path)
    task = question(images=[ref], prompt=[Part(kind="image"), Part(kind="text", text="size?")])
    code = "print(image_1.size)\nimage_1.resize((48, 48))"
    t = play(qwen3, [cell(code), ANSWER], task, save_image=lambda i: save_blob(i, tmp_path))
    (execution,) = t.executions
    assert execution.stdout == "(40, 32)\n"
    (output,) = [s for s in t.segments if s.kind == "output"]
    assert output.images == execution.images
    assert (output.images[0].width, output.images[0].height) == (48, 48)
    assert output.images[0].path.startswith(str(tmp_path))
    assert output.token_ids.count(qwen3.image_token_id) == 9
    assert "[1 image]" in output.text


def test_a_picture_that_cannot_be_shown_is_left_out_with_a_notice(qwen3):
    code = "from PIL import Image\nImage.new('RGB', (900, 2))"
    t = play(qwen3, [cell(code), ANSWER])
    (output,) = [s for s in t.segments if s.kind == "output"]
    assert output.images == []
    assert "1 images of a shape that cannot be shown" in output.text
    assert qwen3.image_token_id not in output.token_ids


def test_a_broken_task_is_named_before_anything_is_sampled(qwen3, tmp_path):
    gone = ImageRef(sha256="0", width=1, height=1, path=str(tmp_path / "gone.png"))
    with pytest.raises(DataError, match=r"gone\.png"):
        play(qwen3, [ANSWER], question(images=[gone]))


def groups(loaded, picture, tmp_path, seed, **config):
    ref = save_blob(picture(), tmp_path)
    tasks = [
        question(id=f"q{n}", images=[ref], prompt=[Part(kind="image"), Part(kind="text", text="?")])
        for n in range(3)
    ]

    async def run():
        async with open_engine(loaded) as engine:
            settings = RolloutConfig(**{"max_new_tokens": 40, "temperature": 1.5} | config)
            found = await rollout_groups(
                tasks, engine, settings, group_size=4, n_forbid=2, seed=seed, label="s1/"
            )
            assert isinstance(engine.sampler, LocalSampler)
            assert len(engine.sampler._batch) == 0
            return found

    return asyncio.run(run())


def test_groups_are_whole_and_repeatable(qwen3, picture, tmp_path):
    first = groups(qwen3, picture, tmp_path, 7)
    assert [g.id for g in first] == ["s1/0:q0", "s1/1:q1", "s1/2:q2"]
    for group in first:
        assert [t.code_banned for t in group.trajectories] == [True, True, False, False]
        assert {t.group_id for t in group.trajectories} == {group.id}
        for t in group.trajectories:
            assert sum(len(s.logprobs) for s in t.segments) == t.usage.model
            assert all(len(s.logprobs) == len(s.token_ids) for s in t.segments if s.trainable)
    ids = [[s.token_ids for s in t.segments] for g in first for t in g.trajectories]
    again = groups(qwen3, picture, tmp_path, 7)
    assert ids == [[s.token_ids for s in t.segments] for g in again for t in g.trajectories]
    logprobs = [[s.logprobs for s in t.segments] for g in first for t in g.trajectories]
    assert logprobs == [[s.logprobs for s in t.segments] for g in again for t in g.trajectories]
    other = groups(qwen3, picture, tmp_path, 8)
    assert ids != [[s.token_ids for s in t.segments] for g in other for t in g.trajectories]


def test_a_banned_member_cannot_sample_the_opening_tag(qwen3, picture, tmp_path):
    found = groups(qwen3, picture, tmp_path, 3, temperature=30.0, max_new_tokens=120)
    tag = qwen3.tokenizer.convert_tokens_to_ids("<code>")
    members = [t for g in found for t in g.trajectories]
    wrote = [any(tag in s.token_ids for s in t.segments if s.trainable) for t in members]
    assert not any(w for w, t in zip(wrote, members, strict=True) if t.code_banned)
    assert any(wrote), "no free member wrote the tag either: the test shows nothing"


def test_cells_have_a_temperature_of_their_own(qwen3, picture, tmp_path):
    """The tokens behind the opening tag, and no others; the trainer computes what was sampled."""
    cold = groups(qwen3, picture, tmp_path, 3, temperature=30.0, code_temperature=4.0)
    tag = qwen3.tokenizer.convert_tokens_to_ids("<code>")
    cells = 0
    for trajectory in (t for g in cold for t in g.trajectories):
        for segment in (s for s in trajectory.segments if s.trainable):
            inside = segment.kind == "code"
            cells += inside
            assert segment.temperatures == [
                4.0 if inside and place else 30.0 for place in range(len(segment.token_ids))
            ]
            assert not inside or segment.token_ids[0] == tag
    assert cells, "nobody opened a cell: the test shows nothing"
    rewarded = [replace(g, advantages=[1.0] * len(g.trajectories)) for g in cold]
    samples, _ = training_samples(rewarded, SamplesConfig(mask_truncated=False))
    batch, _ = group_batch(
        samples, PixelCache(qwen3), image_token_id=qwen3.image_token_id,
        merge_size=qwen3.merge_size,
    )  # fmt: skip
    assert batch is not None
    assert batch.temperatures_BT is not None
    assert {4.0, 30.0} <= set(batch.temperatures_BT.flatten().tolist())
    got, _ = response_logprobs(qwen3.model, batch, banned_ids=qwen3.placeholder_ids)
    free = ~batch.code_banned_B
    difference = (got - batch.logprobs_BT).abs() * batch.loss_mask_BT
    assert difference[free].max() < 1e-3


def test_text_engines_have_one_temperature(qwen3):
    sampler = ScriptedSampler(qwen3.tokenizer, [ANSWER])
    engine = Engine(renderer=ChatRenderer(AIR), sampler=sampler, sandboxes=ProcessPool())
    with pytest.raises(ConfigError, match="code_temperature"):
        sampling_params(engine, RolloutConfig(code_temperature=0.5), 0, False)


def test_one_failing_member_ends_the_group_with_its_own_error(qwen3):
    async def run():
        async with open_engine(qwen3) as engine:
            engine.sandboxes = None
            engine.sampler = ScriptedSampler(qwen3.tokenizer, [cell("1")])
            await rollout_group(question(), engine, RolloutConfig(), group_id="g", group_size=3)

    with pytest.raises(AttributeError):
        asyncio.run(run())


def test_a_model_folder_opens_by_its_path(qwen3):
    async def run():
        sampler = LocalSamplerConfig(max_context=64)
        async with open_local(qwen3.path, EngineConfig(sampler=sampler)) as engine:
            t = await rollout(
                question(), engine, RolloutConfig(max_new_tokens=500), trajectory_id="t"
            )
            waiting = asyncio.ensure_future(
                rollout(question(), engine, RolloutConfig(), trajectory_id="u")
            )
            await asyncio.sleep(0)
            await engine.sampler.close()
            assert "closed" in (await waiting).error
            return t

    t = asyncio.run(run())
    total = t.usage.prompt + t.usage.model + t.usage.output
    assert t.stop is not StopReason.MAX_TOKENS
    assert total <= 64 or t.usage.output


def test_seeds_depend_on_every_part():
    assert derived_seed(1, "g", 0) == derived_seed(1, "g", 0)
    assert len({derived_seed(1, "g", 0), derived_seed(1, "g", 1), derived_seed(2, "g", 0)}) == 3
    assert derived_seed("a", "bc") != derived_seed("ab", "c")
