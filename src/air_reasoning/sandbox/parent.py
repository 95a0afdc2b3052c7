"""The supervisor's end of a zygote: starts it, hands it the sockets of sessions, ends it."""

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO

from air_reasoning.errors import SandboxError, SandboxRefused
from air_reasoning.sandbox.child.folder import remove
from air_reasoning.sandbox.settings import SandboxConfig

CHILD_SCRIPT = Path(__file__).parent / "child" / "zygote.py"
ENVIRONMENT = {
    # Threads do not survive a fork, and one core per session is what it is given.
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MPLBACKEND": "Agg",
    "PYTHONHASHSEED": "0",  # or the order of a set of strings would differ from run to run
    # The heap in pages of 2 MiB: a fork of a parent with NumPy and its like costs a third.
    "PYTHONMALLOC": "malloc",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}
CLOSE_S = 10.0


class Zygote:
    """The process that has everything imported and forks the sessions."""

    def __init__(self, config: SandboxConfig, preload: list[str]) -> None:
        """Start it; it answers once it is jailed and its imports are done.

        Raises:
            SandboxError: the interpreter cannot be run or the folder cannot be made.
        """
        self.living = self.handed_over = 0
        self._tier = ""
        self._killed = False
        self._control, control_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.setblocking(False)
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self._root = ""
        python = interpreter(config)
        try:
            with control_end:
                self._root = tempfile.mkdtemp(prefix="air-sandbox-")
                settings = _settings(config, preload, self._root, control_end.fileno())
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
            raise SandboxError(f"sandbox.packages={python}: cannot start it ({error})") from error

    @property
    def alive(self) -> bool:
        """Whether the process still runs and has not been given up."""
        return not self._killed and self._process.poll() is None

    @property
    def tier(self) -> str:
        """The isolation in force; empty until it is ready, which is before its first session."""
        if not self._tier:
            with contextlib.suppress(OSError, ValueError):
                self._tier = json.loads(self._control.recv(4096))["tier"]
        return self._tier

    def kill(self) -> None:
        """End it at once; the kernel ends its sessions."""
        self._killed = True  # it may take the kernel a moment
        self._process.kill()

    def failure(self) -> SandboxError:
        """Why it ended, from what it wrote last."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(CLOSE_S)
        self._stderr.seek(0)
        lines = self._stderr.read().decode("utf-8", "replace").strip().splitlines()
        cause = lines[-1] if lines else f"exit code {self._process.returncode}"
        if "Refusal: " in cause:
            return SandboxRefused(cause.partition("Refusal: ")[2])
        return SandboxError(f"the sandbox's parent process ended: {cause}")

    async def hand_over(self, talk: socket.socket, life: socket.socket) -> None:
        """Ask for a session on these sockets; the answer comes on ``life``.

        A zygote that is gone shows there as an end of file.
        """
        self.handed_over += 1
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

    def one_less(self) -> None:
        """One of its sessions is closed."""
        self.living -= 1

    def has_left(self) -> bool:
        """Of one that gets no more sessions: whether it is gone. Sends it off after its last."""
        if self.living:
            return False
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)
        if self._process.poll() is None:
            return False
        self._clear()
        return True

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
        if self._root:
            remove(Path(self._root))


def interpreter(config: SandboxConfig) -> str:
    """The Python that cells run on: ``config.packages`` is it, or a virtual environment."""
    if config.packages is None:
        return sys.executable
    path = Path(config.packages)
    return str(path / "bin" / "python" if path.is_dir() else path)


def _settings(
    config: SandboxConfig, preload: list[str], root: str, control: int
) -> dict[str, object]:
    return {
        "root": root,
        "control": control,
        "supervisor": os.getpid(),
        "preload": preload,
        "tier": config.tier,
        "unsafe": config.unsafe,
        "limits": {
            "memory_mb": config.memory_mb,
            "disk_mb": config.disk_mb,
            "tasks": config.tasks,
            "cpu_s": config.cpu_s,
        },
        "caps": {
            "output_chars": config.output_chars,
            "max_images": config.max_images,
            "max_image_pixels": config.max_image_pixels,
        },
    }
