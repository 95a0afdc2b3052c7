"""The vLLM sampler against a server that answers as vLLM 0.32.0 was recorded to answer."""

import asyncio
import json
import re
import shutil

import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from air_reasoning.api import question_task
from air_reasoning.errors import SamplerError
from air_reasoning.models.processor import load_processor
from air_reasoning.renderer import Renderer
from air_reasoning.samplers.base import SampleRequest, SamplingParams
from air_reasoning.samplers.settings import EndpointConfig
from air_reasoning.samplers.vllm import CACHES, VllmSampler
from air_reasoning.turn_format import AIR


class Vllm:
    """``/inference/v1/generate`` (absent without ``scale_out``), completions, adapters."""

    def __init__(self, processor, *, scale_out=True, processed=False, wide=None):
        self.processor, self.scale_out, self.processed = processor, scale_out, processed
        self.wide = wide or processor.image_ids
        self.bodies, self.calls, self.down, self.emptying = [], [], False, True

    async def models(self, request):
        rows = [{"id": "tiny", "owned_by": "vllm", "max_model_len": 900}]
        return JSONResponse({"object": "list", "data": rows})

    async def generate(self, request):
        body = await request.json()
        if self.down:
            return Response(status_code=503)
        params = body["sampling_params"]
        if "allowed_token_ids" in params:
            return JSONResponse(self.answer([1, 1], [0], 0.0 if self.processed else -6.6))
        self.bodies.append(body)
        sizes = iter(body.get("content_parts") or [])
        seen = []
        for token in body["token_ids"]:
            is_pad = token == self.processor.image_token_id
            seen += self.wide(picture_of(next(sizes))) if is_pad else [token]
        return JSONResponse(self.answer(seen, [30, 31], -1.5))

    async def completions(self, request):
        body = await request.json()
        content = {"token_logprobs": [-2.0], "tokens": ["x"]}
        choice = {"token_ids": [40], "prompt_token_ids": body["prompt"], "logprobs": content}
        return JSONResponse({"choices": [choice | {"finish_reason": "length"}]})

    def answer(self, seen, ids, logprob):
        content = [{"token_id": i, "logprob": logprob, "rank": 1} for i in ids]
        choice = {
            "index": 0, "finish_reason": "stop", "stop_reason": None, "token_ids": ids,
            "logprobs": {"content": content},
        }  # fmt: skip
        return {"prompt_token_ids": seen, "output_mode": "tokens", "choices": [choice]}

    async def called(self, request):
        self.calls.append((request.url.path, await request.json()))
        return Response(b"Success")

    async def emptied(self, request):
        self.calls.append((request.url.path, await request.json()))
        told = request.url.path == CACHES[0]
        return JSONResponse({"success": self.emptying}) if told else Response(b"")

    def app(self):
        paths = ("/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/collective_rpc")
        routes = [Route(p, self.called, methods=["POST"]) for p in paths]
        routes += [Route(p, self.emptied, methods=["POST"]) for p in CACHES]
        routes += [Route("/v1/models", self.models)]
        routes += [Route("/v1/completions", self.completions, methods=["POST"])]
        if self.scale_out:
            routes += [Route("/inference/v1/generate", self.generate, methods=["POST"])]
        return Starlette(routes=routes)


def picture_of(part):
    import base64
    import io

    return Image.open(io.BytesIO(base64.b64decode(part["url"].partition(",")[2])))


@pytest.fixture(scope="module")
def processor(tiny_model):
    return load_processor(tiny_model)


def request(processor, images, name="a", **params):
    ids = Renderer(processor, AIR).prompt_ids(question_task(images, "how?"), images)
    return SampleRequest(
        trajectory_id=name, group_id="", token_ids=ids, images=images,
        params=SamplingParams(**{"max_tokens": 5, "seed": 3} | params),
    )  # fmt: skip


def run(processor, serving, servers, job, **config):
    urls = ",".join(serving(server.app()) + "/v1" for server in servers)
    config = EndpointConfig(url=urls, api="vllm", retries=0, retry_wait_s=0.001, **config)

    async def main():
        sampler = VllmSampler(processor, config)
        try:
            return await job(sampler)
        finally:
            await sampler.close()

    return asyncio.run(main())


def test_ids_and_pictures_go_there_and_ids_and_logprobs_come_back(processor, serving):
    server = Vllm(processor)
    images = [Image.new("RGB", (128, 128), "red"), Image.new("RGB", (64, 128), "blue")]

    async def job(sampler):
        told = await sampler.connect()
        asked = request(processor, images, stop_texts=("</code>",), banned_texts=("<code>",))
        return told, await sampler.sample(asked), asked

    told, completion, asked = run(processor, serving, [server], job)
    assert "vLLM generate, with pictures; logprobs raw" in told
    assert (completion.token_ids, completion.logprobs) == ([30, 31], [-1.5, -1.5])
    assert completion.finish_reason == "stop"
    (body,) = server.bodies
    assert body["token_ids"].count(processor.image_token_id) == 2
    assert asked.token_ids.count(processor.image_token_id) == 64 + 32
    assert [picture_of(p).size for p in body["content_parts"]] == [(128, 128), (64, 128)]
    params = body["sampling_params"]
    assert set(map(int, params["logit_bias"])) == set(processor.placeholder_ids)
    assert (params["stop"], params["bad_words"]) == (["</code>"], ["<code>"])


