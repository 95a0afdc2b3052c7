"""Samples of a teacher's text as a model's own tokens; passes, packing, adapters, watching."""

import asyncio
import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from air_reasoning.config import Resolved, RunOptions
from air_reasoning.data.cold_start import ColdStartSample, read_samples, write_samples
from air_reasoning.data.cold_start_config import TwoStageConfig
from air_reasoning.data.replay import play
from air_reasoning.data.student import for_student
from air_reasoning.data.two_stage import run_cold_start
from air_reasoning.engine import Engine
from air_reasoning.errors import DataError
from air_reasoning.images import load_ref
from air_reasoning.models.load import load_model
from air_reasoning.models.lora import LoraConfig
from air_reasoning.models.pixels import PixelCache
from air_reasoning.models.shipped import ModelConfig
from air_reasoning.optim import OptimizerConfig
from air_reasoning.renderer import Renderer
from air_reasoning.rollout import RolloutConfig, rollout
from air_reasoning.samplers.scripted import ScriptedSampler
from air_reasoning.sandbox.process import ProcessPool
from air_reasoning.sft_passes import pass_losses, passes, sft_sample
from air_reasoning.sft_watch import WatchConfig, held_out
from air_reasoning.task_files import read_tasks, write_tasks
from air_reasoning.train_sft import SFTConfig, chosen_at, run_sft
from air_reasoning.turn_format import AIR

TURNS = [
    "<think>fir=22.2, ash=20</think><code>```python\nprint(22.2+20)\n```</code>",
    "<answer>\\boxed{42.2}</answer>",
]


@pytest.fixture(scope="module")
def loaded(tiny_model):
    return load_model(tiny_model)


@pytest.fixture(scope="module")
def played(cold_start_data, loaded):
    """(task, the sample as text, the trajectory that the loaded model would have made)."""
    task = read_tasks(cold_start_data)[0]
    renderer = Renderer(loaded, AIR)

    async def both():
        async with ProcessPool() as pool:
            text = await play(
                task, TURNS, pool, AIR, trajectory_id="t", images=[load_ref(task.images[0])]
            )
            sampler = ScriptedSampler(loaded.tokenizer, TURNS)
            engine = Engine(sampler=sampler, sandboxes=pool, renderer=renderer)
            return text, await rollout(task, engine, RolloutConfig(), trajectory_id="t")

    text, own = asyncio.run(both())
    return task, ColdStartSample(task_id=task.id, mode="code", trajectory=text), own


def test_a_teachers_text_gets_the_tokens_that_the_model_itself_would_see(played, loaded):
    task, sample, own = played
    assert not sample.trajectory.prompt_ids
    ready = for_student(task, sample, Renderer(loaded, AIR)).trajectory
    assert ready.prompt_ids == own.prompt_ids
    assert [(s.kind, s.token_ids) for s in ready.segments] == [
        (s.kind, s.token_ids) for s in own.segments
    ]
    assert ready.segments[1].code == "print(22.2+20)"


def test_the_loss_counts_the_models_tokens_one_by_one(played, loaded):
    task, sample, _ = played
    row = sft_sample(task, for_student(task, sample, Renderer(loaded, AIR)))
    decode = loaded.tokenizer.decode
    pieces = [(decode([i]), mark) for i, mark in zip(row.token_ids, row.loss_mask, strict=True)]
    text = "".join(piece for piece, _ in pieces)
    assert text == f"{TURNS[0]}<interpreter>42.2</interpreter>{TURNS[1]}<|im_end|>"
    unmarked = "".join(piece for piece, mark in pieces if not mark)
    assert unmarked == "<interpreter>42.2</interpreter>"
    assert len(row.images) == 1


def test_a_placeholder_that_a_teacher_spells_is_plain_text(played, loaded):
    task, sample, _ = played
    thought = replace(sample.trajectory.segments[0], text="<think>an <|image_pad|> here</think>")
    spelled = replace(sample.trajectory, segments=[thought, *sample.trajectory.segments[1:]])
    row = for_student(task, replace(sample, trajectory=spelled), Renderer(loaded, AIR))
    ids = [i for segment in row.trajectory.segments for i in segment.token_ids]
    assert loaded.image_token_id not in ids


