"""A sandbox pool behind HTTP: one a machine, shared by trainers elsewhere (``air sandbox serve``).

What it speaks is in ``wire.py``. A session belongs to this server; it ends when it is deleted, and
when nobody has asked for it or kept it for as long as its client said. When all places are taken
the answer is 429 at once: to wait, or to ask another server, is the client's choice.
"""

import asyncio
import contextlib
import hmac
import secrets
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from air_reasoning.errors import AirError, SandboxError
from air_reasoning.json_io import to_json
from air_reasoning.sandbox import wire
from air_reasoning.sandbox.child.frames import Frame, FrameError
from air_reasoning.sandbox.process import ProcessPool, ProcessSession
from air_reasoning.sandbox.raw_images import from_raw
from air_reasoning.sandbox.session import MAX_CODE_CHARS
from air_reasoning.sandbox.settings import SandboxConfig
from air_reasoning.types import Execution

MAX_IMAGES = 64
MAX_IMAGE_PIXELS = 64_000_000
MAX_TIMEOUT_S = 3600.0
ESCAPED = 12  # bytes that one character can take in JSON
SWEEP_S = 0.5


class Refused(Exception):
    """An HTTP status and what the client is told."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


@dataclass(kw_only=True, slots=True)
class Held:
    """A session, how to leave it, and until when it is kept without a word from its client."""

    session: ProcessSession
    leave: AsyncExitStack
    keep_s: float
    heard: float
    running: int = 0


def build_service(
    config: SandboxConfig, token: str = "", on_start: Callable[[str], object] = len
) -> Starlette:
    """The application; the pool opens when it starts and closes when it stops.

    ``app.state.service.failure`` says why it could not start.
    """
    service = Service(config, token, on_start)
    routes = [
        Route("/sessions", service.answering(service.create), methods=["POST"]),
        Route("/sessions/{id}/run", service.answering(service.run), methods=["POST"]),
        Route("/sessions/{id}", service.answering(service.delete), methods=["DELETE"]),
        Route("/keep", service.answering(service.keep), methods=["POST"]),
        Route("/metrics", service.answering(service.metrics)),
        Route("/health", service.health),
    ]
    app = Starlette(routes=routes, lifespan=service.lifespan)
    app.state.service = service
    return app


class Service:
    """One pool, its sessions by name, and what happened so far."""

    def __init__(
        self, config: SandboxConfig, token: str, on_start: Callable[[str], object]
    ) -> None:
        """``token`` empty: everybody who can connect may ask. ``on_start`` is told the tier."""
        self.on_start = on_start
        self.failure: AirError | None = None
        self._config = config
        self._token = token.encode()
        self._pool = ProcessPool(config)
        self._held: dict[str, Held] = {}
        self._opening = 0
        self._counts: Counter[str] = Counter()

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncGenerator[None]:
        """Start every layer of the pool, so that no client waits for imports; end it all."""
        sweeping = None
        try:
            for layer in self._config.preload:
                async with self._pool.session() as session:
                    await session.run(f"0 # {layer[-1].rstrip('?')}")
            sweeping = asyncio.create_task(self._sweep())
            self.on_start(self._pool.tier)
            yield
        except AirError as error:
            self.failure = error
            raise
        finally:
            if sweeping is not None:
                sweeping.cancel()
            for name in list(self._held):
                await self._end(name)
            await self._pool.close()

    # --- what clients ask for -------------------------------------------------------------------

    async def create(self, request: Request) -> Response:
        """``POST /sessions``."""
        if len(self._held) + self._opening >= self._config.max_sessions:
            self._counts["refused_total"] += 1
            raise Refused(429, f"all {self._config.max_sessions} sessions are taken; try again")
        self._opening += 1
        try:
            frame = await self._frame(request, wire.MAX_SMALL, wire.MAX_PICTURES)
            shapes: Any = frame.header.get("images", [])
            images = from_raw(shapes, frame.blobs, MAX_IMAGES, MAX_IMAGE_PIXELS)
            default = secrets.randbits(63)
            seed = int(wire.number(frame.header, "seed", 0, 2**64, default))
            idle_s = self._config.idle_s
            keep_s = wire.number(frame.header, "keep_s", 1, max(1, idle_s), idle_s)
            leave = AsyncExitStack()
            session = await leave.enter_async_context(self._pool.session(images, seed))
        finally:
            self._opening -= 1
        name = secrets.token_hex(16)
        held = Held(session=session, leave=leave, keep_s=keep_s, heard=time.monotonic())
        self._held[name] = held
        self._counts["sessions_total"] += 1
        return JSONResponse({"id": name} | self._load(), 201)

    async def run(self, request: Request) -> Response:
        """``POST /sessions/ID/run``: a client that goes away ends the cell's process."""
        held = self._known(request)
        frame = await self._frame(request, 4096 + ESCAPED * MAX_CODE_CHARS)
        code: Any = frame.header.get("code")
        if not isinstance(code, str):
            raise FrameError("code: expected text")
        default = self._config.timeout_s
        timeout_s = wire.number(frame.header, "timeout_s", 0.001, MAX_TIMEOUT_S, default)
        held.running += 1
        try:
            execution = await self._run_while_heard(request, held.session, code, timeout_s)
        finally:
            held.running -= 1
            held.heard = time.monotonic()
        if execution is None:
            return Response(status_code=499)
        self._counts[f'cells_total{{status="{execution.status}"}}'] += 1
        if request.headers["content-type"].startswith(wire.JSON):
            return JSONResponse({"execution": to_json(execution)})
        body = wire.pack_execution(execution, held.session.pixels)
        held.session.pixels.clear()
        return Response(body, media_type=wire.FRAME)

    async def _run_while_heard(
        self, request: Request, session: ProcessSession, code: str, timeout_s: float
    ) -> Execution | None:
        job = asyncio.ensure_future(session.run(code, timeout_s))
        gone = asyncio.ensure_future(_disconnected(request))
        try:
            await asyncio.wait([job, gone], return_when=asyncio.FIRST_COMPLETED)
            return job.result() if job.done() else None
        finally:
            for task in (job, gone):
                task.cancel()
            await asyncio.gather(job, gone, return_exceptions=True)

    async def delete(self, request: Request) -> Response:
        """``DELETE /sessions/ID``."""
        self._known(request)
        await self._end(request.path_params["id"])
        return Response(status_code=204)

    async def keep(self, request: Request) -> Response:
        """``POST /keep``: a sign of life for sessions; which of them are not known here."""
        frame = await self._frame(request, wire.MAX_SMALL)
        ids: Any = frame.header.get("ids")
        if not isinstance(ids, list):
            raise FrameError("ids: expected a list of session ids")
        names = [name for name in cast(list[Any], ids) if isinstance(name, str)]
        for held in (self._held[name] for name in names if name in self._held):
            held.heard = time.monotonic()
        unknown = [name for name in names if name not in self._held]
        return JSONResponse({"unknown": unknown} | self._load())

    async def health(self, request: Request) -> Response:
        """``GET /health``: needs no token."""
        return JSONResponse({"status": "ok"} | self._load())

    async def metrics(self, request: Request) -> Response:
        """``GET /metrics``: counters in Prometheus' text format."""
        counts = dict(self._counts) | {
            "sessions": len(self._held),
            "max_sessions": self._config.max_sessions,
            "zygote_restarts_total": self._pool.restarts,
        }
        lines = [f"air_sandbox_{name} {value}" for name, value in sorted(counts.items())]
        return PlainTextResponse("\n".join(lines) + "\n")

    # --- what is common to them -----------------------------------------------------------------

    def answering(
        self, work: Callable[[Request], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """``work`` behind the token, with refusals and our own failures as JSON."""

        async def answer(request: Request) -> Response:
            try:
                self._check_token(request)
                return await work(request)
            except Refused as refused:
                status, message = refused.status, refused.message
            except FrameError as error:
                status, message = 400, str(error)
            except SandboxError as error:
                status, message = 503, str(error)
            except ClientDisconnect:
                return Response(status_code=499)
            # Closed, because the rest of a body that was not read may never end.
            headers = {"Retry-After": "1"} if status == 429 else {"Connection": "close"}
            return JSONResponse({"error": message}, status, headers=headers)

        return answer

    def _check_token(self, request: Request) -> None:
        given = request.headers.get("authorization", "").removeprefix("Bearer ").encode()
        if self._token and not hmac.compare_digest(given, self._token):
            self._counts["unauthorized_total"] += 1
            raise Refused(401, "no such token; send it as `Authorization: Bearer TOKEN`")

    async def _frame(self, request: Request, max_header: int, max_blobs: int = 0) -> Frame:
        """The body. Raises FrameError as soon as it is known to be too large, or not to be one.

        The media type is insisted upon: a web page of another site cannot send it unasked.
        """
        reader = wire.BodyReader(request.headers.get("content-type", ""), max_header, max_blobs)
        async for chunk in request.stream():
            reader.feed(chunk)
        return reader.frame()

    def _known(self, request: Request) -> Held:
        held = self._held.get(request.path_params["id"])
        if held is None:
            raise Refused(404, "no such session; it ended, or was left alone for too long")
        held.heard = time.monotonic()
        return held

    def _load(self) -> dict[str, Any]:
        most = self._config.max_sessions
        return {"tier": self._pool.tier, "sessions": len(self._held), "max_sessions": most}

    async def _end(self, name: str) -> None:
        held = self._held.pop(name, None)
        if held is not None:
            await held.leave.aclose()

    async def _sweep(self) -> None:
        """End the sessions of clients that are not heard of any more."""
        while True:
            await asyncio.sleep(SWEEP_S)
            now = time.monotonic()
            for name, held in list(self._held.items()):
                if not held.running and now - held.heard > held.keep_s:
                    self._counts["reaped_total"] += 1
                    await self._end(name)


async def _disconnected(request: Request) -> None:
    """Wait until the client is gone; the body has been read."""
    with contextlib.suppress(ClientDisconnect):
        while (await request.receive())["type"] != "http.disconnect":
            pass
