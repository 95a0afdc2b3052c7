"""One transformers model on this machine as a sampler: continuous batching, caches kept over turns.

All sequences live as rows of one batch. A round is: take in what was asked for, choose one token
for every row, run one step. It happens inside the event loop, between ``await``s; tools run
meanwhile.

- A prompt is run once per group and its keys and values are copied to the group's rows.
- A row stays between turns. A tool result is *forced* token by token into the running batch (short
  text), or run as one stretch (long, or with pictures); nothing that was seen is run again.
- Rows that ended are dropped from the batch once they are 15 % of it.
- Placeholders of pictures can never be sampled.

Repeatable: each token's random number is a function of the trajectory's seed and the token's place,
and the engine waits for tool results before a step (``wait_for_tools_ms``), so that the same seed
gives the same batches and on a CPU the same bits. Not guaranteed when a tool outlasts that wait:
then only rounding differs, which may turn a token that was as good as tied.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Literal

import torch

from air_reasoning.errors import SamplerError
from air_reasoning.models.load import LoadedModel
from air_reasoning.models.running_batch import RunningBatch, Turn
from air_reasoning.samplers.base import Completion, SampleRequest
from air_reasoning.samplers.settings import LocalSamplerConfig


class LocalSampler:
    """``Sampler`` over a ``LoadedModel``. Serves one event loop at a time.

    Callers ``release`` what they sampled: a row is memory. Requests with the same non-empty
    ``group_id`` and the same ids are taken to have the same pictures.
    """

    def __init__(self, loaded: LoadedModel, config: LocalSamplerConfig | None = None) -> None:
        """The model is used in place: its trainer calls ``load_weights`` after it changed."""
        self.loaded = loaded
        self.config = config or LocalSamplerConfig()
        self.max_context = self.config.max_context or loaded.max_context
        self.policy_version = 0
        self._batch = RunningBatch(loaded, self.max_context, self.config.force_limit)
        self._opened: dict[str, int] = {}
        self._opened_ever = 0
        self._away: set[str] = set()
        self._waiting: dict[str, Turn] = {}
        self._answers: dict[str, asyncio.Future[Completion]] = {}
        self._server: asyncio.Task[None] | None = None
        self._news = asyncio.Event()

    async def sample(self, request: SampleRequest) -> Completion:
        """See ``Sampler.sample``. One request at a time for each trajectory.

        Raises:
            SamplerError: the placeholders do not fit the pictures, a second request while the first
                runs, or the model failed.
        """
        self._check(request)
        trajectory_id, turn = request.trajectory_id, Turn(request=request)
        if len(request.token_ids) >= self.max_context:
            return self._completion(turn, "context")
        if trajectory_id not in self._opened:
            self._remember(trajectory_id)
        answer = asyncio.get_running_loop().create_future()
        self._answers[trajectory_id], self._waiting[trajectory_id] = answer, turn
        self._away.discard(trajectory_id)
        self._wake()
        try:
            return await answer
        except asyncio.CancelledError:
            self.release(trajectory_id)
            raise

    def open(self, trajectory_id: str) -> None:
        """Announce a trajectory: the next step waits for its request."""
        self._remember(trajectory_id)
        self._away.add(trajectory_id)

    def release(self, trajectory_id: str) -> None:
        """Forget a trajectory and free its row; harmless when repeated."""
        for known in (self._opened, self._waiting, self._answers):
            known.pop(trajectory_id, None)
        self._away.discard(trajectory_id)
        self._batch.release(trajectory_id)
        if not self._batch:
            self._batch.compact()
        self._news.set()

    async def load_weights(self, weights: Any, version: int) -> None:
        """Take new weights: a state dict, a model of the same shape, or the sampler's own model.

        Raises:
            SamplerError: trajectories are open (their caches belong to the old weights), or the
                weights do not fit.
        """
        if self._batch or self._waiting:
            raise SamplerError(
                f"{len(self._batch)} trajectories are open; release them before the weights change"
            )
        model = self.loaded.model
        if weights is not model:
            state = weights if isinstance(weights, Mapping) else weights.state_dict()
            try:
                model.load_state_dict(state)
            except RuntimeError as error:
                raise SamplerError(f"the new weights do not fit the model: {error}") from None
        self.policy_version = version

    async def close(self) -> None:
        """Stop; outstanding requests fail with SamplerError."""
        if self._server is not None and not self._server.done():
            self._server.cancel()
            with suppress(asyncio.CancelledError):
                await self._server
        self._fail(SamplerError("the sampler was closed"))

    def _check(self, request: SampleRequest) -> None:
        if request.trajectory_id in self._answers:
            raise SamplerError(f"trajectory {request.trajectory_id} is being sampled already")
        placeholders = request.token_ids.count(self.loaded.image_token_id)
        expected = sum(self.loaded.image_tokens(image) for image in request.images)
        if placeholders != expected:
            raise SamplerError(
                f"trajectory {request.trajectory_id}: {placeholders} placeholders, but its "
                f"{len(request.images)} pictures take {expected}"
            )

    def _remember(self, trajectory_id: str) -> None:
        """Rows enter the batch in the order in which their trajectories were first heard of."""
        self._opened.setdefault(trajectory_id, self._opened_ever)
        self._opened_ever += 1

    def _wake(self) -> None:
        if self._server is None or self._server.done():
            self._news = asyncio.Event()
            self._server = asyncio.create_task(self._serve())
        self._news.set()

    async def _serve(self) -> None:
        """Rounds for as long as anybody waits for a token."""
        self.loaded.model.eval()
        while self._waiting or self._batch.busy:
            await self._gather()
            try:
                with torch.inference_mode():
                    self._round()
            except BaseException as error:
                # Whatever the model raises is our failure; nobody may wait for ever.
                self._fail(SamplerError(f"{type(error).__name__} in the local engine: {error}"))
                if not isinstance(error, Exception):
                    raise
            if self._waiting and not self._batch.busy:
                # The batch is full of rows that are with a tool.
                self._news.clear()
                await self._news.wait()
            await asyncio.sleep(0)

    async def _gather(self) -> None:
        """Wait for those who are with a tool, until none of them has come back for the set time."""
        while self._away:
            self._news.clear()
            try:
                await asyncio.wait_for(self._news.wait(), self.config.wait_for_tools_ms / 1000)
            except TimeoutError:
                self._away.clear()  # not waited for again before their next request

    def _round(self) -> None:
        self._batch.compact()
        new: list[Turn] = []
        for turn in sorted(self._waiting.values(), key=self._order):
            trajectory_id = turn.request.trajectory_id
            if trajectory_id not in self._batch or not self._batch.resume(turn):
                if len(self._batch) + len(new) >= self.config.max_rows:
                    continue
                new.append(turn)
            del self._waiting[trajectory_id]
        self._batch.start(new, self.config.prefill_tokens)
        for turn in self._batch.advance():
            self._answer(turn)

    def _order(self, turn: Turn) -> int:
        return self._opened[turn.request.trajectory_id]

    def _answer(self, turn: Turn) -> None:
        trajectory_id = turn.request.trajectory_id
        self._away.add(trajectory_id)
        answer = self._answers.pop(trajectory_id)
        if turn.reason is not None and not answer.done():
            answer.set_result(self._completion(turn, turn.reason))

    def _completion(self, turn: Turn, reason: Literal["stop", "length", "context"]) -> Completion:
        return Completion(
            token_ids=turn.ids,
            logprobs=turn.logprobs,
            text=self._batch.token_text.decode(turn.ids),
            finish_reason=reason,
            policy_version=self.policy_version,
        )

    def _fail(self, error: SamplerError) -> None:
        """Everybody's failure: the rows are gone, and each waiting caller hears of it."""
        answers = dict(self._answers)
        for trajectory_id in [*self._opened]:
            self.release(trajectory_id)
        for answer in answers.values():
            if not answer.done():
                answer.set_exception(error)
