"""Roll-outs of the next steps while this one trains, at most so many updates old.

    async with RolloutsAhead(make, sampler, 1, range(100), position=0) as rollouts:
        for step in range(100):
            await rollouts.publish(weights, version=step)
            rolled = await rollouts.next()              # by the policy of version >= step - 1
            await rollouts.while_they_run(lambda: update(rolled))

With a staleness of 0 each step is rolled out when it is asked for, by the newest policy, and
nothing runs at the same time. With 1 the version is always ``step - 1``; above that it depends on
the clock.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from air_reasoning.rl_metrics import Step
from air_reasoning.samplers.base import Sampler

T = TypeVar("T")
Make = Callable[[int, int], Awaitable[Step]]
"""(step, position in the tasks) -> what was rolled out."""


class RolloutsAhead:
    """One producer of roll-outs and its queue. Use it as an asynchronous context."""

    def __init__(
        self, make: Make, sampler: Sampler, max_staleness: int, steps: range, position: int
    ) -> None:
        """``steps`` are those to roll out; the first of them starts at ``position``."""
        self._make, self._sampler, self._ahead = make, sampler, max_staleness
        self._steps, self._position = steps, position
        self._weights: Any = None
        self._version = steps.start
        self._news = asyncio.Condition()
        self._ready: asyncio.Queue[Step] = asyncio.Queue()
        self._producer: asyncio.Task[None] | None = None
        self._next = iter(steps)

    async def publish(self, weights: Any, version: int) -> None:
        """There are new weights: a model or its state; ``version`` is how many updates made them.

        While roll-outs run beside the training they get a snapshot.
        """
        if self._ahead == 0:
            await self._sampler.load_weights(weights, version)
            return
        async with self._news:
            self._weights, self._version = _snapshot(weights), version
            self._news.notify_all()
        if self._producer is None:
            self._producer = asyncio.create_task(self._produce())

    async def next(self) -> Step:
        """The roll-outs of the next step. Raises whatever rolling out raised."""
        if self._ahead == 0:
            rolled = await self._make(next(self._next), self._position)
            self._position = rolled.position
            return rolled
        assert self._producer is not None, "publish comes first"
        ready = asyncio.create_task(self._ready.get())
        await asyncio.wait({ready, self._producer}, return_when=asyncio.FIRST_COMPLETED)
        if not ready.done() and self._producer.done():
            ready.cancel()
            self._producer.result()
        return await ready

    async def while_they_run(self, train: Callable[[], T]) -> T:
        """``train()``: in a thread of its own if roll-outs go on beside it."""
        return train() if self._ahead == 0 else await asyncio.to_thread(train)

    async def _produce(self) -> None:
        for step in self._steps:
            async with self._news:
                await self._news.wait_for(lambda step=step: step - self._version <= self._ahead)
                weights, version = self._weights, self._version
            await self._sampler.load_weights(weights, version)
            rolled = await self._make(step, self._position)
            self._position = rolled.position
            await self._ready.put(rolled)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._producer is not None:
            self._producer.cancel()
            await asyncio.gather(self._producer, return_exceptions=True)


def _snapshot(weights: Any) -> dict[str, Any] | Path:
    """A state that training does not change; what it does not train is shared."""
    if isinstance(weights, Path):  # laid down for a server
        return weights
    if isinstance(weights, Mapping):
        return dict(weights)  # gathered from several processes: nobody else's
    moving = {name for name, p in weights.named_parameters() if p.requires_grad}
    tied = {p.data_ptr() for name, p in weights.named_parameters() if name in moving}
    return {
        name: value.detach().clone() if value.data_ptr() in tied else value
        for name, value in weights.state_dict().items()
    }
