"""The web application: each request is one roll-out, streamed while it happens.

    POST /v1/responses  POST /v1/chat/completions  GET /v1/models  GET /health  GET /metrics

A client that goes away cancels its roll-out, which frees the engine and ends the sandbox session.
"""

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from air_reasoning.api import opened_engine, question_task
from air_reasoning.engine import Engine
from air_reasoning.errors import AirError
from air_reasoning.rollout import Event, rollout
from air_reasoning.rollout_setup import Prompt
from air_reasoning.samplers.base import Message
from air_reasoning.serve.admission import Admission
from air_reasoning.serve.chat_api import ChatBuilder
from air_reasoning.serve.event_stream import EventStream, cancelled, disconnected
from air_reasoning.serve.figures import Figures
from air_reasoning.serve.pictures import Pictures
from air_reasoning.serve.refusal import Refusal
from air_reasoning.serve.responses_api import ResponseBuilder
from air_reasoning.serve.settings import ServeConfig
from air_reasoning.serve.wire import Question, read_question
from air_reasoning.types import Part, StopReason, Trajectory

Builder = ResponseBuilder | ChatBuilder


def build_app(config: ServeConfig, told: Callable[[str], None] = print) -> Starlette:
    """The application; its engine is opened when it starts and closed when it stops.

    Raises:
        ConfigError: keys are needed and there are none.
    """
    server = Server(config, told)
    routes = [
        Route("/v1/responses", server.responses, methods=["POST"]),
        Route("/v1/chat/completions", server.chat, methods=["POST"]),
        Route("/v1/models", server.models),
        Route("/health", server.health),
        Route("/metrics", server.metrics),
    ]
    app = Starlette(routes=routes, lifespan=server.lifespan)
    app.state.server = server
    return app


