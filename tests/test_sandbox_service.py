"""`air sandbox serve` and its client: real servers in processes of their own, on loopback."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import httpx2
import pytest
from PIL import Image

from air_reasoning.cli import main
from air_reasoning.errors import ConfigError, SandboxError
from air_reasoning.images import image_hash
from air_reasoning.sandbox import wire
from air_reasoning.sandbox.child.frames import pack
from air_reasoning.sandbox.remote import RemotePool
from air_reasoning.sandbox.settings import SandboxConfig

SMALL = ("sandbox.preload=[[math]]", "sandbox.ready_sessions=1", "sandbox.grace_s=5")
TOKEN = "a-token-of-this-test"


class Server:
    """`air sandbox serve` and what it leaves in ``folder``."""

    def __init__(self, folder: Path, *words: str) -> None:
        folder.mkdir(exist_ok=True)
        folder.chmod(0o711)
        options = [word for setting in SMALL for word in ("-o", setting)]
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "TMPDIR": str(folder),
        }
        program = [sys.executable, "-m", "air_reasoning.cli", "sandbox", "serve", "--port", "0"]
        self.folder = folder
        self.process = subprocess.Popen(
            [*program, *options, *words], stdout=subprocess.PIPE, text=True, env=environment
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert "http://127.0.0.1:" in line, line
        self.url = line.split()[3]
        self.tier = line.split()[5]

    def end(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)
        self.process.wait(60)
        if self.process.stdout is not None:
            self.process.stdout.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests that do it no harm."""
    folder = tmp_path_factory.mktemp("shared")
    server = Server(folder)
    yield server
    server.end()
    assert wait_for(lambda: list(folder.iterdir()) == [])


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """``serve(*words)`` starts one more; each has to be gone at the end, with all its files."""
    tmp_path.chmod(0o711)
    running: list[Server] = []

    def start(*words: str) -> Server:
        server = Server(tmp_path / f"server-{len(running)}", *words)
        running.append(server)
        return server

    yield start
    for server in running:
        server.end()
        assert wait_for(lambda server=server: list(server.folder.iterdir()) == [])


