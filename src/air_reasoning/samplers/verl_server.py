"""verl's servers as a sampler: token ids in and out, log-probabilities, pictures anywhere.

What it calls is ``LLMServerClient.generate`` of verl 0.9.1 and nothing else of it, so that nothing
here imports verl. The parameters are those of vLLM, which verl hands on as they are.
"""

from collections.abc import Mapping
from typing import Any

from air_reasoning.errors import SamplerError
from air_reasoning.models.processor import Processor
from air_reasoning.models.token_text import TokenText
from air_reasoning.samplers.base import Completion, SampleRequest
from air_reasoning.samplers.vllm import NEVER


class ServerSampler:
    """``Sampler`` over verl's servers for one trajectory, which stays with one server."""

    def __init__(
        self,
        server: Any,
        processor: Processor,
        given: Mapping[str, Any],
        max_context: int,
        **kw: Any,
    ) -> None:
        """``given``: verl's sampling parameters; ``kw``: what else every request says."""
        self.server, self.processor, self.given, self.extra = server, processor, dict(given), kw
        self.max_context = max_context
        self.versions: list[int] = []
        self.preempted = -1
        self._text = TokenText(processor.tokenizer)

    async def sample(self, request: SampleRequest) -> Completion:
        """See ``Sampler.sample``. Raises SamplerError: the server failed or gave up."""
        room = self.max_context - len(request.token_ids)
        if room <= 0:
            return Completion(token_ids=[], logprobs=[], text="", finish_reason="context")
        wanted = min(request.params.max_tokens, room)
        try:
            output = await self.server.generate(
                request_id=request.trajectory_id,
                prompt_ids=list(request.token_ids),
                sampling_params=self._params(request, wanted),
                image_data=list(request.images) or None,
                video_data=None,
                **self.extra,
            )
        except Exception as error:  # every way in which an actor or its engine fails
            raise SamplerError(f"verl's server: {type(error).__name__}: {error}") from error
        ids, logprobs = list(output.token_ids), list(output.log_probs or [])
        if output.stop_reason == "aborted" or len(ids) != len(logprobs):
            raise SamplerError(
                f"verl's server gave {len(ids)} tokens, {len(logprobs)} log-probabilities and "
                f"stopped for {output.stop_reason!r}"
            )
        return self._completion(request, ids, logprobs, wanted, output)

    def _completion(
        self,
        request: SampleRequest,
        ids: list[int],
        logprobs: list[float],
        wanted: int,
        output: Any,
    ) -> Completion:
        """Whether a turn stopped or ran out is not said: its last token tells."""
        said = output.extra_fields
        steps = [said.get(key) for key in ("min_global_steps", "max_global_steps", "global_steps")]
        self.versions += [step for step in steps if step is not None]
        if output.num_preempted is not None:
            self.preempted = max(0, self.preempted) + output.num_preempted
        text, params = self._text.decode(ids), request.params
        stopped = (ids and ids[-1] in params.stop_ids) or any(s in text for s in params.stop_texts)
        cut = "length" if wanted == params.max_tokens else "context"
        return Completion(
            token_ids=ids,
            logprobs=logprobs,
            text=text,
            finish_reason="stop" if stopped or len(ids) < wanted else cut,
            policy_version=max(self.versions, default=0),
            cached_tokens=said.get("num_cached_tokens") or 0,
            prompt_tokens=len(request.token_ids),
        )

    def _params(self, request: SampleRequest, max_tokens: int) -> dict[str, Any]:
        """As vLLM takes them, on top of what verl gave (top_k, repetition_penalty)."""
        params = request.params
        banned = {*self.processor.placeholder_ids, *params.banned_ids}
        return self.given | {
            "max_tokens": max_tokens,
            "temperature": params.temperature,
            "top_p": params.top_p,
            "seed": (params.seed + 0x9E3779B1 * len(request.token_ids)) % 2**31,
            "stop_token_ids": list(params.stop_ids),
            "stop": list(params.stop_texts),
            "include_stop_str_in_output": True,
            "skip_special_tokens": False,
            "bad_words": list(params.banned_texts),
            "logit_bias": {token_id: NEVER for token_id in sorted(banned)},
            "logprobs": True,
        }

    def open(self, trajectory_id: str) -> None:
        """The balancer chooses a server with the first request."""

    def release(self, trajectory_id: str) -> None:
        """The server forgets by itself."""

    async def load_weights(self, weights: Any, version: int) -> None:
        """Raises SamplerError: verl moves the weights."""
        raise SamplerError("verl moves the weights to its servers itself")

    async def close(self) -> None:
        """The servers are verl's."""
