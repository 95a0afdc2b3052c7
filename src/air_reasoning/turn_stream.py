"""A turn read as it is written: which text is a thought, code or an answer, before it is whole."""

from collections.abc import Iterator

from air_reasoning.turn_format import PieceKind, TurnFormat, parse_turn


class TurnStream:
    """Feed it pieces of text as they come; tags are taken out, and may come in two pieces.

    >>> from air_reasoning.turn_format import AIR
    >>> stream = TurnStream(AIR)
    >>> [*stream.feed("<think>1+2</th"), *stream.feed("ink><code>print(3)</code>"), *stream.end()]
    [('think', '1+2'), ('code', 'print(3)')]

    Not guaranteed: the split of ``parse_turn`` for a turn that starts inside a thought (its opening
    tag is in the prompt), which is known only at the end.
    """

    def __init__(self, form: TurnFormat) -> None:
        """One stream for a whole trajectory, or for one turn."""
        self._form = form
        self._opens: dict[str, PieceKind] = {
            form.think[0]: "think", form.code[0]: "code", form.answer[0]: "answer",
        }  # fmt: skip
        self._closes: dict[PieceKind, str] = {
            "think": form.think[1], "code": form.code[1], "answer": form.answer[1],
        }  # fmt: skip
        self._kind: PieceKind = "text"
        self._outer: PieceKind = "text"  # what a cell or an answer interrupts
        self._code = ""
        self._held = ""

    def feed(self, text: str) -> Iterator[tuple[PieceKind, str]]:
        """What is certain by now, as (kind, text) without tags; no text is empty."""
        self._held += text
        while (found := self._next_tag()) is not None:
            start, tag = found
            yield from self._emit(self._held[:start])
            self._held = self._held[start + len(tag) :]
            yield from self._pass(tag)
        certain = len(self._held) - self._unsure()
        yield from self._emit(self._held[:certain])
        self._held = self._held[certain:]

    def end(self) -> Iterator[tuple[PieceKind, str]]:
        """What was held back because it might have become a tag."""
        held, self._held = self._held, ""
        yield from self._emit(held)
        self._kind = self._outer = "text"
        self._code = ""

    def _tags(self) -> list[str]:
        """The tags that mean something here: code may open inside a thought.

        A thought that closes without having opened began in an earlier turn.
        """
        if self._kind in ("code", "answer"):
            return [self._closes[self._kind]]
        openings = [tag for tag, kind in self._opens.items() if kind != self._kind]
        return [self._form.think[1], *openings]

    def _next_tag(self) -> tuple[int, str] | None:
        found = [(self._held.find(tag), tag) for tag in self._tags()]
        return min(((at, tag) for at, tag in found if at >= 0), default=None)

    def _pass(self, tag: str) -> Iterator[tuple[PieceKind, str]]:
        """Change the kind; a closing tag inside a string of the code is part of the code."""
        if tag in self._opens:
            self._outer = self._kind
            self._kind, self._code = self._opens[tag], ""
        elif self._kind in ("text", "think"):
            self._kind = "text"
        elif self._kind == "answer" or self._closes_code(tag):
            self._kind = self._outer
        else:
            yield from self._emit(tag)

    def _closes_code(self, tag: str) -> bool:
        return parse_turn(self._form.code[0] + self._code + tag, self._form)[0].closed

    def _emit(self, text: str) -> Iterator[tuple[PieceKind, str]]:
        if text:
            if self._kind == "code":
                self._code += text
            yield self._kind, text

    def _unsure(self) -> int:
        """Characters at the end that may be the beginning of a tag."""
        tags = self._tags()
        for length in range(min(len(self._held), max(map(len, tags), default=1) - 1), 0, -1):
            if any(tag.startswith(self._held[-length:]) for tag in tags):
                return length
        return 0