def wait_for(condition: Callable[[], bool], seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < end:
        time.sleep(0.02)
    return met


def below(pid: int) -> set[int]:
    """Living processes that descend from ``pid``."""
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            if fields[0] != "Z":
                parents[int(path.parent.name)] = int(fields[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def is_gone(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True


def with_pool(work: Callable[[RemotePool], Awaitable[None]], *servers: Server, **more: int) -> None:
    async def run() -> None:
        urls = tuple(server.url for server in servers)
        async with RemotePool(SandboxConfig(urls=urls, timeout_s=30, **more)) as pool:
            await work(pool)

    asyncio.run(run())


def test_it_is_used_like_the_pool_of_this_process(shared: Server):
    async def work(pool: RemotePool) -> None:
        picture = Image.frombytes("RGB", (2, 1), b"abcdef")
        async with pool.session([picture, Image.new("P", (4, 5))], seed=7) as session:
            assert (await session.run("# nothing")).status == "ok"
            first = await session.run("x = 20\nprint('a')\nimage_1.size, image_2.mode")
            assert (first.value, first.stdout, first.tier) == ("((2, 1), 'RGB')", "a\n", pool.tier)
            shown = await session.run("x += 1\nimage_1.rotate(180)")
            (ref,) = shown.images
            assert session.pixels[ref.sha256].tobytes() == b"defabc"
            assert ref.sha256 == image_hash(session.pixels[ref.sha256])
            failed = await session.run("1 / 0")
            assert (failed.error or {})["type"] == "ZeroDivisionError"
            stopped = await session.run("while True: pass", timeout_s=0.3)
            assert (stopped.status, (await session.run("x")).value) == ("timeout", "21")
            assert (await session.run("'\ud800'")).status == "error"
            assert (await session.run("#" * 2_000_000 + "\n1")).status == "error"
            assert (await session.run("import os\nos._exit(3)")).status == "killed"
            assert (await session.run("# nothing")).state_lost is True
            again = await session.run("'x' in globals()")
            assert (again.value, again.state_lost) == ("False", True)
            assert (await session.run("1")).state_lost is False
        with pytest.raises(SandboxError, match="closed"):
            await session.run("1")

    with_pool(work, shared)


def test_a_full_server_says_so_at_once_and_the_client_waits(serve):
    server = serve("-o", "sandbox.max_sessions=1")

    async def work(pool: RemotePool) -> None:
        async with pool.session() as session:
            await session.run("x = 1")
            refused = httpx2.post(f"{server.url}/sessions", json={})
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
            assert refused.json() == {"error": "all 1 sessions are taken; try again"}
            other = asyncio.create_task(one_cell(pool))
            while not pool.counts["full"]:
                await asyncio.sleep(0.01)
            assert (await session.run("x")).value == "1"
        assert await other == "2"

    async def one_cell(pool: RemotePool) -> str | None:
        async with pool.session() as session:
            return (await session.run("1 + 1")).value

    with_pool(work, server, max_sessions=2)


def test_a_lost_server_costs_its_sessions_only(serve):
    servers = serve(), serve()

    async def work(pool: RemotePool) -> None:
        async with contextlib.AsyncExitStack() as stack:
            sessions = [await stack.enter_async_context(pool.session()) for _ in range(4)]
            for number, session in enumerate(sessions):
                await session.run(f"x = {number}")
            places = httpx2.get(f"{servers[0].url}/health").json()["sessions"]
            assert places == 2  # the emptier one is asked first
            busy = [asyncio.create_task(s.run("import time; time.sleep(3)\nx")) for s in sessions]
            await asyncio.sleep(0.5)
            left = below(servers[0].process.pid)
            servers[0].end(signal.SIGKILL)
            results = [await task for task in busy]
            assert sorted(r.status for r in results) == ["lost", "lost", "ok", "ok"]
            for number, (session, result) in enumerate(zip(sessions, results, strict=True)):
                after = await session.run("globals().get('x')")
                kept = result.status == "ok"
                told = (after.status, after.value, after.state_lost)
                assert told == ("ok", str(number) if kept else None, not kept)
            assert await asyncio.to_thread(wait_for, lambda: all(map(is_gone, left)))

    with_pool(work, *servers)


def test_a_token_is_needed_where_there_is_one(
    serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    server = serve("--token-file", str(file))
    assert httpx2.post(f"{server.url}/sessions", json={}).status_code == 401
    assert httpx2.get(f"{server.url}/metrics").status_code == 401
    assert httpx2.get(f"{server.url}/health").json()["status"] == "ok"

    async def cell(pool: RemotePool) -> None:
        async with pool.session() as session:
            assert (await session.run("2")).value == "2"

    monkeypatch.setenv("SANDBOX_TOKEN", TOKEN + "x")
    with pytest.raises(ConfigError, match=r"does not know this token.*sandbox\.token_env"):
        with_pool(cell, server)
    monkeypatch.setenv("SANDBOX_TOKEN", TOKEN)
    with_pool(cell, server)


def test_where_others_could_connect_a_token_is_demanded(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    assert main(["sandbox", "serve", "--host", "0.0.0.0", "--port", "0"]) == 2
    assert "give a --token-file" in capfd.readouterr().err
    (tmp_path / "empty").touch()
    assert main(["sandbox", "serve", "--token-file", str(tmp_path / "empty")]) == 2
    assert "is empty" in capfd.readouterr().err
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["sandbox", "serve", "--port", str(taken.getsockname()[1])]) == 2
    assert "cannot listen there" in capfd.readouterr().err


def endless(piece: bytes) -> Iterator[bytes]:
    while True:
        yield piece


def test_what_is_too_large_is_refused_while_it_arrives(shared: Server):
    url = shared.url
    name = httpx2.post(f"{url}/sessions", json={}).json()["id"]
    header = {"Content-Type": wire.FRAME}
    for path in ("/sessions", f"/sessions/{name}/run", "/keep"):
        for kind, piece in ((wire.JSON, b" " * 65536), (wire.FRAME, b"\xff" * 65536)):
            # Without an end of the body only a limit can bring an answer, or close the connection.
            with contextlib.suppress(httpx2.TransportError):
                words = {"content": endless(piece), "headers": {"Content-Type": kind}}
                assert httpx2.post(url + path, timeout=60, **words).status_code == 400
    for body in (
        pack({"images": [["RGB", 10, 10]]}, [b"12345"]),
        pack({"images": [["RGB", 10**9, 10**9]]}, [b""]),
        pack({"seed": -1}),
        pack({"keep_s": 10**9}),
        pack({"images": [["L", 1, 1]] * 65}, [b"x"] * 65),
        pack({}) + b"!",
        b"\0\0",
        b"",
    ):
        assert httpx2.post(f"{url}/sessions", content=body, headers=header).status_code == 400
    run = f"{url}/sessions/{name}/run"
    for body in ({}, {"code": 1}, {"code": "1", "timeout_s": 0}, {"code": "1", "timeout_s": True}):
        assert httpx2.post(run, json=body).status_code == 400
    plain = {"Content-Type": "text/plain"}
    assert httpx2.post(run, content=b'{"code": "1"}', headers=plain).status_code == 400
    told = httpx2.post(run, json={"code": "6 * 7"}).json()["execution"]
    assert (told["status"], told["value"]) == ("ok", "42")
    assert httpx2.delete(f"{url}/sessions/{name}").status_code == 204
    assert httpx2.delete(f"{url}/sessions/{name}").status_code == 404
    assert httpx2.post(run, json={"code": "1"}).status_code == 404


def test_a_client_that_leaves_in_a_cell_ends_its_process(shared: Server):
    name = httpx2.post(f"{shared.url}/sessions", json={}).json()["id"]
    run = f"{shared.url}/sessions/{name}/run"
    httpx2.post(run, json={"code": "x = 1"}, timeout=60)
    with contextlib.suppress(httpx2.TimeoutException):
        httpx2.post(run, json={"code": "while True: pass", "timeout_s": 1000}, timeout=1)
    after = httpx2.post(run, json={"code": "'x' in globals()"}, timeout=60).json()["execution"]
    assert (after["value"], after["state_lost"]) == ("False", True)
    httpx2.delete(f"{shared.url}/sessions/{name}")


def test_sessions_of_a_client_that_is_gone_are_ended(shared: Server):
    with httpx2.Client(base_url=shared.url, timeout=60) as client:
        left, kept = [client.post("/sessions", json={"keep_s": 5}).json()["id"] for _ in "ab"]
        client.post(f"/sessions/{left}/run", json={"code": "1"})
        told = {"unknown": []}
        while left not in told["unknown"]:
            told = client.post("/keep", json={"ids": [kept, "another", 3]}).json()
            assert "another" in told["unknown"]
            told["unknown"] += [left] if client.get("/health").json()["sessions"] == 1 else []
            time.sleep(0.2)
        assert told["unknown"] == ["another", left]
        assert client.post(f"/sessions/{left}/run", json={"code": "1"}).status_code == 404
        assert "air_sandbox_reaped_total 1" in client.get("/metrics").text.splitlines()
        assert client.delete(f"/sessions/{kept}").status_code == 204


def test_the_end_of_a_server_leaves_nothing(serve):
    server = serve()

    async def work(pool: RemotePool) -> None:
        async with pool.session() as session:
            await session.run("open('file', 'w').write('x')")
            task = asyncio.create_task(session.run("while True: pass", timeout_s=600))
            await asyncio.sleep(0.5)
            left = below(server.process.pid)
            assert left
            await asyncio.to_thread(server.end, signal.SIGTERM)
            assert (await task).status == "lost"
            assert await asyncio.to_thread(wait_for, lambda: all(map(is_gone, left)))
            assert list(server.folder.iterdir()) == []

    with_pool(work, server)


def test_no_server_at_all_is_told_at_once():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    async def cell() -> None:
        url = f"http://127.0.0.1:{port}"
        async with RemotePool(SandboxConfig(urls=(url,))) as pool, pool.session() as session:
            with pytest.raises(SandboxError, match=f"no sandbox server is there .*{port}"):
                await session.run("1")

    asyncio.run(cell())
    with pytest.raises(ConfigError, match=r"sandbox\.urls: host:1: expected http"):
        RemotePool(SandboxConfig(urls=("host:1",)))


def test_air_sandbox_run_uses_servers(
    shared: Server, capfd: pytest.CaptureFixture[str], tmp_path: Path
):
    for number, code in enumerate(["x = 2", "import os; os._exit(1)", "# void", "'x' in dir()"]):
        (tmp_path / f"{number}.py").write_text(code)
    files = [str(tmp_path / f"{number}.py") for number in range(4)]
    option = ["-o", f"sandbox.urls=[{shared.url}]"]
    assert main(["sandbox", "run", "--json", *files, *option]) == 0
    told = json.loads(capfd.readouterr().out)
    assert told["tier"] == shared.tier
    assert main(["sandbox", "check", *option]) == 0
    assert f"{shared.url}: tier: {shared.tier} (" in capfd.readouterr().out
    assert main(["sandbox", "check", "-o", "sandbox.urls=[http://127.0.0.1:1]"]) == 4
    assert "http://127.0.0.1:1: tier: none. no sandbox server is there" in capfd.readouterr().out
    rows = [(e["status"], e["value"], e["state_lost"]) for e in told["executions"]]
    assert rows == [
        ("ok", None, False),
        ("killed", None, False),
        ("ok", None, True),
        ("ok", "False", True),
    ]
