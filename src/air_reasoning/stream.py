"""A trajectory on the terminal as it happens: thought, code, output and answer in their colours."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from air_reasoning.config import Display
from air_reasoning.json_io import dump_line
from air_reasoning.rollout import Event
from air_reasoning.turn_format import AIR, TurnFormat
from air_reasoning.types import ImageRef, Segment

STYLES = {"think": "dim", "code": "cyan", "output": "yellow", "answer": "bold green", "text": ""}


def event_printer(display: Display, form: TurnFormat = AIR) -> Callable[[Event], None]:
    """A listener for ``rollout(on_event=...)``.

    ``rich`` colours on a terminal, ``plain`` prints the same without colours, ``json`` one event a
    line (segments and the stop, not single tokens), ``none`` nothing.
    """
    match display:
        case "none":
            return lambda event: None
        case "json":
            return _print_json
        case _:
            return _Stream(display == "rich", form)


def _print_json(event: Event) -> None:
    if event.kind != "delta":
        row = {"kind": event.kind, "segment": event.segment, "stop": event.stop}
        print(dump_line({k: v for k, v in row.items() if v is not None}).decode(), flush=True)


class _Stream:
    """Keeps track of which segment is being written, by the tags that go by."""

    def __init__(self, colours: bool, form: TurnFormat) -> None:
        from rich.console import Console

        self._console: Any = Console(no_color=not colours, highlight=False, soft_wrap=True)
        self._opens = {form.think[0]: "think", form.code[0]: "code", form.answer[0]: "answer"}
        self._closes = {form.think[1], form.code[1], form.answer[1]}
        self._kind, self._written = "text", ""

    def __call__(self, event: Event) -> None:
        match event.kind:
            case "delta":
                self._delta(event.text)
            case "segment" if event.segment is not None and event.segment.kind == "output":
                self._output(event.segment)
            case "stop":
                self._console.print(
                    f"\n[{event.stop}]" if event.stop != "answered" else "", markup=False
                )
            case _:
                pass

    def _delta(self, text: str) -> None:
        self._written = (self._written + text)[-64:]
        for tag, kind in self._opens.items():
            if self._written.endswith(tag):
                self._kind = kind
        self._console.print(text, style=STYLES[self._kind], end="", markup=False)
        if any(self._written.endswith(tag) for tag in self._closes):
            self._kind = "text"
            self._console.print()

    def _output(self, segment: Segment) -> None:
        self._console.print(segment.text, style=STYLES["output"], markup=False)
        for image in segment.images:
            self._console.print(_where(image), style=STYLES["output"], markup=False)


def _where(image: ImageRef) -> str:
    place = Path(image.path) if image.path else "not kept"
    return f"image {image.width}x{image.height}: {place}"
