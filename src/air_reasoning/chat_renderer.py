"""The renderer for engines without token ids: everything is text, and nothing can be trained on.

Has the methods of ``renderer.Renderer`` that the turn loop calls. A model that was not trained for
the tags is told about them in the system turn.
"""

from collections.abc import Sequence

from PIL import Image

from air_reasoning.conversation import prompt_messages
from air_reasoning.errors import DataError
from air_reasoning.samplers.base import Completion, Message
from air_reasoning.turn_format import TurnFormat, instructions, parse_turn
from air_reasoning.types import Segment, Task

MAX_SIDE_RATIO = 200
"""Pictures thinner than this are refused by the usual image processors."""


class ChatRenderer:
    """Rendering for one set of tags and one system prompt ("": ``instructions`` for the tags)."""

    def __init__(self, form: TurnFormat, system_prompt: str = "") -> None:
        self.form = form
        self.system_prompt = system_prompt
        self.eos_ids: tuple[int, ...] = ()

    def messages(self, task: Task, *, code_banned: bool = False) -> list[Message]:
        """The system turn and the question."""
        system = self.system_prompt or instructions(self.form, code=not code_banned)
        return prompt_messages(task, system)

    def prompt_ids(self, task: Task, images: Sequence[Image.Image]) -> list[int]:
        """No ids. Raises DataError as ``prompt_images``."""
        self.prompt_images(task, images)
        return []

    def message_ids(self, messages: Sequence[Message], shown: Sequence[Image.Image]) -> list[int]:
        """No ids."""
        return []

    def prompt_images(self, task: Task, images: Sequence[Image.Image]) -> list[Image.Image]:
        """The pictures in the order in which the prompt shows them.

        Raises:
            DataError: the prompt names a picture that the task does not have.
        """
        named = [part.image for part in task.prompt if part.kind == "image"]
        if wrong := [n for n in named if not 0 <= n < len(images)]:
            raise DataError(f"task {task.id}: the prompt names picture {wrong[0]} of {len(images)}")
        return [images[n] for n in named]

    def output_ids(self, text: str, images: Sequence[Image.Image] = ()) -> list[int]:
        """No ids."""
        return []

    def can_show(self, image: Image.Image) -> bool:
        """Whether a picture of this shape may be sent."""
        return max(image.size) <= MAX_SIDE_RATIO * min(image.size)

    def turn_text(self, turn: Completion) -> str:
        """What the model wrote."""
        return turn.text

    def turn_segments(self, turn: Completion) -> list[Segment]:
        """The turn by kind; without ids."""
        pieces = parse_turn(turn.text, self.form)
        return [Segment(kind=piece.kind, text=piece.text) for piece in pieces]

    def ended(self, turn: Completion) -> bool:
        """Whether the model ended its turn, rather than being stopped at a closing tag."""
        return not turn.text.endswith(self.form.code[1])

    def single_id(self, tag: str) -> int | None:
        """No tag has an id."""
        return None
