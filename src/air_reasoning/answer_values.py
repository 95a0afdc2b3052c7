r"""Numbers, lists and units as people and LaTeX write them, by value and without sympy.

``parse_number(r"2\frac{1}{2}")`` is exactly 5/2, ``parse_number(r"3\sqrt{2}")`` the float
4.2426..., ``parse_number("about ten")`` is None. The grammar is a closed list and its cost is
bounded (length, depth and the size of powers are capped), so hostile text costs microseconds.
Anything it does not know is None, never a guess: ``answers`` then decides whether math-verify
should look at it.
"""

import math
import re
from dataclasses import dataclass
from fractions import Fraction

from air_reasoning.arithmetic import evaluate

MAX_CHARS = 200

_UNITS: dict[str, tuple[str, Fraction]] = {
    name: (dimension, Fraction(factor))
    for dimension, table in {
        "length": {"mm": "1/1000", "cm": "1/100", "dm": "1/10", "m": "1", "km": "1000"}
        | {"inch": "254/10000", "inches": "254/10000", "in": "254/10000"}
        | {"ft": "3048/10000", "feet": "3048/10000", "foot": "3048/10000"}
        | {"mile": "1609344/1000", "miles": "1609344/1000", "yard": "9144/10000"}
        | {"yards": "9144/10000", "meters": "1", "metres": "1", "meter": "1", "metre": "1"},
        "mass": {"mg": "1/1000", "g": "1", "kg": "1000", "grams": "1", "kilograms": "1000"},
        "time": {"s": "1", "sec": "1", "seconds": "1", "second": "1", "min": "60"}
        | {"minutes": "60", "minute": "60", "h": "3600", "hours": "3600", "hour": "3600"}
        | {"days": "86400", "day": "86400"},
        "volume": {"ml": "1/1000", "l": "1", "liters": "1", "litres": "1"},
        "angle": {"degrees": "1", "degree": "1", "deg": "1", "°": "1"},
        "money": {"$": "1", "dollars": "1", "dollar": "1", "cents": "1/100", "cent": "1/100"}
        | {"€": "1", "euro": "1", "euros": "1", "£": "1"},
        "count": {"units": "1", "unit": "1"},
        "speed": {"km/h": "1", "mph": "1609344/1000000", "m/s": "36/10"},
    }.items()
    for name, factor in table.items()
}

_LATEX = re.compile(
    r"\\[!,;: ]|\\(?:left|right|displaystyle|limits|quad)(?![a-zA-Z])|[\u200b\u00a0~]|\\\$|\$"
)
_WRAPPED = re.compile(r"\\(?:text|textbf|textrm|mathrm|mathbf|mbox|operatorname)\s*\{([^{}]*)\}")
_DEGREE = re.compile(r"\^\s*(?:\{\s*\\circ\s*\}|\\circ)|\\degree|º")
_THOUSANDS = re.compile(r"(?<![\d.])\d{1,3}(?:,\d{3})+(?![\d,])")
_LATEX_THOUSANDS = re.compile(r"(?<=\d)\{,\}(?=\d{3})")
_DECIMAL = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)")
_UNIT_TAIL = re.compile(r"\s*((?:square|cubic|sq\.?)?\s*[a-zA-Z$€£°/%]+)\s*(\^\{?[23]\}?|²|³)?\.?$")
_LABEL = re.compile(r"[a-zA-Z][a-zA-Z0-9_]{0,15}(?:\([a-z]\))?\s*(?:=|\\approx|≈)\s*")


@dataclass(kw_only=True, slots=True, frozen=True)
class Number:
    """A value: ``exact`` if rational, else only the float ``approx``.

    ``unit`` is as written, in lower case. ``percent`` has already divided the value by 100.
    ``digits`` is how many digits stood after the point of a plain decimal, None for anything else.
    """

    approx: float
    exact: Fraction | None = None
    unit: str = ""
    percent: bool = False
    digits: int | None = None


def normalize(text: str) -> str:
    r"""One spelling for what is only typography: LaTeX spacing, ``\text``, ``$``, signs.

    ``normalize(r"$ \text{12}\,cm$.") == "12 cm"``. Case is kept.
    """
    text = text.strip()
    if text.isalnum():
        return text
    for _ in range(3):
        text, count = _WRAPPED.subn(r" \1 ", text)
        if not count:
            break
    text = _DEGREE.sub("°", text)
    text = _LATEX_THOUSANDS.sub(",", text)
    text = text.replace("\\%", "%").replace("−", "-").replace("–", "-").replace("×", "*")
    text = text.replace("÷", "/").replace("·", "*")
    text = _LATEX.sub(lambda m: "" if m[0].startswith("\\!") else " ", text)
    text = " ".join(text.split())
    return text.removesuffix(".").rstrip() if not text.endswith("..") else text


def parse_number(text: str) -> Number | None:
    """The value of ``text``, or None if it is not one number.

    Knows integers, decimals, thousands commas, fractions, mixed numbers, percent, degrees, units,
    powers, scientific notation, pi, surds, brackets and ``name =`` before the value.
    """
    if len(text) > MAX_CHARS:
        return None
    text = normalize(text)
    plain = _plain(text)
    if plain is not None:
        return plain
    text = _LABEL.sub("", text, count=1) if "=" in text or "≈" in text or "approx" in text else text
    text = text.removeprefix("\\approx").removeprefix("≈").strip()
    text = _THOUSANDS.sub(lambda m: m[0].replace(",", ""), text)
    body, unit, percent = _split_unit(text)
    value = evaluate(body)
    if value is None:
        return None
    digits = len(body.partition(".")[2]) if _DECIMAL.fullmatch(body) else None
    return _number(value / 100 if percent else value, unit=unit, percent=percent, digits=digits)


