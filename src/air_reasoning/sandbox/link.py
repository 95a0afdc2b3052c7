"""The supervisor's ends of the sockets: the zygote that forks, and one session process.

What travels on them is described in ``child/zygote.py``. Nothing here waits without a limit, and
nothing that a session sends is believed beyond its size.
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, TypeVar

from air_reasoning.errors import SandboxError
from air_reasoning.sandbox.child.frames import Frame, FrameError, FrameReader
from air_reasoning.sandbox.settings import SandboxConfig

CHILD_SCRIPT = Path(__file__).parent / "child" / "zygote.py"
ENVIRONMENT = {
    # Threads do not survive a fork, and one core per session is what it is given.
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MPLBACKEND": "Agg",
    "PYTHONHASHSEED": "0",  # or the order of a set of strings would differ from run to run
}
RECV_BYTES = 1 << 16
CLOSE_S = 10.0
ResultT = TypeVar("ResultT")


class Zygote:
    """The process that has everything imported and forks the sessions."""

    def __init__(self, config: SandboxConfig) -> None:
        """Start it; it answers once its imports are done.

        Raises:
            SandboxError: the interpreter cannot be run or the folder cannot be made.
        """
        self.has_forked = False
        self._control, control_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.setblocking(False)
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self._root = ""
        python = config.python or sys.executable
        try:
            with control_end:
                self._root = tempfile.mkdtemp(prefix="air-sandbox-")
                settings = _settings(config, self._root, control_end.fileno())
                self._process = subprocess.Popen(
                    [python, "-P", "-s", str(CHILD_SCRIPT), json.dumps(settings)],
                    env=ENVIRONMENT,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=self._stderr,
                    pass_fds=[control_end.fileno()],
                    start_new_session=True,  # Ctrl-C in the terminal is not for it
                    cwd="/",
                )
        except OSError as error:
            self._clear()
            raise SandboxError(f"sandbox.python={python}: cannot start it ({error})") from error

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    def kill(self) -> None:
        """End it at once; the kernel ends its sessions."""
        self._process.kill()

    def failure(self) -> str:
        """Why it ended, from what it wrote last."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(CLOSE_S)
        self._stderr.seek(0)
        lines = self._stderr.read().decode("utf-8", "replace").strip().splitlines()
        cause = lines[-1] if lines else f"exit code {self._process.returncode}"
        return f"the sandbox's parent process ended: {cause}"

    async def hand_over(self, talk: socket.socket, life: socket.socket) -> None:
        """Ask for a session on these sockets; the answer comes on ``life``.

        A zygote that is gone shows there as an end of file.
        """
        with talk, life:
            while True:
                try:
                    socket.send_fds(self._control, [b"session"], [talk.fileno(), life.fileno()])
                except BlockingIOError:  # it is busy forking for others
                    await asyncio.sleep(0.001)
                except OSError:
                    return
                else:
                    return

    async def close(self) -> None:
        """Let it end its sessions and remove the folder; kill it if it does not."""
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)  # a fork of ours may hold a copy
        self._control.close()
        for _ in range(int(CLOSE_S / 0.005)):
            if not self.alive:
                break
            await asyncio.sleep(0.005)
        self.discard()

    def discard(self) -> None:
        """Forget a zygote that is gone or hangs."""
        self._process.kill()
        self._process.wait()
        self._clear()

    def _clear(self) -> None:
        self._control.close()
        self._stderr.close()
        shutil.rmtree(self._root, ignore_errors=True)


def _settings(config: SandboxConfig, root: str, control: int) -> dict[str, object]:
    return {
        "root": root,
        "control": control,
        "supervisor": os.getpid(),
        "preload": config.preload,
        "memory_mb": config.memory_mb,
        "caps": {
            "output_chars": config.output_chars,
            "max_images": config.max_images,
            "max_image_pixels": config.max_image_pixels,
        },
    }


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

    def __init__(self, max_header: int, max_blob_bytes: int) -> None:
        """Make the sockets; ``peer_ends`` go to the zygote. Limits are for one reply, in bytes."""
        self._loop = asyncio.get_running_loop()
        self._talk, talk_end = socket.socketpair()
        self._life, life_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (self._talk, self._life, life_end):
            end.setblocking(False)
        self.peer_ends = (talk_end, life_end)
        self._reader = FrameReader(max_header, max_blob_bytes)
        self._sending: asyncio.Task[None] | None = None
        self._fault = ""
        self.started: asyncio.Future[float | Ended] = self._loop.create_future()
        self.interrupted: asyncio.Future[None] = self._loop.create_future()
        self.ended: asyncio.Future[Ended] = self._loop.create_future()
        self._reply: asyncio.Future[Frame | Ended] | None = None
        self._loop.add_reader(self._talk, self._on_talk)
        self._loop.add_reader(self._life, self._on_life)

    @property
    def alive(self) -> bool:
        """Whether another cell can be sent."""
        return not (self.ended.done() or self._fault)

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
        """End the process and its group; ``ended`` is done when they are gone."""
        self._tell(b"kill")

    def close(self) -> None:
        """Give it up, running or not; the zygote ends it and removes its folder."""
        if self._life.fileno() < 0:
            return
        self._loop.remove_reader(self._talk)
        self._loop.remove_reader(self._life)
        if self._sending is not None:
            self._loop.remove_writer(self._talk)
            self._sending.cancel()
        with contextlib.suppress(OSError):
            self._life.shutdown(socket.SHUT_RDWR)  # a fork of ours may hold a copy
        self._talk.close()
        self._life.close()
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
        if word not in ("started", "interrupted"):
            self._loop.remove_reader(self._life)
        match word:
            case "started":
                _settle(self.started, self._loop.time())
            case "interrupted":
                _settle(self.interrupted, None)
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
