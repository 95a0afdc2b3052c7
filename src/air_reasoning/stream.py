"""A trajectory on the terminal as it happens: thoughts, code in a frame, output, answer."""

from collections.abc import Callable
from typing import Any

from air_reasoning.config import Display
from air_reasoning.json_io import dump_line
from air_reasoning.rollout import Event
from air_reasoning.turn_format import AIR, TurnFormat
from air_reasoning.turn_stream import TurnStream
from air_reasoning.types import ImageRef, Segment

STYLES = {"think": "dim", "code": "cyan", "output": "yellow", "answer": "bold green", "text": ""}


def event_printer(display: Display, form: TurnFormat = AIR) -> Callable[[Event], None]:
    """A listener for ``rollout(on_event=...)``.

    ``rich`` colours and frames on a terminal, ``plain`` is the text as the model wrote it, tags
    included, ``json`` one event a line, ``none`` nothing. Off a terminal ``rich`` is ``plain``.
    """
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    match display:
        case "none":
            return lambda event: None
        case "json":
            return _print_json
        case "rich" if console.is_terminal:
            return _Framed(console, form)
        case _:
            return _print_plain


def _print_json(event: Event) -> None:
    row = {
        "kind": event.kind,
        "text": event.text or None,
        "segment": event.segment,
        "stop": event.stop,
    }
    print(dump_line({k: v for k, v in row.items() if v is not None}).decode(), flush=True)


def _print_plain(event: Event) -> None:
    """Text only, and safe for a terminal: the model may write escape sequences."""
    match event.kind:
        case "delta":
            print(printable(event.text), end="", flush=True)
        case "segment" if event.segment is not None and event.segment.kind == "output":
            print("\n" + printable(event.segment.text))
            for image in event.segment.images:
                print(_where(image))
        case "stop":
            print()
        case _:
            pass


def printable(text: str) -> str:
    """Without control characters other than line feeds and tabs."""
    return "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text)


class _Framed:
    """Without tags: thoughts dim, code and output framed at the left, line by line."""

    def __init__(self, console: Any, form: TurnFormat) -> None:
        self._console = console
        self._stream = TurnStream(form)
        self._form = form
        self._kind = ""
        self._line = ""

    def __call__(self, event: Event) -> None:
        match event.kind:
            case "delta":
                for kind, text in self._stream.feed(event.text):
                    self._show(kind, text)
            case "segment" if event.segment is not None and event.segment.kind == "output":
                self._output(event.segment)
            case "stop":
                for kind, text in self._stream.end():
                    self._show(kind, text)
                self._turn_to("")
                if event.stop != "answered":
                    self._print(f"({event.stop})", "dim")
            case _:
                pass

    def _show(self, kind: str, text: str) -> None:
        if kind == "text" and not text.strip() and self._kind != "text":
            return
        self._turn_to(kind)
        if kind != "code":
            self._console.print(printable(text), style=STYLES[kind], end="", markup=False)
            return
        *whole, self._line = (self._line + text).split("\n")
        for line in whole:
            self._code_line(line)

    def _turn_to(self, kind: str) -> None:
        """End what was shown before, open what comes."""
        if kind == self._kind:
            return
        if self._kind == "code":
            self._code_line(self._line)
            self._line = ""
            self._print("╰─", "cyan")
        elif self._kind and self._kind != "output":
            self._print("", "")
        if kind == "code":
            self._print("╭─ python", "cyan")
        self._kind = kind

    def _code_line(self, line: str) -> None:
        if line.strip() and not line.strip().startswith("```"):
            self._print(f"│ {printable(line)}", "cyan")

    def _output(self, segment: Segment) -> None:
        for kind, text in self._stream.end():
            self._show(kind, text)
        self._turn_to("output")
        opening, closing = self._form.output
        body = segment.text.removeprefix(opening).removesuffix(closing)
        for line in printable(body).splitlines():
            self._print(f"  {line}", STYLES["output"])
        for image in segment.images:
            self._print(f"  {_where(image)}", STYLES["output"])

    def _print(self, text: str, style: str) -> None:
        self._console.print(text, style=style, markup=False)


def _where(image: ImageRef) -> str:
    return f"image {image.width}x{image.height}: {image.path or 'not kept'}"
