r"""OlympiadBench's judge (``inference/code/math_judger.py``): lists, intervals, values, equations.

    official_equal(r"\boxed{2}, \boxed{\frac{1}{2}}", "0.5,2", [1e-8])     # True

Answers are split at commas outside brackets, ``\pm`` counts twice, and the items are paired off.
Two items are equal as text, as intervals, as numbers (also a hundredfold or hundredth: percent), as
expressions or as equations that are multiples of each other. Expressions have values here by
``arithmetic``, and go to math-verify in a killable child where they have not; officially sympy
reads them, without a deadline.
"""

import re
import time

from air_reasoning.arithmetic import evaluate
from air_reasoning.math_verify_child import DEADLINE_S, verify

SLACK = 1.01
MAX_ITEMS = 20
PATIENCE = 4  # deadlines for all items of one answer together
_REPLACED = {
    **{"\\left": "", "\\right": "", "∶": ":", "，": ",", "$": "", "\\approx": "="},
    **{"\\simeq": "=", "\\sim": "=", "^\\prime": "'", "^{\\prime}": "'", "^\\circ": "", "%": ""},
}
_ENDS = "\n$,.:;^_=+`!@#%&*~，。"
_CHINESE = re.compile(r"[\u4e00-\u9fff]+")
_DOLLARS = re.compile(r"\$(.*?)\$")
_FONT = re.compile(r"\\(?:mathrm|mathbf)\{~?([^}]*)\}")
_FINAL = {
    False: re.compile(r"So the final answer is (.*)"),
    True: re.compile(r"所以最终答案是(.*)"),
}


def official_answer(response: str, *, chinese: bool) -> str:
    """What follows the last "So the final answer is", else the whole response."""
    found = _FINAL[chinese].findall(response)
    return found[-1].strip() if found else response


def official_equal(given: str, gold: str, tolerances: list[float]) -> bool | None:
    """Whether the judge takes two answers for equal; None if that takes too long."""
    a, b = _prepared(given), _prepared(gold)
    if a is None or b is None or not a.strip():
        return False
    if a == b:
        return True
    ours = _signs(_split(_CHINESE.sub("", a)))
    theirs = _signs(_split(_CHINESE.sub("", b)))
    if len(ours) != len(theirs) or len(ours) > MAX_ITEMS:
        return False
    bounds = tolerances * len(theirs) if len(tolerances) == 1 else tolerances
    several = len(ours) > 1
    if several:
        verify("x", "x")  # a child's start is not part of the deadline
    until = time.monotonic() + PATIENCE * DEADLINE_S
    for item, bound in zip(theirs, [*bounds, *([1e-8] * len(theirs))], strict=False):
        for other in ours:
            equal = _same(item, other, bound)
            if equal is None or (several and time.monotonic() > until):
                return None
            if equal:
                ours.remove(other)
                break
        else:
            return False
    return True


def _prepared(text: str) -> str | None:
    r"""The content of all boxes, else the formulas of the last line; None for an open box."""
    boxes = list[str]()
    for match in re.finditer(r"\\boxed\{", text):
        end = _closing(text, match.end())
        if end is None:
            return None
        boxes.append(text[match.end() : end])
    formulas = boxes or _DOLLARS.findall(text.strip().split("\n")[-1])
    text = "".join(f"{formula}," for formula in formulas) or text
    if "\\in " in text:
        text = text.split("\\in ")[1]
    for old, new in _REPLACED.items():
        text = text.replace(old, new)
    return _FONT.sub(r"\1", text.strip(_ENDS))


def _closing(text: str, start: int) -> int | None:
    depth = 1
    for index in range(start, len(text)):
        depth += (text[index] == "{") - (text[index] == "}")
        if depth == 0:
            return index
    return None


def _split(text: str) -> list[str]:
    parts, depth, start = list[str](), 0, 0
    for index, char in enumerate(text):
        depth += (char in "([") - (char in ")]")
        if char == "," and depth == 0:
            parts.append(text[start:index].strip())
            start = index + 1
    return [*parts, text[start:].strip()] if start < len(text) else parts


def _signs(items: list[str]) -> list[str]:
    found = list[str]()
    for item in items:
        both = [item.replace("\\pm", sign) for sign in "+-"]
        found += both if "\\pm" in item else [item]
    return found


def _same(gold: str, given: str, bound: float) -> bool | None:
    if gold and gold == given:
        return True
    if _is_interval(gold) and _is_interval(given) and _same_intervals(gold, given, bound):
        return True
    if "=" in gold and "=" in given:
        return _same_equations(gold, given)
    return _same_values(_right(gold), _right(given), bound)


def _same_values(gold: str, given: str, bound: float) -> bool | None:
    a, b = evaluate(gold), evaluate(given)
    if a is not None and b is not None:
        scales = (1.0, 0.01, 100.0) if _plain(gold) and _plain(given) else (1.0,)
        return any(abs(float(a) * scale - float(b)) <= bound * SLACK for scale in scales)
    return verify(gold, given)


def _plain(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _right(text: str) -> str:
    return text.split("=")[1].strip() if "=" in text else text


def _same_equations(gold: str, given: str) -> bool | None:
    """One moved to one side is a multiple of the other."""
    if gold.count("=") != 1 or given.count("=") != 1:
        return False
    return verify(gold, given)


def _is_interval(text: str) -> bool:
    return text.startswith(("(", "[")) and text.endswith((")", "]"))


def _same_intervals(gold: str, given: str, bound: float) -> bool:
    a, b = gold.split("\\cup"), given.split("\\cup")
    return len(a) == len(b) and all(
        _same_interval(x.strip(), y.strip(), bound) for x, y in zip(a, b, strict=True)
    )


def _same_interval(gold: str, given: str, bound: float) -> bool:
    if not gold or not given or (gold[0], gold[-1]) != (given[0], given[-1]):
        return False
    ends = zip(gold.strip("[]()").split(","), given.strip("[]()").split(","), strict=False)
    return all(x.strip() == y.strip() or _same_values(x, y, bound) is True for x, y in ends)
