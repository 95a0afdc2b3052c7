"""Stock vLLM over HTTP as a sampler: token ids in and out, log-probabilities, pictures anywhere.

Two ways, found out by asking the server (``connect``):

- ``generate``: ``/inference/v1/generate`` of a server started with ``--enable-scale-out``. Ids and
  pictures go there, ids and log-probabilities come back; the server says which ids it really saw,
  and they have to be ours.
- ``completions``: ``/v1/completions`` with ids, on every vLLM; no pictures.

A request carries the whole sequence, so a server keeps nothing that could be lost: its prefix cache
makes the earlier turns cheap, and a trajectory stays with its server while that lives.
Log-probabilities are of the distribution sampled from only if the server runs with
``--logprobs-mode processed_logprobs``; ``connect`` tells, and refuses if asked to.
"""

import asyncio
import json
import uuid
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, cast

from air_reasoning.errors import SamplerError
from air_reasoning.models.processor import Processor
from air_reasoning.models.token_text import TokenText
from air_reasoning.samplers.base import Completion, SampleRequest
from air_reasoning.samplers.http import JsonClient, Refused
from air_reasoning.samplers.openai import data_url
from air_reasoning.samplers.settings import EndpointConfig

Way = Literal["generate", "completions"]
PATHS: dict[Way, str] = {"generate": "/inference/v1/generate", "completions": "/v1/completions"}
CACHES = ("/reset_prefix_cache", "/reset_mm_cache", "/reset_encoder_cache")
NEVER = -100.0
"""The logit bias that vLLM takes for "cannot be sampled"."""


