"""Any chat-completions endpoint as a sampler: text and pictures in, text out, no token ids.

What is missing without ids, and what stands in for it:

- no log-probabilities: a trajectory cannot be trained on (its segments hold no ids, which is how
  the type says so);
- a turn is stopped at the closing code tag by its text; servers that leave it out get it put back
  when a cell is open;
- the opening code tag cannot be banned, so under a ban it ends the turn;
- a tool result goes on inside the model's turn where the server can, else it is a user turn.
"""

import asyncio
import base64
import hashlib
import io
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

import orjson
from PIL import Image

from air_reasoning.errors import SamplerError
from air_reasoning.files import atomic_write
from air_reasoning.samplers.base import Completion, Message, SampleRequest
from air_reasoning.samplers.http import JsonClient
from air_reasoning.samplers.settings import EndpointConfig
from air_reasoning.turn_format import AIR, TurnFormat, parse_turn

CONTINUES = ("vllm", "sglang")
GO_ON = "Go on exactly where you stopped, without repeating anything."


class OpenAISampler:
    """``Sampler`` over chat completions. ``usage`` sums tokens; ``cost`` is their price."""

    def __init__(
        self, config: EndpointConfig, form: TurnFormat = AIR, max_pixels: int | None = None
    ) -> None:
        """Nothing is sent before ``connect``; larger pictures are shrunk to ``max_pixels``."""
        self.config = config
        self.form = form
        self.max_pixels = max_pixels
        self.policy_version = 0
        self.model = config.model
        self.usage: Counter[str] = Counter()
        self._client = JsonClient(config.url, config)
        self._urls: dict[int, tuple[Image.Image, str]] = {}
        self._continues: bool | None = {"continue": True, "user": False}.get(config.tool_results)
        self._gate = asyncio.Semaphore(config.max_connections)
        self._connecting = asyncio.Lock()
        self._connected = False

    @property
    def counts(self) -> Counter[str]:
        """Requests, retries, rate limits and lost connections so far."""
        return self._client.counts

    @property
    def cost(self) -> float:
        """Estimated price of all requests so far, in US dollars."""
        c, u = self.config, self.usage
        cached = c.input_price if c.cached_price is None else c.cached_price
        prompt = c.input_price * (u["prompt"] - u["cached"]) + cached * u["cached"]
        return (prompt + c.output_price * u["written"]) / 1e6

    async def connect(self) -> str:
        """Ask the server what it is; returns one line for the user.

        Raises:
            SamplerError: it is not there, refuses the key, or serves several models and none was
                named.
        """
        async with self._connecting:
            if not self._connected:
                await self._probe()
                self._connected = True
        way = "inside the model's turn" if self._continues else "as user turns"
        return f"{self.model} at {self._client.url} (chat completions; tool results {way})"

    async def sample(self, request: SampleRequest) -> Completion:
        """See ``Sampler.sample``. Raises SamplerError when tries are used up."""
        if not self._connected:
            await self.connect()
        body = self._body(request)
        async with self._gate:
            answer = await self._answer(body, request)
        so_far = request.messages[-1].parts[0].text if _unfinished(request.messages) else ""
        closing = self._closing(so_far, answer)
        if closing and request.on_text is not None:
            request.on_text(closing)
        usage = answer.get("usage") or {}
        details = usage.get("prompt_tokens_details") or {}
        completion = Completion(
            token_ids=[],
            logprobs=[],
            text=answer["text"] + closing,
            finish_reason="length" if answer["finish"] == "length" else "stop",
            policy_version=self.policy_version,
            tokens=usage.get("completion_tokens") or len(answer["text"]) // 4,
            prompt_tokens=usage.get("prompt_tokens") or 0,
            cached_tokens=details.get("cached_tokens") or 0,
            free=bool(answer.get("free")),
        )
        if not completion.free:
            self.usage["prompt"] += completion.prompt_tokens
            self.usage["cached"] += completion.cached_tokens
            self.usage["written"] += completion.written
        return completion

    def open(self, trajectory_id: str) -> None:
        """Nothing to gather: the server batches."""

    def release(self, trajectory_id: str) -> None:
        """The server keeps nothing for us. Pictures not used any more are forgotten."""
        if len(self._urls) > 4 * self.config.max_connections:
            self._urls.clear()

    async def load_weights(self, weights: Any, version: int) -> None:
        """Raises SamplerError: an endpoint is not trained."""
        raise SamplerError("a chat endpoint gives no token ids and takes no weights; use api vllm")

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _probe(self) -> None:
        listed: list[dict[str, Any]] = []
        try:
            listed = (await self._client.get("/models")).get("data") or []
        except SamplerError:
            if not self.model:
                raise
        if not self.model:
            if len(listed) != 1:
                names = ", ".join(m["id"] for m in listed[:8]) or "none"
                raise SamplerError(f"{self._client.url}: name endpoint.model; there are: {names}")
            self.model = listed[0]["id"]
        if self._continues is None:
            owners = {m.get("owned_by") for m in listed if m.get("id") == self.model}
            self._continues = bool(owners & {*CONTINUES})

    def _body(self, request: SampleRequest) -> dict[str, Any]:
        params = request.params
        always = self.config.tool_results == "continue"
        mode: Literal["all", "text", "none"] = (
            "all" if always else "text" if self._continues else "none"
        )
        urls = [self._data_url(image) for image in request.images]
        messages = wire_messages(request.messages, urls, mode)
        limit = "max_completion_tokens" if "api.openai.com" in self._client.url else "max_tokens"
        body: dict[str, Any] = {
            "model": self.model,
            "messages": messages,
            "temperature": params.temperature,
            "top_p": params.top_p,
            "seed": params.seed % 2**31,
            limit: params.max_tokens,
            "stop": [*params.stop_texts, *params.banned_texts],
        }
        if self._continues:
            body["include_stop_str_in_output"] = not params.banned_texts
            if messages[-1]["role"] == "assistant":
                body |= {"continue_final_message": True, "add_generation_prompt": False}
        if not body["stop"]:
            del body["stop"]
        body |= self.config.extra
        return {name: value for name, value in body.items() if name not in self.config.omit}

    async def _answer(self, body: dict[str, Any], request: SampleRequest) -> dict[str, Any]:
        """``text``, ``finish`` and ``usage`` of one request, from the cache if it is there."""
        file = None
        if self.config.cache is not None:
            name = hashlib.sha256(self._client.url.encode() + orjson.dumps(body)).hexdigest()
            file = self.config.cache / name[:2] / f"{name}.json"
            if file.is_file():
                self.usage["cache_hits"] += 1
                answer = orjson.loads(file.read_bytes()) | {"free": True}
                if request.on_text is not None:
                    request.on_text(answer["text"])
                return answer
        if request.on_text is None:
            reply = await self._client.post("/chat/completions", body)
            answer = _whole(reply, self._client.url, self.form)
        else:
            answer = await self._streamed(body, request)
        if file is not None:
            atomic_write(file, orjson.dumps(answer), durable=False)
        return answer

    async def _streamed(self, body: dict[str, Any], request: SampleRequest) -> dict[str, Any]:
        body = body | {"stream": True, "stream_options": {"include_usage": True}}
        answer: dict[str, Any] = {"text": "", "finish": None, "usage": {}}
        thinking = False
        assert request.on_text is not None
        async for event in self._client.stream("/chat/completions", body):
            answer["usage"] = event.get("usage") or answer["usage"]
            for choice in event.get("choices") or []:
                delta = choice.get("delta") or {}
                thought = delta.get("reasoning_content") or delta.get("reasoning") or ""
                said = delta.get("content") or ""
                opened = self.form.think[0] if thought and not thinking else ""
                closed = self.form.think[1] if said and thinking else ""
                thinking = bool(thought) or (thinking and not said)
                if text := opened + thought + closed + said:
                    answer["text"] += text
                    request.on_text(text)
                answer["finish"] = choice.get("finish_reason") or answer["finish"]
        if answer["finish"] is None:
            raise SamplerError(f"{self._client.url}: the stream ended without a finish_reason")
        return answer

    def _closing(self, so_far: str, answer: dict[str, Any]) -> str:
        """The code tag that the server swallowed when it stopped there."""
        if answer["finish"] != "stop":
            return ""
        pieces = parse_turn(so_far + answer["text"], self.form)
        opened = bool(pieces) and pieces[-1].kind == "code" and not pieces[-1].closed
        return self.form.code[1] if opened else ""

    def _data_url(self, image: Image.Image) -> str:
        """PNG as base64; made once for a picture that goes with every turn."""
        known = self._urls.get(id(image))
        if known is None or known[0] is not image:
            known = self._urls[id(image)] = (image, data_url(image, self.max_pixels))
        return known[1]


