"""``air rl`` that samples through a server with vLLM's wire format; the server really samples."""

import base64
import io
import runpy
import sys
import uuid
from pathlib import Path

import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from air_reasoning.config import RunOptions, load_config
from air_reasoning.errors import ConfigError
from air_reasoning.models.load import load_model
from air_reasoning.models.save import load_weights
from air_reasoning.rl_config import RLConfig
from air_reasoning.run_reader import read_metrics, read_trajectories
from air_reasoning.samplers.base import SampleRequest, SamplingParams
from air_reasoning.samplers.local import LocalSampler
from air_reasoning.samplers.vllm import CACHES
from air_reasoning.train_rl import run_rl

NOWHERE = "http://127.0.0.1:9/v1"
pytestmark = pytest.mark.timeout(600)


class SamplingVllm:
    """``/inference/v1/generate`` over a model of this process, and both ways to new weights."""

    def __init__(self, folder):
        self.folder = folder
        self.sampler = LocalSampler(load_model(folder))
        self.model, self.calls = "base", []

    async def models(self, request):
        return JSONResponse({"data": [{"id": self.model, "max_model_len": 900}]})

    async def generate(self, request):
        body = await request.json()
        assert body["model"] == self.model
        params = body["sampling_params"]
        if "allowed_token_ids" in params:
            return JSONResponse(answer([1, 1], [5], [0.0], "length"))
        images = [picture_of(part) for part in body.get("content_parts") or []]
        loaded, shown, ids = self.sampler.loaded, iter(images), []
        for token in body["token_ids"]:
            ids += loaded.image_ids(next(shown)) if token == loaded.image_token_id else [token]
        name = uuid.uuid4().hex
        completion = await self.sampler.sample(
            SampleRequest(
                trajectory_id=name, group_id="", token_ids=ids, images=images,
                params=SamplingParams(
                    temperature=params["temperature"], max_tokens=params["max_tokens"],
                    stop_ids=tuple(params["stop_token_ids"]), stop_texts=tuple(params["stop"]),
                    banned_ids=tuple(map(int, params["logit_bias"])), seed=params["seed"],
                ),
            )
        )  # fmt: skip
        self.sampler.release(name)
        reason = "length" if completion.finish_reason == "length" else "stop"
        return JSONResponse(answer(ids, completion.token_ids, completion.logprobs, reason))

    async def adapter(self, request):
        body = await request.json()
        self.calls.append(Path(body["lora_path"]).name)
        self.sampler = LocalSampler(load_model(self.folder, adapter=body["lora_path"]))
        self.model = body["lora_name"]
        return Response(b"Success")

    async def reload(self, request):
        body = await request.json()
        assert body["method"] == "reload_weights"
        folder = Path(body["kwargs"]["weights_path"])
        self.calls.append(folder.name)
        load_weights(self.sampler.loaded.model, folder)
        return JSONResponse({"results": [None]})

    async def nothing(self, request):
        return Response(b"")

    def app(self):
        posts = {
            "/inference/v1/generate": self.generate, "/v1/load_lora_adapter": self.adapter,
            "/v1/unload_lora_adapter": self.nothing, "/collective_rpc": self.reload,
            **dict.fromkeys(CACHES, self.nothing),
        }  # fmt: skip
        routes = [Route(path, call, methods=["POST"]) for path, call in posts.items()]
        return Starlette(routes=[*routes, Route("/v1/models", self.models)])


def answer(seen, ids, logprobs, reason):
    content = [{"token_id": i, "logprob": p} for i, p in zip(ids, logprobs, strict=True)]
    choice = {"token_ids": ids, "finish_reason": reason, "logprobs": {"content": content}}
    return {"prompt_token_ids": seen, "choices": [choice]}


def picture_of(part):
    return Image.open(io.BytesIO(base64.b64decode(part["url"].partition(",")[2]))).convert("RGB")


def settings(model, tasks, **changes):
    """Of a training that moves far in one step, so that old weights would be noticed."""
    return {
        "model": {"path": str(model)}, "tasks": str(tasks), "steps": 2, "prompts": 3,
        "group_size": 4, "n_forbid": 1, "bf16": False, "write_every": 1, "anchor": {"weight": 0},
        "rollout": {"max_turns": 3, "max_new_tokens": 60},
        "engine": {"sandbox": {"max_sessions": 8}},
        "samples": {"mask_truncated": False, "mask_void_turns": False, "drop_constant": False},
        "optimizer": {"kind": "adamw", "lr": 3e-3, "warmup_steps": 0, "freeze": ["model.visual"]},
    } | changes  # fmt: skip


@pytest.mark.parametrize("rank", [0, 4])
def test_the_server_samples_from_the_weights_of_each_step(
    talking_model, cold_start_data, serving, tmp_path, rank
):
    server = SamplingVllm(talking_model)
    endpoint = {"url": serving(server.app()) + "/v1", "api": "vllm"}
    config = settings(talking_model, cold_start_data, endpoint=endpoint, lora={"rank": rank})
    run_rl(load_config(RLConfig, preset=config), RunOptions(run_dir=tmp_path, display="none"))
    assert server.calls == ["policy-0", "policy-1"]
    rows = [row["trajectory"] for row in read_trajectories(tmp_path)]
    assert {row["policy_version"] for row in rows} == {0, 1}
    assert {row["stop"] for row in rows}.isdisjoint({"sampler_error", "sandbox_lost"})
    first, second = read_metrics(tmp_path)
    assert first["optim/grad_norm"] > 0
    assert first["engine/requests"] >= 12
    # What the server sampled from is what was trained: also after the first update.
    assert max(step["sampler/logprob_gap_max"] for step in (first, second)) < 1e-3


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"endpoint": {"url": "http://127.0.0.1:9/v1"}}, "endpoint.api"),
        (
            {"endpoint": {"url": "http://127.0.0.1:9/v1", "api": "vllm"}, "processes": 2},
            "processes",
        ),
    ],
)
def test_what_cannot_be_trained_through_is_refused(cold_start_data, tiny_model, changes, words):
    with pytest.raises(ConfigError, match=words):
        load_config(RLConfig, preset=settings(tiny_model, cold_start_data, **changes))


def test_the_example_for_vllm(talking_model, serving, tmp_path, monkeypatch, capsys):
    url = serving(SamplingVllm(talking_model).app()) + "/v1"
    Image.new("RGB", (128, 128), "white").save(tmp_path / "a.png")
    words = [url, talking_model, tmp_path / "a.png", "What is the mean of all values?"]
    monkeypatch.setattr(sys, "argv", ["solve_with_vllm.py", *map(str, words)])
    example = Path(__file__).parents[2] / "examples" / "solve_with_vllm.py"
    runpy.run_path(str(example), run_name="__main__")
    *lines, last = capsys.readouterr().out.splitlines()
    assert " tokens " in lines[0]
    assert last.startswith("stop: ")
    assert "sampler_error" not in last