class VllmSampler:
    """``Sampler`` over one or several servers of the same model. ``counts`` sums what happened."""

    def __init__(self, processor: Processor, config: EndpointConfig) -> None:
        """``processor``: of the checkpoint there. Raises ConfigError for a bad address."""
        urls = [url.strip().rstrip("/").removesuffix("/v1") for url in config.url.split(",")]
        self.clients = [JsonClient(url, config) for url in urls]
        self.model = config.model
        self.policy_version = 0
        self.way: Way = "generate"
        self.processed_logprobs = False
        self.max_context = processor.max_context
        self._processor = processor
        self._config = config
        self._text = TokenText(processor.tokenizer)
        # A name of its own: a run before this one may have left the same version there.
        self._adapters = f"policy-{uuid.uuid4().hex[:8]}"
        self._home: dict[str, JsonClient] = {}
        self._load: Counter[int] = Counter()
        self._lost: set[int] = set()
        self._gate = asyncio.Semaphore(config.max_connections)

    @property
    def counts(self) -> Counter[str]:
        """Requests, retries, rate limits, lost connections and lost servers."""
        total = sum((client.counts for client in self.clients), Counter[str]())
        return total + Counter({"lost_servers": len(self._lost)})

    async def connect(self) -> str:
        """Ask every server what it can do; returns one line for the user.

        Raises:
            SamplerError: one is not there, is no vLLM, its pictures would not be normalised, or its
                log-probabilities are not of the distribution sampled from and
                ``require_processed_logprobs`` is set.
        """
        _check_normalisation(self._processor)
        self.processed_logprobs = True
        for client in self.clients:
            rows = (await client.get("/v1/models"))["data"]
            self.model = self.model or rows[0]["id"]
            known = next((row for row in rows if row["id"] == self.model), None)
            if known is None:
                raise SamplerError(f"{client.url}: no model {self.model!r}; check endpoint.model")
            self.max_context = min(self.max_context, known.get("max_model_len") or 2**31)
            one = next(i for i in range(10**6) if i not in self._processor.placeholder_ids)
            way, processed = await probe(client, self.model, one)
            self.processed_logprobs &= processed
            if way == "completions":  # what one of them lacks none is asked for
                self.way = way
        kind = "of the distribution sampled from" if self.processed_logprobs else "raw"
        if self._config.require_processed_logprobs and not self.processed_logprobs:
            raise SamplerError(
                f"{self.clients[0].url}: its log-probabilities are raw; start vLLM with "
                "--logprobs-mode processed_logprobs"
            )
        pictures = "with pictures" if self.way == "generate" else "text only"
        return f"{self.model} at {self._config.url} (vLLM {self.way}, {pictures}; logprobs {kind})"

    async def sample(self, request: SampleRequest) -> Completion:
        """See ``Sampler.sample``; a lost server's request goes to another one.

        Raises:
            SamplerError: no server is left, the server saw other ids than ours, or pictures cannot
                go this way.
        """
        room = self.max_context - len(request.token_ids)
        if room <= 0:
            return self._completion([], [], "context")
        body = self._body(request, min(request.params.max_tokens, room))
        async with self._gate:
            answer = await self._anywhere(request, body)
        choice, seen = answer["choices"][0], answer.get("prompt_token_ids")
        seen = choice.get("prompt_token_ids") if seen is None else seen
        if seen is not None and seen != request.token_ids:
            raise SamplerError(
                f"trajectory {request.trajectory_id}: the server saw {len(seen)} tokens, ours are "
                f"{len(request.token_ids)} or others; give both sides the same min_pixels and "
                "max_pixels (--mm-processor-kwargs) and the same checkpoint"
            )
        ids, logprobs = choice.get("token_ids") or [], _logprobs(choice)
        if choice["finish_reason"] not in ("stop", "length") or len(ids) != len(logprobs):
            raise SamplerError(f"the server ended a request with {choice['finish_reason']!r}")
        if request.on_token is not None:
            for token_id in ids:
                request.on_token(token_id)
        full = choice["finish_reason"] == "length" and room < request.params.max_tokens
        return self._completion(ids, logprobs, "context" if full else choice["finish_reason"])

    def open(self, trajectory_id: str) -> None:
        """The server that has least to do becomes the trajectory's."""
        self._server(trajectory_id)

    def release(self, trajectory_id: str) -> None:
        """Forget which server it was with."""
        client = self._home.pop(trajectory_id, None)
        if client is not None:
            self._load[self.clients.index(client)] -= 1

    async def load_weights(self, weights: Any, version: int) -> None:
        """Take the weights of a folder: a LoRA adapter by its name, else a whole checkpoint.

        Needs ``--enable-lora`` and VLLM_ALLOW_RUNTIME_LORA_UPDATING=1, or VLLM_SERVER_DEV_MODE=1.

        Raises:
            SamplerError: ``weights`` is no folder that the server could read, or it refused.
        """
        if not isinstance(weights, str | Path):
            raise SamplerError("a server takes weights from a folder that it can read; save first")
        folder, name = Path(weights).resolve(), self.model
        for n, client in enumerate(self.clients):
            if n in self._lost:
                continue
            if (folder / "adapter_config.json").is_file():
                name = f"{self._adapters}-{version}"
                adapter = {"lora_name": name, "lora_path": str(folder)}
                await client.post_text("/v1/load_lora_adapter", adapter)
                await self._unload(client)
            else:
                call = {"method": "reload_weights", "kwargs": {"weights_path": str(folder)}}
                await client.post_text("/collective_rpc", call)
                await _forget(client)
        self.model, self.policy_version = name, version

    async def _unload(self, client: JsonClient) -> None:
        """Forget the adapter before this one."""
        if self.model.startswith(self._adapters):
            await client.post_text("/v1/unload_lora_adapter", {"lora_name": self.model})

    async def close(self) -> None:
        """Take the adapter off the servers and close all connections."""
        for client in self.clients:
            with suppress(SamplerError):  # a server that is gone has forgotten it
                await self._unload(client)
            await client.close()

    def _server(self, trajectory_id: str) -> JsonClient:
        home = self._home.get(trajectory_id)
        if home is not None and self.clients.index(home) not in self._lost:
            return home
        self.release(trajectory_id)
        alive = [n for n in range(len(self.clients)) if n not in self._lost]
        if not alive:
            raise SamplerError(f"{self._config.url}: no server is left; is vLLM running?")
        best = min(alive, key=lambda n: self._load[n])
        self._load[best] += 1
        self._home[trajectory_id] = self.clients[best]
        return self.clients[best]

    async def _anywhere(self, request: SampleRequest, body: dict[str, Any]) -> Any:
        """The answer of the trajectory's server, or of the next when that one is lost."""
        while True:
            client = self._server(request.trajectory_id)
            try:
                return await self._ask(client, body)
            except Refused as error:
                if error.status < 500:
                    raise
                self._lose(client, error)
            except SamplerError as error:
                self._lose(client, error)

    def _lose(self, client: JsonClient, error: SamplerError) -> None:
        self._lost.add(self.clients.index(client))
        if len(self._lost) == len(self.clients):
            self._lost.clear()  # the next trajectory tries them again
            raise error

    async def _ask(self, client: JsonClient, body: dict[str, Any]) -> Any:
        body = {"model": self.model, "return_token_ids": True, **body}
        return await client.post(PATHS[self.way], body)

    def _body(self, request: SampleRequest, max_tokens: int) -> dict[str, Any]:
        params = request.params
        banned = {*self._processor.placeholder_ids, *params.banned_ids}
        sampling: dict[str, Any] = {
            "max_tokens": max_tokens,
            "temperature": params.temperature,
            "top_p": params.top_p,
            "seed": (params.seed + 0x9E3779B1 * len(request.token_ids)) % 2**31,
            "stop_token_ids": list(params.stop_ids),
            "stop": list(params.stop_texts),
            "include_stop_str_in_output": True,
            "skip_special_tokens": False,
            "bad_words": list(params.banned_texts),
            "logit_bias": {str(i): NEVER for i in sorted(banned)},
            "logprobs": 0,
        }
        if self.way == "completions":
            if request.images:
                raise SamplerError(
                    "this vLLM takes no pictures beside token ids; start it with --enable-scale-out"
                )
            return {"prompt": request.token_ids, **sampling}
        parts = [{"type": "image_url", "url": data_url(image)} for image in request.images]
        ids = self._collapsed(request)
        return {"token_ids": ids, "content_parts": parts or None, "sampling_params": sampling}

    def _collapsed(self, request: SampleRequest) -> list[int]:
        """Our ids with one placeholder for each picture: the server widens them itself.

        Raises:
            SamplerError: a picture's ids are not where they have to be.
        """
        ids, end, start = list[int](), 0, 0
        pad, sequence = self._processor.image_token_id, request.token_ids
        for image in request.images:
            wide = self._processor.image_ids(image)
            start = next(
                (n for n in range(end, len(sequence)) if sequence[n : n + len(wide)] == wide), -1
            )
            if start < 0:
                raise SamplerError(f"trajectory {request.trajectory_id}: pictures and ids differ")
            ids += [*sequence[end:start], pad]
            end = start + len(wide)
        return ids + sequence[end:]

    def _completion(
        self, ids: list[int], logprobs: list[float], reason: Literal["stop", "length", "context"]
    ) -> Completion:
        return Completion(
            token_ids=ids,
            logprobs=logprobs,
            text=self._text.decode(ids),
            finish_reason=reason,
            policy_version=self.policy_version,
        )