def test_packing_loses_nothing_and_keeps_to_its_size(cold_start_data):
    rows = [sft_sample(*pair) for pair in read_samples(cold_start_data)]
    lengths = {id(row): len(row.prompt_ids) + len(row.token_ids) for row in rows}
    room = max(lengths.values()) * 3
    packs = passes(rows, "packed", room)
    assert sorted(id(row) for pack in packs for row in pack) == sorted(map(id, rows))
    assert all(sum(lengths[id(row)] for row in pack) <= room for pack in packs)
    assert len(packs) <= -(-sum(lengths.values()) // room) + 1
    alone = passes(rows, "packed", 1)
    assert [len(pack) for pack in alone] == [1] * len(rows)


@pytest.mark.parametrize(
    ("layout", "most"), [("padded", 400), ("packed", None), ("packed", 500), ("shared", None)]
)
def test_every_way_of_passing_gives_the_same_gradient(cold_start_data, loaded, layout, most):
    chosen = read_samples(cold_start_data)[:6]

    def gradient(layout, most):
        loaded.model.zero_grad()
        total = 0.0
        for loss in pass_losses(
            loaded, chosen, PixelCache(loaded), layout=layout, max_tokens=most, bf16=False
        ):
            loss.backward()
            total += float(loss.detach())
        return total, [p.grad.clone() for p in loaded.model.parameters() if p.grad is not None]

    whole, wanted = gradient("padded", None)
    value, found = gradient(layout, most)
    loaded.model.zero_grad()
    assert value == pytest.approx(whole, rel=1e-5)
    for one, other in zip(wanted, found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)


def config(model, data, **changes) -> SFTConfig:
    settings = {
        "model": ModelConfig(path=model), "data": data, "steps": 6, "batch": 4, "bf16": False,
        "save_every": 2, "optimizer": OptimizerConfig(kind="adamw", lr=2e-3, warmup_steps=1),
    }  # fmt: skip
    return SFTConfig(**settings | changes)


def run(settings, folder, **options):
    options = RunOptions(**{"run_dir": folder, "display": "none"} | options)
    run_sft(Resolved(value=settings, provenance={}), options)


def figures(folder, name):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line[name]) for line in lines if name in line]


def test_watching_changes_nothing_and_survives_an_interruption(
    tiny_model, cold_start_data, tmp_path, ctrl_c_when
):
    data = cold_start_data
    short = RolloutConfig(max_new_tokens=12, max_turns=1)
    watch = WatchConfig(every=3, share=0.25, tasks=data, limit=2, rollout=short)
    run(config(tiny_model, data, watch=watch), tmp_path / "whole")
    run(config(tiny_model, data, watch=WatchConfig(share=0.25)), tmp_path / "blind")
    assert figures(tmp_path / "whole", "loss/sft") == figures(tmp_path / "blind", "loss/sft")
    losses = figures(tmp_path / "whole", "loss/held_out")
    assert [step for step, _ in losses] == [0, 3, 6]
    assert losses[-1][1] < losses[0][1]
    assert len(figures(tmp_path / "whole", "eval/accuracy")) == 3
    cut = tmp_path / "cut"
    metrics = cut / "metrics.jsonl"
    # look, 1, 2, checkpoint: four steps and two looks are still to come
    with ctrl_c_when(lambda: metrics.exists() and metrics.read_bytes().count(b"\n") >= 3):
        run(config(tiny_model, data, watch=watch), cut)
    assert len(figures(cut, "loss/sft")) < 6
    run(config(tiny_model, data, watch=watch), cut)
    for name in ("loss/sft", "loss/held_out", "eval/accuracy"):
        assert figures(cut, name) == figures(tmp_path / "whole", name)


