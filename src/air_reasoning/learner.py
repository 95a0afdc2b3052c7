"""What is trained, with what belongs to it: model, optimiser, copy for sampling, checkpoints."""

import copy
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from air_reasoning.checkpoint import latest_checkpoint, load_checkpoint, save_checkpoint
from air_reasoning.engine import load_for
from air_reasoning.models.frozen_vision import remember_pictures
from air_reasoning.models.load import LoadedModel
from air_reasoning.models.lora import add_adapter, load_adapter, merged, save_adapter
from air_reasoning.models.pixels import PixelCache
from air_reasoning.models.save import load_weights, save_model
from air_reasoning.models.sharding import gathered, shard
from air_reasoning.optim import ModelOptimizer, build_optimizer
from air_reasoning.parallel import Parallel
from air_reasoning.rl_config import RLConfig


@dataclass(kw_only=True, slots=True)
class Learner:
    """``sampling`` is the model that rolls out: ``loaded`` itself, or a copy that follows it.

    ``reference`` is the policy before training, for the KL term; None without one, and where it is
    the model without its ``adapter``.
    """

    loaded: LoadedModel
    sampling: LoadedModel
    optimizer: ModelOptimizer
    parallel: Parallel
    load_pixels: PixelCache
    adapter: Any = None
    reference: Any = None

    @property
    def sharded(self) -> bool:
        """Whether the weights are spread over processes."""
        return self.optimizer.sharded

    def weights(self) -> Any:
        """The weights as a sampler takes them; all processes call it together."""
        return gathered(self.loaded.model.state_dict()) if self.sharded else self.loaded.model

    @contextmanager
    def remember_pictures(self) -> Iterator[None]:
        """Inside the block a frozen vision tower sees each picture once."""
        with remember_pictures(self.loaded.model):
            if self.sampling is self.loaded:
                yield
                return
            with remember_pictures(self.sampling.model):
                yield


def lay_weights(learner: Learner, folder: Path, version: int) -> Path:
    """The weights in a folder of their own, where a server reads them; the last two are kept.

    With an adapter this is the adapter alone.
    """
    to = folder / f"policy-{version}"
    if learner.adapter is None:
        save_model(learner.loaded, to)
    else:
        save_adapter(learner.adapter, to)
    shutil.rmtree(folder / f"policy-{version - 2}", ignore_errors=True)
    return to


def open_learner(config: RLConfig, parallel: Parallel) -> Learner:
    """Load the model and set up what ``config`` says. Raises DataError, ConfigError."""
    loaded = load_for(config.engine, config.model.folder())
    separate = config.loss.kl_coef > 0 and config.lora.rank == 0
    reference = copy.deepcopy(loaded.model) if separate else None
    adapter = add_adapter(loaded.model, config.lora, config.seed)
    if config.gradient_checkpointing:
        loaded.model.gradient_checkpointing_enable({"use_reentrant": False})
    spread = config.sharding == "fsdp2" and parallel.world > 1
    copied = spread or (config.max_staleness > 0 and not config.endpoint.url)
    sampling = replace(loaded, model=copy.deepcopy(loaded.model)) if copied else loaded
    if spread:
        shard(loaded.model)
    return Learner(
        loaded=loaded,
        sampling=sampling,
        optimizer=build_optimizer(loaded.model, config.optimizer),
        parallel=parallel,
        load_pixels=PixelCache(loaded),
        adapter=adapter,
        reference=reference,
    )


def save(
    learner: Learner, folder: Path, step: int, position: int, keep_last: int, score: float | None
) -> None:
    """A checkpoint after ``step`` updates, written by one process; all call it together."""
    state = learner.weights()
    optimizer = learner.optimizer.state_dict()
    if learner.parallel.rank > 0:
        return
    if learner.sharded:  # the copy is a whole model of the same class
        learner.sampling.model.load_state_dict(state)
    model = learner.sampling.model if learner.sharded else learner.loaded.model

    def write(to: Path) -> None:
        if learner.adapter is None:
            model.save_pretrained(to)
        else:
            merged(learner.adapter).save_pretrained(to)
            save_adapter(learner.adapter, to.parent / "adapter")

    save_checkpoint(
        folder, step, write, _Saved(optimizer), {"position": position},
        score=score, keep_last=keep_last,
    )  # fmt: skip


def restore(learner: Learner, folder: Path) -> tuple[int, int]:
    """(steps done, position in the tasks) of the newest checkpoint, loaded; (0, 0) without one."""
    newest = latest_checkpoint(folder)
    if newest is None:
        return 0, 0
    state = load_checkpoint(newest, learner.optimizer)
    if learner.adapter is None:
        load_weights(learner.loaded.model, newest / "model")
    else:
        load_adapter(learner.adapter, newest / "adapter")
    return state.step, int(state.extra["position"])


def save_final(learner: Learner, folder: Path) -> None:
    """The trained model, whole and with its tokenizer, for plain transformers."""
    state = learner.weights()
    if learner.parallel.rank > 0:
        return
    loaded = learner.loaded
    if learner.sharded:
        learner.sampling.model.load_state_dict(state)
        loaded = learner.sampling
    if learner.adapter is not None:
        loaded = replace(loaded, model=merged(learner.adapter))
        shutil.rmtree(folder, ignore_errors=True)
        save_adapter(learner.adapter, folder.parent / "adapter")
    save_model(loaded, folder)


@dataclass(kw_only=False, slots=True)
class _Saved:
    """A state that was collected from all processes already."""

    state: dict[str, Any]

    def state_dict(self) -> dict[str, Any]:
        return self.state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        raise NotImplementedError
