"""A stream of server-sent events that ends its work as soon as the client is gone."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import ExitStack, suppress
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send


class EventStream(Response):
    """``events`` are closed and ``held`` is let go however this ends, also before it begins.

    Starlette's own streaming response notices a client that left only when it next writes.
    """

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes, None], held: ExitStack) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._events = events
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the events end or the client goes."""
        writing = asyncio.ensure_future(self._write(send))
        gone = asyncio.ensure_future(disconnected(receive))
        with self._held:
            try:
                await asyncio.wait([writing, gone], return_when=asyncio.FIRST_COMPLETED)
            finally:
                await cancelled(writing, gone)
                await self._events.aclose()

    async def _write(self, send: Send) -> None:
        head = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(head)
        async for chunk in self._events:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def disconnected(receive: Receive) -> None:
    """Returns when the client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def cancelled(*jobs: "asyncio.Future[Any]") -> None:
    """Wait until they have ended, whatever way."""
    for job in jobs:
        job.cancel()
    for job in jobs:
        with suppress(asyncio.CancelledError, Exception):
            await job
