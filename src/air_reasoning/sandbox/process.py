"""Model-written Python in jailed processes of its own: the sandbox.

    async with ProcessPool(SandboxConfig()).session() as session:
        await session.run("x = 2")
        (await session.run("x + 1")).value        # "3"

A *zygote* - a Python process started fresh with an empty environment, never a fork of this one -
jails itself, imports what cells commonly need and forks one process per session (``child/``). This
side is the supervisor: it holds the deadlines, checks every size, and kills.

What the jail stops and what it does not is in ``child/jail.py``, layer by layer; ``Execution.tier``
names what is in force. Nothing that a session reports is authentic: a reply can be forged by the
cell, so no answer and no grader may live on that side.
"""

import asyncio
import itertools
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from secrets import randbits
from types import TracebackType
from typing import Self

from PIL import Image

from air_reasoning.errors import SandboxError
from air_reasoning.sandbox.link import SessionProcess
from air_reasoning.sandbox.nursery import Nursery
from air_reasoning.sandbox.parent import Zygote
from air_reasoning.sandbox.session import ProcessSession
from air_reasoning.sandbox.settings import SandboxConfig

__all__ = ["ProcessPool", "ProcessSession", "SandboxConfig"]


class ProcessPool:
    """Sessions for many trajectories at once, bounded by ``config.max_sessions``.

    Usable from one event loop after another (a loop must close its sessions before it ends), not
    from several threads at once.
    """

    def __init__(self, config: SandboxConfig | None = None) -> None:
        """Starts nothing yet: a zygote comes with the first cell that needs it."""
        self.config = config or SandboxConfig()
        layers = self.config.preload
        up_to = itertools.accumulate(layers)  # a layer has all that the lower ones have
        self._nurseries = [Nursery(self.config, modules) for modules in up_to]
        self._names = [_mentions(layer) for layer in layers]
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._slots = asyncio.Semaphore(self.config.max_sessions)

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
    ) -> AsyncGenerator["ProcessSession"]:
        """A session that sees ``images`` as ``image_1``, ... and as files ``image_1.png``, ...

        Waits while ``max_sessions`` are out. ``seed`` is for ``random`` and a preloaded NumPy; with
        None the numbers differ from session to session.

        Raises:
            SandboxError: the pool is closed.
        """
        loop = asyncio.get_running_loop()
        if loop is not self._loop:  # a semaphore belongs to the loop that waited on it
            self._loop, self._slots = loop, asyncio.Semaphore(self.config.max_sessions)
        async with self._slots:
            session = ProcessSession(self, images or [], randbits(64) if seed is None else seed)
            try:
                yield session
            finally:
                session.close()

    @property
    def tier(self) -> str:
        """The isolation in force, found by the first session; empty before."""
        return next((nursery.tier for nursery in self._nurseries if nursery.tier), "")

    @property
    def restarts(self) -> int:
        """Zygotes that had to be replaced because they died."""
        return sum(nursery.restarts for nursery in self._nurseries)

    async def process(self, code: str) -> tuple[Zygote, SessionProcess]:
        """A fresh process; it has the libraries that ``code`` names, if they are preloaded.

        Raises:
            SandboxError: the pool is closed, or its zygote cannot be started.
        """
        if self._closed:
            raise SandboxError("the sandbox pool is closed; make a new one")
        layers = [i for i, names in enumerate(self._names) if i == 0 or names.search(code)]
        return await self._nurseries[layers[-1]].take()

    async def close(self) -> None:
        """End every session; no process and no folder stays. May be repeated."""
        self._closed = True
        await asyncio.gather(*(nursery.close() for nursery in self._nurseries))


def _mentions(modules: list[str]) -> re.Pattern[str]:
    """Finds the packages of ``modules`` by name."""
    names = {module.rstrip("?").partition(".")[0] for module in modules}
    return re.compile(rf"\b(?:{'|'.join(map(re.escape, sorted(names)))})\b")
