"""One zygote, the processes that it has ready, and its replacement when it is gone or old."""

import asyncio

from air_reasoning.sandbox.link import SessionProcess
from air_reasoning.sandbox.parent import Zygote
from air_reasoning.sandbox.reply import reply_limits
from air_reasoning.sandbox.settings import SandboxConfig


class Nursery:
    """Processes with the modules ``preload`` imported. ``restarts`` counts zygotes that died."""

    def __init__(self, config: SandboxConfig, preload: list[str]) -> None:
        """Starts nothing yet."""
        self.restarts = 0
        self._config = config
        self._preload = preload
        self._zygote: Zygote | None = None
        self._retired: list[Zygote] = []
        self._ready: list[SessionProcess] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def tier(self) -> str:
        """The isolation in force; empty before the first session."""
        return self._zygote.tier if self._zygote else ""

    async def take(self) -> tuple[Zygote, SessionProcess]:
        """A process that has run nothing, and the zygote that it comes from.

        Raises:
            SandboxError: the zygote cannot be started.
        """
        zygote = self._living_zygote()
        if self._loop is not asyncio.get_running_loop():  # a process belongs to its loop
            self._let_go_of_ready()
            self._loop = asyncio.get_running_loop()
        ready = [process for process in self._ready if process.alive]
        process = ready.pop(0) if ready else await self._order(zygote)
        self._ready = ready
        while len(self._ready) < self._config.ready_sessions:
            self._ready.append(await self._order(zygote))
        return zygote, process

    async def _order(self, zygote: Zygote) -> SessionProcess:
        process = SessionProcess(*reply_limits(self._config), on_close=zygote.one_less)
        zygote.living += 1
        await zygote.hand_over(*process.peer_ends)
        return process

    def _living_zygote(self) -> Zygote:
        self._retired = [zygote for zygote in self._retired if not zygote.has_left()]
        zygote = self._zygote
        if zygote is not None and not zygote.alive:
            cause = None if zygote.tier else zygote.failure()
            self._zygote = None
            self._let_go_of_ready()
            zygote.discard()
            if cause:
                raise cause
            self.restarts += 1
        elif zygote is not None and zygote.handed_over >= self._config.recycle_sessions:
            self._let_go_of_ready()
            self._retired.append(zygote)  # its sessions go on
            self._zygote = None
        if self._zygote is None:
            self._zygote = Zygote(self._config, self._preload)
        return self._zygote

    def _let_go_of_ready(self) -> None:
        for process in self._ready:
            process.close()
        self._ready.clear()

    async def close(self) -> None:
        """End the zygotes and their sessions."""
        self._let_go_of_ready()
        zygotes = [*self._retired, *([self._zygote] if self._zygote else [])]
        self._retired, self._zygote = [], None
        await asyncio.gather(*(zygote.close() for zygote in zygotes))
