"""Which option a response in prose chooses, by rules: a letter, its words, its value.

``read_choice`` gives an option's letter, or words that stand for "no answer", as an extractor model
would; what becomes of a letter that no option has is the benchmark's affair.
"""

import re
from collections import Counter
from collections.abc import Sequence

from air_reasoning.eval.benchmarks.prose import (
    ANSWER,
    NEXT_QUESTION,
    NEXT_TURN,
    NUMBER,
    REFUSAL,
    SENTENCE,
    SOLVES,
    WINDOW,
    digits,
    extract_marked,
    sentences,
    window,
)

NO_ANSWER = "N/A"
UNDETERMINED = "Cannot be determined"

_LEADING = re.compile(
    r"^\W{0,3}(?:option |choice |answer:?\s*)?\(?([A-Z])(?:\s*[).:,]|\s+-(?=\s)|\s*(?=\n)|\W*$)",
)
_PRAISED = re.compile(r"(?<!\w)\(?([A-Z])\)? is (?:the )?(?:correct|right|best)\b|选项([A-Z])")
_FINAL_LETTER = re.compile(
    r"(?:^|\n)\W*([A-Z])\W*$"
    r"|(?:\bis|\bbe|\bchoose|\bselect|是|为|:)[\s\"'(*]*([A-Z])[\s\"').*]*$"
)
_PARENTHESES = re.compile(r"[(（]([A-Z])[)）]")
_LETTER = re.compile(r"^\W*(?:option|choice)?\W*([A-Z])(?![\w'’]|\s+[a-z])")
_UNDETERMINED = re.compile(
    r"cannot be (?:determined|answered)|cannot determine|cannot answer", re.I
)
_YES_OR_NO = re.compile(r"\b(?:yes|no|true|false)\b", re.I)
_NEGATION = re.compile(r"\b(?:not|no|cannot|never|neither|none)\b|n't\b", re.I)
_MORE = re.compile(r"\b(?:more|greater|larger|higher|bigger|above|exceeds?)\b", re.I)
_LESS = re.compile(r"\b(?:less|fewer|smaller|lower|below)\b", re.I)
_SAME = re.compile(r"\b(?:same|equal)\b", re.I)
_COMPARED = re.compile(
    r"\b(?:than|compared (?:to|with)|rather than|instead of|unlike|as opposed to)\b", re.I
)
_EMPTY_WORDS = frozenset(
    {"the", "a", "an", "of", "it", "to", "in", "on", "at", "be", "i", "is", "are", "was", "were"}
    | {"would", "will", "and", "or"}
)
_TOKEN = re.compile(r"\w+")
_YES, _NO = re.compile(r"^\W*(?:yes|true)\b", re.I), re.compile(r"^\W*(?:no|false)\b", re.I)


def read_choice(response: str, question: str, choices: Sequence[str]) -> str:
    """The letter of the option that a response chooses, ``NO_ANSWER`` or its like if it refuses.

    ``read_choice("The length is 8.5 inches.", "How long?", ["7.5", "8", "8.5"])`` is "C". A letter
    that no option has is given as it is.
    """
    text = window(response)
    for candidate in (text, extract_marked(text)):
        if candidate and (found := _exact(candidate, choices)) is not None:
            return _letter(found)
    found = _stated_choice(text, choices)
    if found:
        return found
    if _is_yes_no(choices):
        return _yes_or_no(text, question, choices)
    if REFUSAL.search(text):
        return _refusal(text)
    return _mentioned(text, choices)


def read_last_question(response: str, question: str) -> str:
    """What a response answers that goes on to ask and answer questions of its own; else "".

    Of the last of these questions: the number of its last sentences, else the letter it gives. A
    model that was shown worked examples goes on like this, and an extractor model reads the end.
    """
    parts = NEXT_QUESTION.split(response[-2 * WINDOW :])
    repeats = parts[-1].lstrip().startswith(question[:40])
    if len(parts) == 1 or repeats or NEXT_TURN.search(response):
        return ""
    if not SOLVES.search(parts[-1]):
        return "" if "(A)" in parts[-1] else "No answer provided."
    said = [s.strip() for s in SENTENCE.split(parts[-1]) if s and s.strip()]
    for sentence in reversed(said[-2:]):
        if numbers := NUMBER.findall(sentence):
            return digits(numbers[-1])
    stated = list(ANSWER.finditer(parts[-1]))
    letter = _LETTER.match(stated[-1][1] or stated[-1][2]) if stated else None
    return letter[1] if letter is not None else ""


def _plain(text: str) -> str:
    text = text.casefold().replace("-", " ") if text.count("-") < 3 else text.casefold()
    for sign in "\\${}":
        text = text.replace(sign, "")
    return " ".join(text.split()).strip(" .\"'*")


def _letter(index: int) -> str:
    return chr(ord("A") + index)


def _exact(text: str, choices: Sequence[str]) -> int | None:
    plain = _plain(text)
    same = [i for i, choice in enumerate(choices) if _plain(choice) == plain]
    return same[0] if len(same) == 1 else None


def _refusal(text: str) -> str:
    stated = _UNDETERMINED.findall(text)
    return stated[-1].capitalize() if stated else NO_ANSWER


