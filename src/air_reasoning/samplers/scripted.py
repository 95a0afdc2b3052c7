"""A sampler that plays back texts: for tests and examples, with a real tokenizer's ids."""

from collections.abc import Mapping, Sequence
from typing import Any

from air_reasoning.errors import SamplerError
from air_reasoning.models.token_text import Text, TokenText
from air_reasoning.samplers.base import Completion, SampleRequest


class ScriptedSampler:
    """Each trajectory plays its turns in order; every log-probability is 0 (it was certain).

    ``turns`` is one list for all, or a mapping from a trajectory's, else its group's id to a list.
    A turn that does not end with a stop text ends with the end-of-turn token. Bans are not
    enforced: a script says what it says.
    """

    def __init__(self, tokenizer: Any, turns: Sequence[str] | Mapping[str, Sequence[str]]) -> None:
        """``tokenizer``: the model's, of transformers."""
        self._token_text = TokenText(tokenizer)
        self._end: int = tokenizer.eos_token_id
        self._turns = turns
        self.policy_version = 0
        self._played: dict[str, int] = {}

    async def sample(self, request: SampleRequest) -> Completion:
        """The next turn, cut at ``max_tokens``.

        Raises:
            SamplerError: the script has no further turn.
        """
        turns, turn = self._script(request), self._played.get(request.trajectory_id, 0)
        if turn >= len(turns):
            raise SamplerError(f"{request.trajectory_id}: the script has only {len(turns)} turns")
        self._played[request.trajectory_id] = turn + 1
        ids = self._token_text.encode([Text(turns[turn], tags=True)])
        if not turns[turn].endswith(request.params.stop_texts or ("\0",)):
            ids.append(self._end)
        cut = ids[: request.params.max_tokens]
        if request.on_token is not None:
            for token_id in cut:
                request.on_token(token_id)
        return Completion(
            token_ids=cut,
            logprobs=[0.0] * len(cut),
            text=self._token_text.decode(cut),
            finish_reason="stop" if len(cut) == len(ids) else "length",
            policy_version=self.policy_version,
        )

    def open(self, trajectory_id: str) -> None:
        """Nothing to gather."""

    def release(self, trajectory_id: str) -> None:
        """The next time, this trajectory starts from its first turn."""
        self._played.pop(trajectory_id, None)

    async def load_weights(self, weights: Any, version: int) -> None:
        """The script stays; only the version counts up."""
        self.policy_version = version

    async def close(self) -> None:
        """Nothing to free."""

    def _script(self, request: SampleRequest) -> Sequence[str]:
        if not isinstance(self._turns, Mapping):
            return self._turns
        for key in (request.trajectory_id, request.group_id):
            if key in self._turns:
                return self._turns[key]
        raise SamplerError(f"no script for {request.trajectory_id} or {request.group_id}")
