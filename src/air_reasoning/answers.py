r"""From a response to a verdict: extract the answer, compare it with the gold one.

    check_answer(Answer(value="1/2", type="expr"), r"<answer>\boxed{0.5}</answer>", [])
    # Verdict(correct=True, method="number", extracted="0.5", timed_out=False, route="answer_tag")

Extraction has one fixed order: ``<answer>``, the last brace-balanced ``\boxed{}``, "answer is" on
the last line, a fallback by type. Comparison is typed and needs no sympy for what models write
nearly always; only expressions it cannot read go to math-verify in a child process
(``math_verify_child``). Benchmarks' own quirks are not here: see ``eval/benchmarks``.
"""

import re
from dataclasses import dataclass
from typing import Literal

from air_reasoning.answer_values import normalize, parse_number, same_number, split_list
from air_reasoning.math_verify_child import verify
from air_reasoning.types import Answer, AnswerType, Trajectory

Route = Literal["answer_tag", "boxed", "phrase", "fallback", "none"]
Method = (
    Literal["none", "string", "choice", "number", "list", "text", "math_verify"]
    | Literal["nearest", "relaxed", "judge"]  # only by benchmarks' own rules
)

_ANSWER_TAG = re.compile(r"<answer>((?:(?!</?answer>).)*)</answer>", re.S)
_BRACE = re.compile(r"\\f?boxed\s*\{|[{}]|\\[{}]")
_PHRASE = re.compile(
    r"\b(?:answer|result|choice|option)\s*(?:\*\*|__)?\s*"
    r"(?:is|are|should be|would be|:|=)\s*:?\s*(.+)$",
    re.I,
)
_LAST_NUMBER = re.compile(r"(?<![\w.])[-+−]?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:\s*/\s*\d+)?\s*%?")
_LETTER = re.compile(
    r"^(?:option|choice|answer)?\s*(?:\(([A-Za-z])\)|([A-Za-z])(?:[.):,]|\s*$))(?!\w)", re.I
)
_PAREN_LETTER = re.compile(r"\(([A-Z])\)")
_NAMED_LETTER = re.compile(
    r"\b(?:option|choice|answer)\s+(?:is\s+)?\(?([A-Za-z])\)?(?![\w'])", re.I
)
_BARE_LETTER = re.compile(r"(?<![\w'])([B-HJ-Z]|A(?! [a-z]))(?![\w'])")
_MATHS = re.compile(r"[\\^=<>∪]|\d\s*[a-z]\b|[a-z]\s*[-+*/]", re.I)
_LATEX = re.compile(r"[\\^]")
_COMMAND = re.compile(r"\\(?:text|textbf|textrm|mathrm|mathbf|mbox)\s*\{[^{}]*\}|\\[a-zA-Z]+")
_UNKNOWN = re.compile(r"[a-df-hj-zA-Z]")
_FALLBACK_CHARS = 200
_TAIL_CHARS = 2_000


@dataclass(kw_only=True, slots=True, frozen=True)
class Extracted:
    """What a response answers, and by which route it was found; ``text`` is "" for ``none``."""

    text: str
    route: Route


@dataclass(kw_only=True, slots=True, frozen=True)
class Verdict:
    """``extracted`` is None if there was no answer; a time-out is incorrect and says so."""

    correct: bool
    method: Method
    extracted: str | None
    timed_out: bool = False
    route: Route = "none"


def answer_text(trajectory: Trajectory) -> str:
    """What may be scored: text that the model wrote after the last tool output, thoughts apart.

    Tool output never counts (a cell that prints the answer earns nothing), nor does code, nor what
    stands in ``<think>``: an intermediate number there is not an answer.
    """
    last = max((i for i, s in enumerate(trajectory.segments) if s.kind == "output"), default=-1)
    after = trajectory.segments[last + 1 :]
    return "".join(s.text for s in after if s.kind in ("text", "answer"))


def check_answer(answer: Answer, text: str, choices: list[str]) -> Verdict:
    """Extract from ``text`` and compare. Never raises for what a model wrote."""
    found = extract_answer(text, answer.type, choices)
    if found.route == "none":
        return Verdict(correct=False, method="none", extracted=None)
    correct, method, timed_out = compare(answer, found.text, choices)
    return Verdict(
        correct=correct,
        method=method,
        extracted=found.text,
        timed_out=timed_out,
        route=found.route,
    )


