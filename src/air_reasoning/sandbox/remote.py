"""A sandbox elsewhere: sandbox servers used exactly like the pool of this process.

    async with RemotePool(SandboxConfig(urls=["http://10.0.0.5:8090"])) as pool:
        async with pool.session(images) as session:
            execution = await session.run("1 + 1")

A session is opened with its first cell, on the server with the largest share of free places, and
stays there. A server that is full is not an error: another one is asked, or this one again later.
A server that is gone answers ``lost`` for its sessions; those of others go on, and it is asked
again after a while.
"""

import asyncio
import contextlib
import os
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from secrets import randbits
from types import TracebackType
from typing import Any, Self

import httpx2
from PIL import Image

from air_reasoning.errors import ConfigError, SandboxError
from air_reasoning.sandbox import wire
from air_reasoning.sandbox.base import is_void
from air_reasoning.sandbox.child.frames import Frame, FrameError, pack
from air_reasoning.sandbox.session import failure, too_long
from air_reasoning.sandbox.settings import SandboxConfig
from air_reasoning.types import Execution

KEEP_S = 60.0  # how long a server keeps a session of ours without a sign of life
BEAT_S = 15.0
DOWN_S = 5.0  # how long a server that was gone is not asked
PATIENCE_S = 60.0  # how long we go on while no server is there at all
CONNECT_S = 5.0
START_S = 120.0  # a server that is just starting answers once its imports are done
SPARE_S = 60.0  # for a reply, beyond the cell's own time
FIRST_WAIT_S, LONGEST_WAIT_S = 0.05, 1.0


class ServerLost(Exception):
    """It cannot be reached, or gave an answer that is none; the text says which."""


class Server:
    """One sandbox server as this client sees it."""

    def __init__(self, url: str, token: str, max_sessions: int) -> None:
        """Connects with the first request."""
        self.url = url.rstrip("/")
        self.ours: set[str] = set()
        self.free = 1.0  # share of its places, as it told last
        self.down_until = 0.0
        self.known = False  # it has answered before
        self._client = httpx2.AsyncClient(
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=httpx2.Timeout(30.0, connect=CONNECT_S),
            limits=httpx2.Limits(
                max_connections=max_sessions + 4,
                max_keepalive_connections=32,
                keepalive_expiry=20.0,  # before the server's, which would lose a cell
            ),
            trust_env=False,  # a proxy for the internet knows nothing of a sandbox
        )

    async def ask(
        self, method: str, path: str, body: bytes, media: str, timeout_s: float = 30.0
    ) -> tuple[int, Frame]:
        """Status and answer, read no further than its limits. Raises ServerLost, ConfigError."""
        timeout = httpx2.Timeout(timeout_s, connect=CONNECT_S)
        headers = {"Content-Type": media}
        try:
            async with self._client.stream(
                method, self.url + path, content=body, headers=headers, timeout=timeout
            ) as response:
                if response.status_code in (204, 499):
                    return response.status_code, Frame({}, [])
                kind = response.headers.get("content-type", "")
                reader = wire.BodyReader(kind, wire.MAX_REPLY, wire.MAX_PICTURES)
                async for chunk in response.aiter_raw():
                    reader.feed(chunk)
                frame = reader.frame()
        except (httpx2.TransportError, httpx2.InvalidURL, FrameError) as error:
            self.down_until = asyncio.get_running_loop().time() + DOWN_S
            raise ServerLost(f"{self.url}: {str(error) or type(error).__name__}") from None
        if response.status_code == 401:
            raise ConfigError(
                f"sandbox.urls: {self.url} does not know this token; put the one of its "
                "--token-file into the variable that sandbox.token_env names"
            )
        self.known = True
        self._learn(frame.header)
        return response.status_code, frame

    def _learn(self, header: dict[str, Any]) -> None:
        match header:
            case {"sessions": int(taken), "max_sessions": int(most)} if most > 0:
                self.free = 1 - taken / most
            case _:
                pass

    async def keep(self) -> None:
        """A sign of life for our sessions."""
        with contextlib.suppress(ServerLost, ConfigError):
            body = pack({"ids": sorted(self.ours)})
            await self.ask("POST", "/keep", body, wire.FRAME, timeout_s=BEAT_S)

    async def let_go(self, name: str) -> None:
        """End a session; if the server does not hear it, it ends by itself."""
        self.ours.discard(name)
        with contextlib.suppress(ServerLost, ConfigError):
            await self.ask("DELETE", f"/sessions/{name}", b"", wire.JSON, timeout_s=5.0)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


