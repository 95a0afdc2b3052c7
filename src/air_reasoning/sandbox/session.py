"""One trajectory's Python: its process, its deadlines, and what becomes of them.

The supervisor's side of a session. It trusts nothing that a process sends beyond its size, and the
deadline is kept here: first an interrupt, which keeps the variables, then a kill.
"""

import asyncio
from typing import Any, Protocol, TypeVar

from PIL import Image

from air_reasoning.errors import SandboxError
from air_reasoning.sandbox.base import is_void
from air_reasoning.sandbox.child.frames import Frame, FrameError, pack
from air_reasoning.sandbox.link import Ended, SessionProcess
from air_reasoning.sandbox.parent import Zygote
from air_reasoning.sandbox.raw_images import to_raw
from air_reasoning.sandbox.reply import read_reply
from air_reasoning.sandbox.settings import SandboxConfig
from air_reasoning.types import Execution, ExecutionStatus

MAX_CODE_CHARS = 1_000_000
START_S = 120.0  # the preloaded imports of a cold disk are in it
KILL_S = 5.0
ResultT = TypeVar("ResultT")


class Source(Protocol):
    """Where a session gets its processes from: the pool."""

    config: SandboxConfig

    @property
    def tier(self) -> str:
        """The isolation in force, empty until it is known."""
        ...

    async def process(self, code: str) -> tuple[Zygote, SessionProcess]:
        """A fresh process for a session whose first cell is ``code``."""
        ...


class ProcessSession:
    """One trajectory's Python. ``pixels`` holds every image that a cell gave back, by its hash."""

    def __init__(self, pool: Source, images: list[Image.Image], seed: int) -> None:
        """The process starts with the first cell; see ``ProcessPool.session``."""
        self.pixels: dict[str, Image.Image] = {}
        self._pool = pool
        self._images = images
        self._seed = seed
        self._process: SessionProcess | None = None
        self._cells = 0
        self._turn = asyncio.Lock()
        self._closed = False
        self._idle: asyncio.TimerHandle | None = None

    @property
    def state_is_lost(self) -> bool:
        """Whether there were variables and the next cell starts without them."""
        return self._process is not None and not self._process.alive

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
        self._cells += 1
        if is_void(code):
            return Execution(status="ok", tier=self._pool.tier, state_lost=self.state_is_lost)
        if answer := too_long(code):
            return answer
        async with self._turn:
            self._awake()
            try:
                execution = await self._run(code, timeout_s or self._pool.config.timeout_s)
            except BaseException:
                self._give_up()
                raise
            execution.tier = self._pool.tier
            self._idle = asyncio.get_running_loop().call_later(
                self._pool.config.idle_s, self._give_up
            )
            return execution

    def close(self) -> None:
        """End the process; its folder goes with it."""
        self._closed = True
        self._awake()
        self._give_up()

    def _awake(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def _give_up(self) -> None:
        if self._process is not None:
            self._process.close()

    async def _run(self, code: str, timeout_s: float) -> Execution:
        process = self._process
        first = process is None or not process.alive
        state_lost = first and process is not None
        if process is None or first:
            self._give_up()
            self._zygote, process = await self._pool.process(self._needs(code))
            self._process = process
        header, blobs = self._opening() if first else ({}, [])
        frame = pack(header | {"cell": self._cells, "code": code}, blobs)
        execution = await self._exchange(process, frame, timeout_s)
        execution.state_lost = state_lost
        return execution

    def _needs(self, code: str) -> str:
        """What the pool sees the libraries from; a picture needs one that is not named."""
        return f"{code}\nPIL" if self._images and "image_" in code else code

    def _opening(self) -> tuple[dict[str, Any], list[bytes]]:
        """What the first cell of a process brings along."""
        shapes, pixels = to_raw(self._images)
        return {"seed": self._seed, "images": shapes}, pixels

    async def _exchange(self, process: SessionProcess, frame: bytes, timeout_s: float) -> Execution:
        sent = asyncio.get_running_loop().time()
        reply = process.send(frame)
        started = await _within(process.started, START_S)
        if started is None or isinstance(started, Ended):
            return self._not_started(started)
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
        if ended.how == "lost" and not self._zygote.tier:
            raise self._zygote.failure()
        return self._lost(ended)

    def _lost(self, ended: Ended) -> Execution:
        if ended.how == "lost":
            self._zygote.kill()  # it is gone, or hangs: no other session may come from it
        return failure("lost", "SandboxLost", ended.detail)

    async def _result(self, process: SessionProcess, outcome: Frame | Ended) -> Execution:
        """What the model sees of a reply, or of an end that was not the deadline's."""
        if isinstance(outcome, Frame):
            try:
                execution, images = read_reply(outcome, self._cells, self._pool.config)
            except FrameError as error:
                process.break_off(str(error))
                await self._killed(process)
                outcome = Ended(how="broke_protocol", detail=str(error))
            else:
                refs = zip(execution.images, images, strict=True)
                self.pixels |= {ref.sha256: image for ref, image in refs}
                return execution
        match outcome.how:
            case "exited":
                message = f"the Python process ended with {outcome.detail}; variables are lost"
                return failure("killed", "ProcessDied", message)
            case "broke_protocol":
                message = f"the Python process was killed for a malformed reply ({outcome.detail})"
                return failure("killed", "ProtocolError", f"{message}; variables are lost")
            case "failed" | "lost":
                return self._lost(outcome)

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
        await self._killed(process)
        if process.ended.done() and (ended := process.ended.result()).how == "lost":
            return self._lost(ended)
        return Execution(status="timeout", error=_stopped(timeout_s, False))

    async def _killed(self, process: SessionProcess) -> None:
        """Wait until a process that is to be killed has got the signal; after that it runs no more.

        Not until it is buried: on a busy machine the kernel takes 50 ms and more to take a mount
        namespace apart.
        """
        told = [process.killed, process.ended]
        await asyncio.wait(told, timeout=KILL_S, return_when=asyncio.FIRST_COMPLETED)
        if not any(future.done() for future in told):
            self._zygote.kill()  # only a cell that has stopped the zygote can bring this about
            await process.ended


async def _within(future: asyncio.Future[ResultT], seconds: float) -> ResultT | None:
    """The future's result, None if it takes longer; the future itself goes on."""
    if not future.done():
        await asyncio.wait([future], timeout=seconds)
    return future.result() if future.done() else None


def too_long(code: str) -> Execution | None:
    """The answer to a cell that is longer than any may be."""
    if len(code) <= MAX_CODE_CHARS:
        return None
    message = f"cell of {len(code)} characters, at most {MAX_CODE_CHARS} allowed"
    return failure("error", "CellTooLong", message)


def failure(status: ExecutionStatus, kind: str, message: str) -> Execution:
    """A result that did not come from the cell."""
    error = {"type": kind, "message": message, "traceback": f"{kind}: {message}\n"}
    return Execution(status=status, error=error)


def _stopped(timeout_s: float, kept: bool, trace: str = "") -> dict[str, str]:
    fate = "variables are kept" if kept else "it did not react and was killed, variables are lost"
    message = f"stopped after {timeout_s:g} s; {fate}"
    trace = trace.rpartition("KeyboardInterrupt")[0]
    return {
        "type": "TimeoutError",
        "message": message,
        "traceback": f"{trace}TimeoutError: {message}\n",
    }
