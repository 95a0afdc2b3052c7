"""The vLLM sampler against a running vLLM: `make test-vllm`.

Needs VLLM_URL and VLLM_CHECKPOINT, the folder that the server runs, in float32. On a CPU:

    TORCHDYNAMO_DISABLE=1 VLLM_SERVER_DEV_MODE=1 VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 \\
    vllm serve FOLDER --dtype float32 --enforce-eager --enable-scale-out --enable-lora \\
    --logprobs-mode processed_logprobs --max-num-batched-tokens 65536
"""

import asyncio
import os
from dataclasses import replace

import pytest
import torch
from PIL import Image

from air_reasoning.api import question_task
from air_reasoning.config import RunOptions, load_config
from air_reasoning.engine import EngineConfig, open_endpoint
from air_reasoning.models.load import load_model
from air_reasoning.models.lora import LoraConfig, add_adapter, save_adapter
from air_reasoning.rl_config import RLConfig
from air_reasoning.run_reader import read_metrics
from air_reasoning.samplers.base import SampleRequest, SamplingParams
from air_reasoning.samplers.settings import EndpointConfig
from air_reasoning.task_files import write_tasks
from air_reasoning.tasks.make import TasksConfig, make_tasks
from air_reasoning.train_rl import run_rl

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif("VLLM_URL" not in os.environ, reason="make test-vllm names a running vLLM"),
]


def request(engine, images, **params):
    ids = engine.renderer.prompt_ids(question_task(images, "how?"), images)
    return SampleRequest(
        trajectory_id="a", group_id="", token_ids=ids, images=images,
        params=SamplingParams(**{"max_tokens": 6, "seed": 3} | params),
    )  # fmt: skip


def test_a_real_vllm():
    """Two turns with pictures have the log-probabilities that transformers gives them."""
    endpoint = EndpointConfig(
        url=os.environ["VLLM_URL"], api="vllm", processor=os.environ["VLLM_CHECKPOINT"],
        require_processed_logprobs=True,
    )  # fmt: skip
    images = [Image.new("RGB", (84, 56), "red"), Image.effect_noise((56, 84), 90).convert("RGB")]

    async def main():
        async with open_endpoint(endpoint, EngineConfig()) as engine:
            first = request(engine, images[:1])
            one = await engine.sampler.sample(first)
            result = engine.renderer.output_ids("3", images[1:])
            longer = replace(
                first, token_ids=first.token_ids + one.token_ids + result, images=images
            )
            return [(first, one), (longer, await engine.sampler.sample(longer))]

    loaded = load_model(os.environ["VLLM_CHECKPOINT"])
    for asked, completion in asyncio.run(main()):
        assert len(completion.token_ids) == len(completion.logprobs) > 0
        expected = plain_logprobs(loaded, asked, completion.token_ids)
        difference = (expected - torch.tensor(completion.logprobs)).abs().max()
        assert float(difference) < 1e-3


@torch.no_grad()
def plain_logprobs(loaded, asked, ids):
    """Of ``ids`` after the request, by transformers' own forward; placeholders are banned."""
    whole = torch.tensor([asked.token_ids + ids])
    values, grid = loaded.pixels(asked.images)
    pictures = (whole == loaded.image_token_id).int()
    output = loaded.model(
        input_ids=whole, pixel_values=values, image_grid_thw=grid, mm_token_type_ids=pictures
    )
    logits = output.logits[0, len(asked.token_ids) - 1 : -1].float()
    logits[:, list(loaded.placeholder_ids)] = -torch.inf
    return logits.log_softmax(-1).gather(-1, torch.tensor(ids)[:, None])[:, 0]


@pytest.mark.parametrize("rank", [4, 0])
def test_a_real_vllm_takes_new_weights(tmp_path, rank):
    """An adapter, then a whole checkpoint, which is put back; with a picture that it knows already.

    On a CPU vLLM's copy of tied embeddings that makes the logits stays, so they are not changed.
    """
    checkpoint = os.environ["VLLM_CHECKPOINT"]
    endpoint = EndpointConfig(url=os.environ["VLLM_URL"], api="vllm", processor=checkpoint)
    loaded, image = load_model(checkpoint), Image.effect_noise((56, 84), 90).convert("RGB")
    changed = load_model(checkpoint)
    adapter = add_adapter(changed.model, LoraConfig(rank=rank, alpha=8))
    with torch.no_grad():
        for name, weight in changed.model.named_parameters():
            if weight.requires_grad and "visual" not in name and "embed" not in name:
                weight.add_(torch.randn_like(weight) * 0.1)
    if adapter is None:
        changed.model.save_pretrained(tmp_path)
    else:
        save_adapter(adapter, tmp_path)

    async def main():
        async with open_endpoint(endpoint, EngineConfig()) as engine:
            asked = request(engine, [image])
            await engine.sampler.sample(asked)
            await engine.sampler.load_weights(tmp_path, 1)
            try:
                return asked, await engine.sampler.sample(asked)
            finally:
                if adapter is None:
                    await engine.sampler.load_weights(checkpoint, 2)

    asked, completion = asyncio.run(main())
    sampled = torch.tensor(completion.logprobs)
    new = plain_logprobs(changed, asked, completion.token_ids)
    old = plain_logprobs(loaded, asked, completion.token_ids)
    assert float((new - sampled).abs().max()) < 1e-3
    assert float((old - sampled).abs().max()) > 1e-2


@pytest.mark.parametrize("rank", [4, 0])
def test_a_training_through_a_real_vllm(tmp_path, rank):
    """Three steps: what vLLM samples from is what is trained, also after updates."""
    checkpoint = os.environ["VLLM_CHECKPOINT"]
    made = list(make_tasks(TasksConfig(count=6, matplotlib=0)))
    pictures = {task.images[0].sha256: image for task, image in made}
    write_tasks(tmp_path / "tasks", [task for task, _ in made], pictures)
    frozen = ["model.visual", "model.language_model.embed_tokens"]  # see above: tied, on a CPU
    settings = {
        "model": {"path": checkpoint}, "tasks": str(tmp_path / "tasks"), "steps": 3, "prompts": 2,
        "group_size": 4, "n_forbid": 1, "bf16": False, "anchor": {"weight": 0},
        "rollout": {"max_turns": 2, "max_new_tokens": 24}, "loss": {"entropy_coef": 0.1},
        "samples": {"mask_truncated": False, "mask_void_turns": False, "drop_constant": False},
        "optimizer": {"lr": 3e-3, "warmup_steps": 0, "freeze": [] if rank else frozen},
        "engine": {"sandbox": {"max_sessions": 8}}, "lora": {"rank": rank},
        "endpoint": {"url": os.environ["VLLM_URL"], "api": "vllm"},
    }  # fmt: skip
    try:
        options = RunOptions(run_dir=tmp_path / "run", display="none")
        run_rl(load_config(RLConfig, preset=settings), options)
    finally:
        if rank == 0:
            asyncio.run(put_back(checkpoint))
    steps = read_metrics(tmp_path / "run")
    assert [step["groups/lost_trajectories"] for step in steps] == [0, 0, 0]
    assert all(step["optim/grad_norm"] > 0 for step in steps)
    assert max(step["sampler/logprob_gap"] for step in steps) < 1e-3


async def put_back(checkpoint):
    endpoint = EndpointConfig(url=os.environ["VLLM_URL"], api="vllm", processor=checkpoint)
    async with open_endpoint(endpoint, EngineConfig()) as engine:
        await engine.sampler.load_weights(checkpoint, 0)
