"""From a request of either API to one question: conversation, pictures, limits.

Every refusal is a ``Refusal`` with the status, the field and the mend; what would change the answer
and is not supported is refused, never ignored.
"""

from dataclasses import dataclass
from typing import Any, cast

from PIL import Image

from air_reasoning.rollout_setup import RolloutConfig
from air_reasoning.samplers.base import Message, Role
from air_reasoning.serve.pictures import Pictures
from air_reasoning.serve.refusal import Refusal
from air_reasoning.serve.settings import ServeConfig
from air_reasoning.types import Part

ROLES: dict[str, Role] = {
    "system": "system", "developer": "system", "user": "user", "assistant": "assistant",
}  # fmt: skip
_TEXT = ("text", "input_text", "output_text")
_UNSUPPORTED = (
    *("previous_response_id", "conversation", "background", "prompt", "functions", "logprobs"),
    *("top_logprobs", "logit_bias", "audio", "prediction"),
)


@dataclass(kw_only=True, slots=True)
class Question:
    """One request. ``messages`` without system turns, which are ``system`` together."""

    system: str
    messages: list[Message]
    images: list[Image.Image]
    rollout: RolloutConfig
    seed: int
    code: bool
    stream: bool
    include_usage: bool
    include_outputs: bool


async def read_question(
    body: Any, config: ServeConfig, pictures: Pictures, name: str, *, responses: bool
) -> Question:
    """Check and translate one body. Raises Refusal."""
    if not isinstance(body, dict):
        raise Refusal(400, "the body has to be a JSON object")
    body = cast(dict[str, Any], body)
    _check_fields(body, name)
    rows = _rows(body, responses)
    system: list[str] = []
    if responses and body.get("instructions"):
        system.append(_string(body["instructions"], "instructions"))
    messages: list[Message] = []
    images: list[Image.Image] = []
    for n, row in enumerate(rows):
        field = f"{'input' if responses else 'messages'}[{n}]"
        message = await _message(row, field, images, pictures)
        if message is None:
            continue
        if message.role == "system":
            system += [part.text for part in message.parts]
        else:
            messages.append(message)
    if not messages or messages[-1].role != "user":
        raise Refusal(400, "the last message has to be the user's", "messages")
    options = _object(body, "stream_options")
    return Question(
        system="\n\n".join(system),
        messages=messages,
        images=images,
        rollout=_rollout(body, config.rollout),
        seed=_number(body, "seed", 0, -(2**63), 2**63, whole=True),
        code=_may_run_code(body, config),
        stream=bool(body.get("stream")),
        include_usage=bool(options.get("include_usage")),
        include_outputs="code_interpreter_call.outputs" in _list(body, "include"),
    )


def _check_fields(body: dict[str, Any], name: str) -> None:
    model = body.get("model")
    if model not in (None, "", name):
        raise Refusal(404, f"no model {model!r} here; there is {name!r}", "model", "not_found")
    for field in _UNSUPPORTED:
        if body.get(field):
            raise Refusal(400, f"{field} is not supported; leave it out", field)
    if body.get("n", 1) != 1:
        raise Refusal(400, "n has to be 1; send several requests", "n")
    if body.get("stop"):
        raise Refusal(400, "stop is not supported: the loop sets its own stop texts", "stop")
    shape = (_object(body, "response_format") or _object(_object(body, "text"), "format")).get(
        "type"
    )
    if shape not in (None, "text"):
        raise Refusal(400, f"response format {shape!r} is not supported; use text", "text")
    for tool in _list(body, "tools"):
        kind = tool.get("type") if isinstance(tool, dict) else tool
        if kind != "code_interpreter":
            raise Refusal(400, f"tool {kind!r} is not supported; code_interpreter is", "tools")
        container = tool.get("container", "auto")
        if not (isinstance(container, dict) and container.get("type") == "auto") and (
            container != "auto"
        ):
            raise Refusal(
                404,
                "containers end with their response; use {'type': 'auto'}",
                "tools",
                "not_found",
            )


def _rows(body: dict[str, Any], responses: bool) -> list[Any]:
    field = "input" if responses else "messages"
    rows = body.get(field)
    if responses and isinstance(rows, str):
        return [{"role": "user", "content": rows}]
    if not isinstance(rows, list) or not rows:
        raise Refusal(400, f"{field} has to be a list of messages that is not empty", field)
    return cast(list[Any], rows)


