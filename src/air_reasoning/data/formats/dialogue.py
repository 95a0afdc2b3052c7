"""Solutions as text or as messages, to segments and back.

Other data sets write outputs into the assistant's text (ReTool, Thyme) or as messages of a role of
their own (tool, observation, or the user). Both become segments with our tags; what an output says
is kept as its execution's stdout, of which only ``air data validate --replay`` knows if it is true.
"""

import re
from dataclasses import replace
from typing import Any, cast

from air_reasoning.data.formats.record import PLACEHOLDER, RowError, as_text
from air_reasoning.json_io import from_json, parse_json
from air_reasoning.turn_format import AIR, THYME, TurnFormat, parse_turn, render_code
from air_reasoning.types import Execution, ExecutionStatus, Segment

TOOL_ROLES = ("tool", "tool_response", "observation", "ipython", "function", "interpreter")
CALL_ROLES = ("tool_call", "function_call")
_ROLE_NAMES = {"human": "user", "gpt": "assistant", "model": "assistant"}
_ERROR = re.compile(r"\b(?:Traceback \(most recent call last\)|[A-Z]\w*(?:Error|Exception)\b:?)")
_TIMEOUT = re.compile(r"\b(?:time(?:d)?[- ]?out|TimeoutError)\b", re.IGNORECASE)
_DEEPEYES = re.compile(
    r"\s*(?:<tool_response>)?\s*Code execution result:\s*"
    r"(?:stdout:)?(?P<out>.*?)(?:stderr:(?P<err>.*?))?(?:Images?:(?P<images>.*?))?"
    r"(?:</tool_response>)?\s*$",
    re.DOTALL,
)


def text_segments(text: str, form: TurnFormat = AIR) -> list[Segment]:
    """Segments of one text with cells and outputs inside.

    What stands between a cell and its output is dropped if it is only space. An output tag with no
    cell before it stays text: it is no result of anything.
    """
    segments: list[Segment] = []
    while text:
        pieces = parse_turn(text, form)
        cell = next((p for p in pieces if p.kind == "code" and p.closed), None)
        end = cell.end if cell else len(text)
        for piece in pieces:
            if piece.end > end:
                break
            kept = render_code(piece.body, AIR) if piece is cell and form is not AIR else piece.text
            code = piece.body if piece is cell else ""
            segments.append(Segment(kind=piece.kind, text=kept, code=code))
        text = text[end:]
        opening, closing = form.output
        if cell and text.lstrip().startswith(opening):
            inside, found, rest = text.lstrip().removeprefix(opening).partition(closing)
            if found:
                segments.append(output_segment(inside))
                text = rest
    return segments


def output_segment(inside: str, stderr: str = "") -> Segment:
    """An output as it was stored; its status is judged by what it says.

    Placeholders of pictures stay in the text until the pictures are stored.
    """
    shown = inside.strip("\n")
    said = shown.replace(PLACEHOLDER, "")
    status: ExecutionStatus = "ok"
    error = None
    if _ERROR.search(said) or (_TIMEOUT.search(said) and len(said) < 200):
        status = "timeout" if _TIMEOUT.search(said) else "error"
        last = said.strip().rpartition("\n")[2]
        name, _, message = last.partition(":")
        error = {"type": name.strip()[:80], "message": message.strip(), "traceback": ""}
    execution = Execution(
        status=status, stdout=said if status == "ok" else "", stderr=stderr.strip(), error=error
    )
    text = f"{AIR.output[0]}{shown}{AIR.output[1]}"
    return Segment(kind="output", text=text, execution=execution)


def role_and_text(message: Any) -> tuple[str, str]:
    """Role and text of a message: OpenAI's names or ShareGPT's, content as text or as parts.

    Raises:
        RowError: neither.
    """
    if not isinstance(message, dict):
        raise RowError("layout", f"a message is {message!r}"[:100])
    fields = cast(dict[str, Any], message)
    role = fields.get("role", fields.get("from"))
    content = fields.get("content", fields.get("value"))
    if isinstance(content, list):
        content = "".join(_part_text(part) for part in cast(list[Any], content))
    name = as_text(role, "role")
    return _ROLE_NAMES.get(name, name), as_text(content or "", f"content of {name}")


