"""A trajectory as the events and items of the Responses API.

Thoughts are reasoning items, each executed cell is a ``code_interpreter_call`` with its outputs,
plain text and the answer are messages. The order of events is that of OpenAI's own stream.
"""

import time
import uuid
from collections.abc import Iterator
from typing import Any

from openai.types import responses as wire
from openai.types.responses.response import IncompleteDetails
from openai.types.responses.response_code_interpreter_tool_call import OutputImage, OutputLogs
from openai.types.responses.response_error import ResponseError
from openai.types.responses.response_reasoning_item import Content
from openai.types.responses.response_usage import InputTokensDetails, OutputTokensDetails

from air_reasoning.rollout_setup import Event
from air_reasoning.serve.figures import Figures
from air_reasoning.turn_format import TurnFormat, parse_turn
from air_reasoning.turn_stream import TurnStream
from air_reasoning.types import Segment, StopReason, Trajectory


class ResponseBuilder:
    """Feed it the roll-out's events; it yields wire events and keeps the ``response``."""

    def __init__(self, model: str, form: TurnFormat, figures: Figures, outputs: bool) -> None:
        """``outputs``: results of cells are wanted in the items."""
        self.response = wire.Response(
            id=_id("resp"), created_at=time.time(), model=model, object="response", output=[],
            parallel_tool_calls=False, tool_choice="auto", tools=[], status="in_progress",
        )  # fmt: skip
        self._form = form
        self._figures = figures
        self._outputs = outputs
        self._container = _id("cntr")
        self._stream = TurnStream(form)
        self._count = 0
        self._kind = ""
        self._text = ""
        self._sent = 0

    def begin(self) -> Iterator[dict[str, Any]]:
        """The events before the first token."""
        yield self._event("response.created", response=self.response)
        yield self._event("response.in_progress", response=self.response)

    def feed(self, event: Event) -> Iterator[dict[str, Any]]:
        """What one event of the roll-out becomes."""
        segment = event.segment
        if event.kind == "delta":
            for kind, text in self._stream.feed(event.text):
                yield from self._delta(kind, text)
        elif segment is not None and segment.kind == "output":
            yield from self._flush()
            if self._kind == "code":
                yield from self._close_cell(segment)

    def end(self, trajectory: Trajectory) -> Iterator[dict[str, Any]]:
        """Close what is open; the last event says how it ended."""
        yield from self._flush()
        yield from self._close()
        response = self.response
        response.usage = _usage(trajectory)
        if trajectory.stop.our_fault:
            response.status = "failed"
            response.error = ResponseError(code="server_error", message=_failure(trajectory))
        elif trajectory.stop in (StopReason.ANSWERED, StopReason.VOID_TURN):
            response.status = "completed"
        else:
            response.status = "incomplete"
            response.incomplete_details = IncompleteDetails(reason="max_output_tokens")
        yield self._event(f"response.{response.status}", response=response)

    def _flush(self) -> Iterator[dict[str, Any]]:
        for kind, text in self._stream.end():
            yield from self._delta(kind, text)

    def _delta(self, kind: str, text: str) -> Iterator[dict[str, Any]]:
        kind = "text" if kind == "answer" else kind
        if kind != self._kind:
            if not text.strip():
                return  # white space between items is no message
            yield from self._close()
            yield from self._open(kind)
        self._text += text
        match kind:
            case "think":
                yield self._on_item("reasoning_text.delta", content_index=0, delta=text)
            case "code":
                yield from self._code_delta(whole=False)
            case _:
                yield self._on_item("output_text.delta", content_index=0, delta=text, logprobs=[])

    def _open(self, kind: str) -> Iterator[dict[str, Any]]:
        self._kind, self._text, self._sent = kind, "", 0
        match kind:
            case "think":
                item = wire.ResponseReasoningItem(
                    id=_id("rs"), summary=[], type="reasoning", content=[], status="in_progress"
                )
            case "code":
                item = wire.ResponseCodeInterpreterToolCall(
                    id=_id("ci"), code="", container_id=self._container, outputs=None,
                    status="in_progress", type="code_interpreter_call",
                )  # fmt: skip
            case _:
                item = wire.ResponseOutputMessage(
                    id=_id("msg"), content=[], role="assistant", status="in_progress",
                    type="message",
                )  # fmt: skip
        self.response.output.append(item)
        yield self._item_event("added")
        if kind == "code":
            yield self._on_item("code_interpreter_call.in_progress")
        elif kind == "text":
            yield self._on_item("content_part.added", content_index=0, part=_part(""))

    def _close(self) -> Iterator[dict[str, Any]]:
        """End the open item, if there is one."""
        kind, self._kind = self._kind, ""
        if not kind:
            return
        item: Any = self.response.output[-1]
        match kind:
            case "think":
                item.content = [Content(text=self._text, type="reasoning_text")]
                yield self._on_item("reasoning_text.done", content_index=0, text=self._text)
                item.status = "completed"
            case "code":  # nobody ran it: the turn broke off, or it was the last one
                item.code = self._code()
                item.status = "incomplete"
            case _:
                item.content = [_part(self._text)]
                yield self._on_item(
                    "output_text.done", content_index=0, text=self._text, logprobs=[]
                )
                yield self._on_item("content_part.done", content_index=0, part=_part(self._text))
                item.status = "completed"
        yield self._item_event("done")

    def _close_cell(self, output: Segment) -> Iterator[dict[str, Any]]:
        item: Any = self.response.output[-1]
        yield from self._code_delta(whole=True)
        item.code = self._code()
        yield self._on_item("code_interpreter_call_code.done", code=item.code)
        yield self._on_item("code_interpreter_call.interpreting")
        if self._outputs:
            item.outputs = self._results(output)
        yield self._on_item("code_interpreter_call.completed")
        ran = output.execution
        item.status = "failed" if ran is not None and ran.status == "lost" else "completed"
        self._kind = ""
        yield self._item_event("done")

    def _results(self, output: Segment) -> list[Any]:
        opening, closing = self._form.output
        logs = output.text.removeprefix(opening).removesuffix(closing)
        images = [
            OutputImage(type="image", url=self._figures.url(ref))
            for ref in (output.execution.images if output.execution else [])
        ]
        return [OutputLogs(type="logs", logs=logs), *images]

    def _code(self) -> str:
        """The cell without tags and fence."""
        opening, closing = self._form.code
        pieces = parse_turn(opening + self._text + closing, self._form)
        return pieces[0].body if pieces else ""

    def _code_delta(self, *, whole: bool) -> Iterator[dict[str, Any]]:
        """Whole lines that are certain to be code; the fence is none."""
        lines = self._text.split("\n")
        if whole:
            code = self._code()
        else:
            lines = lines[:-2]  # the last whole line may be the closing fence
            code = "\n".join(lines[1:] if lines and lines[0].strip().startswith("```") else lines)
        if len(code) > self._sent:
            delta, self._sent = code[self._sent :], len(code)
            yield self._on_item("code_interpreter_call_code.delta", delta=delta)

    def _item_event(self, what: str) -> dict[str, Any]:
        index = len(self.response.output) - 1
        item = self.response.output[-1]
        return self._event(f"response.output_item.{what}", output_index=index, item=item)

    def _on_item(self, name: str, **fields: Any) -> dict[str, Any]:
        item: Any = self.response.output[-1]
        place = {"item_id": item.id, "output_index": len(self.response.output) - 1}
        return self._event(f"response.{name}", **place, **fields)

    def _event(self, name: str, **fields: Any) -> dict[str, Any]:
        self._count += 1
        plain = {
            key: value.model_dump(mode="json") if hasattr(value, "model_dump") else value
            for key, value in fields.items()
        }
        return {"type": name, "sequence_number": self._count - 1, **plain}


def _part(text: str) -> wire.ResponseOutputText:
    return wire.ResponseOutputText(annotations=[], text=text, type="output_text", logprobs=[])


def _usage(trajectory: Trajectory) -> wire.ResponseUsage:
    usage = trajectory.usage
    prompt = usage.sent or usage.prompt
    return wire.ResponseUsage(
        input_tokens=prompt,
        input_tokens_details=InputTokensDetails(cached_tokens=usage.cached, cache_write_tokens=0),
        output_tokens=usage.model,
        output_tokens_details=OutputTokensDetails(reasoning_tokens=0),
        total_tokens=prompt + usage.model,
    )


def _failure(trajectory: Trajectory) -> str:
    """What a client may know: not our addresses, not our paths."""
    return {
        StopReason.SANDBOX_LOST: "the sandbox was lost; send the request again",
        StopReason.SAMPLER_ERROR: "the engine failed; send the request again",
    }[trajectory.stop]


def _id(kind: str) -> str:
    return f"{kind}_{uuid.uuid4().hex}"
