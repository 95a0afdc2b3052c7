r"""From tasks and tool results to token ids, append-only.

A sequence is the prompt, then model turns as sampled, then tool results, each rendered by itself:

    prompt_ids(task, images) + turn ids + output_ids("3", []) + turn ids + ...

The prompt goes through the tokenizer's own chat template. Each of its placeholders becomes the ids
of its picture (``Processor.image_ids``); text of a question or of a tool result can never become
one. Loads no torch.
"""

from bisect import bisect_left
from collections.abc import Sequence

from jinja2 import TemplateError
from PIL import Image

from air_reasoning.conversation import prompt_messages
from air_reasoning.errors import DataError
from air_reasoning.models.processor import Processor
from air_reasoning.models.token_text import Text, TokenText
from air_reasoning.samplers.base import Completion, Message
from air_reasoning.turn_format import Piece, TurnFormat, parse_turn
from air_reasoning.types import Part, Segment, Task

# A private-use character cannot occur in a chat template; each stands for one part of the prompt.
_SLOT = "\ue0f0"


class Renderer:
    """Rendering for one checkpoint, one set of tags and one system prompt."""

    def __init__(self, loaded: Processor, form: TurnFormat, system_prompt: str = "") -> None:
        """``system_prompt`` "" leaves the system turn to the chat template."""
        self.loaded = loaded
        self.form = form
        self.system_prompt = system_prompt
        self.eos_ids = loaded.eos_ids
        self.token_text = TokenText(loaded.tokenizer)
        self._image_markup = self._find_image_markup()

    def messages(self, task: Task, *, code_banned: bool = False) -> list[Message]:
        """The prompt as a conversation, for engines that render it themselves."""
        return prompt_messages(task, self.system_prompt)

    def prompt_ids(self, task: Task, images: Sequence[Image.Image]) -> list[int]:
        """Ids up to and including the opening of the assistant's turn.

        ``images`` are the task's, in its order; a picture named twice is shown twice.

        Raises:
            DataError: the prompt names a picture that the task does not have.
        """
        return self.message_ids(self.messages(task), self.prompt_images(task, images))

    def message_ids(self, messages: Sequence[Message], shown: Sequence[Image.Image]) -> list[int]:
        """The same for a whole conversation; ``shown`` in the order of its picture parts."""
        scaffold = self._chat(messages)
        texts = [Text(p.text) for m in messages for p in m.parts if p.kind == "text"]
        frame = [Text(text, tags=True) for text in scaffold.split(_SLOT)]
        if len(frame) != len(texts) + 1:
            raise DataError(
                f"{self.loaded.path}: {len(frame) - 1} of {len(texts)} texts in the chat template"
            )
        parts = [frame[0], *(x for pair in zip(texts, frame[1:], strict=True) for x in pair)]
        return self._widened(self.token_text.encode(parts), shown)

    def prompt_images(self, task: Task, images: Sequence[Image.Image]) -> list[Image.Image]:
        """The pictures in the order of their placeholders."""
        return [_picture(task, images, p.image) for p in task.prompt if p.kind == "image"]

    def output_ids(self, text: str, images: Sequence[Image.Image] = ()) -> list[int]:
        """A tool result with its pictures, tags included: the suffix alone.

        ``text`` is plain whatever it spells: printing ``</interpreter>`` closes nothing.
        """
        opening, closing = self.form.output
        markup = self._image_markup * len(images)
        parts = [Text(opening, tags=True), Text(text), Text(markup + closing, tags=True)]
        return self._widened(self.token_text.encode(parts), images)

    def can_show(self, image: Image.Image) -> bool:
        """Whether the model's image processor takes a picture of this shape."""
        try:
            return bool(self.loaded.image_ids(image))
        except DataError:
            return False

    def turn_text(self, turn: Completion) -> str:
        """What the model wrote; characters may span the completions that were joined."""
        return self.token_text.decode(turn.token_ids)

    def turn_segments(self, turn: Completion) -> list[Segment]:
        """See ``segments``."""
        return self.segments(turn.token_ids, turn.logprobs, turn.temperatures)

    def ended(self, turn: Completion) -> bool:
        """Whether the model ended its turn, rather than being stopped at a closing tag."""
        return not turn.token_ids or turn.token_ids[-1] in self.eos_ids

    def segments(
        self, ids: list[int], logprobs: list[float], temperatures: Sequence[float] = ()
    ) -> list[Segment]:
        """One model turn as segments; their ids, joined, are ``ids``.

        A token belongs to the piece in which it begins, so that a token which closes a tag and
        opens the next run stays whole. A special token has no text: it goes with what follows it,
        the one that ends the turn with what precedes it.
        """
        text, starts = self.token_text.decode(ids), self.token_text.starts(ids)
        pieces = parse_turn(text, self.form) or [
            Piece(kind="text", text="", body="", start=0, end=0),
        ]
        segments: list[Segment] = []
        first = 0
        for piece in pieces:
            last = len(ids) if piece is pieces[-1] else bisect_left(starts, piece.end, lo=first)
            if last > first:
                segments.append(
                    Segment(
                        kind=piece.kind,
                        text=piece.text,
                        token_ids=ids[first:last],
                        logprobs=logprobs[first:last],
                        temperatures=list(temperatures[first:last]),
                    )
                )
            first = last
        return segments

    def single_id(self, tag: str) -> int | None:
        """The id of a tag that the tokenizer holds as one token, else None."""
        return self.token_text.added.get(tag)

    def _chat(self, messages: Sequence[Message]) -> str:
        """The chat template's text with a slot for each text."""
        slot, image = {"type": "text", "text": _SLOT}, {"type": "image"}
        rows = [
            {"role": m.role, "content": [image if p.kind == "image" else slot for p in m.parts]}
            for m in messages
        ]
        if self.loaded.pictures == "none":  # templates of text models take strings
            rows = [{"role": m.role, "content": _SLOT * len(m.parts)} for m in messages]
        try:
            return self.loaded.tokenizer.apply_chat_template(
                rows, tokenize=False, add_generation_prompt=True
            )
        except (ValueError, TemplateError) as error:
            raise DataError(
                f"{self.loaded.path}: the tokenizer has no usable chat template ({error}); "
                "add chat_template.jinja"
            ) from None

    def _find_image_markup(self) -> str:
        """What the chat template writes for one picture: ``<|vision_start|><|image_pad|>...``."""
        if self.loaded.pictures == "none":
            return ""
        slot = Part(kind="text", text=_SLOT)
        message = Message(role="user", parts=[slot, Part(kind="image"), slot])
        return self._chat([message]).split(_SLOT)[1]

    def _widened(self, ids: list[int], images: Sequence[Image.Image]) -> list[int]:
        """Each placeholder replaced by the ids of its picture."""
        pad = self.loaded.image_token_id
        if ids.count(pad) != len(images):
            raise DataError(
                f"{self.loaded.path}: the chat template wrote {ids.count(pad)} placeholders for "
                f"{len(images)} pictures; it has to write one each"
            )
        pictures = iter([self.loaded.image_ids(image) for image in images])
        wide: list[int] = []
        for token_id in ids:
            wide += next(pictures) if token_id == pad else [token_id]
        return wide


def _picture(task: Task, images: Sequence[Image.Image], index: int) -> Image.Image:
    if not 0 <= index < len(images):
        raise DataError(f"task {task.id}: the prompt names picture {index} of {len(images)}")
    return images[index]