def extract_answer(
    text: str, kind: AnswerType = "text", choices: list[str] | None = None
) -> Extracted:
    r"""The answer of a response, by the first route that gives a non-empty one.

    ``extract_answer(r"so \boxed{4} or \boxed{\frac{1}{2}}")`` is ``\frac{1}{2}`` by ``boxed``.
    Linear in the length of ``text``.
    """
    if "</answer>" in text:
        for match in reversed(list(_ANSWER_TAG.finditer(text))):
            inner = match[1].strip()
            if inner:
                return Extracted(text=_unwrap(inner), route="answer_tag")
    boxed = _last_boxed(text)
    if boxed:
        return Extracted(text=boxed, route="boxed")
    tail = text[-_TAIL_CHARS:].strip()
    last_line = tail.rpartition("\n")[2]
    phrases = list(_PHRASE.finditer(last_line))
    if phrases and (phrase := _clean_phrase(phrases[-1][1])):
        return Extracted(text=phrase, route="phrase")
    fallback = _fallback(tail, kind, choices or [])
    return Extracted(text=fallback, route="fallback" if fallback else "none")


def compare(answer: Answer, given: str, choices: list[str]) -> tuple[bool, Method, bool]:
    """``(correct, method, timed_out)`` for an extracted answer; ``method`` is what settled it."""
    gold, given = answer.value.strip(), given.strip()
    if not given or not gold:
        return False, "none", False
    if choices:
        return _same_choice(gold, given, choices), "choice", False
    if gold == given:
        return True, "string", False
    if answer.type in ("int", "float"):
        return _compare_number(answer, gold, given)
    if answer.type == "choice":
        return _letter(given) == _letter(gold) is not None, "choice", False
    if normalize(gold).casefold() == normalize(given).casefold():
        return True, "string", False
    listed = _compare_list(gold, given, ordered=answer.type == "list")
    if listed is not None:
        return listed, "list", False
    return _compare_number(answer, gold, given)


def _compare_number(answer: Answer, gold: str, given: str) -> tuple[bool, Method, bool]:
    a, b = parse_number(_with_unit(gold, answer.unit)), parse_number(given)
    if a is not None and b is not None:
        if answer.unit == "%" and not b.percent:
            b = parse_number(given + "%") or b
        if answer.tolerance is not None and a.unit == b.unit:
            return abs(a.approx - b.approx) <= answer.tolerance * (1 + 1e-9), "number", False
        digits = answer.precision if answer.type == "float" else None
        return same_number(a, b, digits=digits), "number", False
    if normalize(gold).casefold() == normalize(given).casefold():
        return True, "string", False
    # Numbers are what training asks for all the time: garbage is not worth a question to the child.
    worth = _LATEX if answer.type in ("int", "float") else _MATHS
    if a is not None and _UNKNOWN.search(_COMMAND.sub("", given.rpartition("=")[2])):
        return False, "number", False  # an unknown is left, so it is no number
    if worth.search(given) and (a is not None or _MATHS.search(gold)):
        correct = verify(gold, given)
        return correct is True, "math_verify", correct is None
    return False, "text" if a is None else "number", False


def _with_unit(gold: str, unit: str) -> str:
    """The gold value with its unit written out, if it is not there already."""
    number = parse_number(gold) if unit else None
    bare = number is not None and not number.unit and not number.percent
    return f"{gold} {unit}" if bare and parse_number(f"{gold} {unit}") else gold


def _compare_list(gold: str, given: str, *, ordered: bool) -> bool | None:
    """None if neither side is a list.

    Sets and unbracketed lists have no order unless the type says ``list``. Round and square
    brackets are the same for tuples; for intervals (unlike brackets, or infinity) they are not.
    """
    a, b = split_list(gold), split_list(given)
    if a is None and b is None:
        return None
    if a is None or b is None:
        listed = a or b
        assert listed is not None
        return None if len(listed[2]) <= 1 else False
    interval = {a[0] + a[1], b[0] + b[1]} & {"[)", "(]"} or "∞" in "".join(a[2])
    if (interval and a[:2] != b[:2]) or len(a[2]) != len(b[2]):
        return False
    unordered = not ordered and (a[0] in ("", "{") or b[0] == "{")
    if not unordered:
        return all(_same_item(x, y) for x, y in zip(a[2], b[2], strict=True))
    left = list(b[2])
    for item in a[2]:
        match = next((other for other in left if _same_item(item, other)), None)
        if match is None:
            return False
        left.remove(match)
    return True


