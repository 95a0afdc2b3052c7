"""The sandbox contract: a pool hands out sessions, a session runs cells and keeps their state.

Example::

    async with pool.session(images) as session:
        execution = await session.run("x = 2")
        execution = await session.run("x + 1")     # execution.value == "3"
"""

import re
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from PIL import Image

from air_reasoning.types import Execution


class Session(Protocol):
    """One trajectory's Python: variables, imports and files live from cell to cell."""

    @property
    def pixels(self) -> Mapping[str, Image.Image]:
        """Every image that a cell of this session gave back, by the ``sha256`` of its reference.

        The references in ``Execution.images`` have no path until somebody stores the pixels.
        """
        ...

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
        self, images: list[Image.Image] | None = None, seed: int | None = None
    ) -> AbstractAsyncContextManager[Session]:
        """A session that sees ``images`` as PIL objects ``image_1``, ``image_2``, ...

        Waits while ``max_sessions`` are out. The process starts with the first cell, so that a
        trajectory that never calls costs nothing. ``seed`` makes the session's random numbers
        repeatable; without one they differ from session to session.
        """
        ...

    async def close(self) -> None:
        """End every session; no process and no folder stays."""
        ...


def is_void(code: str) -> bool:
    r"""Whether there is nothing to execute: only blank lines and comments. Counts as no call.

    ``is_void("# think\n")`` is True; ``is_void("x = 1  # set")`` is False.
    """
    lines = (line.strip() for line in re.split(r"[\r\n]", code))
    return all(not line or line.startswith("#") for line in lines)
