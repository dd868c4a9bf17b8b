"""The process behind the guard: builds sympy objects from a JSON tree and judges whether two are equal.

Inputs: one JSON object a line on stdin, {"left": tree, "right": tree, "cpu_s": seconds}. Outputs: one JSON object a line on
stdout, {"equal": true | false | null}. Started by `guard`, and the only module that imports sympy.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time

from orion.answers.tokens import words

ADDRESS_SPACE = 2 << 30


def _limit(cpu_s: float) -> None:
    """From here on this process may use `cpu_s` more seconds of CPU; the kernel kills it beyond."""
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    soft = int(used.ru_utime + used.ru_stime + cpu_s) + 2
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def _limit_memory() -> None:
    import resource

    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    limit = ADDRESS_SPACE if hard == resource.RLIM_INFINITY else min(ADDRESS_SPACE, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _die_with(parent: int) -> None:
    """Ends this process soon after its parent is gone, even while it is busy."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def build(tree: list):
    """A sympy expression from a JSON tree; raises ValueError for a kind that has none. Nothing is parsed from strings."""
    import sympy as sp

    kind, value, args = tree[0], tree[1], [build(a) for a in tree[2:]]
    if kind == "num":
        return sp.Rational(int(value[0], 16), int(value[1], 16))
    if kind == "sym":
        return sp.Symbol(value, real=True)
    if kind == "const":
        return {"pi": sp.pi, "e": sp.E, "i": sp.I, "inf": sp.oo}[value]
    if kind == "add":
        return sp.Add(*args)
    if kind == "mul":
        return sp.Mul(*args)
    if kind == "pow":
        return sp.Pow(*args)
    if kind == "pct":
        return args[0] / 100
    if kind == "deg":
        return args[0] * sp.pi / 180
    if kind in ("fact", "binom"):
        return (sp.factorial if kind == "fact" else sp.binomial)(*args)
    if kind == "fn":
        names = {"arcsin": "asin", "arccos": "acos", "arctan": "atan", "arccot": "acot", "arcsec": "asec", "arccsc": "acsc",
                 "ln": "log", "abs": "Abs", "ceil": "ceiling", "min": "Min", "max": "Max"}  # fmt: skip
        if value == "log10":
            return sp.log(args[0], 10)
        if value in _ALLOWED:
            return getattr(sp, names.get(value, value))(*args)
    raise ValueError(kind)


_ALLOWED = words(
    "sin cos tan cot sec csc arcsin arccos arctan arccot arcsec arccsc sinh cosh tanh coth ln log exp abs gcd lcm"
    " min max floor ceil sign"
)


def equal(left: list, right: list) -> bool | None:
    """Whether sympy proves two trees equal (True) or different (False); None where it can do neither."""
    import sympy as sp

    gap = build(left) - build(right)
    if gap == 0 or sp.simplify(gap) == 0:
        return True
    return gap.equals(0)


def main() -> None:
    """Reads tasks from stdin until it closes."""
    parent = os.getppid()
    _limit_memory()
    _limit(60)
    _die_with(parent)
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    import sympy

    sympy.simplify(sympy.sin(sympy.Symbol("x")) ** 2 - 1)
    print(json.dumps({"ready": True}), file=out)
    for line in sys.stdin:
        task = json.loads(line)
        _limit(task["cpu_s"])
        try:
            answer: dict[str, bool | str | None] = {"equal": equal(task["left"], task["right"])}
        except MemoryError:
            answer = {"equal": None, "why": "out of memory"}
        except Exception as error:
            answer = {"equal": None, "why": type(error).__name__}
        print(json.dumps(answer), file=out)