class RemotePool:
    """Sessions on servers; bounded by ``config.max_sessions`` for this client.

    ``counts``: ``full`` answers of servers that had no place, ``lost`` requests. Belongs to the
    event loop in which it is first used.
    """

    def __init__(self, config: SandboxConfig) -> None:
        """Connects with the first cell. Raises ConfigError: a bad address, or none."""
        if not config.urls:
            raise ConfigError("sandbox.urls: no address of a sandbox server")
        for url in config.urls:
            if not url.startswith(("http://", "https://")):
                raise ConfigError(f"sandbox.urls: {url}: expected http://HOST:PORT")
        self.config = config
        self.counts: Counter[str] = Counter()
        self.tier = ""
        token = os.environ.get(config.token_env, "")
        self._servers = [Server(url, token, config.max_sessions) for url in config.urls]
        self._slots = asyncio.Semaphore(config.max_sessions)
        self._beating: asyncio.Task[None] | None = None
        self._closed = False

    async def __aenter__(self) -> Self:
        """``async with`` closes the pool at its end."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        await self.close()

    @asynccontextmanager
    async def session(
        self, images: list[Image.Image] | None = None, seed: int | None = None
    ) -> AsyncGenerator["RemoteSession"]:
        """A session that sees ``images`` as ``image_1``, ...; see ``ProcessPool.session``."""
        async with self._slots:
            session = RemoteSession(self, images or [], randbits(63) if seed is None else seed)
            try:
                yield session
            finally:
                await session.close()

    async def place(self, opening: bytes) -> tuple[Server, str]:
        """A new session: its server and its name there. Waits while all servers are full.

        Raises:
            SandboxError: no server is there; at once if none ever was, else after a minute.
        """
        if self._closed:
            raise SandboxError("the sandbox pool is closed; make a new one")
        self._beating = self._beating or asyncio.create_task(self._beat())
        clock = asyncio.get_running_loop().time
        seen, wait = clock(), FIRST_WAIT_S
        while True:
            failures: list[str] = []
            for server in self._by_room():
                try:
                    status, frame = await server.ask(
                        "POST", "/sessions", opening, wire.FRAME, START_S
                    )
                except ServerLost as error:
                    self.counts["lost"] += 1
                    failures.append(str(error))
                    continue
                seen = clock()
                if status == 201:
                    name = str(frame.header.get("id"))
                    self.tier = str(frame.header.get("tier"))
                    server.ours.add(name)
                    return server, name
                if status != 429:
                    failures.append(f"{server.url}: {status}: {frame.header.get('error')}")
                    raise SandboxError(f"no sandbox session: {failures[-1]}")
                self.counts["full"] += 1
            known = any(server.known for server in self._servers)
            if clock() - seen > (PATIENCE_S if known else 0) and failures:
                raise SandboxError(f"no sandbox server is there ({'; '.join(failures)})")
            await asyncio.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT_S)

    def _by_room(self) -> list[Server]:
        """Servers worth asking, the one with the largest free share first."""
        now = asyncio.get_running_loop().time()
        up = [server for server in self._servers if server.down_until <= now]
        return sorted(up, key=lambda server: (-server.free, len(server.ours)))

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            await asyncio.gather(*(server.keep() for server in self._servers if server.ours))

    async def close(self) -> None:
        """End what is left of our sessions. May be repeated."""
        self._closed = True
        if self._beating is not None:
            self._beating.cancel()
        for server in self._servers:
            await asyncio.gather(*(server.let_go(name) for name in list(server.ours)))
            await server.close()


class RemoteSession:
    """One trajectory's Python on a server. ``pixels`` as in ``ProcessSession``."""

    def __init__(self, pool: RemotePool, images: list[Image.Image], seed: int) -> None:
        """Opened with the first cell; see ``RemotePool.session``."""
        self.pixels: dict[str, Image.Image] = {}
        self._pool = pool
        self._images = images
        self._seed = seed
        self._at: tuple[Server, str] | None = None
        self._lost = False
        self._turn = asyncio.Lock()
        self._closed = False

    @property
    def state_is_lost(self) -> bool:
        """Whether there were variables and the next cell starts without them."""
        return self._lost

    async def run(self, code: str, timeout_s: float | None = None) -> Execution:
        """Run one cell, as ``ProcessSession.run`` does; ``lost`` if its server is gone.

        Raises:
            SandboxError: no server is there, or the session is closed.
            ConfigError: the servers do not know our token.
        """
        if self._closed:
            raise SandboxError("this sandbox session is closed; open another")
        if self._at is None and is_void(code):
            return Execution(status="ok", tier=self._pool.tier, state_lost=self._lost)
        if answer := too_long(code):
            return answer
        async with self._turn:
            fresh = self._lost
            if self._at is None:
                opening = wire.pack_opening(self._images, self._seed, KEEP_S)
                self._at = await self._pool.place(opening)
            try:
                execution = await self._ask(code, timeout_s or self._pool.config.timeout_s)
            except BaseException as error:
                await self._give_up()
                if not isinstance(error, ServerLost):
                    raise
                self._pool.counts["lost"] += 1
                return failure("lost", "SandboxLost", str(error))
            execution.state_lost = execution.state_lost or fresh
            self._lost = False
            return execution

    async def _ask(self, code: str, timeout_s: float) -> Execution:
        assert self._at is not None
        server, name = self._at
        body = pack({"code": code, "timeout_s": timeout_s})
        path = f"/sessions/{name}/run"
        status, frame = await server.ask("POST", path, body, wire.FRAME, timeout_s + SPARE_S)
        if status != 200:
            raise ServerLost(f"{server.url}: {status}: {frame.header.get('error')}")
        try:
            execution, images = wire.read_execution(frame, server.url)
        except FrameError as error:
            raise ServerLost(f"{server.url}: {error}") from None
        refs = zip(execution.images, images, strict=True)
        self.pixels |= {ref.sha256: image for ref, image in refs}
        return execution

    async def _give_up(self) -> None:
        """Whatever was there is lost; the next cell opens a session anew."""
        self._lost = True
        if self._at is not None:
            (server, name), self._at = self._at, None
            await asyncio.shield(server.let_go(name))

    async def close(self) -> None:
        """End it on its server."""
        self._closed = True
        if self._at is not None:
            await self._give_up()
