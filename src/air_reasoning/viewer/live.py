"""What changes in a run folder, as server-sent events; the page then asks for what it shows.

event: change
data: {"metrics": 5120, "trajectories": 91234, "events": 120, "state": "running", "live": true}
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from air_reasoning.errors import DataError
from air_reasoning.json_io import dump_line
from air_reasoning.run_reader import find_runs, is_owned, read_status, trajectory_parts
from air_reasoning.viewer.store import Store

SECONDS = 1.0
BEAT = 15
"""Looks without a change after which a comment is sent, so that a dead connection is noticed."""


def live_events(store: Store, request: Request) -> Response:
    """A stream for one run (``?run=``), or for the list of runs without it."""
    name = request.query_params.get("run", "")
    run = store.run(name) if name else None

    def look() -> dict[str, Any]:
        return _run_state(run) if run else _list_state(store.root)

    async def stream() -> AsyncIterator[bytes]:
        seen, quiet = None, 0
        while not await request.is_disconnected():
            now = await asyncio.to_thread(
                lambda: _run_state(run) if run else _list_state(store.root)
            )
            if now != seen:
                seen, quiet = now, 0
                yield b"event: change\ndata: " + dump_line(now) + b"\n\n"
            elif (quiet := quiet + 1) % BEAT == 0:
                yield b": still here\n\n"
            await asyncio.sleep(SECONDS)

    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(stream(), media_type="text/event-stream", headers=headers)


def _run_state(run: Path) -> dict[str, Any]:
    try:
        state = read_status(run).get("state", "")
    except DataError:
        state = "unreadable"
    return {
        "metrics": _size(run / "metrics.jsonl"),
        "events": _size(run / "events.jsonl"),
        "trajectories": sum(_size(part) for part in trajectory_parts(run)),
        "state": state,
        "live": is_owned(run),
    }


def _list_state(root: Path) -> dict[str, Any]:
    return {str(run.relative_to(root)): _run_state(run) for run in find_runs(root)}


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0