async def _message(
    row: Any, field: str, images: list[Image.Image], pictures: Pictures
) -> Message | None:
    """One message; its pictures go to ``images``. None: an item that carries no words."""
    if not isinstance(row, dict):
        raise Refusal(400, f"{field} has to be an object", field)
    row = cast(dict[str, Any], row)
    if row.get("type", "message") != "message":
        return _earlier_item(row, field)
    role = ROLES.get(str(row.get("role")))
    if role is None:
        raise Refusal(400, f"{field}.role {row.get('role')!r} is none of {', '.join(ROLES)}", field)
    content = row.get("content")
    if isinstance(content, str):
        return Message(role=role, parts=[Part(kind="text", text=content)])
    if not isinstance(content, list) or not content:
        raise Refusal(400, f"{field}.content has to be text or a list of parts", field)
    parts: list[Part] = []
    for part in cast(list[Any], content):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in _TEXT:
            parts.append(Part(kind="text", text=_string(part.get("text"), f"{field}.text")))
        elif kind in ("image_url", "input_image") and role == "user":
            url = part.get("image_url")
            url = url.get("url") if isinstance(url, dict) else url
            parts.append(Part(kind="image", image=len(images)))
            images.append(await pictures.load(url, f"{field}.image_url", len(images)))
        else:
            raise Refusal(400, f"{field}: a part of type {kind!r} is not supported there", field)
    return Message(role=role, parts=parts)


def _earlier_item(row: dict[str, Any], field: str) -> Message | None:
    """Items of an earlier response that a client sends back: its cells stay, as text."""
    match row.get("type"):
        case "reasoning":
            return None
        case "code_interpreter_call":
            outputs = [o for o in _list(row, "outputs") if isinstance(o, dict)]
            logs = [str(output.get("logs", "")) for output in outputs]
            text = f"(ran)\n{row.get('code') or ''}\n(result)\n" + "\n".join(logs)
            return Message(role="assistant", parts=[Part(kind="text", text=text)])
        case kind:
            raise Refusal(400, f"{field}: an item of type {kind!r} is not supported", field)


def _rollout(body: dict[str, Any], config: RolloutConfig) -> RolloutConfig:
    limits = ("max_output_tokens", "max_completion_tokens", "max_tokens")
    most = config.max_new_tokens
    field = next((name for name in limits if body.get(name) is not None), limits[0])
    return config.model_copy(
        update={
            "temperature": _number(body, "temperature", config.temperature, 0, 2),
            "top_p": _number(body, "top_p", config.top_p, 1e-6, 1),
            "max_new_tokens": min(_number(body, field, most, 1, 2**31, whole=True), most),
            "max_turns": _number(
                body, "max_tool_calls", config.max_turns - 1, 0, config.max_turns - 1, whole=True
            )
            + 1,
        }
    )


def _may_run_code(body: dict[str, Any], config: ServeConfig) -> bool:
    if config.code == "never" or body.get("tool_choice") == "none":
        return False
    return config.code == "always" or bool(body.get("tools"))


def _number(
    body: dict[str, Any], field: str, default: Any, low: float, high: float, *, whole: bool = False
) -> Any:
    value = body.get(field)
    if value is None:
        return default
    kinds = int if whole else int | float
    if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
        what = "a whole number" if whole else "a number"
        raise Refusal(400, f"{field} has to be {what} from {low:g} to {high:g}", field)
    return value


def _object(body: dict[str, Any], field: str) -> dict[str, Any]:
    value = body.get(field) or {}
    if not isinstance(value, dict):
        raise Refusal(400, f"{field} has to be an object", field)
    return cast(dict[str, Any], value)


def _list(body: dict[str, Any], field: str) -> list[Any]:
    value = body.get(field) or []
    if not isinstance(value, list):
        raise Refusal(400, f"{field} has to be a list", field)
    return cast(list[Any], value)


def _string(value: Any, field: str) -> str:
    if not isinstance(value, str):
        raise Refusal(400, f"{field} has to be a string", field)
    return value
