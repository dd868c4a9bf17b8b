"""Exact value of an arithmetic expression under one of several readings of its signs.

Input: items (kind, text) as `sides` builds them. Output: a Fraction, or NotArithmeticError.

Kinds of items: n (a number), + - * / ^ ! ( ) % mod as they are, "//" a division sign without blanks
around it, "**" a product without a sign, f (a fraction command, its two groups follow), u (a unit
behind a value).
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from math import factorial, isqrt
from typing import NamedTuple

MAX_BITS = 1 << 14
MAX_DEPTH = 40
MAX_ITEMS = 400
MAX_DIGITS = 1_000

Item = tuple[str, str]


class NotArithmeticError(Exception):
    """An expression that holds more than numbers and arithmetic, or exceeds a limit."""


class Reading(NamedTuple):
    """How ambiguous signs are read.

    percent: "hundredth" (20% is 0.2), "number" (20% is 20), "share" (a + 20% is 1.2 a).
    tight: a/b written without blanks, and 2(3), bind tighter than other signs.
    nested: a / b / c is a / (b / c).
    mixed: a whole number before a fraction is a mixed number; else a factor.
    factors: unit → the factor of its values; None: units are ignored.
    """

    percent: str = "hundredth"
    tight: bool = False
    nested: bool = False
    mixed: bool = True
    factors: Mapping[str, Fraction] | None = None


PLAIN = Reading()


def number(text: str) -> Fraction:
    """The value of a decimal literal without separators."""
    if len(text) > MAX_DIGITS:
        raise NotArithmeticError
    whole, _, part = text.partition(".")
    return Fraction(int((whole + part) or "0"), 10 ** len(part))


class _Evaluator:
    def __init__(self, items: tuple[Item, ...], reading: Reading) -> None:
        self.items, self.reading = items, reading
        self.at = self.depth = 0
        self.size = len(items)

    @property
    def kind(self) -> str:
        return self.items[self.at][0] if self.at < self.size else ""

    def take(self) -> Item:
        self.at += 1
        return self.items[self.at - 1]

    def total(self) -> Fraction:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise NotArithmeticError
        value = self.product()
        while (kind := self.kind) in ("+", "-"):
            self.at += 1
            start = self.at
            right = self.product()
            if self.reading.percent == "share" and self.is_lone_percent(start):
                right *= value
            value = value + right if kind == "+" else value - right
        self.depth -= 1
        return value

    def is_lone_percent(self, start: int) -> bool:
        return self.at - start == 2 and self.items[self.at - 1][0] == "%"

    def product(self) -> Fraction:
        value = self.factor()
        while (kind := self.kind) in ("*", "/", "//", "**", "(", "f", "mod"):
            if kind not in ("(", "f"):
                self.at += 1
            right = self.factor()
            if kind == "mod":
                if value.denominator != 1 or right.denominator != 1 or right <= 0:
                    raise NotArithmeticError
                value %= right
            elif kind in ("/", "//"):
                while self.reading.nested and self.kind in ("/", "//"):
                    self.at += 1
                    right = _divide(right, self.factor())
                value = _divide(value, right)
            else:
                value *= right
            _check(value)
        return value

    def factor(self) -> Fraction:
        if self.kind in ("+", "-"):
            self.depth += 1
            if self.depth > MAX_DEPTH:
                raise NotArithmeticError
            sign = self.take()[0]
            value = self.factor()
            self.depth -= 1
            return -value if sign == "-" else value
        value = self.power()
        while self.reading.tight and self.kind in ("//", "**", "("):
            kind = self.kind
            if kind != "(":
                self.at += 1
            right = self.power()
            value = _divide(value, right) if kind == "//" else value * right
        return value

    def power(self) -> Fraction:
        value = self.postfix(self.atom())
        if self.kind == "^":
            self.at += 1
            self.depth += 1
            if self.depth > MAX_DEPTH:
                raise NotArithmeticError
            negative = self.kind == "-"
            if negative:
                self.at += 1
            exponent = self.power()
            value = _raise(value, -exponent if negative else exponent)
            self.depth -= 1
            value = self.postfix(value)
        return value

    def postfix(self, value: Fraction) -> Fraction:
        while (kind := self.kind) in ("%", "!", "u"):
            word = self.take()[1]
            if kind == "%":
                if self.reading.percent != "number":
                    value /= 100
            elif kind == "u":
                value *= self.unit_factor(word)
            else:
                if value.denominator != 1 or not 0 <= value <= 400 or self.kind == "!":
                    raise NotArithmeticError
                value = Fraction(factorial(int(value)))
        return value

    def unit_factor(self, word: str) -> Fraction:
        return self.reading.factors.get(word, Fraction(1)) if self.reading.factors else Fraction(1)

    def atom(self) -> Fraction:
        if self.at >= self.size:
            raise NotArithmeticError
        kind, text = self.take()
        if kind == "n":
            value = number(text)
            if self.kind == "f" and value.denominator == 1 and self.reading.mixed:
                return value + self.read_mixed()
            if self.kind == "n" and value.denominator == 1:
                return value + self.mixed_in_line()
            return value
        if kind == "(":
            value = self.total()
            if self.kind != ")":
                raise NotArithmeticError
            self.at += 1
            return value
        if kind == "f":
            return _divide(self.group(), self.group())
        if kind == "r":
            value = self.group()
            roots = [isqrt(max(0, part)) for part in value.as_integer_ratio()]
            root = Fraction(roots[0], roots[1])
            if value < 0 or root * root != value:
                raise NotArithmeticError
            return root
        raise NotArithmeticError

    def group(self) -> Fraction:
        r"""The argument of a command: a group, or one digit as in \frac12."""
        if self.kind == "n":
            text = self.items[self.at][1]
            if len(text) == 1:
                self.at += 1
                return number(text)
            if len(text) == 2 and text.isdigit() and self.items[self.at - 1][0] == "f":
                self.at += 1
                self.items = (*self.items[: self.at], ("n", text[1]), *self.items[self.at :])
                self.size += 1
                return number(text[0])
            raise NotArithmeticError
        if self.kind != "(":
            raise NotArithmeticError
        return self.atom()

    def read_mixed(self) -> Fraction:
        r"""The fraction behind a whole number, as in 3 \frac{1}{2}."""
        self.at += 1
        top, bottom = self.group(), self.group()
        if self.kind in ("^", "!") or top.denominator != 1 or not 0 < top < bottom:
            raise NotArithmeticError
        return _divide(top, bottom)

    def mixed_in_line(self) -> Fraction:
        """The fraction behind a whole number, as in 3 1/2."""
        ahead = [kind for kind, _ in self.items[self.at : self.at + 4]]
        if ahead[:3] != ["n", "//", "n"] or ahead[3:] in (["^"], ["//"], ["!"]):
            raise NotArithmeticError
        top, bottom = number(self.take()[1]), number(self.items[self.at + 1][1])
        self.at += 2
        if not 0 < top < bottom:
            raise NotArithmeticError
        return top / bottom


def _divide(left: Fraction, right: Fraction) -> Fraction:
    if not right:
        raise NotArithmeticError
    return left / right


def _check(value: Fraction) -> None:
    if value.numerator.bit_length() > MAX_BITS or value.denominator.bit_length() > MAX_BITS:
        raise NotArithmeticError


def _raise(base: Fraction, exponent: Fraction) -> Fraction:
    if exponent.denominator != 1 or abs(exponent) > 4_000 or (not base and exponent <= 0):
        raise NotArithmeticError
    power = int(exponent)
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if bits * abs(power) > MAX_BITS:
        raise NotArithmeticError
    return base**power


def evaluate(items: tuple[Item, ...], reading: Reading = PLAIN) -> Fraction:
    """The value of the items; raises NotArithmeticError."""
    if len(items) > MAX_ITEMS:
        raise NotArithmeticError
    if len(items) == 1 and items[0][0] == "n":
        return number(items[0][1])
    evaluator = _Evaluator(items, reading)
    value = evaluator.total()
    if evaluator.at != evaluator.size:
        raise NotArithmeticError
    _check(value)
    return value
