"""A made run that shows everything, the server in a thread, and a page that must log no error."""

import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import uvicorn
from PIL import Image, ImageDraw

from air_reasoning.config import Config, Resolved
from air_reasoning.metrics import Record
from air_reasoning.run_dir import RunDir
from air_reasoning.types import (
    Answer,
    Execution,
    ImageRef,
    Part,
    Reward,
    Segment,
    StopReason,
    Task,
    Trajectory,
    Usage,
)
from air_reasoning.viewer.app import viewer_app

CHROMIUM_FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
HOSTILE = (
    '<img src=x onerror="window.hacked=1"> </script><script>window.hacked=2</script> '
    "[link](javascript:window.hacked=3) ![pixel](http://198.51.100.1/x.png)\n\n"
    r"$\def\a{\a\a}\a$ and $\rule{9999em}{9999em}$ and $\href{javascript:window.hacked=4}{x}$"
    "\n\nThe area is $\\frac{1}{2}bh$, **truly**. It costs $5 and $6."
)


class Settings(Config):
    """Of the made run."""

    steps: int = 3


def open_run(path: Path, **options: Any) -> RunDir:
    return RunDir.open(
        path,
        command="rl",
        resolved_config=Resolved(value=Settings(), provenance={"steps": "-o"}),
        fingerprint={"steps": 3},
        **options,
    )


def row(
    run: RunDir | ImageRef | None,
    name: str,
    *,
    correct: bool = True,
    code: str = "",
    think: str = "Add them.",
    reward: float = 1.0,
    advantage: float = 0.5,
    step: int = 1,
    stop: StopReason = StopReason.ANSWERED,
    status: Any = "ok",
) -> dict[str, Any]:
    """One record; ``run`` gives it a picture."""
    images = [picture_of(run)] if isinstance(run, RunDir) else [run] if run else []
    segments = [Segment(kind="think", text=f"<think>{think}</think>", token_ids=[5, 6, 7],
                        logprobs=[-0.01, -0.7, -4.0])]  # fmt: skip
    if code:
        error = (
            None if status == "ok" else {"type": "ValueError", "message": "no", "traceback": "T"}
        )
        output = Execution(status=status, stdout="5\n", error=error, wall_ms=12.0, tier="process")
        segments += [
            Segment(kind="code", text=f"<code>{code}</code>", code=code, token_ids=[8],
                    logprobs=[-0.1]),
            Segment(kind="output", text="<interpreter>5</interpreter>", token_ids=[9, 10],
                    execution=output),
        ]  # fmt: skip
    segments.append(
        Segment(kind="answer", text="<answer>\\boxed{5}</answer>", token_ids=[11], logprobs=[-0.2])
    )
    task, _, number = name.rpartition("/")
    trajectory = Trajectory(
        id=name, task_id=task, group_id=task, prompt_ids=[1, 2], segments=segments, stop=stop,
        policy_version=step - 1, usage=Usage(prompt=2, model=5, output=2),
    )  # fmt: skip
    return {
        "step": step,
        "task": Task(
            id=task, prompt=[Part(kind="image"), Part(kind="text", text="What is the sum?")],
            images=images, answer=Answer(value="5", type="int"),
        ),
        "trajectory": trajectory,
        "record": Record(
            task_id=task, repeat=int(number), kind="sum", difficulty="easy", correct=correct,
            calls=int(bool(code)), failed_calls=int(bool(code) and status != "ok"), tokens=5,
            stop=str(stop), turns=1 + bool(code),
        ),
        "extracted": "5" if correct else "6",
        "reward": Reward(
            total=reward, terms={"correct": float(correct), "over_call": reward - correct}
        ),
        "advantage": advantage,
    }  # fmt: skip


def picture_of(run: RunDir) -> ImageRef:
    image = Image.new("RGB", (120, 80), "white")
    ImageDraw.Draw(image).rectangle((10, 20, 40, 70), fill="steelblue")
    return run.save_image(image)


def write_made_run(path: Path) -> None:
    """Three steps, three groups; one trajectory is hostile, one failed, one hit a limit."""
    with open_run(path) as run:
        for step in (1, 2, 3):
            run.write_metrics(
                step,
                {"accuracy": step / 4, "reward/total": step / 5, "reward/correct": step / 4,
                 "code_share_right": 0.5},
            )  # fmt: skip
        run.write_event("alarm", step=2, name="entropy", message="entropy 0.01 is below 0.05")
        run.write_trajectory(row(run, "a/0", code="x = 2\nprint(x + 3)"))
        run.write_trajectory(row(run, "a/1", correct=False, reward=-0.3, advantage=-1.5))
        run.write_trajectory(row(run, "b/0", think=HOSTILE, step=2, reward=0.75))
        run.write_trajectory(
            row(run, "b/1", step=2, correct=False, reward=0.0, advantage=0.0, status="error",
                code="raise ValueError", stop=StopReason.MAX_TOKENS)
        )  # fmt: skip
        for i in range(40):
            run.write_trajectory(
                row(run, f"c/{i}", step=3, correct=i % 2 == 0, think=f"number {i}")
            )


@pytest.fixture
def maker() -> ModuleType:
    """This file, for tests that write runs themselves: ``open_run`` and ``row``."""
    return sys.modules[__name__]


@pytest.fixture
def made_run(tmp_path: Path) -> Path:
    """The root with one run, ``rl``."""
    write_made_run(tmp_path / "runs" / "rl")
    return tmp_path / "runs"


@pytest.fixture
def served() -> Iterator[Callable[..., str]]:
    """``served(root)`` is the address of a viewer for it."""
    servers = list[tuple[uvicorn.Server, threading.Thread]]()

    def start(root: Path, token: str = "") -> str:
        app = viewer_app(root, token=token)
        config = uvicorn.Config(app, port=0, log_level="error", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        servers.append((server, thread))
        return f"http://localhost:{server.servers[0].sockets[0].getsockname()[1]}/"

    yield start
    for server, thread in servers:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """The system's browser; skipped with a reason where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium here; `make browser` installs it")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=[*CHROMIUM_FLAGS])
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Any, served: object) -> Iterator[Any]:  # closed before the server ends
    """A page at 1280 pixels; its console must stay silent and nothing may leave the server."""
    context = chromium.new_context(viewport={"width": 1280, "height": 860})
    page = context.new_page()
    page.set_default_timeout(10_000)
    said, asked = list[str](), list[str]()
    page.on("console", lambda m: said.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    yield page
    context.close()
    assert said == []
    assert [url for url in asked if not url.startswith(("http://localhost:", "blob:"))] == []
