"""Are two answers equal: from literals over exact numbers, texts and containers to algebra, numbers and, last, sympy.

Inputs: two `Answer`s and a policy. Outputs: a `Result`. Everything but the last stage runs here and is bounded. Not runnable.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import NamedTuple

from orion.answers import guard
from orion.answers.canon import Canon, difference, factor_between
from orion.answers.numeric import agree
from orion.answers.policies import Policy
from orion.answers.read import Answer
from orion.answers.sets import real_set
from orion.answers.shapes import (
    FLIP,
    as_interval,
    as_union,
    brackets,
    distinct,
    expanded,
    is_symbol_set,
    label,
    minus,
    unit_name,
    unwrapped,
    variable,
)
from orion.answers.tree import Node, Unreadable, mul, neg, num


class Result(NamedTuple):
    """A verdict word, the reason for it, and the stage that decided."""

    verdict: str
    reason: str
    method: str


class Undecided(Exception):
    """Neither equality nor difference could be shown; `verdict` is unparseable or timeout, the message the reason."""

    def __init__(self, reason: str, verdict: str = "unparseable") -> None:
        super().__init__(reason)
        self.verdict = verdict


_METHODS = ("exact", "algebra", "numeric", "sympy")
# where algebra gives up, numbers may still decide
_CHEAP_LIMITS = frozenset(("too much algebra", "number too large"))
_EXPRESSIONS = frozenset(("num", "sym", "const", "add", "mul", "pow", "fn", "fact", "binom", "pct", "deg"))
_SETS = frozenset(("union", "inter", "minus"))


class _Judge:
    """One comparison. Methods answer True or False, or raise Undecided; `method` keeps the dearest stage that was needed."""

    def __init__(self, policy: Policy, timeout_s: float) -> None:
        self.policy = policy
        self.timeout_s = timeout_s
        self.method = "exact"

    # expressions

    def expressions(self, a: Node, b: Node) -> bool:
        if a == b:
            return True
        if a.kind == "num" and b.kind == "num":
            return a.value == b.value
        try:
            decided = difference(a, b)
        except Unreadable as error:
            close = agree(a, b) if str(error) in _CHEAP_LIMITS else None
            # a number that is too large here is too large for sympy as well
            if close is None or (close and not self.policy.numeric):
                raise Undecided(str(error)) from None
            self.reached("numeric")
            return close
        if decided is None:
            return self.dearer(a, b)
        self.reached("algebra")
        return decided

    def dearer(self, a: Node, b: Node) -> bool:
        """What algebra left open: certified numbers, then sympy in a worker."""
        close = agree(a, b)
        if close is False or (close and self.policy.numeric):
            self.reached("numeric")
            return close
        self.reached("sympy")
        try:
            proven = guard.equal(a, b, self.timeout_s)
        except guard.Lost as error:
            raise Undecided(str(error), "timeout") from None
        if proven is None:
            raise Undecided("neither equal nor different for sympy")
        return proven

    def reached(self, method: str) -> None:
        self.method = max(self.method, method, key=_METHODS.index)

    # containers

    def ordered(self, a: Sequence[Node], b: Sequence[Node], same: Callable[[Node, Node], bool]) -> bool:
        if len(a) != len(b):
            return False
        doubt = None
        for x, y in zip(a, b, strict=True):
            try:
                if not same(x, y):
                    return False
            except Undecided as error:
                doubt = error
        if doubt is not None:
            raise doubt
        return True

    def unordered(self, a: Sequence[Node], b: Sequence[Node], same: Callable[[Node, Node], bool]) -> bool:
        """Bipartite matching: every item of one side has a partner of its own on the other."""
        if len(a) != len(b):
            return False
        if len(a) > 64:
            raise Undecided("too many items")
        doubt = None
        edges: list[list[int]] = []
        for x in a:
            row = []
            for j, y in enumerate(b):
                try:
                    if same(x, y):
                        row.append(j)
                except Undecided as error:
                    doubt = error
            edges.append(row)
        partner: dict[int, int] = {}

        def place(i: int, tried: set[int]) -> bool:
            for j in edges[i]:
                if j not in tried:
                    tried.add(j)
                    if j not in partner or place(partner[j], tried):
                        partner[j] = i
                        return True
            return False

        matched = all(place(i, set()) for i in range(len(a)))
        if not matched and doubt is not None:
            raise doubt
        return matched

    # any two trees

    def same(self, a: Node, b: Node) -> bool:
        """Whether answer `a` (of the response) denotes the same as gold `b`."""
        if a == b:
            return True
        a, b = unwrapped(a), unwrapped(b)
        for kind in ("text", "time", "choice", "based"):
            if a.kind == kind or b.kind == kind:
                return self.special(a, b, kind)
        if "unit" in (a.kind, b.kind):
            return self.units(a, b)
        if a.kind == "pct" or b.kind == "pct":
            return self.percent(a, b)
        if a.kind == "deg" or b.kind == "deg":
            return self.degrees(a, b)
        a, b = expanded(a), expanded(b)
        if a.kind == "rel" or b.kind == "rel":
            return self.relations(a, b)
        if a.kind in _EXPRESSIONS and b.kind in _EXPRESSIONS and not is_symbol_set(a) and not is_symbol_set(b):
            return self.expressions(a, b)
        return self.containers(a, b)

    def special(self, a: Node, b: Node, kind: str) -> bool:
        if a.kind != b.kind:
            if kind == "choice" and a.kind == "choice" and a.args:
                return self.same(a.args[0], b)
            if b.kind == "choice" and a.kind in ("sym", "const"):
                return a.value.upper() == b.value
            if kind == "based" and self.policy.ignore_units:
                digits, other = (a, b) if a.kind == "based" else (b, a)
                return other.kind == "num" and digits.value.partition("_")[0] == str(other.value)
            return False
        return a.value == b.value

    def units(self, a: Node, b: Node) -> bool:
        if a.kind == b.kind:
            same_unit = unit_name(a.value) == unit_name(b.value)
            return same_unit and self.same(a.args[0], b.args[0])
        if not self.policy.ignore_units:
            return False
        return self.same(a.args[0] if a.kind == "unit" else a, b.args[0] if b.kind == "unit" else b)

    def percent(self, a: Node, b: Node) -> bool:
        if a.kind == b.kind:
            return self.same(a.args[0], b.args[0])
        bare, other = (a.args[0], b) if a.kind == "pct" else (b.args[0], a)
        if self.same(mul(bare, num(Fraction(1, 100))), other):
            return True
        return self.policy.percent_scale and self.same(bare, other)

    def degrees(self, a: Node, b: Node) -> bool:
        if a.kind == b.kind:
            return self.same(a.args[0], b.args[0])
        if not self.policy.ignore_units:
            return self.expressions(a, b)
        return self.same(a.args[0] if a.kind == "deg" else a, b.args[0] if b.kind == "deg" else b)

    def containers(self, a: Node, b: Node) -> bool:
        kinds = {a.kind, b.kind}
        if kinds & _SETS and "list" in kinds:
            a, b = as_union(a), as_union(b)
            kinds = {a.kind, b.kind}
        if kinds <= {"list", "set"}:
            labelled = [all(x.kind == "rel" for x in side.args) for side in (a, b)]
            if labelled[0] != labelled[1] and len({label(x) for x in (a, b)[labelled[1]].args}) > 1:
                return self.ordered(a.args, b.args, self.same)
            return self.unordered(distinct(a), distinct(b), self.same)
        if kinds == {"tuple"}:
            return self.ordered(a.args, b.args, self.same)
        if kinds == {"interval"} or kinds == {"tuple", "interval"}:
            return brackets(a) == brackets(b) and self.ordered(a.args, b.args, self.same)
        if kinds == {"matrix"}:
            return a.value == b.value and self.ordered(a.args, b.args, self.same)
        if kinds & _SETS or {x.value for x in (a, b) if x.kind == "const"} & {"reals", "empty"}:
            left, right = real_set(a), real_set(b)
            if left is not None and right is not None:
                return left == right
        if kinds == {"union"} or kinds == {"inter"}:
            return self.unordered(a.args, b.args, self.same)
        if kinds == {"ratio"}:
            return self.ratios(a, b)
        if b.kind == "set" and len(b.args) == 1:
            return self.same(a, b.args[0])
        # one value in several dresses ("15 39/40, or 639/40") is one answer; different values are a hedge
        return a.kind in ("set", "list") and all(self.same(x, b) for x in a.args)

    def ratios(self, a: Node, b: Node) -> bool:
        if len(a.args) != len(b.args):
            return False
        first, gold = a.args[0], b.args[0]
        return all(self.expressions(mul(x, gold), mul(y, first)) for x, y in zip(a.args[1:], b.args[1:], strict=True))

    def relations(self, a: Node, b: Node) -> bool:
        if a.kind != "rel" or b.kind != "rel":
            relation, other = (a, b) if a.kind == "rel" else (b, a)
            if set(relation.value) == {"="}:
                value = relation.args[-1]
                return self.same(value, other) if relation is a else self.same(other, value)
            if relation.value == ("in",):
                return self.same(relation.args[1], other) if relation is a else self.same(other, relation.args[1])
            interval = as_interval(relation)
            if interval is None:
                return False
            return self.same(interval, other) if relation is a else self.same(other, interval)
        if len(a.args) == len(b.args):
            if a.value == b.value and self.quietly(a.args, b.args):
                return True
            turned = tuple(FLIP.get(op, "") for op in reversed(a.value))
            if turned == b.value and self.quietly(a.args[::-1], b.args):
                return True
        if len(a.args) == 2 and len(b.args) == 2:
            return self.scaled(a, b)
        left, right = as_interval(a), as_interval(b)
        if left is not None and right is not None and variable(a) == variable(b):
            return self.same(left, right)
        if set(a.value) == {"="} and set(b.value) == {"="} and a.args[0] == b.args[0]:
            return self.same(a.args[-1], b.args[-1])
        return False

    def quietly(self, a: Sequence[Node], b: Sequence[Node]) -> bool:
        try:
            return self.ordered(a, b, self.same)
        except Undecided:
            return False

    def scaled(self, a: Node, b: Node) -> bool:
        """Two-sided relations: left minus right must agree up to a non-zero factor (a positive one for inequalities)."""
        op, gold = a.value[0], b.value[0]
        if any(x.kind not in _EXPRESSIONS for x in (*a.args, *b.args)) or "in" in (op, gold) or "approx" in (op, gold):
            return op == gold and self.ordered(a.args, b.args, self.same)
        left, right = minus(*a.args), minus(*b.args)
        if FLIP[op] == gold and op != gold:
            left, op = neg(left), gold
        if op != gold:
            return False
        try:
            factor = factor_between(left, right)
        except Unreadable as error:
            raise Undecided(str(error)) from None
        self.reached("algebra")
        if factor is None:
            return False
        return factor > 0 or op in ("=", "!=")


def _printed_float(answer: Answer, gold: Answer) -> bool:
    """Whether the gold is a double as a program prints it and the answer is a number that rounds to it."""
    if gold.plain is None or "." not in gold.plain or sum(c.isdigit() for c in gold.plain.lstrip("-0.")) < 15:
        return False
    if gold.node is None or answer.node is None or answer.node.kind not in ("num", "mul", "pow", "add"):
        return False
    canon = Canon()
    try:
        value = canon.rational(canon.ratio(answer.node))
        return value is not None and float(value) == float(gold.node.value)
    except (OverflowError, Unreadable):
        return False


def judge(answer: Answer, gold: Answer, policy: Policy, timeout_s: float) -> Result:
    """The result of comparing an extracted answer with a gold that was read."""
    if answer.plain is not None and gold.plain is not None and answer.plain == gold.plain:
        return Result("correct", "", "literal")
    if answer.key and answer.key == gold.key and answer.raw.strip() == gold.raw.strip():
        return Result("correct", "", "string")
    if answer.plain is not None and gold.plain is not None and answer.second is None and gold.second is None:
        if policy.printed_floats and _printed_float(answer, gold):
            return Result("correct", "", "printed_float")
        return Result("incorrect", "the numbers differ", "literal")
    if gold.node is not None and gold.node.kind == "text" and answer.key:
        equal = answer.key == gold.key
        if not equal and len(gold.key.split()) > 3 and (answer.node is None or answer.node.kind != "text"):
            return Result("unparseable", "a sentence was asked for", "text")
        return Result("correct" if equal else "incorrect", "" if equal else "the texts differ", "text")
    if answer.node is not None and answer.node.kind == "text" and answer.key == gold.key:
        return Result("correct", "", "text")
    if answer.node is None:
        if answer.key and answer.key == gold.key:
            return Result("correct", "", "text")
        return Result("unparseable", answer.problem, "parse")
    if gold.node is None:
        return Result("unparseable", f"gold: {gold.problem}", "gold")
    if policy.printed_floats and _printed_float(answer, gold):
        return Result("correct", "", "printed_float")
    return _compare(answer, gold, policy, timeout_s)


def _compare(answer: Answer, gold: Answer, policy: Policy, timeout_s: float) -> Result:
    """All readings of both sides: one equal pair is enough, all must differ for `incorrect`."""
    doubt: Undecided | None = None
    for left in filter(None, (answer.node, answer.second)):
        for right in filter(None, (gold.node, gold.second)):
            if (left is answer.second) != (right.kind == "list") and left is answer.second:
                continue
            run = _Judge(policy, timeout_s)
            try:
                if run.same(left, right):
                    return Result("correct", "", run.method)
            except Undecided as error:
                doubt = error
            except RecursionError:
                doubt = Undecided("nested too deeply")
    if doubt is not None:
        return Result(doubt.verdict, str(doubt), "compare")
    return Result("incorrect", "the answers differ", run.method)