def _part_text(part: Any) -> str:
    if isinstance(part, str):
        return part
    fields = cast(dict[str, Any], part) if isinstance(part, dict) else {}
    if fields.get("type") in ("image", "image_url"):
        return PLACEHOLDER
    return as_text(fields.get("text") or "", "text")


def split_messages(messages: Any, form: TurnFormat = AIR) -> tuple[str, str, list[Segment] | None]:
    """(system text, the user's question, the solution or None).

    A user message that holds a tool's result, as DeepEyesV2 writes them, is an output.

    Raises:
        RowError: no question, an unknown role, or a second question.
    """
    system, question, segments = "", "", list[Segment]()
    if not isinstance(messages, list):
        raise RowError("layout", f"messages: expected a list, found {messages!r}"[:120])
    for message in cast(list[Any], messages):
        role, text = role_and_text(message)
        result = _tool_result(role, text, called=_ends_with_cell(segments))
        if role == "system":
            system = text
        elif result is not None:
            segments.append(result)
        elif role == "user":
            if question:
                raise RowError("several_turns", repr(text[:80]))
            question = text
        elif role == "assistant":
            segments += text_segments(text, form)
        elif role in CALL_ROLES:
            code = _called_code(text)
            segments.append(Segment(kind="code", text=render_code(code, AIR), code=code))
        else:
            raise RowError("layout", f"unknown role {role!r}")
    if not question:
        raise RowError("no_question", "no user message")
    return system, question, segments or None


def _ends_with_cell(segments: list[Segment]) -> bool:
    return bool(segments) and segments[-1].kind == "code" and bool(segments[-1].code)


def _tool_result(role: str, text: str, *, called: bool) -> Segment | None:
    """An output, from the roles of tools or from the user after a cell."""
    if role in TOOL_ROLES:
        for opening, closing in (AIR.output, THYME.output, ("<tool_response>", "</tool_response>")):
            text = text.strip().removeprefix(opening).removesuffix(closing)
        if not text.lstrip().startswith("Code execution result:"):
            return output_segment(text)
    elif role != "user" or not called or "Code execution result:" not in text:
        return None
    found = _DEEPEYES.match(text)
    if found is None:
        return output_segment(text)
    stdout = (found["out"] or "").strip().removeprefix("stdout:").strip()
    shown = PLACEHOLDER * (found["images"] or "").count(PLACEHOLDER)
    return output_segment(stdout + shown, found["err"] or "")


def _called_code(text: str) -> str:
    """The code of a call: JSON with arguments, or the code itself."""
    if not text.lstrip().startswith("{"):
        return text
    data = parse_json(text.encode(), "a tool call")
    arguments = data.get("arguments", {}) if isinstance(data, dict) else {}
    if isinstance(arguments, str):
        arguments = parse_json(arguments.encode(), "arguments of a tool call")
    code = arguments.get("code", arguments.get("python")) if isinstance(arguments, dict) else None
    if not isinstance(code, str):
        raise RowError("layout", f"a tool call without code: {text[:80]}")
    return code


def to_messages(
    question: str, segments: list[Segment], *, tool_role: str, system: str = ""
) -> tuple[list[dict[str, str]], int]:
    """Messages, an assistant one up to each output; and how many pictures outputs hold.

    An output's pictures are placeholders at its end.
    """
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": question})
    written, pictures = "", 0
    for segment in segments:
        if segment.kind != "output":
            written += segment.text
            continue
        messages.append({"role": "assistant", "content": written})
        inside = segment.text.removeprefix(AIR.output[0]).removesuffix(AIR.output[1])
        inside += PLACEHOLDER * len(segment.images)
        pictures += len(segment.images)
        messages.append({"role": tool_role, "content": inside})
        written = ""
    if written:
        messages.append({"role": "assistant", "content": written})
    return messages, pictures


def with_executions(segments: list[Segment], stored: list[Any]) -> list[Segment]:
    """Outputs with the executions that our own column kept, in order; unchanged if they differ."""
    outputs = [segment for segment in segments if segment.kind == "output"]
    if len(outputs) != len(stored):
        return segments
    rest = iter(stored)
    return [
        replace(s, execution=from_json(Execution, next(rest), "column air"))
        if s.kind == "output"
        else s
        for s in segments
    ]
