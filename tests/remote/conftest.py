"""A chat-completions server in this process: real HTTP, real streams, a script for the model."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from air_reasoning.samplers.settings import EndpointConfig


@dataclass
class ChatServer:
    """``turns`` are played one a request; ``failures`` are statuses given before them."""

    turns: list[str] = field(default_factory=list)
    failures: list[int] = field(default_factory=list)
    owner: str = "somebody"
    models: list[str] = field(default_factory=lambda: ["m1"])
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    break_off: bool = False
    retry_after: str = "0"
    url: str = ""
    answering: Callable[[Request], Any] | None = None

    async def answer(self, request: Request) -> Response:
        return await (self.answering or self.complete)(request)

    def config(self, **fields: Any) -> EndpointConfig:
        return EndpointConfig(url=self.url, retry_wait_s=0.001, **fields)

    async def list_models(self, request: Request) -> Response:
        rows = [{"id": m, "object": "model", "owned_by": self.owner} for m in self.models]
        return JSONResponse({"object": "list", "data": rows})

    async def complete(self, request: Request) -> Response:
        self.keys.append(request.headers.get("authorization", ""))
        body = await request.json()
        if self.failures:
            status = self.failures.pop(0)
            error = {"error": {"message": f"no, {status}"}}
            return JSONResponse(error, status, headers={"Retry-After": self.retry_after})
        self.bodies.append(body)
        text, finish = cut(self.turns.pop(0), body)
        usage = {
            "prompt_tokens": 100, "completion_tokens": len(text.split()),
            "prompt_tokens_details": {"cached_tokens": 40},
        }  # fmt: skip
        if body.get("stream"):
            return StreamingResponse(
                self.events(text, finish, usage), media_type="text/event-stream"
            )
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": finish}
        return JSONResponse({"id": "1", "choices": [choice], "usage": usage})

    async def events(self, text: str, finish: str, usage: dict[str, Any]):
        chunks = [text[i : i + 5] for i in range(0, len(text), 5)]
        for n, chunk in enumerate(chunks):
            if self.break_off and n == 2:
                raise RuntimeError("the connection breaks off here")
            yield event({"choices": [{"index": 0, "delta": {"content": chunk}}]})
        yield event({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
        yield event({"choices": [], "usage": usage})
        yield "data: [DONE]\n\n"


def event(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data)}\n\n"


def cut(text: str, body: dict[str, Any]) -> tuple[str, str]:
    """What a server leaves of a turn: stopped at the first stop text."""
    ends = [(text.find(stop), stop) for stop in body.get("stop", []) if stop in text]
    if ends:
        at, stop = min(ends)
        text = text[: at + (len(stop) if body.get("include_stop_str_in_output") else 0)]
    return text, "stop"


@pytest.fixture
def serving() -> Iterator[Callable[[Any], str]]:
    """``serving(app)``: the address of an ASGI application that runs in a thread."""
    running: list[tuple[uvicorn.Server, threading.Thread]] = []

    def start(app: Any) -> str:
        config = uvicorn.Config(app, port=0, log_level="critical", lifespan="on")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.005)
            assert thread.is_alive()
        running.append((server, thread))
        return f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"

    yield start
    for server, thread in running:
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive()


@pytest.fixture
def chat_server(serving: Callable[[Any], str]) -> ChatServer:
    server = ChatServer()
    routes = [
        Route("/v1/models", server.list_models),
        Route("/v1/chat/completions", server.answer, methods=["POST"]),
    ]
    server.url = serving(Starlette(routes=routes)) + "/v1"
    return server
