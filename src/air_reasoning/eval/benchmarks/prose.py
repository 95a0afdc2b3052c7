"""Sentences, stated answers and refusals: what reading an answer off prose begins with.

Some benchmarks let a language model turn a response into a short answer before their own rules look
at it. Without that model ``prose_choice`` and ``prose_number`` stand in, by rules that know nothing
of the gold answer. Cost is linear in the response, of which only the first and the last ``WINDOW``
characters count.
"""

import re

from air_reasoning.answers import extract_answer

WINDOW = 4_000
SHORT = 3

_INVISIBLE = re.compile(r"[\u200b\ufeff]")
SENTENCE = re.compile(r"(?<=[.!?。])[\"'”’)]*\s+|\n+")
NEXT_QUESTION = re.compile(r"\n\s*(?:Question|Problem|问题)\s*\d*\s*[:：]")
NEXT_TURN = re.compile(r"\n\s*(?:Hint|Human|User)\s*:")
SOLVES = re.compile(r"\b(?:solution|answer)\b|therefore|答案|所以", re.I)
ANSWER = re.compile(
    r"\b(?:answers?|options?|choice|letter|result|conclusion)\b"
    r"(?:[ \t*_\"'(]|letter|to the question|for this (?:question|problem)|of the question)*"
    r"(?:is|are|was|would be|should be|must be|will be|:|=)[\s*_:\"'`]*(\S.*)"
    r"|(?:答案|选项)\s*(?:是|为|[:：])?\s*(\S.*)",
    re.I,
)
_CONCLUSION = re.compile(
    r"\b(?:therefore|thus|hence|so|in conclusion|consequently|overall|finally|as a result)\b"
    r"|所以|因此",
    re.I,
)
REFUSAL = re.compile(
    r"(?:cannot|can't|can not|could not|couldn't|not possible|impossible|unable|not able)"
    r"[^.]{0,60}(?:determin|answer|provid|tell|say|extract|comput|calculat|give|see|solv|view|"
    r"identif|process|assist|help)"
    r"|(?:not|n't) (?:\w+ )?(?:provide|give|specify|contain|include|have|mention)[^.]{0,30}"
    r"(?:information|detail|context|data)"
    r"|(?:insufficient|not enough|without)[^.]{0,30}(?:information|context|data|detail)"
    r"|not (?:valid|clear|sufficient|specified|provided)|none of the (?:options|choices|above)"
    r"|please provide",
    re.I,
)
NUMBER = re.compile(
    r"(?<![\w.])(?<!\w-)[-+−]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?!\d)|(?<![\w.])[-+−]?\.\d+"
)


def extract_marked(text: str) -> str:
    """The answer in a tag or a box, "" if there is neither."""
    found = extract_answer(text)
    return found.text if found.route in ("answer_tag", "boxed") else ""


def window(response: str) -> str:
    """The part that answers the question: up to where it goes on to a question of its own."""
    text = _INVISIBLE.sub("", response).strip()
    for marker in (NEXT_QUESTION, NEXT_TURN):
        text = marker.split(text, maxsplit=1)[0].strip() or text
    return text if len(text) <= 2 * WINDOW else text[:WINDOW] + "\n" + text[-WINDOW:]


def sentences(text: str) -> list[str]:
    """Conclusions from the last to the first, then the other sentences from the last.

    A short statement without a conclusion says its answer first.
    """
    found = [s.strip() for s in SENTENCE.split(text) if s and s.strip()]
    concluding = [s for s in found if _CONCLUSION.search(s)]
    if not concluding and len(found) <= SHORT:
        return found
    return [*reversed(concluding), *reversed([s for s in found if s not in concluding])]


def digits(text: str) -> str:
    """A number as ``float`` reads it: no thousands commas, an ASCII minus, no plus."""
    return text.replace(",", "").replace("−", "-").removeprefix("+")