def same_number(gold: Number, given: Number, *, digits: int | None = None) -> bool:
    """Whether two numbers are one value.

    Exact where both are rational, else to 1e-9 relative. ``digits`` rounds both first. A decimal
    with at least four digits also stands for an exact value that it is the rounding of (0.3333 for
    1/3); the other way round, and with fewer digits, it does not. Units convert within one
    dimension (0.05 m is 5 cm); a missing unit is taken as the other one's.
    """
    scale = _unit_ratio(gold.unit, given.unit)
    if scale is None:
        return False
    if digits is not None:
        return round(gold.approx, digits) == round(given.approx * float(scale), digits)
    if gold.exact is not None and given.exact is not None:
        if gold.exact == given.exact * scale:
            return True
    elif math.isclose(gold.approx, given.approx * float(scale), rel_tol=1e-9, abs_tol=1e-12):
        return True
    if given.digits is None or given.digits < 4 or gold.digits is not None:
        return False
    return abs(gold.approx - given.approx * float(scale)) <= 0.5000001 * 10**-given.digits


def split_list(text: str) -> tuple[str, str, list[str]] | None:
    """``(open, close, items)`` of a list, None for anything else.

    Lists are ``(1, 2)``, ``[1, 2)``, ``{1, 2}``, ``1, 2``, ``1 and 2`` and ``1 or 2``. Brackets are
    "" where there are none. Splits at top-level commas and semicolons only.
    """
    text = normalize(text).replace("\\{", "{").replace("\\}", "}").replace("\\infty", "∞")
    left, right = "", ""
    if len(text) > 1 and text[0] in "([{" and text[-1] in ")]}" and _wraps(text):
        left, right, text = text[0], text[-1], text[1:-1]
    if not left and _THOUSANDS.fullmatch(text):
        return None
    items = [item.strip() for item in re.split(r"\s+(?:and|or)\s+|[,;]\s*$", text)]
    items = [part.strip() for item in items for part in _split_top(item)]
    items = [item for item in items if item]
    return (left, right, items) if left or len(items) > 1 else None


def _plain(text: str) -> Number | None:
    """The commonest case, an integer or a decimal, without the grammar."""
    if not _DECIMAL.fullmatch(text):
        return None
    exact = Fraction(text)
    return Number(approx=float(exact), exact=exact, digits=len(text.partition(".")[2]))


def _number(
    value: "Fraction | float", *, unit: str, percent: bool, digits: int | None
) -> Number | None:
    try:
        approx = float(value)
    except OverflowError:
        return None
    if not math.isfinite(approx):
        return None
    exact = value if isinstance(value, Fraction) else None
    return Number(approx=approx, exact=exact, unit=unit, percent=percent, digits=digits)


def _split_unit(text: str) -> tuple[str, str, bool]:
    """``("5", "cm^2", False)`` for ``5 square cm``; only a unit of the list is cut off."""
    if text.endswith("%"):
        return text[:-1].rstrip(), "", True
    if text.startswith(("€", "£")):
        return text[1:].strip(), text[0], False
    match = _UNIT_TAIL.search(text)
    if match is None or match.start() == 0:
        return text, "", False
    name, power = match[1].lower(), match[2] or ""
    if name.endswith("percent"):
        return text[: match.start()].rstrip(), "", True
    for word, exponent in (("square", "^2"), ("sq.", "^2"), ("sq", "^2"), ("cubic", "^3")):
        if name.startswith(word):
            name, power = name[len(word) :].strip(), exponent
            break
    if name not in _UNITS:
        return text, "", False
    power = {"²": "^2", "³": "^3"}.get(power, power.replace("{", "").replace("}", ""))
    return text[: match.start()].rstrip(), name + power, False


def _unit_ratio(gold: str, given: str) -> Fraction | None:
    """What to multiply the given value with, None if the units do not belong together."""
    if not gold or not given or gold == given:
        return Fraction(1)
    gold_name, _, gold_power = gold.partition("^")
    given_name, _, given_power = given.partition("^")
    a, b = _UNITS.get(gold_name), _UNITS.get(given_name)
    if a is None or b is None or a[0] != b[0] or gold_power != given_power:
        return None
    return (b[1] / a[1]) ** int(gold_power or 1)


def _wraps(text: str) -> bool:
    """Whether the first bracket is closed by the last character: not so in ``(1)+(2)``."""
    depth = 0
    for index, char in enumerate(text):
        depth += (char in "([{") - (char in ")]}")
        if depth == 0:
            return index == len(text) - 1
    return False


def _split_top(text: str) -> list[str]:
    parts, depth, start = list[str](), 0, 0
    for index, char in enumerate(text):
        depth += (char in "([{") - (char in ")]}")
        if char in ",;" and depth == 0:
            parts.append(text[start:index])
            start = index + 1
    return [*parts, text[start:]]