def _same_item(gold: str, given: str) -> bool:
    a, b = parse_number(gold), parse_number(given)
    if a is not None and b is not None:
        return same_number(a, b)
    nested = _compare_list(gold, given, ordered=True) if len(gold) + len(given) < 400 else None
    return nested or normalize(gold).casefold() == normalize(given).casefold()


def _same_choice(gold: str, given: str, choices: list[str]) -> bool:
    """Compare as option numbers: a letter wins, else the text of exactly one option."""
    wanted = _choice_index(gold, choices)
    return wanted is not None and _choice_index(given, choices) == wanted


def _choice_index(text: str, choices: list[str]) -> int | None:
    plain = normalize(text).casefold()
    exact = [i for i, choice in enumerate(choices) if normalize(choice).casefold() == plain]
    if len(exact) == 1:
        return exact[0]
    letter = _letter(text)
    if letter is not None and ord(letter) - ord("A") < len(choices):
        return ord(letter) - ord("A")
    value = parse_number(text)
    values = [parse_number(choice) for choice in choices] if value else []
    same = [i for i, v in enumerate(values) if v and value and same_number(v, value)]
    return same[0] if len(same) == 1 else None


def _letter(text: str) -> str | None:
    """``B`` for ``B``, ``(b)``, ``B.``, ``(B) twelve``, ``option B``; None for a word."""
    match = _LETTER.match(normalize(text).strip("*{} "))
    return (match[1] or match[2]).upper() if match else None


def _unwrap(inner: str) -> str:
    """Inside ``<answer>`` there may be a box or a sentence."""
    boxed = _last_boxed(inner)
    if boxed:
        return boxed
    phrases = list(_PHRASE.finditer(inner.rpartition("\n")[2]))
    return (_clean_phrase(phrases[-1][1]) if phrases else "") or inner


def _last_boxed(text: str) -> str:
    """The content of the box that opens last and is closed; "" if there is none."""
    start = text.rfind("boxed{")
    if start > 0:
        end = text.find("}", start)
        inner = text[start + 6 : end] if end > 0 else "{"
        if "{" not in inner and inner.strip():
            return inner.strip()
    if "boxed" not in text:
        return ""
    best, content, stack = -1, "", list[tuple[int, int]]()
    for match in _BRACE.finditer(text):
        if match[0] == "}" and stack:
            opened, inside = stack.pop()
            inner = text[inside : match.start()].strip()
            if opened > best and inner:
                best, content = opened, inner
        elif match[0].endswith("{") and match[0] != "\\{":
            stack.append((match.start() if "boxed" in match[0] else -1, match.end()))
    return content


def _clean_phrase(text: str) -> str:
    text = text.strip().strip("*_").strip()
    text = text.split(". ")[0].rstrip(".").strip("*_").strip()
    return text if len(text) <= _FALLBACK_CHARS else ""


def _fallback(tail: str, kind: AnswerType, choices: list[str]) -> str:
    """What a response without any marker most likely answers, by type; "" if nothing fits."""
    if not tail:
        return ""
    last_line = tail.rpartition("\n")[2].strip()
    if choices or kind == "choice":
        whole = _choice_index(last_line, choices) if choices else _letter(last_line)
        if whole is not None:
            return last_line
        letters = _PAREN_LETTER.findall(tail) or _NAMED_LETTER.findall(last_line)
        letters = letters or _BARE_LETTER.findall(last_line)
        return letters[-1] if letters else ""
    if kind in ("int", "float"):
        if len(tail) <= 40 and parse_number(tail) is not None:
            return tail
        numbers = _LAST_NUMBER.findall(tail)
        return numbers[-1].strip().rstrip(",") if numbers else ""
    return last_line if len(last_line) <= _FALLBACK_CHARS else ""
