"""The supervisor's ends of a session's sockets.

What travels on them is described in ``child/zygote.py``. Nothing here waits without a limit, and
nothing that a session sends is believed beyond its size.
"""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

from air_reasoning.sandbox.child.frames import Frame, FrameError, FrameReader

RECV_BYTES = 1 << 16
ResultT = TypeVar("ResultT")


@dataclass(kw_only=True, slots=True, frozen=True)
class Ended:
    """A session process is gone.

    ``exited`` by itself or by our kill; ``broke_protocol``: killed for what it sent; ``failed``: it
    could not be set up; ``lost``: the zygote is gone. The last two are our failure.
    """

    how: Literal["exited", "broke_protocol", "failed", "lost"]
    detail: str = ""


class SessionProcess:
    """One session's process. Belongs to the event loop that it was made in."""

    def __init__(self, max_header: int, max_blob_bytes: int, on_close: Callable[[], None]) -> None:
        """Make the sockets; ``peer_ends`` go to the zygote. Limits are for one reply, in bytes."""
        self._on_close = on_close
        self._loop = asyncio.get_running_loop()
        self._talk, talk_end = socket.socketpair()
        self._life, life_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (self._talk, self._life, life_end):
            end.setblocking(False)
        self.peer_ends = (talk_end, life_end)
        self._reader = FrameReader(max_header, max_blob_bytes)
        self._sending: asyncio.Task[None] | None = None
        self._fault = ""
        self._given_up = False
        self.started: asyncio.Future[float | Ended] = self._loop.create_future()
        self.interrupted: asyncio.Future[None] = self._loop.create_future()
        self.killed: asyncio.Future[None] = self._loop.create_future()
        self.ended: asyncio.Future[Ended] = self._loop.create_future()
        self._reply: asyncio.Future[Frame | Ended] | None = None
        self._loop.add_reader(self._talk, self._on_talk)
        self._loop.add_reader(self._life, self._on_life)

    @property
    def alive(self) -> bool:
        """Whether another cell can be sent."""
        return not (self.ended.done() or self._fault or self._given_up)

    def send(self, data: bytes) -> asyncio.Future[Frame | Ended]:
        """Send a cell; the future of its reply, or of the end of the process."""
        self._reply = reply = self._loop.create_future()
        if self.ended.done():
            reply.set_result(self.ended.result())
            return reply
        sent = 0
        with contextlib.suppress(OSError):  # full, or gone: its end is told on the life socket
            sent = self._talk.send(data)
        if sent < len(data):
            self._sending = self._loop.create_task(self._send_rest(data[sent:]))
        return reply

    async def _send_rest(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            await self._loop.sock_sendall(self._talk, data)

    def interrupt(self) -> None:
        """Raise KeyboardInterrupt in the cell; ``interrupted`` is done once the signal is sent."""
        self.interrupted = self._loop.create_future()
        self._tell(b"interrupt")

    def kill(self) -> None:
        """End the process and its group.

        ``killed`` is done when the signal is sent, ``ended`` when they are gone and buried.
        """
        self._given_up = True
        self._tell(b"kill")

    def close(self) -> None:
        """Give it up, running or not; the zygote ends it and removes its folder."""
        if self._life.fileno() < 0:
            return
        self._on_close()
        if not self._loop.is_closed():
            self._loop.remove_reader(self._talk)
            self._loop.remove_reader(self._life)
            if self._sending is not None:
                self._loop.remove_writer(self._talk)
                self._sending.cancel()
        with contextlib.suppress(OSError):
            self._life.shutdown(socket.SHUT_RDWR)  # a fork of ours may hold a copy
        self._talk.close()
        self._life.close()
        if not self._loop.is_closed():
            self._end(Ended(how="exited"))

    def _tell(self, word: bytes) -> None:
        with contextlib.suppress(OSError):
            self._life.send(word)

    def _on_talk(self) -> None:
        try:
            data = self._talk.recv(RECV_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:  # it ended, or closed the socket and must end
            self._loop.remove_reader(self._talk)
            self.kill()
            return
        try:
            frame = self._reader.feed(data)
            if self._reply is None or self._reply.done():
                raise FrameError("bytes without a cell to answer")
        except FrameError as error:
            self.break_off(str(error))
        else:
            if frame is not None:
                self._reply.set_result(frame)

    def break_off(self, fault: str) -> None:
        """Kill it for what it sent."""
        self._fault = self._fault or fault
        self._loop.remove_reader(self._talk)
        self.kill()

    def _on_life(self) -> None:
        try:
            message = self._life.recv(4096).decode("utf-8", "replace")
        except (BlockingIOError, InterruptedError):
            return
        except ConnectionResetError:  # closed with a word of ours unread: its last one follows
            return
        except OSError:
            message = ""
        word, _, rest = message.partition(" ")
        if word not in ("started", "interrupted", "killed"):
            self._loop.remove_reader(self._life)
        match word:
            case "started":
                _settle(self.started, self._loop.time())
            case "interrupted":
                _settle(self.interrupted, None)
            case "killed":
                _settle(self.killed, None)
            case "exited" if self._fault:
                self._end(Ended(how="broke_protocol", detail=self._fault))
            case "exited" if self.started.done():
                self._end(Ended(how="exited", detail=_exit_text(int(rest))))
            case "exited":
                detail = f"a session process ended in its set-up with {_exit_text(int(rest))}"
                self._end(Ended(how="failed", detail=detail))
            case "failed":
                self._end(Ended(how="failed", detail=rest))
            case _:
                self._end(Ended(how="lost", detail="the sandbox's parent process ended"))

    def _end(self, ended: Ended) -> None:
        _settle(self.started, ended)
        _settle(self.ended, ended)
        if self._reply is not None:
            _settle(self._reply, ended)


def _exit_text(code: int) -> str:
    """How a process ended, from its return code (negative: minus the signal)."""
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        return f"signal {signal.Signals(-code).name}"
    return f"signal {-code}"


def _settle(future: asyncio.Future[ResultT], result: ResultT) -> None:
    if not future.done():
        future.set_result(result)
