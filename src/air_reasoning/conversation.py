"""A trajectory as a conversation: for engines that take text and pictures, not token ids."""

from collections.abc import Sequence

from air_reasoning.samplers.base import Message
from air_reasoning.turn_format import TurnFormat
from air_reasoning.types import Part, Segment, Task


def prompt_messages(task: Task, system: str = "") -> list[Message]:
    """The system turn (if any) and the question; ``Part.image`` counts the pictures as shown.

    A picture that the prompt names twice is shown, and counted, twice.
    """
    parts: list[Part] = []
    for part in task.prompt:
        shown = sum(p.kind == "image" for p in parts)
        parts.append(Part(kind="image", image=shown) if part.kind == "image" else part)
    messages = [Message(role="user", parts=parts)]
    if system:
        messages.insert(0, Message(role="system", parts=[Part(kind="text", text=system)]))
    return messages


def conversation(
    prompt: Sequence[Message], segments: Sequence[Segment], unfinished: str, form: TurnFormat
) -> list[Message]:
    """The prompt and all that followed: the model's runs and the tool results between them.

    ``unfinished`` is what the model has written of its turn so far. The pictures of a result stand
    before its closing tag, as a model that takes token ids is shown them.

    >>> from air_reasoning.turn_format import AIR
    >>> said = Segment(kind="code", text="<code>1+2</code>")
    >>> [m.role for m in conversation([], [said], "", AIR)]
    ['assistant']
    """
    messages = list(prompt)
    shown = sum(part.kind == "image" for message in messages for part in message.parts)
    for segment in segments:
        if segment.kind != "output":
            _write(messages, segment.text)
            continue
        images = [Part(kind="image", image=shown + n) for n in range(len(segment.images))]
        shown += len(images)
        closing = form.output[1]
        opened = Part(kind="text", text=segment.text.removesuffix(closing))
        closed = Part(kind="text", text=closing)
        messages.append(Message(role="tool", parts=[opened, *images, closed]))
    if unfinished:
        _write(messages, unfinished)
    return messages


def _write(messages: list[Message], text: str) -> None:
    """Append to the model's message, or begin one."""
    if messages and messages[-1].role == "assistant":
        text = messages.pop().parts[0].text + text
    messages.append(Message(role="assistant", parts=[Part(kind="text", text=text)]))
