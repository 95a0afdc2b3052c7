"""A trajectory as chat completions.

There is no place for executed code in this API: thoughts, cells and their results go to
``reasoning_content`` (as vLLM and DeepSeek have it), the answer to ``content``, and figures to
``images`` (as OpenRouter has it). The official client passes fields that it does not know through.
"""

import time
import uuid
from collections.abc import Iterator
from typing import Any

from openai.types.chat import ChatCompletion, ChatCompletionChunk

from air_reasoning.rollout_setup import Event
from air_reasoning.serve.figures import Figures
from air_reasoning.turn_format import TurnFormat
from air_reasoning.turn_stream import TurnStream
from air_reasoning.types import StopReason, Trajectory


class ChatBuilder:
    """Feed it the roll-out's events; it yields chunks and keeps the whole for ``completion``."""

    def __init__(self, model: str, form: TurnFormat, figures: Figures, include_usage: bool) -> None:
        self._base = {
            "id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": model,
        }  # fmt: skip
        self._form = form
        self._figures = figures
        self._include_usage = include_usage
        self._stream = TurnStream(form)
        self._in_code = False
        self._content = ""
        self._reasoning = ""
        self._images: list[dict[str, Any]] = []

    def begin(self) -> Iterator[dict[str, Any]]:
        """The first chunk."""
        yield self._chunk({"role": "assistant", "content": ""})

    def feed(self, event: Event) -> Iterator[dict[str, Any]]:
        """What one event of the roll-out becomes."""
        segment = event.segment
        if event.kind == "delta":
            for kind, text in self._stream.feed(event.text):
                yield from self._said(kind, text)
        elif segment is not None and segment.kind == "output":
            yield from self._flush()
            yield from self._said("think", f"{self._leave_code()}\n{segment.text}\n")
            refs = segment.execution.images if segment.execution else []
            if refs:
                images = [
                    {"type": "image_url", "image_url": {"url": self._figures.url(ref)}}
                    for ref in refs
                ]
                self._images += images
                yield self._chunk({"images": images})

    def end(self, trajectory: Trajectory) -> Iterator[dict[str, Any]]:
        """The last chunks."""
        yield from self._flush()
        yield self._chunk({}, finish=_finish(trajectory))
        if self._include_usage:
            yield self._chunk(None, usage=_usage(trajectory))

    def completion(self, trajectory: Trajectory) -> dict[str, Any]:
        """The whole as one object."""
        message: dict[str, Any] = {"role": "assistant", "content": self._content}
        if self._reasoning:
            message["reasoning_content"] = self._reasoning
        if self._images:
            message["images"] = self._images
        choice = {"index": 0, "message": message, "finish_reason": _finish(trajectory)}
        whole = {"object": "chat.completion", "choices": [choice], "usage": _usage(trajectory)}
        return ChatCompletion.model_validate(self._base | whole).model_dump(
            mode="json", exclude_none=True
        )

    def _flush(self) -> Iterator[dict[str, Any]]:
        for kind, text in self._stream.end():
            yield from self._said(kind, text)

    def _said(self, kind: str, text: str) -> Iterator[dict[str, Any]]:
        if kind == "code" and not self._in_code:
            self._in_code = True
            text = self._form.code[0] + text
        elif kind != "code":
            text = self._leave_code() + text
        if kind in ("think", "code"):
            self._reasoning += text
            yield self._chunk({"reasoning_content": text})
        elif self._content or text.strip():
            self._content += text
            yield self._chunk({"content": text})

    def _leave_code(self) -> str:
        left, self._in_code = self._in_code, False
        return self._form.code[1] if left else ""

    def _chunk(
        self, delta: dict[str, Any] | None, *, finish: str | None = None, usage: Any = None
    ) -> dict[str, Any]:
        choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
        chunk = {"object": "chat.completion.chunk", "choices": choices, "usage": usage}
        return ChatCompletionChunk.model_validate(self._base | chunk).model_dump(
            mode="json", exclude_none=True
        )


def _finish(trajectory: Trajectory) -> str:
    ended = trajectory.stop in (StopReason.ANSWERED, StopReason.VOID_TURN)
    return "stop" if ended else "length"


def _usage(trajectory: Trajectory) -> dict[str, Any]:
    usage = trajectory.usage
    prompt = usage.sent or usage.prompt
    return {
        "prompt_tokens": prompt,
        "completion_tokens": usage.model,
        "total_tokens": prompt + usage.model,
        "prompt_tokens_details": {"cached_tokens": usage.cached},
    }
