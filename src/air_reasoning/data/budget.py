"""What may be spent: a cap that is never passed, a pace, and prices before anything is paid."""

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from pydantic import Field

from air_reasoning.config import Config
from air_reasoning.data.ledger import Ledger
from air_reasoning.errors import BudgetReached, ConfigError
from air_reasoning.samplers.settings import EndpointConfig
from air_reasoning.types import ImageRef

CHARS_A_TOKEN = 4.0
"""Of English; a bound takes three quarters of it."""
PIXELS_A_TOKEN = 750.0
"""About what providers bill: 28 x 28 pixels (Qwen), width x height / 750 (Anthropic)."""


class BudgetConfig(Config):
    """Caps and pace. None of it changes a result, so a run may go on with others."""

    max_cost: float | None = Field(default=None, ge=0)
    """US dollars that this run may spend in all, earlier parts of it included; None: no cap."""
    max_requests: int | None = Field(default=None, ge=0)
    """Paid responses in all; None: no cap."""
    requests_per_minute: float | None = Field(default=None, gt=0)
    """Requests started a minute over all roles; None: as fast as connections allow."""


class Budget:
    """Lets a sample be started only if the worst case of all its requests still fits."""

    def __init__(self, config: BudgetConfig, ledger: Ledger) -> None:
        """``ledger`` says what was spent before."""
        self.config = config
        self.ledger = ledger
        self.stopped = ""
        self.interrupted = False
        self._reserved = 0.0
        self._requests = 0
        self._changed = asyncio.Condition()
        self._next_start = 0.0

    def stop(self, why: str, *, interrupted: bool = False) -> None:
        """From now on no sample is started; those that have room are finished.

        ``interrupted``: no further request goes out either; those under way come in and are kept.
        """
        self.stopped = self.stopped or why
        self.interrupted = self.interrupted or interrupted

    @asynccontextmanager
    async def room(self, bound: float, requests: int = 1) -> AsyncGenerator[None]:
        """Hold ``bound`` dollars while a sample is made; wait for others to come in first.

        Raises:
            BudgetReached: it does not fit although nothing is under way, or ``stop`` was called.
        """
        async with self._changed:
            await self._changed.wait_for(
                lambda: self.stopped or self._fits(bound, requests) or not self._requests
            )
            if not self.stopped and not self._fits(bound, requests):
                self.stop(self._cap(bound, requests))
                self._changed.notify_all()
            if self.stopped:
                raise BudgetReached(self.stopped)
            self._reserved += bound
            self._requests += requests
        try:
            yield
        finally:
            async with self._changed:
                self._reserved -= bound
                self._requests -= requests
                self._changed.notify_all()

    async def turn(self) -> None:
        """Wait for the pace of ``requests_per_minute``. Raises BudgetReached if interrupted."""
        if self.config.requests_per_minute is not None:
            start = max(time.monotonic(), self._next_start)
            self._next_start = start + 60 / self.config.requests_per_minute
            await asyncio.sleep(start - time.monotonic())
        if self.interrupted:
            raise BudgetReached(self.stopped)

    def _fits(self, bound: float, requests: int) -> bool:
        cap, limit = self.config.max_cost, self.config.max_requests
        dear = cap is not None and self.ledger.spent + self._reserved + bound > cap
        paid = self.ledger.counts["replies"] - self.ledger.counts["free"]
        return not dear and (limit is None or paid + self._requests + requests <= limit)

    def _cap(self, bound: float, requests: int) -> str:
        paid = self.ledger.counts["replies"] - self.ledger.counts["free"]
        limit = self.config.max_requests
        if limit is not None and paid + requests > limit:
            return (
                f"budget.max_requests: {paid} of {limit} responses are paid and a sample may take "
                f"{requests}; the same command with -o budget.max_requests=N and a larger N goes "
                "on where it stopped"
            )
        return (
            f"budget.max_cost: ${self.ledger.spent:.4f} of ${self.config.max_cost} are spent and "
            f"the next sample may cost ${bound:.4f}; the same command with "
            "-o budget.max_cost=DOLLARS and a higher cap goes on where it stopped"
        )


def check_prices(config: BudgetConfig, *endpoints: EndpointConfig) -> None:
    """Raises ConfigError: a cap in dollars without prices would never be reached."""
    if config.max_cost is None:
        return
    for endpoint in endpoints:
        if endpoint.url and not (endpoint.input_price or endpoint.output_price):
            raise ConfigError(
                "budget.max_cost: needs endpoint.input_price and endpoint.output_price (dollars "
                "for a million tokens) of every endpoint, or use budget.max_requests"
            )


def prompt_tokens(text: str, images: Sequence[ImageRef], max_pixels: int | None = None) -> float:
    """About how many tokens a request holds.

    >>> prompt_tokens("x" * 400, [])
    100.0
    """
    pixels = (ref.width * ref.height for ref in images)
    sizes = (min(size, max_pixels) if max_pixels else size for size in pixels)
    return len(text) / CHARS_A_TOKEN + sum(sizes) / PIXELS_A_TOKEN


def price(endpoint: EndpointConfig, prompt: float, written: float, cached: float = 0.0) -> float:
    """US dollars for tokens of one model.

    >>> price(EndpointConfig(input_price=2.0, output_price=8.0), 1_000_000, 500_000)
    6.0
    """
    cached_price = endpoint.input_price if endpoint.cached_price is None else endpoint.cached_price
    sent = endpoint.input_price * (prompt - cached) + cached_price * cached
    return (sent + endpoint.output_price * written) / 1e6


def bound(endpoint: EndpointConfig, tokens: float, max_tokens: int) -> float:
    """The worst case of one request: a third more prompt than estimated, all that it may write."""
    return price(endpoint, tokens * 4 / 3, max_tokens)
