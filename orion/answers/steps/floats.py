"""The value of an expression without letters as a float.

Input: a `Node`. Output: a float, None if there is none or it may be inexact. Used to compare with
rounded numbers and for inequalities; equality is never decided by it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from orion.answers.parsing.tree import Node

_FUNCTIONS: dict[str, Callable[[float], float]] = {
    "sin": math.sin, "cos": math.cos, "tan": math.tan, "arcsin": math.asin, "arccos": math.acos,
    "arctan": math.atan, "ln": math.log, "exp": math.exp, "abs": abs, "floor": math.floor,
    "ceil": math.ceil, "log10": math.log10, "sinh": math.sinh, "cosh": math.cosh, "tanh": math.tanh,
    "sec": lambda x: 1 / math.cos(x), "csc": lambda x: 1 / math.sin(x),
    "cot": lambda x: 1 / math.tan(x),
}  # fmt: skip


def approximate(node: Node) -> float | None:
    """The value of a tree, None if it has none or holds what is not understood."""
    try:
        value = _value(node)
    except (ValueError, OverflowError, ZeroDivisionError, TypeError, KeyError, RecursionError):
        return None
    return value if math.isfinite(value) else None


def _value(node: Node) -> float:
    kind, args = node.kind, node.args
    if kind == "num":
        return float(node.value)
    if kind == "const":
        return {"pi": math.pi, "e": math.e}[node.value]
    if kind == "add":
        return math.fsum(_value(arg) for arg in args)
    if kind == "mul":
        return math.prod(_value(arg) for arg in args)
    if kind == "pow":
        base, exponent = _value(args[0]), _value(args[1])
        if base < 0 and args[1].kind == "num" and args[1].value.denominator % 2:
            sign = -1.0 if args[1].value.numerator % 2 else 1.0
            return sign * float(abs(base) ** exponent)
        return float(math.pow(base, exponent))
    if kind == "pct":
        return _value(args[0]) / 100
    if kind == "deg":
        return math.radians(_value(args[0]))
    if kind in ("fact", "binom"):
        values = [_value(arg) for arg in args]
        if any(v != int(v) or not 0 <= v <= 400 for v in values):
            raise ValueError(kind)
        whole = [int(v) for v in values]
        return float(math.factorial(whole[0]) if kind == "fact" else math.comb(*whole))
    if kind == "fn" and len(args) == 1:
        return float(_FUNCTIONS[node.value](_value(args[0])))
    if kind == "fn" and node.value == "log" and len(args) == 2:
        return math.log(_value(args[0])) / math.log(_value(args[1]))
    raise ValueError(kind)
