"""How a turn is written down: the tags, reading a turn back, and the text of a tool result.

    >>> [(p.kind, p.body) for p in parse_turn("<think>1+2</think><code>print(3)</code>", AIR)]
    [('think', '1+2'), ('code', 'print(3)')]

The tags are only a rendering. What counts as a cell is what stands between a real opening and a
real closing tag: a closing tag inside a string of the code belongs to the code, and a lone closing
tag closes nothing.
"""

import re
from dataclasses import dataclass
from typing import Literal

from air_reasoning.types import Execution

PieceKind = Literal["think", "text", "code", "answer"]


@dataclass(kw_only=True, slots=True, frozen=True)
class TurnFormat:
    """A set of tags. ``fence``: code is *written* inside a fence; reading takes both ways."""

    name: str
    think: tuple[str, str] = ("<think>", "</think>")
    code: tuple[str, str] = ("<code>", "</code>")
    output: tuple[str, str] = ("<interpreter>", "</interpreter>")
    answer: tuple[str, str] = ("<answer>", "</answer>")
    fence: bool = True


AIR = TurnFormat(name="air")
THYME = TurnFormat(name="thyme", output=("<sandbox_output>", "</sandbox_output>"))
DEEPEYESV2 = TurnFormat(name="deepeyesv2", output=("<tool_response>", "</tool_response>"))
TURN_FORMATS = {form.name: form for form in (AIR, THYME, DEEPEYESV2)}


@dataclass(kw_only=True, slots=True, frozen=True)
class Piece:
    """``text`` is ``turn[start:end]``, tags included; ``body`` is what stands between the tags.

    The body of a cell is taken as it is - not dedented, not mended. ``closed`` is False where the
    turn ends before the closing tag: such code is no cell.
    """

    kind: PieceKind
    text: str
    body: str
    start: int
    end: int
    closed: bool = True


def parse_turn(text: str, form: TurnFormat) -> list[Piece]:
    """Split the model's text into pieces that together are exactly ``text``.

    Thinking may go on around a cell (``<think>a<code>..</code>b</think>``): each run is a piece of
    its own, and a turn that starts inside a thought is known by the closing tag without an opening.
    """
    pieces: list[Piece] = []
    position = 0
    thinking = _starts_inside_thought(text, form)
    while position < len(text):
        opening = _next_opening(text, position, form)
        start = opening.start() if opening else len(text)
        run, thinking = _prose(text, position, start, form, thinking)
        pieces += run
        if opening is None:
            break
        piece = _tagged(text, start, form)
        pieces.append(piece)
        position = piece.end
    return pieces


def _next_opening(text: str, position: int, form: TurnFormat) -> re.Match[str] | None:
    """The next tag that opens code or an answer."""
    pattern = f"{re.escape(form.code[0])}|{re.escape(form.answer[0])}"
    return re.compile(pattern).search(text, position)


def _starts_inside_thought(text: str, form: TurnFormat) -> bool:
    opened, closed = text.find(form.think[0]), text.find(form.think[1])
    return closed >= 0 and not 0 <= opened < closed


def _prose(
    text: str, start: int, end: int, form: TurnFormat, thinking: bool
) -> tuple[list[Piece], bool]:
    """Thoughts and plain text in ``text[start:end]``, and whether a thought is still open there."""
    opening, closing = form.think
    pieces: list[Piece] = []
    while start < end:
        if thinking:
            found = text.find(closing, start, end)
            stop = found + len(closing) if found >= 0 else end
            body = text[start:stop].removeprefix(opening).removesuffix(closing)
            kind: PieceKind = "think"
            thinking = found < 0
        else:
            found = text.find(opening, start, end)
            stop = found if found >= 0 else end
            body, kind = text[start:stop], "text"
            thinking = found >= 0
        if stop > start:
            closed = kind == "text" or not thinking
            pieces.append(
                Piece(
                    kind=kind,
                    text=text[start:stop],
                    body=body,
                    start=start,
                    end=stop,
                    closed=closed,
                )
            )
        start = stop
    return pieces, thinking


def _tagged(text: str, start: int, form: TurnFormat) -> Piece:
    """The code or answer that opens at ``start``."""
    is_code = text.startswith(form.code[0], start)
    opening, closing = form.code if is_code else form.answer
    inside = start + len(opening)
    found = _real_close(text, inside, closing) if is_code else text.find(closing, inside)
    end = found + len(closing) if found >= 0 else len(text)
    body = text[inside : found if found >= 0 else end]
    return Piece(
        kind="code" if is_code else "answer",
        text=text[start:end],
        body=_without_fence(body) if is_code else body,
        start=start,
        end=end,
        closed=found >= 0,
    )