def data_url(image: Image.Image, max_pixels: int | None = None) -> str:
    """``data:image/png;base64,...``, shrunk to at most ``max_pixels`` (width x height)."""
    if max_pixels is not None and image.width * image.height > max_pixels:
        scale = (max_pixels / (image.width * image.height)) ** 0.5
        image = image.resize((max(1, int(image.width * scale)), max(1, int(image.height * scale))))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", compress_level=1)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def wire_messages(
    messages: Sequence[Message], urls: Sequence[str], continues: Literal["all", "text", "none"]
) -> list[dict[str, Any]]:
    """Chat messages; a tool result goes on in the assistant's message where ``continues`` says so.

    ``text``: results without pictures only. A model's message that cannot be continued is followed
    by a request to go on.
    """
    wire: list[dict[str, Any]] = []
    for message in messages:
        parts = [
            {"type": "image_url", "image_url": {"url": urls[part.image]}}
            if part.kind == "image"
            else {"type": "text", "text": part.text}
            for part in message.parts
        ]
        pictures = any(part.kind == "image" for part in message.parts)
        role: str = message.role
        if role == "tool":
            inside = continues == "all" or (continues == "text" and not pictures)
            role = "assistant" if inside else "user"
        if wire and role == "assistant" == wire[-1]["role"]:
            wire[-1]["content"] += parts
        else:
            wire.append({"role": role, "content": parts})
    if continues == "none" and _unfinished(messages):
        wire.append({"role": "user", "content": [{"type": "text", "text": GO_ON}]})
    for row in wire:
        if all(part["type"] == "text" for part in row["content"]):
            row["content"] = "".join(part["text"] for part in row["content"])
    return wire


def _unfinished(messages: Sequence[Message]) -> bool:
    return bool(messages) and messages[-1].role == "assistant"


def _whole(answer: dict[str, Any], url: str, form: TurnFormat) -> dict[str, Any]:
    try:
        choice = answer["choices"][0]
        message = choice["message"]
        thought = message.get("reasoning_content") or message.get("reasoning") or ""
        opening, closing = form.think if thought else ("", "")
        text = opening + thought + closing + (message.get("content") or "")
    except (KeyError, IndexError, TypeError):
        raise SamplerError(f"{url}: no chat completion: {str(answer)[:300]}") from None
    return {"text": text, "finish": choice.get("finish_reason"), "usage": answer.get("usage")}
