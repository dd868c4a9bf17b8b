"""The worker process: serves one task, `equal` or `math_verify`, and alone imports its packages.

Input: the name of the task, then one JSON object per line on stdin: {"left": tree, "right": tree,
"cpu_s": seconds} for `equal`, {"response": text or null, "gold": text, "cpu_s": seconds} for
`math_verify`. Output: one JSON object per line on stdout: first {"ready": true}, or false and why,
then {"equal": true | false | null} or the answer of `math_verify`. Started by `pool`.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable

from orion.answers.parsing.vocabulary import word_set

ADDRESS_SPACE = 2 << 30
# characters of a printed form that cross the pipe
MAX_FORM = 2_000
# names of functions in our trees → in sympy, where they differ
_SYMPY_NAMES = {
    "arcsin": "asin", "arccos": "acos", "arctan": "atan",
    "arccot": "acot", "arcsec": "asec", "arccsc": "acsc",
    "arcsinh": "asinh", "arccosh": "acosh", "arctanh": "atanh",
    "ln": "log", "abs": "Abs", "ceil": "ceiling", "min": "Min", "max": "Max",
}  # fmt: skip
# functions that a tree may hold; nothing else is looked up in sympy
_ALLOWED = word_set(
    "sin cos tan cot sec csc arcsin arccos arctan arccot arcsec arccsc sinh cosh tanh coth"
    " ln log exp abs gcd lcm min max floor ceil sign arcsinh arccosh arctanh"
)


def _limit_cpu(cpu_s: float) -> None:
    """Allows this process `cpu_s` more seconds of CPU; beyond them the kernel kills it."""
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    soft = int(used.ru_utime + used.ru_stime + cpu_s) + 2
    resource.setrlimit(
        resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard)
    )


def _limit_memory() -> None:
    import resource

    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    limit = ADDRESS_SPACE if hard == resource.RLIM_INFINITY else min(ADDRESS_SPACE, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _watch_parent(parent: int) -> None:
    """Starts a thread that ends this process soon after its parent is gone, even if it is busy."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def build_expression(tree: list):
    """A sympy expression from a JSON tree; raises ValueError for a kind that sympy does not have.

    Nothing is parsed from strings.
    """
    import sympy as sp

    kind, value, args = tree[0], tree[1], [build_expression(a) for a in tree[2:]]
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
    if kind in ("sum", "prod"):
        return (sp.summation if kind == "sum" else sp.product)(args[0], tuple(args[1:]))
    if kind == "int":
        return sp.integrate(args[0], tuple(args[1:]))
    if kind == "fn":
        if value == "log10":
            return sp.log(args[0], 10)
        if value in _ALLOWED:
            return getattr(sp, _SYMPY_NAMES.get(value, value))(*args)
    raise ValueError(kind)


def prove_equal(left: list, right: list) -> bool | None:
    """Whether sympy proves two trees equal (True) or different (False); None if neither."""
    import sympy as sp

    gap = build_expression(left) - build_expression(right)
    if gap == 0 or sp.simplify(gap) == 0:
        return True
    return gap.equals(0)


def _prepare_equal() -> Callable[[dict], dict]:
    import sympy

    sympy.simplify(sympy.sin(sympy.Symbol("x")) ** 2 - 1)
    return lambda question: {"equal": prove_equal(question["left"], question["right"])}


class _LimitListener(logging.Handler):
    """Catches two failures that Math-Verify only logs: its own timeouts and lack of memory."""

    def __init__(self) -> None:
        super().__init__()
        self.limit = ""

    def emit(self, record: logging.LogRecord) -> None:
        kind = record.exc_info[0] if record.exc_info else None
        if kind is not None and issubclass(kind, MemoryError):
            self.limit = "out of memory"
        elif record.levelno >= logging.WARNING and str(record.msg).startswith("Timeout"):
            self.limit = "its own time limit"


def _print_side(parsed: list) -> dict:
    """The text that Math-Verify found and its printed expression (null: a text), both truncated."""
    from math_verify.errors import TimeoutException
    from math_verify.utils import timeout

    text = next((p for p in parsed if isinstance(p, str)), None)
    form = None
    if parsed and not isinstance(parsed[0], str):
        try:
            # printing an expression can take for ever, as comparing it can
            form = timeout(1)(str)(parsed[0])[:MAX_FORM]
        except (Exception, TimeoutException):
            form = "(not printable)"
    return {"found": bool(parsed), "text": None if text is None else text[:MAX_FORM], "form": form}


def _prepare_math_verify() -> Callable[[dict], dict]:
    """Math-Verify as its users call it: `parse` and `verify` with defaults, on the main thread.

    The answer is {"correct": bool, "limit": "" or which limit was reached where, "gold": side,
    "response": side}; `_print_side` makes a side.
    """
    import math_verify

    listener = _LimitListener()
    logger = logging.getLogger("math_verify")
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    logger.addHandler(listener)

    def decide(question: dict) -> dict:
        limits = []

        def step(name: str, function: Callable, *args):
            listener.limit = ""
            result = function(*args)
            if listener.limit:
                limits.append(f"{listener.limit} in {name}")
            return result

        gold = step("parsing the gold", math_verify.parse, question["gold"])
        response, correct = [], False
        if question["response"] is not None:
            response = step("parsing the response", math_verify.parse, question["response"])
        if gold and response:
            correct = step("comparing", math_verify.verify, gold, response)
        limit = "" if correct else ", ".join(limits)
        return {
            "correct": correct,
            "limit": limit,
            "gold": _print_side(gold),
            "response": _print_side(response),
        }

    decide({"gold": "\\boxed{\\frac{1}{2}}", "response": "$0.5$"})
    return decide


TASKS = {"equal": _prepare_equal, "math_verify": _prepare_math_verify}


def main(task: str) -> None:
    """Answers the questions of one task from stdin until stdin closes."""
    parent = os.getppid()
    _limit_memory()
    _limit_cpu(60)
    _watch_parent(parent)
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    try:
        decide = TASKS[task]()
    except ImportError as error:
        # not a lost case: a broken installation would otherwise look like hard answers
        print(json.dumps({"ready": False, "why": str(error)}), file=out)
        return
    print(json.dumps({"ready": True}), file=out)
    for line in sys.stdin:
        question = json.loads(line)
        _limit_cpu(question["cpu_s"])
        try:
            answer = decide(question)
        except MemoryError:
            answer = {"why": "out of memory"}
        except Exception as error:
            answer = {"why": type(error).__name__}
        print(json.dumps(answer), file=out)
