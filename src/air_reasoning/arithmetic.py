r"""A bounded calculator for answers: ``evaluate(r"2\frac{1}{2}")`` is ``Fraction(5, 2)``.

Decimals, fractions, mixed numbers, powers, roots, pi, brackets, in plain or LaTeX spelling. Depth
and the size of powers are capped and ``eval`` is not involved, so hostile text costs microseconds.
"""

import math
import re
from fractions import Fraction

MAX_CHARS = 2_000
MAX_DEPTH = 24
MAX_BITS = 16_384
_DIGITS = "0123456789."

_DECIMAL = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)")
_MIXED = re.compile(r"(-?)(\d+) +(\d+)/(\d+)")
_SCIENTIFIC = re.compile(
    r"([-+]?[\d.]+)(?:[eE]|\*10\^)(?:\{([-+]?\d+)\}|\(([-+]?\d+)\)|([-+]?\d+))"
)

# Token kinds of the little grammar; LaTeX commands become one token each.
_TOKEN = re.compile(r"\d+(?:\.\d*)?|\.\d+|\\[a-zA-Z]+|pi|sqrt|[-+*/^(){}\[\]π√]")
_SYMBOLS = {"\\cdot": "*", "\\times": "*", "\\div": "/", "\\pi": "π", "pi": "π"}
_SYMBOLS |= {
    "sqrt": "√",
    "\\sqrt": "√",
    "\\dfrac": "\\frac",
    "\\tfrac": "\\frac",
    "\\cfrac": "\\frac",
}


def evaluate(text: str) -> Fraction | float | None:
    """The value of an arithmetic expression, None for anything that is not one.

    Exact (a Fraction) while only whole powers and perfect squares occur, else a float.
    """
    if len(text) > MAX_CHARS:
        return None
    mixed = _MIXED.fullmatch(text)
    if mixed and int(mixed[4]):
        value = int(mixed[2]) + Fraction(int(mixed[3]), int(mixed[4]))
        return -value if mixed[1] else value
    compact = text.replace("\\times", "*").replace("\\cdot", "*").replace(" ", "")
    scientific = _SCIENTIFIC.fullmatch(compact)
    if scientific:
        exponent = int(scientific[2] or scientific[3] or scientific[4])
        if abs(exponent) <= 300 and _DECIMAL.fullmatch(scientific[1]):
            return Fraction(scientific[1]) * Fraction(10) ** exponent
        return None
    if re.search(r"\d\s+\d", text):
        return None
    tokens = _tokens(text)
    if not tokens:
        return None
    try:
        parser = _Parser(tokens)
        value = parser.sum(0)
        return value if parser.at_end else None
    except (_NotANumber, ZeroDivisionError, OverflowError):
        return None


def _tokens(text: str) -> list[str] | None:
    tokens, position = list[str](), 0
    for match in _TOKEN.finditer(text):
        if text[position : match.start()].strip():
            return None
        tokens.append(_SYMBOLS.get(match[0], match[0]))
        position = match.end()
    return None if text[position:].strip() else tokens


class _NotANumber(Exception):
    """The text left the grammar."""


class _Parser:
    """Recursive descent over the tokens: sum -> product -> power -> atom."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens = tokens
        self.position = 0

    @property
    def at_end(self) -> bool:
        return self.position == len(self.tokens)

    @property
    def next(self) -> str:
        return "" if self.at_end else self.tokens[self.position]

    def take(self, expected: str = "") -> str:
        token = self.next
        if not token or (expected and token != expected):
            raise _NotANumber
        self.position += 1
        return token

    def sum(self, depth: int) -> Fraction | float:
        if depth > MAX_DEPTH:
            raise _NotANumber
        value = self.product(depth)
        while self.next in ("+", "-"):
            sign = self.take()
            other = self.product(depth)
            value = value + other if sign == "+" else value - other
        return value

    def product(self, depth: int) -> Fraction | float:
        negative = False
        while self.next in ("+", "-"):
            negative ^= self.take() == "-"
        value = self.power(depth)
        while self.next and self.next not in ("+", "-", ")", "}", "]"):
            operator = self.take() if self.next in ("*", "/") else ""
            if (
                not operator
                and self.next[0] in _DIGITS
                and self.tokens[self.position - 1][0] in _DIGITS
            ):
                raise _NotANumber  # "12.5.3" is no product
            before, mixed = self.position, self.next == "\\frac" and not operator
            other = self.power(depth)
            if operator == "/":
                value = value / other
            elif mixed and self._is_mixed(before):
                value = value + other  # 2\frac{1}{2} is two and a half
            else:
                value = value * other
        return -value if negative else value

    def _is_mixed(self, start: int) -> bool:
        """A whole number right before a fraction of whole numbers, and nothing around them."""
        whole, inside = self.tokens[start - 1], self.tokens[start + 1 : self.position]
        return whole.isdigit() and all(t.isdigit() or t in "{}" for t in inside)

    def power(self, depth: int) -> Fraction | float:
        base = self.atom(depth)
        if self.next != "^":
            return base
        self.take()
        negative = self.next == "-" and bool(self.take())
        exponent = self.atom(depth)
        exponent = -exponent if negative else exponent
        if (
            isinstance(base, Fraction)
            and isinstance(exponent, Fraction)
            and exponent.denominator == 1
        ):
            bits = max(base.numerator.bit_length(), base.denominator.bit_length())
            if bits * abs(exponent) > MAX_BITS:
                raise _NotANumber
            return base ** int(exponent)
        return _real(float(base) ** float(exponent))

    def atom(self, depth: int) -> Fraction | float:
        if depth > MAX_DEPTH:
            raise _NotANumber
        token = self.take()
        match token:
            case "π":
                return math.pi
            case "√":
                return self.root(depth)
            case "\\frac":
                top, bottom = self.argument(depth), self.argument(depth)
                return top / bottom
            case "(" | "{" | "[":
                value = self.sum(depth + 1)
                self.take({"(": ")", "{": "}", "[": "]"}[token])
                return value
            case _ if token[0].isdigit() or token[0] == ".":
                return Fraction(token)
            case _:
                raise _NotANumber

    def argument(self, depth: int) -> Fraction | float:
        r"""A LaTeX argument: a group, or one digit (``\frac12``)."""
        token = self.next
        if token.isdigit() and len(token) > 1:
            self.tokens[self.position : self.position + 1] = [token[0], token[1:]]
        return self.atom(depth + 1)

    def root(self, depth: int) -> Fraction | float:
        degree = Fraction(2)
        if self.next == "[":
            self.take()
            degree = self.sum(depth + 1)
            self.take("]")
        value = self.argument(depth)
        if degree == 2 and isinstance(value, Fraction) and value >= 0:
            top, bottom = math.isqrt(value.numerator), math.isqrt(value.denominator)
            if top * top == value.numerator and bottom * bottom == value.denominator:
                return Fraction(top, bottom)
        if value < 0 and degree % 2 == 1:
            return -((-float(value)) ** (1 / float(degree)))
        return _real(float(value) ** (1 / float(degree)))


def _real(value: float | complex) -> float:
    if isinstance(value, complex):
        raise _NotANumber
    return value
