"""Whether a model behind HTTP answers, and what it can do: each ability is tried, not looked up."""

import time
from collections.abc import Callable
from typing import Any

from PIL import Image

from air_reasoning.doctor.finding import Finding, failure, ok, warning
from air_reasoning.errors import AirError, SamplerError
from air_reasoning.samplers.base import Message, SampleRequest, SamplingParams
from air_reasoning.samplers.http import JsonClient
from air_reasoning.samplers.openai import OpenAISampler
from air_reasoning.samplers.settings import EndpointConfig
from air_reasoning.samplers.vllm import probe
from air_reasoning.types import Part

ADAPTERS, RELOAD = "/v1/load_lora_adapter", "/collective_rpc"
LONGEST_WAIT_S = 180.0


async def engine_findings(config: EndpointConfig) -> list[Finding]:
    """What every address of ``config.url`` answers. A few tokens are paid for at each."""
    if not config.url:
        return [ok("engine", "none asked for; --endpoint URL tries one")]
    found: list[Finding] = []
    patience = {"retries": 0, "cache": None, "timeout_s": min(config.timeout_s, LONGEST_WAIT_S)}
    for url in config.url.split(","):
        found += await _server_findings(config.model_copy(update={"url": url.strip(), **patience}))
    return found


async def _server_findings(config: EndpointConfig) -> list[Finding]:
    check, began = f"engine {config.url}", time.perf_counter()
    try:
        sampler = OpenAISampler(config)
    except AirError as error:
        return [failure(check, str(error), "give an address such as http://localhost:8000/v1")]
    try:
        told = await sampler.connect()
        took = 1000 * (time.perf_counter() - began)
        chat = await _chat_findings(sampler)
        vllm = await _vllm_findings(config, sampler.model)
    except SamplerError as error:
        mend = "start it, or check endpoint.url, endpoint.model and the key"
        return [failure(check, str(error).partition("; is the server running?")[0], mend)]
    finally:
        await sampler.close()
    return [ok(check, f"{told}, {took:.0f} ms"), *chat, *vllm]


async def _chat_findings(sampler: OpenAISampler) -> list[Finding]:
    """The requests that ``air solve`` and ``air eval`` make, in their own way."""
    failed = await _refusal(sampler, [])
    if failed:
        mend = "name fields that it refuses in endpoint.omit, or check endpoint.model"
        return [failure("  chat", failed, mend)]
    found = [ok("  chat", "answers, stops at texts")]
    failed = await _refusal(sampler, [], lambda text: None)
    if failed:
        found.append(failure("  streaming", failed, "`air solve` streams; use another server"))
    else:
        found.append(ok("  streaming", "works"))
    failed = await _refusal(sampler, [Image.new("RGB", (56, 56), "red")])
    if failed:
        mend = "serve a model that sees pictures, or ask without any"
        found.append(warning("  pictures", failed, mend))
    else:
        found.append(ok("  pictures", "taken as data URLs"))
    return found


async def _refusal(
    sampler: OpenAISampler, images: list[Image.Image], on_text: Callable[[str], None] | None = None
) -> str:
    """Why a short question with ``images`` is not answered; empty if it is."""
    parts = [Part(kind="image", image=n) for n in range(len(images))]
    question = Message(role="user", parts=[*parts, Part(kind="text", text="Say yes.")])
    params = SamplingParams(temperature=0, max_tokens=8, stop_texts=("</code>",))
    request = SampleRequest(
        trajectory_id="doctor", group_id="", token_ids=[], images=images, params=params,
        messages=[question], on_text=on_text,
    )  # fmt: skip
    try:
        await sampler.sample(request)
    except SamplerError as error:
        return str(error)
    return ""


async def _vllm_findings(config: EndpointConfig, model: str) -> list[Finding]:
    """What training needs: ids and log-probabilities, and a way for new weights."""
    root = config.url.rstrip("/").removesuffix("/v1")
    client = JsonClient(root, config)
    bad = failure if config.api == "vllm" else None
    try:
        paths = await _paths(client)
        way, processed = await probe(client, model, 5)
    except SamplerError as error:
        if bad is None:
            return [ok("  token ids", "none: it answers and is evaluated, but not trained")]
        return [bad("  token ids", str(error), "api vllm needs a vLLM server")]
    finally:
        await client.close()
    return [_way_finding(way), _logprob_finding(processed), _weights_finding(paths)]


async def _paths(client: JsonClient) -> set[str]:
    """The server's own list of its routes, where it has one."""
    try:
        described: Any = await client.get("/openapi.json")
    except SamplerError:
        return set()
    return set(described.get("paths") or ()) if isinstance(described, dict) else set()


def _way_finding(way: str) -> Finding:
    if way == "generate":
        return ok("  token ids", "in and out, with pictures (/inference/v1/generate)")
    mend = "start vLLM with --enable-scale-out for pictures"
    return warning("  token ids", "in and out, text only (/v1/completions)", mend)


def _logprob_finding(processed: bool) -> Finding:
    if processed:
        return ok("  log-probabilities", "of the distribution sampled from")
    mend = "for training start vLLM with --logprobs-mode processed_logprobs"
    return warning("  log-probabilities", "raw: before temperature and bans", mend)


def _weights_finding(paths: set[str]) -> Finding:
    ways = {ADAPTERS: "LoRA adapters", RELOAD: "whole checkpoints"}
    found = [what for path, what in ways.items() if path in paths]
    if found:
        return ok("  new weights", f"it can load {' and '.join(found)}")
    mend = (
        "to train, start vLLM with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=1, or "
        "VLLM_SERVER_DEV_MODE=1"
    )
    return warning("  new weights", "it can load none while it runs", mend)