async def _forget(client: JsonClient) -> None:
    """Empty the caches that belong to the old weights.

    The workers drop their pictures by themselves when weights are reloaded, but the scheduler goes
    on counting on them: the next request with a picture that was seen before ends vLLM's engine.

    Raises:
        SamplerError: requests are under way, so that the prefix cache could not be emptied.
    """
    for path in CACHES:
        answer = await client.post(path, {})
        if isinstance(answer, dict) and answer.get("success") is False:
            raise SamplerError(f"{client.url}{path}: refused; somebody else samples there")


def _check_normalisation(processor: Processor) -> None:
    """VLLM normalises pixels itself, by the file alone; transformers also knows defaults.

    Raises:
        SamplerError: the file leaves them out, so that the server's model would see other pictures.
    """
    file = processor.path / "preprocessor_config.json"
    if processor.pictures == "none" or not file.is_file():
        return
    named = json.loads(file.read_text())
    if "do_normalize" not in named and "image_mean" not in named:
        raise SamplerError(
            f"{file}: names neither image_mean nor do_normalize, so vLLM would not normalise "
            "pictures; load it with transformers' AutoImageProcessor, save_pretrained, and restart "
            "the server"
        )


async def probe(client: JsonClient, model: str, token_id: int) -> tuple[Way, bool]:
    """Which way a server takes, and whether its log-probabilities are of what was sampled from.

    Asks for one token where only ``token_id`` may come: a processed log-probability of it is 0.

    Raises:
        SamplerError: it takes no token ids.
    """
    params = {"max_tokens": 1, "temperature": 1.0, "logprobs": 0, "allowed_token_ids": [token_id]}
    wanted: dict[str, Any] = {"model": model, "return_token_ids": True}
    ids, way = [token_id, token_id], cast(Way, "generate")
    try:
        body = wanted | {"sampling_params": params, "token_ids": ids}
        answer = await client.post(PATHS["generate"], body)
    except Refused as error:
        if error.status not in (404, 405, 501):
            raise
        way = "completions"
        answer = await client.post(PATHS[way], wanted | params | {"prompt": ids})
    logprobs = _logprobs(answer["choices"][0])
    if not logprobs:
        raise SamplerError(f"{client.url}: gives no log-probabilities, so it is no vLLM")
    return way, abs(logprobs[0]) < 1e-6


def _logprobs(choice: dict[str, Any]) -> list[float]:
    """Of either way's answer."""
    given = choice.get("logprobs") or {}
    if given.get("content") is not None:
        return [row["logprob"] for row in given["content"]]
    return list(given.get("token_logprobs") or [])
