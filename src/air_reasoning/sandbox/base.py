"""The sandbox contract: a pool hands out sessions, a session runs cells and keeps their state.

    async with pool.session(images) as session:
        execution = await session.run("x = 2")
        execution = await session.run("x + 1")     # execution.value == "3"
"""

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from PIL import Image

from air_reasoning.types import Execution


class Session(Protocol):
    """One trajectory's Python: variables, imports and files live from cell to cell."""

    async def run(self, code: str, timeout_s: float | None = None) -> Execution:
        """Run one cell.

        Never raises for what the code does: a syntax error, an endless loop or a dead process is an
        ``Execution``. After ``killed`` or ``timeout`` with a kill the next cell starts from a fresh
        session and says ``state_lost``. ``lost`` means that the sandbox itself failed.
        """
        ...


class SandboxPool(Protocol):
    """Sessions for many trajectories at once, bounded."""

    def session(
        self, images: list[Image.Image] | None = None
    ) -> AbstractAsyncContextManager[Session]:
        """A session that sees ``images`` as PIL objects ``image_1``, ``image_2``, ...

        Waits while ``max_sessions`` are out. The process starts with the first cell, so that a
        trajectory that never calls costs nothing.
        """
        ...

    async def close(self) -> None:
        """End every session; no process and no folder stays."""
        ...
