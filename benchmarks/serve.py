"""``air serve`` under 10,000 requests: nothing may leak, grow, or answer 5xx.

python benchmarks/serve.py [--requests 10000] [--connections 64]

A tenth of the clients go away in the middle, a tenth send what cannot be answered, the rest get
answers: both APIs, whole and streamed, with pictures in and figures out, half of them with a cell
in the real sandbox. The engine is a script behind real HTTP, with 20 to 80 ms a turn. Checked at
the end, when all is quiet: requests under way, processes, open files and temporary files of the
server are as many as after the warm-up; memory is printed as it went and as a slope. Exit code 1 if
something leaked or a status was wrong. Seconds of a loaded machine are no figures.
"""

import argparse
import asyncio
import base64
import contextlib
import io
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import uvicorn
from PIL import Image
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

DRAW = "from PIL import Image\nprint(image_1.size)\nImage.new('RGB', (30, {n}), 'red')"
SUM = "sum(range({n}))"
WARM_UP = 200
QUIET_S = 60.0


# The engine: a script behind real HTTP.


def turn_of(body: dict[str, Any]) -> str:
    """A cell where the question asks for one and none has run; else an answer."""
    text = json.dumps(body["messages"])
    asked = re.search(r"(draw|sum|sleep) (\d+)", text)
    if asked is None or "<interpreter>" in text.partition("question")[2]:
        return "<think>so</think>It is <answer>\\boxed{3}</answer>"
    code = {"draw": DRAW, "sum": SUM, "sleep": "import time\ntime.sleep(5)"}[asked[1]]
    return f"<think>look</think><code>```python\n{code.format(n=asked[2])}\n```</code>"