def test_a_server_that_saw_other_ids_is_an_error_and_not_a_sample(processor, serving):
    server = Vllm(processor, wide=lambda image: [processor.image_token_id] * 7)

    async def job(sampler):
        await sampler.connect()
        await sampler.sample(request(processor, [Image.new("RGB", (128, 128))]))

    with pytest.raises(SamplerError, match="the server saw"):
        run(processor, serving, [server], job)


def test_without_scale_out_text_goes_as_ids_and_pictures_are_refused(processor, serving):
    server = Vllm(processor, scale_out=False)

    async def job(sampler):
        told = await sampler.connect()
        completion = await sampler.sample(request(processor, []))
        with pytest.raises(SamplerError, match="--enable-scale-out"):
            await sampler.sample(request(processor, [Image.new("RGB", (128, 128))], "b"))
        return told, completion

    told, completion = run(processor, serving, [server], job)
    assert "text only" in told
    assert (completion.token_ids, completion.logprobs) == ([40], [-2.0])


def test_raw_logprobs_are_refused_where_training_needs_others(processor, serving):
    async def job(sampler):
        return await sampler.connect()

    needed = {"require_processed_logprobs": True}
    with pytest.raises(SamplerError, match="processed_logprobs"):
        run(processor, serving, [Vllm(processor)], job, **needed)
    told = run(processor, serving, [Vllm(processor, processed=True)], job, **needed)
    assert "of the distribution sampled from" in told


def test_trajectories_are_spread_stay_and_move_when_their_server_is_lost(processor, serving):
    servers = [Vllm(processor), Vllm(processor)]

    async def job(sampler):
        await sampler.connect()
        for _ in range(2):
            for name in ("a", "b", "c", "d"):
                await sampler.sample(request(processor, [], name))
        spread = [len(server.bodies) for server in servers]
        servers[0].down = True
        for name in ("a", "b", "c", "d"):
            await sampler.sample(request(processor, [], name))
        return spread, len(servers[1].bodies), sampler.counts["lost_servers"]

    assert run(processor, serving, servers, job) == ([4, 4], 8, 1)


def test_the_context_ends_before_the_request_is_sent(processor, serving):
    server = Vllm(processor)

    async def job(sampler):
        await sampler.connect()
        asked = request(processor, [])
        asked.token_ids = [1] * 900
        return await sampler.sample(asked)

    completion = run(processor, serving, [server], job)
    assert (completion.finish_reason, completion.token_ids, server.bodies) == ("context", [], [])


def test_adapters_and_checkpoints_are_loaded(processor, serving, tmp_path):
    server = Vllm(processor)
    (tmp_path / "lora").mkdir()
    (tmp_path / "lora" / "adapter_config.json").write_text("{}")

    async def job(sampler):
        await sampler.connect()
        await sampler.load_weights(tmp_path / "lora", 1)
        await sampler.load_weights(tmp_path / "lora", 2)
        completion = await sampler.sample(request(processor, []))
        return sampler.model, completion.policy_version

    name, version = run(processor, serving, [server], job)
    assert re.fullmatch(r"policy-[0-9a-f]{8}-2", name)
    assert version == 2
    first, lora = f"{name[:-2]}-1", str(tmp_path / "lora")
    assert server.calls == [
        ("/v1/load_lora_adapter", {"lora_name": first, "lora_path": lora}),
        ("/v1/load_lora_adapter", {"lora_name": name, "lora_path": lora}),
        ("/v1/unload_lora_adapter", {"lora_name": first}),
        ("/v1/unload_lora_adapter", {"lora_name": name}),
    ]
    assert server.bodies[0]["model"] == name


def test_a_checkpoint_whose_pictures_vllm_would_not_normalise_is_refused(
    processor, serving, tiny_model, tmp_path
):
    folder = shutil.copytree(tiny_model, tmp_path / "bare")
    file = folder / "preprocessor_config.json"
    settings = json.loads(file.read_text())
    for name in ("image_mean", "image_std", "do_normalize"):
        del settings[name]
    file.write_text(json.dumps(settings))

    async def job(sampler):
        await sampler.connect()

    with pytest.raises(SamplerError, match="names neither image_mean"):
        run(load_processor(folder), serving, [Vllm(processor)], job)


def test_a_whole_checkpoint_is_loaded_and_what_belongs_to_the_old_one_forgotten(
    processor, serving, tmp_path
):
    server = Vllm(processor)

    async def job(sampler):
        await sampler.connect()
        await sampler.load_weights(tmp_path, 7)
        server.emptying = False
        with pytest.raises(SamplerError, match="somebody else samples"):
            await sampler.load_weights(tmp_path, 8)
        return sampler.model, sampler.policy_version

    assert run(processor, serving, [server], job) == ("tiny", 7)
    reload = {"method": "reload_weights", "kwargs": {"weights_path": str(tmp_path)}}
    paths = ("/reset_prefix_cache", "/reset_mm_cache", "/reset_encoder_cache")
    once = [("/collective_rpc", reload), *((path, {}) for path in paths)]
    assert server.calls == [*once, *once[:2]]
