"""Model-written Python in processes of its own: the ``process`` tier of the sandbox.

    async with ProcessPool(SandboxConfig()).session() as session:
        await session.run("x = 2")
        (await session.run("x + 1")).value        # "3"

A *zygote* - a Python process started fresh with an empty environment, never a fork of this one -
imports what cells commonly need and forks one process per session (``child/``). This side is the
supervisor: it holds the deadlines, checks every size, and kills.

What this tier stops: a cell cannot read or change this process's memory, block it, outlive its
deadline, crash another session, flood us with output, or see our environment variables in its own
environment. Memory per process, file size, open files and core dumps are limited.

What it does NOT stop: a cell runs as the same user on the same host. It can read and write that
user's files, use the network, signal that user's processes (``kill(-1)`` ends them all, this one
included), read ``/proc/<pid>/environ`` of our process, fill the disk with many files, and as root
fork without bound. A daemon that it detached is killed with the session, unless the cell kills the
zygote first. And nothing it reports is authentic: a reply can be forged by the cell, so no answer
and no grader may live on that side. The jail (namespaces, Landlock, seccomp) goes into
``child/limits.py``.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from secrets import randbits
from types import TracebackType
from typing import Any, Self, TypeVar

from PIL import Image

from air_reasoning.errors import SandboxError
from air_reasoning.images import as_rgb
from air_reasoning.sandbox.base import is_void
from air_reasoning.sandbox.child.frames import Frame, FrameError, pack
from air_reasoning.sandbox.child.pictures import MODES
from air_reasoning.sandbox.link import Ended, SessionProcess, Zygote
from air_reasoning.sandbox.reply import TIER, read_reply, reply_limits
from air_reasoning.sandbox.settings import SandboxConfig
from air_reasoning.types import Execution, ExecutionStatus

MAX_CODE_CHARS = 1_000_000
START_S = 120.0  # the preloaded imports of a cold disk are in it
KILL_S = 5.0
ResultT = TypeVar("ResultT")


class ProcessPool:
    """Sessions for many trajectories at once, bounded by ``config.max_sessions``.

    Usable from one event loop after another (a loop must close its sessions before it ends), not
    from several threads at once. ``restarts`` counts zygotes that had to be replaced because they
    died.
    """

    def __init__(self, config: SandboxConfig | None = None) -> None:
        """Starts nothing yet: the zygote comes with the first cell."""
        self.config = config or SandboxConfig()
        self.restarts = 0
        self._zygote: Zygote | None = None
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

    async def close(self) -> None:
        """End every session; no process and no folder stays. May be repeated."""
        self._closed = True
        zygote, self._zygote = self._zygote, None
        if zygote is not None:
            await zygote.close()

    def living_zygote(self) -> Zygote:
        """The zygote, started anew if it has died.

        Raises:
            SandboxError: the pool is closed, or its zygote never came to fork a session.
        """
        if self._closed:
            raise SandboxError("the sandbox pool is closed; make a new one")
        if self._zygote is not None and not self._zygote.alive:
            cause = "" if self._zygote.has_forked else self._zygote.failure()
            self._zygote.discard()
            self._zygote = None
            if cause:
                raise SandboxError(cause)
            self.restarts += 1
        if self._zygote is None:
            self._zygote = Zygote(self.config)
        return self._zygote


class ProcessSession:
    """One trajectory's Python. ``pixels`` holds every image that a cell gave back, by its hash."""

    def __init__(self, pool: ProcessPool, images: list[Image.Image], seed: int) -> None:
        """The process starts with the first cell; use ``ProcessPool.session``."""
        self.pixels: dict[str, Image.Image] = {}
        self._pool = pool
        self._images = images
        self._seed = seed
        self._process: SessionProcess | None = None
        self._cells = 0
        self._turn = asyncio.Lock()
        self._closed = False

    async def run(self, code: str, timeout_s: float | None = None) -> Execution:
        """Run one cell for at most ``timeout_s`` of wall time (None: ``config.timeout_s``).

        The start of a process is not counted. A cell without code (``is_void``) is answered without
        one. At the deadline the cell is interrupted; if it comes back its variables are kept, which
        the error message tells. If the task that waits here is cancelled, the process is given up.

        Raises:
            SandboxError: the zygote cannot be started, or the session is closed.
        """
        if self._closed:
            raise SandboxError("this sandbox session is closed; open another")
        if is_void(code):
            return Execution(status="ok", tier=TIER)
        if len(code) > MAX_CODE_CHARS:
            message = f"cell of {len(code)} characters, at most {MAX_CODE_CHARS} allowed"
            return _failure("error", "CellTooLong", message)
        async with self._turn:
            try:
                return await self._run(code, timeout_s or self._pool.config.timeout_s)
            except BaseException:
                self._give_up()
                raise

    def close(self) -> None:
        """End the process; its folder goes with it."""
        self._closed = True
        self._give_up()

    def _give_up(self) -> None:
        if self._process is not None:
            self._process.close()

    async def _run(self, code: str, timeout_s: float) -> Execution:
        process = self._process
        first = process is None or not process.alive
        state_lost = first and process is not None
        if process is None or first:
            self._give_up()
            process = self._process = await self._start()
        self._cells += 1
        header, blobs = self._opening() if first else ({}, [])
        frame = pack(header | {"cell": self._cells, "code": code}, blobs)
        execution = await self._exchange(process, frame, timeout_s)
        execution.state_lost = state_lost
        return execution

    async def _start(self) -> SessionProcess:
        self._zygote = self._pool.living_zygote()
        process = SessionProcess(*reply_limits(self._pool.config))
        await self._zygote.hand_over(*process.peer_ends)
        return process

    def _opening(self) -> tuple[dict[str, Any], list[bytes]]:
        """What the first cell of a process brings along."""
        images = [image if image.mode in MODES else as_rgb(image) for image in self._images]
        shapes = [[image.mode, image.width, image.height] for image in images]
        return {"seed": self._seed, "images": shapes}, [image.tobytes() for image in images]

    async def _exchange(self, process: SessionProcess, frame: bytes, timeout_s: float) -> Execution:
        sent = asyncio.get_running_loop().time()
        reply = process.send(frame)
        started = await _within(process.started, START_S)
        if started is None or isinstance(started, Ended):
            return self._not_started(started)
        self._zygote.has_forked = True
        outcome = await _within(reply, timeout_s)
        if outcome is None:
            execution = await self._overdue(process, reply, timeout_s)
        else:
            execution = await self._result(process, outcome)
        execution.wall_ms = (asyncio.get_running_loop().time() - max(sent, started)) * 1000
        return execution

    def _not_started(self, ended: Ended | None) -> Execution:
        """Our failure: of this session, or of all that this pool will ever start."""
        if ended is None:
            self._zygote.kill()
            raise SandboxError(f"no session process within {START_S:g} s; see sandbox.preload")
        if ended.how == "lost" and not self._zygote.has_forked:
            raise SandboxError(self._zygote.failure())
        return _failure("lost", "SandboxLost", ended.detail)

    async def _result(self, process: SessionProcess, outcome: Frame | Ended) -> Execution:
        """What the model sees of a reply, or of an end that was not the deadline's."""
        if isinstance(outcome, Frame):
            try:
                execution, images = read_reply(outcome, self._cells, self._pool.config)
            except FrameError as error:
                process.break_off(str(error))
                await self._gone(process)
                outcome = Ended(how="broke_protocol", detail=str(error))
            else:
                refs = zip(execution.images, images, strict=True)
                self.pixels |= {ref.sha256: image for ref, image in refs}
                return execution
        match outcome.how:
            case "exited":
                message = f"the Python process ended with {outcome.detail}; variables are lost"
                return _failure("killed", "ProcessDied", message)
            case "broke_protocol":
                message = f"the Python process was killed for a malformed reply ({outcome.detail})"
                return _failure("killed", "ProtocolError", f"{message}; variables are lost")
            case "failed" | "lost":
                return _failure("lost", "SandboxLost", outcome.detail)

    async def _overdue(
        self, process: SessionProcess, reply: asyncio.Future[Frame | Ended], timeout_s: float
    ) -> Execution:
        """Past the deadline: interrupt, which keeps the variables; else kill."""
        process.interrupt()
        outcome = await _within(reply, self._pool.config.grace_s)
        # The next cell must not be sent while the signal may still be on its way.
        await _within(process.interrupted, KILL_S)
        if isinstance(outcome, Frame):
            execution = await self._result(process, outcome)
            if process.alive:
                trace = execution.error["traceback"] if execution.error else ""
                execution.status, execution.error = "timeout", _stopped(timeout_s, True, trace)
                return execution
        process.kill()
        ended = await self._gone(process)
        if ended.how == "lost":
            return _failure("lost", "SandboxLost", ended.detail)
        return Execution(status="timeout", error=_stopped(timeout_s, False), tier=TIER)

    async def _gone(self, process: SessionProcess) -> Ended:
        """Wait for the end of a process that is being killed."""
        ended = await _within(process.ended, KILL_S)
        if ended is None:  # only a cell that has stopped the zygote can bring this about
            self._zygote.kill()
            ended = await process.ended
        return ended


async def _within(future: asyncio.Future[ResultT], seconds: float) -> ResultT | None:
    """The future's result, None if it takes longer; the future itself goes on."""
    if not future.done():
        await asyncio.wait([future], timeout=seconds)
    return future.result() if future.done() else None


def _failure(status: ExecutionStatus, kind: str, message: str) -> Execution:
    error = {"type": kind, "message": message, "traceback": f"{kind}: {message}\n"}
    return Execution(status=status, error=error, tier=TIER)


def _stopped(timeout_s: float, kept: bool, trace: str = "") -> dict[str, str]:
    fate = "variables are kept" if kept else "it did not react and was killed, variables are lost"
    message = f"stopped after {timeout_s:g} s; {fate}"
    trace = trace.rpartition("KeyboardInterrupt")[0]
    return {
        "type": "TimeoutError",
        "message": message,
        "traceback": f"{trace}TimeoutError: {message}\n",
    }