def test_no_task_is_on_both_sides(cold_start_data):
    pairs = read_samples(cold_start_data)
    doubled = [*pairs, *pairs]
    train, dev = held_out(doubled, 0.3, seed=1)
    assert len(train) + len(dev) == len(doubled)
    assert dev
    assert not {task.id for task, _ in train} & {task.id for task, _ in dev}
    assert {t.id for t, _ in held_out(pairs[:10], 0.3, seed=1)[1]} <= {t.id for t, _ in dev}


def test_an_epoch_shows_every_sample_once(cold_start_data, tiny_model):
    pairs = read_samples(cold_start_data)
    count = len(pairs)
    settings = config(tiny_model, cold_start_data, epochs=2, batch=5)
    steps = settings.steps_for(count)
    assert steps == -(-2 * count // 5)
    shown = [task.id for step in range(steps) for task, _ in chosen_at(pairs, step, settings)]
    first, second = shown[:count], shown[count : 2 * count]
    assert sorted(first) == sorted(second) == sorted(task.id for task, _ in pairs)
    assert first != second


def test_adapters_train_alone_resume_and_are_merged(tiny_model, cold_start_data, tmp_path):
    settings = config(tiny_model, cold_start_data, lora=LoraConfig(rank=4), layout="packed")
    run(settings, tmp_path / "run")
    before = load_file(tiny_model / "model.safetensors")
    after = load_file(tmp_path / "run" / "model" / "model.safetensors")
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert all("_proj" in name and "visual" not in name for name in moved)
    assert (tmp_path / "run" / "adapter" / "adapter_config.json").is_file()
    run(
        config(tiny_model, cold_start_data, lora=LoraConfig(rank=4), layout="packed"),
        tmp_path / "run",
    )
    again = load_file(tmp_path / "run" / "model" / "model.safetensors")
    assert all(torch.equal(after[name], again[name]) for name in after)


def test_from_a_teachers_script_to_a_trained_model(tiny_model, cold_start_data, tmp_path):
    tasks = [task for task in read_tasks(cold_start_data) if task.answer.type in ("int", "float")]
    script = {}
    for task in tasks[:6]:
        program = task.meta["program"]
        script[f"thought/{task.id}"] = f"I read it.\n\\boxed{{{task.answer.value}}}"
        script[f"rewrite/{task.id}"] = (
            f"<solution><think>I read it.</think><code>```python\n{program}\n```</code>"
            f"<answer>\\boxed{{{task.answer.value}}}</answer></solution>"
        )
    (tmp_path / "script.json").write_text(json.dumps(script))
    write_tasks(tmp_path / "tasks", tasks[:6])
    two_stage = TwoStageConfig.model_validate(
        {"tasks": tmp_path / "tasks", "teacher": {"script": tmp_path / "script.json"}}
    )
    options = RunOptions(run_dir=tmp_path / "cold", display="none")
    run_cold_start(Resolved(value=two_stage, provenance={}), options)
    kept = read_samples(tmp_path / "cold")
    assert kept
    run(config(tiny_model, tmp_path / "cold", steps=3), tmp_path / "sft")
    losses = [loss for _, loss in figures(tmp_path / "sft", "loss/sft")]
    assert losses[-1] < losses[0]
    broken = [
        replace(sample, trajectory=replace(sample.trajectory, segments=[])) for _, sample in kept
    ]
    write_samples(tmp_path / "cold", broken, "broken.jsonl")
    with pytest.raises(DataError, match="holds nothing that the model is to write"):
        run(config(tiny_model, tmp_path / "cold", samples="broken.jsonl"), tmp_path / "other")


def test_a_local_checkpoint_as_teacher(tiny_model, cold_start_data, tmp_path):
    two_stage = TwoStageConfig.model_validate(
        {"tasks": cold_start_data, "samples": 1, "teacher": {"model": tiny_model, "max_tokens": 6}}
    )
    options = RunOptions(run_dir=tmp_path / "cold", display="none", limit=3)
    run_cold_start(Resolved(value=two_stage, provenance={}), options)
    summary = json.loads((tmp_path / "cold" / "summary.json").read_text())
    assert summary["rejected"] == {"cut_off": 3}  # of random weights
    assert summary["cost"]["written_tokens"] == 18