def _real_close(text: str, start: int, closing: str) -> int:
    """Index of the first ``closing`` at or after ``start`` that is not inside a string, or -1.

    A triple-quoted string that never ends hides every closing tag after it: no cell is better than
    the wrong one. A string of one line that the text ends in hides it inside a fence, where a tag
    is still to come; without a fence the quote was forgotten, and the tag is real.
    """
    strings = _STRING_OR_COMMENT + (_OPEN_LINE if _FENCE_OPEN.match(text[start:]) else "")
    pattern = re.compile(f"{re.escape(closing)}|{strings}", re.DOTALL)
    for match in pattern.finditer(text, start):
        token = match.group()
        if token == closing:
            return match.start()
        if token.startswith("#") and closing in token:
            # A comment does not hide the tag: models forget the line break before it.
            return match.start() + token.index(closing)
    return -1


_ESCAPED = r"(?:\\.|(?!{quote})[^\\{extra}])*"
_STRING_OR_COMMENT = "|".join(
    (
        "'''" + _ESCAPED.format(quote="'''", extra="") + "(?:'''|$)",
        '"""' + _ESCAPED.format(quote='"""', extra="") + '(?:"""|$)',
        "'" + _ESCAPED.format(quote="'", extra=r"\n") + "'",
        '"' + _ESCAPED.format(quote='"', extra=r"\n") + '"',
        r"\#[^\n]*",
    )
).replace("$", r"\Z")
_OPEN_LINE = "|" + "|".join(q + _ESCAPED.format(quote=q, extra=r"\n") + r"\Z" for q in "'\"")
_FENCE_OPEN = re.compile(r"\A[ \t]*\n?[ \t]*```[ \t]*(?:python|py|python3)?[ \t]*\n", re.IGNORECASE)
_FENCE_CLOSE = re.compile(r"\n?[ \t]*```\s*\Z")


def _without_fence(body: str) -> str:
    """Drop one surrounding fence; fences inside the code stay."""
    opened = _FENCE_OPEN.match(body)
    if opened is None:
        return body
    return _FENCE_CLOSE.sub("", body[opened.end() :], count=1)


def render_code(code: str, form: TurnFormat) -> str:
    r"""The cell as the model is meant to write it: ``parse_turn`` gives the same code back.

    >>> render_code("print(1)", AIR)
    '<code>```python\nprint(1)\n```</code>'
    """
    opening, closing = form.code
    return f"{opening}```python\n{code}\n```{closing}" if form.fence else opening + code + closing


def instructions(form: TurnFormat, *, code: bool = True) -> str:
    """What a model that was not trained for these tags is told about them."""
    think = f"Think step by step between {form.think[0]} and {form.think[1]}."
    answer = (
        f"End with the final answer between {form.answer[0]} and {form.answer[1]}, "
        "the value itself in \\boxed{}."
    )
    if not code:
        return f"{think} You have no tools. {answer}"
    example = render_code("print(12.5 * 9.1)", form)
    return (
        f"{think} When a computation is too heavy to do in your head, or a picture has to be "
        f"measured, cropped or redrawn, write Python between {form.code[0]} and {form.code[1]}, "
        f"as in\n{example}\nand stop: the code is run, and what it prints, the value of its last "
        f"expression and its figures come back between {form.output[0]} and {form.output[1]}; "
        "never write those tags yourself. Variables live on from cell to cell. The pictures of "
        "the question are PIL images image_1, image_2, ... Write code only when it is worth it. "
        f"{answer}"
    )


VOID_CELL = "(empty cell: nothing was executed)"
_FAILED = {
    "timeout": "TimeoutError: the cell ran out of time",
    "killed": "the cell was killed",
    "lost": "the sandbox was lost",
    "error": "Error",
}


def render_execution(execution: Execution, limit: int) -> str:
    r"""What the model reads between the output tags: at most ``limit`` characters plus a notice.

    In this order: what was printed, the value of the last expression, the error's last line, the
    number of pictures, and whether variables were lost. Nothing at all is said to be nothing.

    >>> render_execution(Execution(status="ok", stdout="3\n"), 100)
    '3'
    """
    parts = [execution.stdout.rstrip("\n")]
    if execution.value is not None:
        parts.append(execution.value)
    if execution.status != "ok":
        parts.append(_error_text(execution))
    if execution.images:
        parts.append(f"[{len(execution.images)} image{'s'[: len(execution.images) > 1]}]")
    if execution.state_lost:
        parts.append("(variables of earlier cells are gone)")
    text = "\n".join(part for part in parts if part)
    return _cut_middle(text or execution.stderr.rstrip("\n") or "(no output)", limit)


def _error_text(execution: Execution) -> str:
    error = execution.error
    if not error:
        return _FAILED[execution.status]
    return f"{error.get('type', 'Error')}: {error.get('message', '')}".removesuffix(": ")


def _cut_middle(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    head, tail = limit - limit // 2, limit // 2
    notice = f"\n... {len(text) - limit} characters cut ...\n"
    return text[:head] + notice + text[len(text) - tail :]