class Server:
    """One engine, many requests."""

    def __init__(self, config: ServeConfig, told: Callable[[str], None]) -> None:
        self.config = config
        self.admission = Admission(config)
        self.counts: Counter[tuple[str, str]] = Counter()
        self._told = told
        self._figures = Figures()
        self._started = int(time.time())
        self._engine: Engine
        self._pictures: Pictures
        self.name = config.name
        self.failure: AirError | None = None

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """Open everything, and close it at the end; ``failure`` says why it could not."""
        try:
            async with self._opened():
                yield
        except AirError as error:
            self.failure = error
            raise

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[None]:
        c = self.config
        self._pictures = Pictures(c)
        async with opened_engine(
            c.model.path, c.endpoint, c.engine, self._figures, self._told
        ) as engine:
            self._engine = engine
            known = getattr(engine.sampler, "model", "") or "air"
            self.name = c.name or c.model.name or (known if c.endpoint.url else self._folder())
            try:
                yield
            finally:
                await self._pictures.close()

    async def responses(self, request: Request) -> Response:
        """``POST /v1/responses``."""
        return await self._answered(request, self._respond, "responses")

    async def chat(self, request: Request) -> Response:
        """``POST /v1/chat/completions``."""
        return await self._answered(request, self._respond, "chat")

    async def models(self, request: Request) -> Response:
        """``GET /v1/models``: the one model."""
        try:
            self.admission.key(request)
        except Refusal as refusal:
            return _refused(refusal)
        row = {"id": self.name, "object": "model", "created": self._started, "owned_by": "air"}
        return JSONResponse({"object": "list", "data": [row]})

    async def health(self, request: Request) -> Response:
        """``GET /health``."""
        return JSONResponse({"status": "ok", "running": self.admission.running.total()})

    async def metrics(self, request: Request) -> Response:
        """``GET /metrics``: counters in Prometheus' text format."""
        lines = [f"air_running {self.admission.running.total()}"]
        for (name, label), value in sorted(self.counts.items()):
            lines.append(f"air_{name}{label} {value}")
        return PlainTextResponse("\n".join(lines) + "\n")

    async def _answered(self, request: Request, respond: Any, api: str) -> Response:
        try:
            response = await respond(request, api)
        except Refusal as refusal:
            response = _refused(refusal)
        except ClientDisconnect:
            response = Response(status_code=499)
        except AirError as error:
            self._told(f"error: {error}")
            response = _refused(Refusal(500, "the server failed; its log says why"))
        self._count("requests_total", api=api, status=str(response.status_code))
        return response

    async def _respond(self, request: Request, api: str) -> Response:
        key = self.admission.key(request)
        stack = ExitStack()
        stack.enter_context(self.admission.slot(key))
        try:
            body = await self.admission.body(request)
            wire = {"responses": api == "responses"}
            question = await read_question(body, self.config, self._pictures, self.name, **wire)
            prompt = self._prompt(question)
            if question.stream:
                events, held = self._events(question, prompt, api), stack.pop_all()
                return EventStream(events, held)
            return await self._whole(request, question, prompt, api)
        finally:
            stack.close()

    def _prompt(self, question: Question) -> Prompt:
        renderer, task = self._engine.renderer, question_task([], "")
        own = renderer.messages(task, code_banned=not question.code)[:-1]
        parts = [message.parts[0].text for message in own]
        system = "\n\n".join(part for part in (*parts, question.system) if part)
        head = [Message(role="system", parts=[Part(kind="text", text=system)])] if system else []
        messages, images = head + question.messages, question.images
        if unseen := [i for i in images if not renderer.can_show(i)]:
            size = f"{unseen[0].width}x{unseen[0].height}"
            raise Refusal(400, f"a picture of {size} cannot be shown to this model", "image_url")
        ids = renderer.message_ids(messages, images)
        return Prompt(ids=ids, images=images, shown=images, messages=messages)

    async def _roll(self, question: Question, prompt: Prompt, on_event: Any) -> Trajectory:
        name = uuid.uuid4().hex
        task = question_task(prompt.images, "")
        trajectory = await rollout(
            task, self._engine, question.rollout, trajectory_id=name, seed=question.seed,
            code_banned=not question.code, prompt=prompt, on_event=on_event,
        )  # fmt: skip
        self._count("trajectories_total", stop=trajectory.stop)
        self._count("tokens_total", trajectory.usage.model)
        self._count("cells_total", len(trajectory.executions))
        if trajectory.error:
            self._told(f"error: {trajectory.error}")
        return trajectory

    def _builder(self, question: Question, api: str) -> Builder:
        form = self._engine.renderer.form
        if api == "responses":
            return ResponseBuilder(self.name, form, self._figures, question.include_outputs)
        return ChatBuilder(self.name, form, self._figures, question.include_usage)

    async def _whole(
        self, request: Request, question: Question, prompt: Prompt, api: str
    ) -> Response:
        builder = self._builder(question, api)
        job = asyncio.ensure_future(
            self._roll(question, prompt, lambda event: [*builder.feed(event)])
        )
        gone = asyncio.ensure_future(disconnected(request.receive))
        try:
            await asyncio.wait([job, gone], return_when=asyncio.FIRST_COMPLETED)
            if not job.done():
                self._count("cancelled_total")
                return Response(status_code=499)
            trajectory = job.result()
        finally:
            await cancelled(job, gone)
        last = [*builder.end(trajectory)]
        if trajectory.stop.our_fault:
            engine_lost = trajectory.stop is StopReason.SAMPLER_ERROR
            what = "the engine failed" if engine_lost else "the sandbox was lost"
            raise Refusal(502 if engine_lost else 500, f"{what}; send the request again")
        if isinstance(builder, ChatBuilder):
            return JSONResponse(builder.completion(trajectory))
        return JSONResponse(last[-1]["response"])

    async def _events(
        self, question: Question, prompt: Prompt, api: str
    ) -> AsyncGenerator[bytes, None]:
        """Server-sent events. Closing this generator (the client went away) cancels the work."""
        builder = self._builder(question, api)
        queue: asyncio.Queue[Event | None] = asyncio.Queue()
        job = asyncio.ensure_future(self._roll(question, prompt, queue.put_nowait))
        job.add_done_callback(lambda done: queue.put_nowait(None))
        named = api == "responses"
        try:
            for event in builder.begin():
                yield _sse(event, named)
            while (heard := await queue.get()) is not None:
                for event in builder.feed(heard):
                    yield _sse(event, named)
            for event in self._ending(builder, job):
                yield _sse(event, named)
            if not named:
                yield b"data: [DONE]\n\n"
        finally:
            if not job.done():
                self._count("cancelled_total")
            await cancelled(job)

    def _ending(self, builder: Builder, job: "asyncio.Future[Trajectory]") -> list[dict[str, Any]]:
        """The last events; the stream has begun, so that a failure is an event, too."""
        try:
            trajectory = job.result()
        except AirError as error:
            self._told(f"error: {error}")
            trajectory = Trajectory(id="", task_id="", group_id="", stop=StopReason.SANDBOX_LOST)
        if trajectory.stop.our_fault and isinstance(builder, ChatBuilder):
            return [Refusal(500, "the engine or the sandbox failed; send it again").body()]
        return [*builder.end(trajectory)]

    def _count(self, counter: str, by: int = 1, **labels: str) -> None:
        pairs = ",".join(f'{key}="{value}"' for key, value in labels.items())
        self.counts[counter, f"{{{pairs}}}" if pairs else ""] += by

    def _folder(self) -> str:
        path = self.config.model.path
        return path.resolve().name if path is not None else "air-shipped"


def _sse(event: dict[str, Any], named: bool) -> bytes:
    head = f"event: {event['type']}\n".encode() if named else b""
    return head + b"data: " + orjson.dumps(event) + b"\n\n"


def _refused(refusal: Refusal) -> Response:
    return JSONResponse(refusal.body(), refusal.status, headers=refusal.headers)