def _stated_choice(text: str, choices: Sequence[str]) -> str:
    """By a tag or box, a letter in front, "the answer is", or a letter at the end."""
    marked = extract_marked(text)
    if marked and (found := _named(marked, choices)):
        return found
    leading = _LEADING.match(text)
    if leading is not None:
        rest = text[leading.end() :].split("\n")[0].lstrip(" -:")
        exact = _exact(rest, choices)
        if exact is None and _is_yes_no(choices) and (_YES.match(rest) or _NO.match(rest)):
            exact = _yes_index(choices) if _YES.match(rest) else 1 - _yes_index(choices)
        return _letter(exact) if exact is not None else leading[1]
    for match in reversed(list(ANSWER.finditer(text))):
        if found := _named(match[1] or match[2], choices):
            return found
    praised = _PRAISED.search(text)
    if praised is not None:
        return praised[1] or praised[2]
    final = _FINAL_LETTER.search(text)
    return (final[1] or final[2]) if final is not None else ""


def _named(text: str, choices: Sequence[str]) -> str:
    """The option that a short text names: by letter, else by its words or value."""
    line = SENTENCE.split(text.strip())[0] if text.strip() else ""
    for pattern in (_PARENTHESES, _LETTER):
        match = pattern.search(line)
        if match is not None:
            return match[1]
    return _last_mention(line, choices)


def _last_mention(text: str, choices: Sequence[str]) -> str:
    """The option whose text stands last in ``text``, of nested ones the longest; else ""."""
    mentions = _mentions(text, choices)
    if mentions:
        return _letter(max(mentions)[2])
    numbers = [float(digits(m[0])) for m in NUMBER.finditer(text)]
    for number in reversed(numbers):
        same = [i for i, choice in enumerate(choices) if _value(choice) == number]
        if len(same) == 1:
            return _letter(same[0])
    return ""


def _value(choice: str) -> float | None:
    """The number of an option that is one number with or without a unit."""
    numbers = NUMBER.findall(choice)
    alone = len(numbers) == 1 and len(choice) <= len(numbers[0]) + 3 and "/" not in choice
    return float(digits(numbers[0])) if alone else None


def _mentions(text: str, choices: Sequence[str]) -> list[tuple[int, int, int]]:
    """(end, length, index) of each option's last mention."""
    plain = _plain(text)
    found = list[tuple[int, int, int]]()
    for index, choice in enumerate(choices):
        words = _plain(choice)
        if not words or (len(words) == 1 and words.isalpha()):
            continue
        pattern = r"(?<![\w.])" + re.escape(words) + r"(?![\w]|\.\d)"
        last = max((m.end() for m in re.finditer(pattern, plain)), default=-1)
        if last >= 0:
            found.append((last, len(words), index))
    return found


def _mentioned(text: str, choices: Sequence[str]) -> str:
    """The first sentence, in the order of ``sentences``, that names an option."""
    for sentence in sentences(text):
        for part in (_COMPARED.split(sentence)[0], sentence):
            if found := _last_mention(part, choices):
                return found
        letters = _PARENTHESES.findall(sentence)
        if letters:
            return letters[-1]
    return _by_own_words(text, choices)


def _by_own_words(text: str, choices: Sequence[str]) -> str:
    """The option of which most words that no other option has are in the text, if it is one."""
    words = [_stems(choice) for choice in choices]
    shared = {word for word, n in Counter(w for own in words for w in own).items() if n > 1}
    said = _stems(text)
    hits = [len((own - shared) & said) for own in words]
    best = max(hits, default=0)
    return _letter(hits.index(best)) if best and hits.count(best) == 1 else NO_ANSWER


def _stems(text: str) -> set[str]:
    """Words without a plural's end and without those that carry no meaning."""
    return {word.removesuffix("s") for word in _TOKEN.findall(_plain(text))} - _EMPTY_WORDS


def _is_yes_no(choices: Sequence[str]) -> bool:
    return sorted(_plain(choice) for choice in choices) in (["no", "yes"], ["false", "true"])


def _yes_index(choices: Sequence[str]) -> int:
    return [_plain(choice) in ("yes", "true") for choice in choices].index(True)


def _yes_or_no(text: str, question: str, choices: Sequence[str]) -> str:
    """By the first word, else by whether the statement agrees with the question."""
    yes = _yes_index(choices)
    said = sentences(text)
    for sentence in (text, *said):
        if _YES.match(sentence) or _NO.match(sentence):
            return _letter(yes if _YES.match(sentence) else 1 - yes)
    if REFUSAL.search(text):
        return _refusal(text)
    words = [w.casefold() for s in said[:1] for w in _YES_OR_NO.findall(s)]
    if words and words[-1] in ("yes", "true"):
        return _letter(yes)
    statement = _closest(question, said) or text
    if _plain(statement).rstrip("?") == _plain(question).rstrip("?"):
        return UNDETERMINED
    return _letter(yes if _agrees(statement, question) else 1 - yes)


def _closest(question: str, said: Sequence[str]) -> str:
    """The sentence that shares most words with the question, of equals the first given."""
    asked = set(_TOKEN.findall(question.casefold()))
    shared = [len(asked & set(_TOKEN.findall(s.casefold()))) for s in said]
    return said[shared.index(max(shared))] if said else ""


def _agrees(statement: str, question: str) -> bool:
    if bool(_NEGATION.search(statement)) != bool(_NEGATION.search(question)):
        return False
    for asked, opposite in ((_MORE, _LESS), (_LESS, _MORE)):
        if asked.search(question) and not asked.search(statement):
            return not (opposite.search(statement) or _SAME.search(statement))
    return True
