"""Fixtures that more than one test file uses: a small picture, and real tiny models made here."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from PIL import Image


@pytest.fixture
def picture() -> Image.Image:
    """A small picture whose four corners differ."""
    image = Image.new("RGB", (6, 4), "white")
    image.putpixel((0, 0), (255, 0, 0))
    image.putpixel((5, 0), (0, 255, 0))
    image.putpixel((0, 3), (0, 0, 255))
    return image


@pytest.fixture(scope="session")
def benchmark_folder() -> Callable[[str], Path]:
    """Folder of a benchmark's real files; the test is skipped, saying so, where it is absent."""
    beside = Path(__file__).parents[2] / "shared" / "benchmarks"
    root = Path(os.environ.get("AIR_BENCHMARKS") or beside)

    def find(name: str) -> Path:
        if not (root / name).is_dir():
            pytest.skip(
                f"{root / name} is not there; AIR_BENCHMARKS names the folder of benchmarks"
            )
        return root / name

    return find


@pytest.fixture(scope="session")
def tokenizer():
    """The tokenizer of the shipped models."""
    from air_reasoning.pretrain import task_tokenizer

    return task_tokenizer()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory, tokenizer) -> Path:
    """A checkpoint folder of the shipped kind: random weights, two layers of width 64."""
    from air_reasoning.models.tiny import build_tiny, save_tiny

    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_tiny(folder, build_tiny(tokenizer, width=64, layers=2), tokenizer, half=False)
    return folder


@pytest.fixture(scope="session")
def cold_start_data(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """Twenty training tasks and the samples of a cold start that shows every mode."""
    import asyncio

    from air_reasoning.data.cold_start import ColdStartConfig, build_samples, write_samples
    from air_reasoning.engine import open_local
    from air_reasoning.task_files import read_tasks, task_writer
    from air_reasoning.tasks.make import TasksConfig, make_tasks

    folder = tmp_path_factory.mktemp("cold_start")
    with task_writer(folder) as add:
        for task, image in make_tasks(TasksConfig(count=20, seed=5, matplotlib=0.0)):
            add(task, [image])

    async def build() -> None:
        config = ColdStartConfig(code=0.3, repair=0.2, give_up=0.2)
        async with open_local(tiny_model) as engine:
            tasks = read_tasks(folder)
            made = await build_samples(tasks, engine.renderer, engine.sandboxes, config, "none")
        write_samples(folder, made[0])

    asyncio.run(build())
    return folder


@pytest.fixture(scope="session")
def talking_model(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, cold_start_data: Path
) -> Path:
    """The tiny model after a short fine-tuning: it closes its tags, and calls now and then."""
    from air_reasoning.config import Resolved, RunOptions
    from air_reasoning.models.shipped import ModelConfig
    from air_reasoning.optim import OptimizerConfig
    from air_reasoning.train_sft import SFTConfig, run_sft

    config = SFTConfig(
        model=ModelConfig(path=tiny_model), data=cold_start_data, steps=60, batch=8, bf16=False,
        optimizer=OptimizerConfig(kind="muon", lr=5e-3, warmup_steps=5, freeze=("model.visual",)),
    )  # fmt: skip
    run_dir = tmp_path_factory.mktemp("talking") / "run"
    run_sft(Resolved(value=config, provenance={}), RunOptions(run_dir=run_dir, display="none"))
    return run_dir / "model"


@pytest.fixture
def ctrl_c_when() -> Callable[[Callable[[], bool]], AbstractContextManager[None]]:
    """``with ctrl_c_when(lambda: file.exists()):`` sends SIGINT to this process at that moment.

    The block has to be left by KeyboardInterrupt.
    """

    @contextmanager
    def watch(happened: Callable[[], bool]) -> Iterator[None]:
        over = threading.Event()

        def look() -> None:
            while not over.wait(0.002):
                if happened():
                    os.kill(os.getpid(), signal.SIGINT)
                    return

        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        try:
            with pytest.raises(KeyboardInterrupt):
                yield
        finally:
            over.set()
            thread.join()

    return watch
