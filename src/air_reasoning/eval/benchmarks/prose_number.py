"""Which number a response in prose answers with, by rules."""

import re

from air_reasoning.eval.benchmarks.prose import (
    ANSWER,
    NUMBER,
    REFUSAL,
    SENTENCE,
    digits,
    extract_marked,
    sentences,
    window,
)

_FRACTION = re.compile(r"(?<![\w./])(\d+)\s*/\s*(\d+)(?![\w/])|\\d?frac\{(\d+)\}\{(\d+)\}")
_STATED = re.compile(
    r"(?:\b(?:is|are|was|were|be|gets?|has|have|equals?)|=|≈|:)\s+(?:[^\W\d]+\s+){0,3}?[$\\(*]*"
    r"([-+−]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?)(?![\w.]*\d)",
    re.I,
)
_WORDS = [
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen"),
    *("eighteen", "nineteen", "twenty"),
]
_WORD_NUMBER = re.compile(r"\b(?:" + "|".join(_WORDS) + r")\b", re.I)
_NONE = re.compile(r"\b(?:there (?:is|are) (?:no|not any)|none of|no )\b", re.I)


def read_number(response: str, question: str) -> str:
    """The number that a response answers with, without thousands commas; "" if there is none.

    A number that the question does not hold wins over one that it repeats:
    ``read_number("2 items sold less than 5 units", "How many sold less than 5 units?")`` is "2".
    """
    text = window(response)
    marked = extract_marked(text)
    if marked and (number := _first_number(marked)):
        return number
    for match in reversed(list(ANSWER.finditer(text))):
        number = _first_number(SENTENCE.split(match[1] or match[2])[0])
        if number:
            return number
    if REFUSAL.search(text):
        return ""
    repeated = {digits(m[0]) for m in NUMBER.finditer(question)}
    for sentence in sentences(text):
        number = _answering_number(sentence, repeated)
        if number:
            return number
    return ""


def _first_number(text: str) -> str:
    match, word = NUMBER.search(text), _WORD_NUMBER.search(text)
    if match is not None and (word is None or match.start() < word.start()):
        fraction = _FRACTION.search(text)
        if fraction is not None and fraction.start() <= match.start():
            return _quotient(fraction)
        return digits(match[0])
    return str(_WORDS.index(word[0].casefold())) if word is not None else ""


def _quotient(match: re.Match[str]) -> str:
    top, bottom = (int(match[1]), int(match[2])) if match[1] else (int(match[3]), int(match[4]))
    return str(top / bottom) if bottom else ""


def _answering_number(sentence: str, repeated: set[str]) -> str:
    """A stated number that is new, else the last new one, a number word, the last number."""
    tail = sentence.rpartition("=")[2]
    stated = [digits(m[1]) for m in _STATED.finditer(sentence)] if "=" not in sentence else []
    numbers = [digits(m[0]) for m in NUMBER.finditer(tail)] or [
        digits(m[0]) for m in NUMBER.finditer(sentence)
    ]
    for number in (*stated[:1], *reversed(numbers)):
        if number not in repeated:
            return number
    words = _WORD_NUMBER.findall(sentence)
    if words:
        return str(_WORDS.index(words[0].casefold()))
    if numbers:
        return numbers[-1]
    return "0" if _NONE.search(sentence) else ""
