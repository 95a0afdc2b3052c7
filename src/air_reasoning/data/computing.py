r"""Whether code computes: a cell that prints what was written into it computes nothing.

>>> computes("print(12.5 * 9.1)")
True
>>> computes("answer = 42\nprint(answer)"), computes("print(42 * 1)")
(False, False)

Computing is arithmetic whose result differs from what went in, a comparison, a call of anything but
printing and converting, or looking at a picture. Not guaranteed: that what is computed is what the
question needs.
"""

import ast
import operator
import re
from collections.abc import Callable, Iterator
from typing import Any

_SHOWING = {
    *("print", "display", "str", "int", "float", "repr", "format", "bool", "range", "complex"),
    *("list", "tuple", "dict", "set", "Fraction", "Decimal", "round"),
}
_SHOWING_METHODS = {"format", "strip", "join", "upper", "lower", "append", "update", "items"}
_FOLD: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul,
    ast.Div: operator.truediv, ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}  # fmt: skip
_IMAGE = re.compile(r"image_\d+\Z")
Numbers = dict[str, float]


def computes(code: str) -> bool:
    """Whether any part of the code computes; code that does not parse does not."""
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    known = _constants(tree)
    return any(_computes(node, known) for node in ast.walk(tree))


def literals(code: str) -> set[float]:
    """Every number that is written in the code, in strings too; none if it does not parse."""
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
    return set(_literals(tree))


def _literals(tree: ast.AST) -> Iterator[float]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or isinstance(node.value, bool):
            continue
        if isinstance(node.value, int | float):
            yield abs(float(node.value)) if abs(node.value) < 1e300 else 0.0
        elif isinstance(node.value, str):
            yield from (
                abs(float(text)) for text in re.findall(r"\d+(?:\.\d+)?", node.value[:2000])
            )


def _constants(tree: ast.AST) -> Numbers:
    """Names that are assigned one number and nothing else."""
    values: dict[str, list[ast.expr | None]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            target = node.targets[0]
            if isinstance(target, ast.Name):
                values.setdefault(target.id, []).append(node.value)
        elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            values.setdefault(node.target.id, []).append(None)
    known: Numbers = {}
    for name, assigned in values.items():
        number = _number(assigned[0], {}) if len(assigned) == 1 and assigned[0] else None
        if number is not None:
            known[name] = number
    return known


def _computes(node: ast.AST, known: Numbers) -> bool:
    match node:
        case ast.BinOp():
            return _changes(node, known)
        case ast.AugAssign():
            return True
        case ast.Compare():
            return _number(node.left, known) is None
        case ast.Name(id=name):
            return bool(_IMAGE.match(name))
        case ast.Call(func=ast.Name(id=name)):
            return name not in _SHOWING and bool(node.args or node.keywords)
        case ast.Call(func=ast.Attribute(attr=name)):
            return name not in _SHOWING_METHODS
        case _:
            return False


def _changes(node: ast.BinOp, known: Numbers) -> bool:
    """Whether the result is a new value: ``x * 1``, ``x + 0`` and joined texts are none."""
    sides = (node.left, node.right)
    if any(_is_text(side) for side in sides):
        return False
    left, right = (_number(side, known) for side in sides)
    if left is None and right is None:
        return True
    if left is not None and right is not None:
        result = _folded(node.op, left, right)
        return result is not None and result not in (left, right)
    neutral = {ast.Add: (0,), ast.Sub: (0,), ast.Mult: (1, 0), ast.Div: (1,), ast.Pow: (1,)}
    one = left if left is not None else right
    return one not in neutral.get(type(node.op), ())


def _folded(op: ast.operator, left: float, right: float) -> float | None:
    if isinstance(op, ast.Pow) and (abs(left) > 1e6 or abs(right) > 64):
        return float("inf")
    try:
        result = _FOLD[type(op)](left, right)
    except (KeyError, ArithmeticError, ValueError):
        return None
    return result if isinstance(result, int | float) else None


def _number(node: ast.expr, known: Numbers) -> float | None:
    match node:
        case ast.Constant(value=bool()):
            return None
        case ast.Constant(value=int() | float() as value):
            return value
        case ast.Name(id=name):
            return known.get(name)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            inner = _number(operand, known)
            return None if inner is None else -inner
        case _:
            return None


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