async def complete(request: Request) -> Response:
    """``/v1/chat/completions``."""
    body = await request.json()
    text = turn_of(body).removesuffix("</code>")
    await asyncio.sleep(random.uniform(0.02, 0.08))
    usage = {"prompt_tokens": 100, "completion_tokens": len(text) // 4}
    if body.get("stream"):
        return StreamingResponse(streamed(text, usage), media_type="text/event-stream")
    choice = {"index": 0, "message": {"content": text}, "finish_reason": "stop"}
    return JSONResponse({"choices": [choice], "usage": usage})


async def streamed(text: str, usage: dict[str, Any]) -> AsyncIterator[str]:
    """The same in pieces."""
    for start in range(0, len(text), 16):
        chunk = {"choices": [{"index": 0, "delta": {"content": text[start : start + 16]}}]}
        yield f"data: {json.dumps(chunk)}\n\n"
        await asyncio.sleep(0.002)
    end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": usage}
    yield f"data: {json.dumps(end)}\n\ndata: [DONE]\n\n"


async def listed(request: Request) -> Response:
    """``/v1/models``."""
    return JSONResponse({"data": [{"id": "script", "owned_by": "benchmark"}]})


def start_engine() -> str:
    """Its address; it runs in a thread of this process."""
    routes = [
        Route("/v1/models", listed),
        Route("/v1/chat/completions", complete, methods=["POST"]),
    ]
    server = uvicorn.Server(uvicorn.Config(Starlette(routes=routes), port=0, log_level="critical"))
    threading.Thread(target=server.run, daemon=True).start()
    while not server.started:
        time.sleep(0.01)
    return f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/v1"


# The server, and what of it could leak.


def start_server(engine: str, folder: Path) -> tuple["subprocess.Popen[bytes]", str]:
    """``air serve`` as a user starts it, and its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = ["serve", "--endpoint", engine, "--port", str(port), "-o", "per_key=256"]
    words += ["-o", "max_body_mb=1", "-o", "engine.sandbox.max_sessions=64"]
    process = subprocess.Popen(
        [sys.executable, "-m", "air_reasoning.cli", *words], stdout=sys.stderr,
        env=os.environ | {"TMPDIR": str(folder)},
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    while process.poll() is None:
        try:
            httpx2.get(f"{url}/health")
        except httpx2.TransportError:
            time.sleep(0.2)
        else:
            return process, url
    raise SystemExit("air serve did not start")


@dataclass(kw_only=True, slots=True, frozen=True)
class Held:
    """What the server holds at a moment: what could leak."""

    running: int
    processes: int
    files: int
    temporary: int


def held(pid: int, url: str, folder: Path) -> Held:
    """Requests under way, processes below the server, its open files, its temporary files."""
    return Held(
        running=httpx2.get(f"{url}/health").json()["running"],
        processes=descendants(pid),
        files=len(list(Path(f"/proc/{pid}/fd").iterdir())),
        temporary=sum(1 for _ in folder.rglob("*")),
    )


def descendants(pid: int) -> int:
    """How many processes live below ``pid``."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has just ended
            stat = (entry / "stat").read_text().rpartition(")")[2].split()
            parents[int(entry.name)] = int(stat[1]) if stat[0] != "Z" else 0
    below, count = {pid}, -1
    while len(below) > count:
        count = len(below)
        below |= {child for child, parent in parents.items() if parent in below}
    return count - 1


async def quiet(pid: int, url: str, folder: Path) -> Held:
    """What is held once nothing ends any more; idle connections are gone, too."""
    last, until = held(pid, url, folder), time.monotonic() + QUIET_S
    while time.monotonic() < until:
        await asyncio.sleep(8.0)
        now = held(pid, url, folder)
        if now == last and now.running == 0:
            break
        last = now
    return last


def memory_mb(pid: int) -> float:
    """Resident memory of the server itself, without the sandbox's processes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


# The clients.


def picture() -> str:
    """A small PNG as data URL."""
    buffer = io.BytesIO()
    Image.new("RGB", (50, 40), "blue").save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


PICTURE = picture()
TEXT = {"role": "user", "content": "question"}


def question(n: int) -> tuple[str, dict[str, Any]]:
    """(path, body) of a request that can be answered; a cell in half of them."""
    asked = (f"draw {n % 40 + 1}", f"sum {n}", "nothing", "nothing")[n % 4]
    stream = n % 3 == 0
    if n % 2:
        parts = [
            {"type": "input_image", "image_url": PICTURE, "detail": "auto"},
            {"type": "input_text", "text": f"question: {asked}"},
        ]
        outputs = ["code_interpreter_call.outputs"]
        body = {"input": [{"role": "user", "content": parts}], "include": outputs}
        return "/v1/responses", body | {"stream": stream}
    parts = [
        {"type": "image_url", "image_url": {"url": PICTURE}},
        {"type": "text", "text": f"question: {asked}"},
    ]
    return "/v1/chat/completions", {
        "messages": [{"role": "user", "content": parts}], "stream": stream,
    }  # fmt: skip


def malformed(n: int) -> tuple[str, bytes]:
    """(path, body) of a request that has to be refused."""
    image = {"type": "image_url", "image_url": {"url": "http://169.254.169.254/latest"}}
    bomb = {"type": "image_url", "image_url": {"url": PICTURE[:-40]}}
    chat: list[Any] = [
        b"", b"{", b"[]", b"null", b'"text"', b"\xff\xfe", b"[" * 2000, b"x" * 2_000_000,
        {}, {"messages": "x"}, {"messages": [None]}, {"messages": [{"role": 1, "content": "x"}]},
        {"messages": [{"role": "user", "content": [1]}]}, {"messages": [TEXT], "n": 2},
        {"messages": [{"role": "user", "content": [image]}]}, {"messages": [TEXT], "tools": 3},
        {"messages": [{"role": "user", "content": [bomb]}]}, {"messages": [TEXT], "seed": "x"},
        {"messages": [TEXT], "stream_options": [1]}, {"messages": [TEXT], "response_format": 1},
        {"messages": [TEXT], "temperature": -1}, {"messages": [TEXT], "max_tokens": 0},
        {"messages": [TEXT], "model": ["other"]}, {"messages": [TEXT], "stop": ["x"]},
        {"messages": [TEXT], "tools": [{"type": "code_interpreter", "container": {"type": 1}}]},
    ]  # fmt: skip
    responses: list[Any] = [
        {"input": {}}, {"input": 3}, {"input": [[]]}, {"input": [{"type": "item"}]},
        {"input": "?", "text": "json"}, {"input": "?", "text": {"format": 1}},
        {"input": "?", "include": 1}, {"input": "?", "instructions": 1},
        {"input": "?", "max_tool_calls": "many"}, {"input": "?", "background": True},
        {"input": [{"type": "code_interpreter_call", "outputs": 1}]},
        {"input": "?", "tools": [1]}, {"input": "?", "previous_response_id": "r"},
    ]  # fmt: skip
    n %= len(chat) + len(responses)
    path, body = "/v1/responses", responses[n - len(chat)] if n >= len(chat) else b""
    if n < len(chat):
        path, body = "/v1/chat/completions", chat[n]
    return path, body if isinstance(body, bytes) else json.dumps(body).encode()


@dataclass(kw_only=True, slots=True)
class Result:
    """Statuses by kind of request, what was wrong, memory after so many requests."""

    statuses: Counter[tuple[str, int]] = field(default_factory=Counter[tuple[str, int]])
    wrong: Counter[str] = field(default_factory=Counter[str])
    memory: list[tuple[int, float]] = field(default_factory=list[tuple[int, float]])
    done: int = 0


async def one(n: int, client: httpx2.AsyncClient, result: Result) -> None:
    """Request ``n``: malformed, cancelled, or one that has to be answered."""
    if n % 10 == 0:
        path, content = malformed(n // 10)
        answer = await client.post(
            path, content=content, headers={"Content-Type": "application/json"}
        )
        result.statuses["malformed", answer.status_code] += 1
        if not 400 <= answer.status_code < 500:
            result.wrong[f"malformed {n // 10}: {answer.status_code} {content[:60]!r}"] += 1
        return
    path, body = question(n)
    if n % 10 == 1:
        if n % 20 == 1:  # in the middle of a cell
            body = json.loads(json.dumps(body).replace("nothing", "sleep 5"))
        asking = asyncio.ensure_future(client.post(path, json=body))
        await asyncio.wait([asking], timeout=random.Random(n).uniform(0.0, 0.4))
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asking
        result.statuses["cancelled", 0] += 1
        return
    answer = await client.post(path, json=body)
    result.statuses["answered", answer.status_code] += 1
    if answer.status_code != 200 or "boxed{3}" not in answer.text:
        result.wrong[f"{path} {answer.status_code} {answer.text[:120]}"] += 1


async def load(options: argparse.Namespace, url: str, pid: int) -> Result:
    """All requests over as many connections."""
    result, numbers = Result(), iter(range(1, options.requests + 1))
    limits = httpx2.Limits(max_connections=options.connections)
    async with httpx2.AsyncClient(base_url=url, timeout=600, limits=limits) as client:

        async def work() -> None:
            for n in numbers:
                try:
                    await one(n, client, result)
                except httpx2.HTTPError as error:
                    result.wrong[f"request {n}: {error!r}"] += 1
                result.done += 1
                if result.done % max(100, options.requests // 20) == 0:
                    result.memory.append((result.done, memory_mb(pid)))
                    print(f"{result.done}  {result.memory[-1][1]:.1f} MB", file=sys.stderr)

        await asyncio.gather(*(work() for _ in range(options.connections)))
    return result


def slope(points: list[tuple[int, float]]) -> float:
    """KB a request over the second half, by least squares."""
    half = points[len(points) // 2 :]
    mean_x = sum(x for x, _ in half) / len(half)
    mean_y = sum(y for _, y in half) / len(half)
    below = sum((x - mean_x) ** 2 for x, _ in half)
    return 1024 * sum((x - mean_x) * (y - mean_y) for x, y in half) / below if below else 0.0


async def run(options: argparse.Namespace, folder: Path) -> int:
    """Warm up, load, wait, compare."""
    process, url = start_server(start_engine(), folder)
    try:
        warm = argparse.Namespace(requests=WARM_UP, connections=options.connections)
        await load(warm, url, process.pid)
        before, began = await quiet(process.pid, url, folder), time.perf_counter()
        result = await load(options, url, process.pid)
        seconds = time.perf_counter() - began
        after = await quiet(process.pid, url, folder)
        metrics = httpx2.get(f"{url}/metrics").text
    finally:
        process.send_signal(signal.SIGINT)
        code = process.wait(30)
    print(f"{result.done} requests in {seconds:.0f} s; {dict(sorted(result.statuses.items()))}")
    print(f"memory, MB: {[round(mb, 1) for _, mb in result.memory]}")
    print(f"memory, second half: {slope(result.memory):+.3f} KB a request")
    print(f"held after the warm-up: {before}\nheld at the end:        {after}")
    print(f"exit code {code}, files left below TMPDIR: {sum(1 for _ in folder.rglob('*'))}")
    print("\n".join(line for line in metrics.splitlines() if "tokens" not in line))
    print("\n".join(f"WRONG {count} x {what}" for what, count in result.wrong.most_common(20)))
    return int(bool(result.wrong) or before != after)


def main() -> None:
    """Run it and say so by the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--connections", type=int, default=64)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="air-serve-") as folder:
        sys.exit(asyncio.run(run(options, Path(folder))))


if __name__ == "__main__":
    main()
