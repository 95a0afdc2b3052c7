"""The web server of ``air view``: JSON about run folders, and the static pages that show it.

Every answer is read from the run folders at the time of asking; there is no state but open
indexes. A trajectory is passed on as the bytes of its line, so its size is the browser's affair.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from air_reasoning.errors import AirError, ConfigError
from air_reasoning.json_io import dump_line, parse_json
from air_reasoning.run_index import read_bytes
from air_reasoning.run_query import count, facets, find, page, parse_filter
from air_reasoning.viewer.cells import run_again
from air_reasoning.viewer.compare import compare
from air_reasoning.viewer.live import live_events
from air_reasoning.viewer.metrics import metric_columns
from air_reasoning.viewer.security import Guard, same_origin
from air_reasoning.viewer.store import Missing, Store, run_details
from air_reasoning.viewer.token_texts import token_texts

STATIC = Path(__file__).parent / "static"
INDEX_SECONDS = 0.3
"""How long one request may go on indexing; the page asks again until all is there."""
MAX_LIMIT = 1000
_SHA = re.compile(r"[0-9a-f]{64}")


def viewer_app(root: Path, *, token: str = "") -> Starlette:
    """The application for the runs at and below ``root``; with a token it is asked for."""
    store = Store(root)

    def route(path: str, answer: Callable[[Store, Request], Any]) -> Route:
        def endpoint(request: Request) -> Response:
            return _as_response(answer(store, request))

        return Route(path, endpoint)

    async def cell(request: Request) -> Response:
        if not same_origin(request):
            return JSONResponse({"error": "only the viewer's own page may ask"}, status_code=403)
        return _as_response(await _run_cell(store, parse_json(await request.body(), "request")))

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        store.close()

    return Starlette(
        routes=[
            route("/api/runs", lambda store, _: store.runs()),
            route("/api/run", lambda store, request: run_details(_run(store, request))),
            route("/api/metrics", _metrics),
            route("/api/samples", _samples),
            route("/api/count", _count),
            route("/api/facets", _facets),
            route("/api/trajectory", _trajectory),
            route("/api/tokens", _tokens),
            route("/api/blob/{sha}", _blob),
            Route("/api/cell", cell, methods=["POST"]),
            route("/api/compare", _compare),
            route("/api/live", live_events),
            route("/", lambda *_: FileResponse(STATIC / "index.html", headers=_NO_CACHE)),
            Mount("/", _Assets(directory=STATIC)),
        ],
        middleware=[Middleware(Guard, token=token)],
        exception_handlers={AirError: _our_error, HTTPException: _http_error},
        lifespan=lifespan,
    )


_NO_CACHE = {"cache-control": "no-cache"}


class _Assets(StaticFiles):
    """Static files that a browser asks about again, so that an upgrade is seen at once."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers.update(_NO_CACHE)
        return response


def _metrics(store: Store, request: Request) -> dict[str, Any]:
    since = _number(request, "since", 0)
    return metric_columns(_run(store, request), since)


def _samples(store: Store, request: Request) -> dict[str, Any]:
    """A page of rows, and how much of the run is indexed so far."""
    index = store.index(_run(store, request))
    done, there = index.catch_up(INDEX_SECONDS)
    chosen = parse_filter(request.query_params)
    offset = _number(request, "offset", 0)
    limit = min(MAX_LIMIT, _number(request, "limit", 100))
    with index.lock:
        rows = page(index.connection, chosen, offset=max(0, offset), limit=max(1, limit))
    return {"rows": rows, "offset": offset, "indexed": done, "bytes": there}


def _count(store: Store, request: Request) -> dict[str, int]:
    index = store.index(_run(store, request))
    index.catch_up(INDEX_SECONDS)
    with index.lock:
        return {"total": count(index.connection, parse_filter(request.query_params))}


def _facets(store: Store, request: Request) -> dict[str, Any]:
    index = store.index(_run(store, request))
    index.catch_up(INDEX_SECONDS)
    with index.lock:
        return facets(index.connection)


def _trajectory(store: Store, request: Request) -> Response:
    """``{"row": ..., "record": ...}``, the record as the run folder has it."""
    row, part = _located(store, _run(store, request), request.query_params.get("key", ""))

    start = b'{"row":' + dump_line(row) + b',"record":'

    def body() -> Iterator[bytes]:
        yield start
        yield from read_bytes(part, row["offset"], row["length"])
        yield b"}"

    headers = {"content-length": str(len(start) + row["length"] + 1)}
    return StreamingResponse(body(), media_type="application/json", headers=headers)


def _tokens(store: Store, request: Request) -> dict[str, Any]:
    run = _run(store, request)
    record = _record(store, run, request.query_params.get("key", ""))
    return token_texts(run, record.get("trajectory") or record)


async def _run_cell(store: Store, asked: Any) -> dict[str, Any]:
    if not isinstance(asked, dict) or not isinstance(asked.get("segment"), int):
        raise ConfigError("expected an object of run, key and the number of a segment")
    run = await asyncio.to_thread(store.run, str(asked.get("run", "")))
    record = await asyncio.to_thread(_record, store, run, str(asked.get("key", "")))
    return await run_again(run, record, asked["segment"])


def _record(store: Store, run: Path, key: str) -> dict[str, Any]:
    row, part = _located(store, run, key)
    return parse_json(b"".join(read_bytes(part, row["offset"], row["length"])), f"{part}: {key}")


def _located(store: Store, run: Path, key: str) -> tuple[dict[str, Any], Path]:
    """The row of a trajectory and the file that it is in. Raises Missing."""
    index = store.index(run)
    with index.lock:
        row = find(index.connection, key)
        while row is None and _more(index.catch_up(INDEX_SECONDS)):
            row = find(index.connection, key)
        row = row or find(index.connection, key)
    if row is None:
        raise Missing(f"no trajectory {key!r} in this run; it may have been made anew")
    return row, run / "trajectories" / f"part-{row['part']:04d}.jsonl"


def _more(progress: tuple[int, int]) -> bool:
    done, there = progress
    return done < there


def _compare(store: Store, request: Request) -> dict[str, Any]:
    asked = request.query_params
    indexes = [store.index(store.run(asked.get(name, ""))) for name in ("a", "b")]
    for index in indexes:
        index.catch_up()
    return compare(
        *indexes, pass_a=asked.get("pass_a", ""), pass_b=asked.get("pass_b", ""),
        kind=asked.get("kind", "flips"),
    )  # fmt: skip


def _blob(store: Store, request: Request) -> Response:
    """A picture of a run by its hash."""
    sha = request.path_params["sha"]
    file = _run(store, request) / "blobs" / f"{sha}.png"
    if not _SHA.fullmatch(sha) or not file.is_file():
        raise Missing("no such picture in this run")
    headers = {"cache-control": "private, max-age=31536000, immutable"}
    return FileResponse(file, media_type="image/png", headers=headers)


def _run(store: Store, request: Request) -> Path:
    return store.run(request.query_params.get("run", ""))


def _number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, "")
    if text and not text.isdecimal():
        raise ConfigError(f"{name}: expected a whole number, found {text!r}")
    return int(text) if text else default


def _as_response(answer: Any) -> Response:
    if isinstance(answer, Response):
        return answer
    return Response(dump_line(answer), media_type="application/json", headers=_NO_CACHE)


def _our_error(_: Request, error: Exception) -> Response:
    status = 404 if isinstance(error, Missing) else 400
    return JSONResponse({"error": str(error)}, status_code=status)


def _http_error(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    return JSONResponse({"error": str(error)}, status_code=status)
