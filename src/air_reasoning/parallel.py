"""Several processes that train one model, each with groups of its own.

The processes are started by ``air rl --processes N``, ``accelerate launch`` or ``torchrun``; they
find each other by the environment variables that all three set. Every sum over the batch is taken
over all processes, so that their number changes nothing but rounding.
"""

import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from air_reasoning.errors import AirError, ConfigError
from air_reasoning.types import TrainingSample

T = TypeVar("T")


@dataclass(kw_only=True, slots=True, frozen=True)
class Parallel:
    """This process among ``world``; rank 0 writes what is written once."""

    rank: int = 0
    world: int = 1
    group: Any = None

    def beside(self) -> "Parallel":
        """The same processes on a channel of their own, for what runs beside the update."""
        if self.world == 1:
            return self
        return replace(self, group=torch.distributed.new_group())

    def span(self, count: int) -> range:
        """This process's part of ``count`` things in order; parts differ by one at most."""
        return range(self.rank * count // self.world, (self.rank + 1) * count // self.world)

    def gather(self, value: T) -> list[T]:
        """Everybody's value, in order of ranks; waits for all."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        torch.distributed.all_gather_object(values, value, group=self.group)
        return values

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Add up the gradients of all processes, in place; a missing one counts as 0."""
        if self.world == 1:
            return
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            torch.distributed.all_reduce(parameter.grad)

    def share(self, samples: Sequence[TrainingSample]) -> list[TrainingSample]:
        """This process's samples: whole groups, dealt out so that everybody has as many tokens."""
        if self.world == 1:
            return list(samples)
        groups: dict[str, list[TrainingSample]] = {}
        for sample in samples:
            groups.setdefault(sample.group_id, []).append(sample)
        cost = {name: _tokens(group) for name, group in groups.items()}
        loads, mine = [0] * self.world, set[str]()
        for name in sorted(groups, key=lambda name: (-cost[name], name)):
            rank = loads.index(min(loads))
            loads[rank] += cost[name]
            if rank == self.rank:
                mine.add(name)
        return [sample for sample in samples if sample.group_id in mine]


def join_processes(wanted: int, device: str) -> Parallel:
    """Meet the other processes, if this one was started among several.

    Raises:
        ConfigError: a launcher started another number of processes than the settings want.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if wanted not in (1, world):
        raise ConfigError(
            f"processes is {wanted}, but the launcher started {world}; leave the setting out"
        )
    if world == 1:
        return Parallel()
    from accelerate import PartialState

    state = PartialState(cpu=device == "cpu")
    return Parallel(rank=state.process_index, world=state.num_processes)


def launched() -> bool:
    """Whether a launcher started this process among others."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def launch(processes: int) -> None:
    """Run this very command line in ``processes`` processes, and wait.

    Raises:
        AirError: one of them failed. KeyboardInterrupt: they were interrupted.
    """
    import subprocess

    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
        *(f"--nproc-per-node={processes}", "-m", "air_reasoning.cli", *sys.argv[1:]),
    ]
    child = subprocess.Popen(command, env={"OMP_NUM_THREADS": "1", **os.environ})
    try:
        code = child.wait()
    except KeyboardInterrupt:  # the terminal told the child, too
        child.wait()
        raise
    if code:
        raise AirError(f"one of {processes} processes ended with an error; see above")


def _tokens(group: Sequence[TrainingSample]) -> int:
    return sum(len(s.prompt_ids) + len(s.token_ids) for s in group)
