"""Print an expression in random ways: LaTeX, plain text or Unicode, always unambiguous.

A piece knows how tightly it binds and how it ends. So brackets and multiplication signs are omitted
only where every reader supplies them.
"""

from __future__ import annotations

import re
from fractions import Fraction
from random import Random
from typing import NamedTuple

from tests.helpers.answers.algebra.grow import chance
from tests.helpers.answers.algebra.nodes import Expr, num, places

SUM, PRODUCT, POWER, ATOM = 1, 2, 3, 4
_GREEK = {"theta": ("\\theta", "θ", "theta"), "pi": ("\\pi", "π", "pi")}
# the functions whose argument needs no brackets
_BARE = ("sin", "cos", "tan", "ln")
_SUPERSCRIPT = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


class Piece(NamedTuple):
    """Printed text and how tightly it binds; `bare`: it ends in an unbracketed argument."""

    text: str
    level: int
    bare: bool = False


class Printer:
    """The choices that one text is printed with."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.style = rng.choice(("latex", "latex", "latex", "plain", "unicode"))
        self.latex = self.style == "latex"
        self.space = rng.choice(("", " ", "\\,") if self.latex else ("", " "))
        self.times = rng.choice(("\\cdot ", "\\times ", " \\cdot ") if self.latex else ("*", " * "))
        if self.style == "unicode":
            self.times = rng.choice(("·", " × ", "⋅"))
        self.implicit = self.latex or not chance(rng, 2)
        self.power = "**" if self.style == "plain" and chance(rng, 3) else "^"
        self.brackets = rng.choice((("(", ")"), ("\\left(", "\\right)"), ("\\bigl(", "\\bigr)")))
        if not self.latex:
            self.brackets = ("(", ")")
        self.fraction = rng.choice(("\\frac", "\\frac", "\\dfrac", "\\tfrac"))
        self.loose = chance(rng, 2)
        self.euler = "\\mathrm{e}" if self.latex and chance(rng, 8) else "e"
        self.bars = 0

    def print(self, expr: Expr) -> str:
        """The whole expression; a percent sign occurs only at its end."""
        self.bars = sum(1 for _, e in places(expr) if e.op == "fn" and e.value == "abs")
        if expr.op == "num" and expr.dress == "percent":
            return self.decimal(expr.value * 100) + ("\\%" if self.latex else "%")
        whole, rest = (
            divmod(abs(expr.value).numerator, expr.value.denominator)
            if expr.op == "num"
            else (0, 0)
        )
        if expr.dress == "mixed" and whole and rest and not self.latex:
            return self.minus(
                f"{'-' if expr.value < 0 else ''}{whole} {rest}/{expr.value.denominator}"
            )
        return self.minus(self.show(expr).text)

    def minus(self, text: str) -> str:
        return text.replace("-", "−") if self.style == "unicode" and self.loose else text

    def wrap(self, inner: str) -> Piece:
        left, right = self.brackets
        return Piece(f"{left}{inner}{right}", ATOM)

    def at(self, expr: Expr, level: int) -> Piece:
        """The expression, in brackets if it binds less than `level`."""
        piece = self.show(expr)
        return (
            piece
            if piece.level >= level and not piece.text.startswith("-")
            else self.wrap(piece.text)
        )

    def show(self, e: Expr) -> Piece:
        if e.op in ("fact", "binom"):
            return self.count(e)
        return getattr(self, f"show_{e.op}")(e)

    # numbers and names

    @staticmethod
    def decimal(value: Fraction) -> str:
        digits = next(k for k in range(40) if (value * 10**k).denominator == 1)
        shown = f"{abs(int(value * 10**digits)):0{digits + 1}d}"
        point = f"{shown[:-digits]}.{shown[-digits:]}" if digits else shown
        return f"-{point}" if value < 0 else point

    def show_num(self, e: Expr) -> Piece:
        value, sign = abs(e.value), "-" if e.value < 0 else ""
        if value.denominator == 1:
            return Piece(f"{sign}{value.numerator}", SUM if sign else ATOM)
        if e.dress == "decimal":
            return Piece(self.decimal(e.value), SUM if sign else ATOM)
        whole, rest = divmod(value.numerator, value.denominator)
        if e.dress == "mixed" and whole and self.latex:
            return Piece(f"{sign}{whole}{self.over(str(rest), str(value.denominator))}", SUM)
        top, bottom = str(value.numerator), str(value.denominator)
        if not self.latex:
            return Piece(f"{sign}{top}/{bottom}", SUM if sign else PRODUCT)
        if sign and self.loose:
            return Piece(self.over(f"-{top}", bottom), POWER)
        return Piece(sign + self.over(top, bottom), SUM if sign else POWER)

    def over(self, top: str, bottom: str) -> str:
        if self.loose and len(top) == len(bottom) == 1 and (top + bottom).isdigit():
            return f"{self.fraction}{top}{bottom}"
        return f"{self.fraction}{{{top}}}{{{bottom}}}"

    def show_sym(self, e: Expr) -> Piece:
        latex, sign, plain = _GREEK.get(e.value, (e.value,) * 3)
        return Piece(latex if self.latex else sign if self.style == "unicode" else plain, ATOM)

    def show_const(self, e: Expr) -> Piece:
        return self.show_sym(e) if e.value == "pi" else Piece(self.euler, ATOM)

    # operations

    def show_add(self, e: Expr) -> Piece:
        text, gap = "", self.space
        for at, arg in enumerate(e.args):
            piece = self.show(arg)
            # a sum inside a sum keeps its brackets, or its rewriting would be invisible
            part = (
                self.wrap(piece.text).text
                if arg.op == "add" and not (at == 0 and self.loose)
                else piece.text
            )
            if at == 0:
                text = part
            elif part.startswith("-"):
                text = f"{text}{gap}-{gap}{part[1:]}"
            else:
                text = f"{text}{gap}+{gap}{part}"
        return Piece(text, SUM)

    def show_neg(self, e: Expr) -> Piece:
        return Piece(f"-{self.at(e.args[0], PRODUCT).text}", SUM)

    def show_mul(self, e: Expr) -> Piece:
        text, last, negative = "", Piece("", ATOM), False
        for at, arg in enumerate(e.args):
            piece = self.show(arg)
            if at == 0 and arg.op == "num" and piece.level == SUM and arg.dress != "mixed":
                negative = True
            elif piece.level < POWER or piece.text.startswith("-"):
                piece = self.wrap(piece.text)
            following = e.args[at + 1] if at + 1 < len(e.args) else None
            if (
                piece.bare
                and following is not None
                and not (following.op == "fn" and following.value in _BARE)
            ):
                piece = self.wrap(piece.text)
            text = piece.text if at == 0 else self.join(text, last, piece)
            last = piece
        return Piece(text, SUM if negative else PRODUCT, last.bare)

    def join(self, text: str, left: Piece, right: Piece) -> str:
        """Two factors side by side, with a sign between them unless it is clear without."""
        clear = self.implicit and not chance(self.rng, 3)
        clear = clear and not re.match(r"\d|\.", right.text) and not left.text.endswith("!")
        if left.text[-1].isdigit():
            # a fraction behind a number would be a mixed number, and 2e the start of a float
            clear = (
                clear
                and not re.match(r"\\[dt]?frac|e", right.text)
                and not re.search(r"[/.]\d+$", left.text)
            )
        if not self.latex:
            # sqrt(2)x and x^2y are clear to TeX only
            clear = clear and re.fullmatch(r"[a-zθπ]|\d+|\(.*\)", left.text) is not None
            clear = clear and re.match(r"[xyzabnθπ]($|\^)|\(|sqrt|√", right.text) is not None
            clear = clear and not (left.text.isalpha() and right.text[:4] == "sqrt")
        if "|" in left.text or "|" in right.text:
            clear = clear and self.latex and "\\left|" in left.text + right.text
        if not clear:
            return f"{text}{self.times}{right.text}"
        gap = " " if re.search(r"\\[A-Za-z]+$", text) and right.text[0].isalpha() else ""
        gap = " " if re.search(r"\\sqrt\d$", text) else gap
        return f"{text}{gap}{right.text}"

    def show_div(self, e: Expr) -> Piece:
        top, bottom = e.args
        if self.latex and not chance(self.rng, 5):
            return Piece(self.over(self.show(top).text, self.show(bottom).text), POWER)
        above = self.show(top)
        if above.level < PRODUCT or above.bare or "/" in above.text or above.text.startswith("-"):
            above = self.wrap(above.text)
        below = self.at(bottom, POWER)
        below = self.wrap(below.text) if below.bare or "frac" in below.text[:6] else below
        return Piece(f"{above.text}/{below.text}", PRODUCT)

    def exponent(self, value: int) -> str:
        if self.style == "unicode" and self.loose:
            return str(value).translate(_SUPERSCRIPT)
        if not self.latex:
            return f"{self.power}{value}" if value >= 0 else f"{self.power}({value})"
        return f"^{value}" if 0 <= value < 10 and self.loose else f"^{{{value}}}"

    def show_pow(self, e: Expr) -> Piece:
        base, value = e.args[0], e.value
        if self.latex and base.op == "fn" and base.value in _BARE and value > 1:
            return self.function(base, self.exponent(value))
        inner = self.show(base)
        simple = base.op in ("sym", "const") or (base.op == "num" and inner.text.isdigit())
        return Piece(
            (inner.text if simple else self.wrap(inner.text).text) + self.exponent(value), POWER
        )

    def show_root(self, e: Expr) -> Piece:
        inner = self.show(e.args[0]).text
        if chance(self.rng, 12):
            half = (
                self.rng.choice(("^{1/2}", "^{\\frac12}", "^{0.5}"))
                if self.latex
                else f"{self.power}(1/2)"
            )
            return Piece((inner if e.args[0].op == "sym" else self.wrap(inner).text) + half, POWER)
        if self.style == "plain":
            return Piece(f"sqrt({inner})", ATOM)
        if self.style == "unicode":
            return Piece(f"√{inner}" if inner.isdigit() and self.loose else f"√({inner})", ATOM)
        return Piece(
            f"\\sqrt{inner}"
            if len(inner) == 1 and inner.isdigit() and self.loose
            else f"\\sqrt{{{inner}}}",
            ATOM,
        )

    def show_fn(self, e: Expr) -> Piece:
        inner = self.show(e.args[0]).text
        if e.value == "abs":
            return self.absolute(inner)
        if e.value == "exp" and self.loose:
            short = len(inner) == 1 and not self.latex
            group = inner if short else f"{{{inner}}}" if self.latex else f"({inner})"
            return Piece(f"{self.euler}{self.power}{group}", POWER)
        return self.function(e, "")

    def function(self, e: Expr, power: str) -> Piece:
        arg = e.args[0]
        name = f"\\{e.value}" if self.latex else e.value
        simple = arg.op in ("sym", "const") or (arg.op == "num" and self.show(arg).text.isdigit())
        if e.value != "ln" and arg.op == "mul" and len(arg.args) == 2 and arg.args[1].op == "sym":
            simple = self.show(arg.args[0]).text.isdigit()
        if self.latex and simple and e.value in _BARE and self.loose:
            parts = [self.show(a).text for a in (arg.args or (arg,))]
            return Piece(f"{name}{power} {''.join(parts)}", POWER, True)
        return Piece(name + power + self.wrap(self.show(arg).text).text, POWER)

    def absolute(self, inner: str) -> Piece:
        if self.style == "plain" and (self.bars > 1 or self.loose):
            return Piece(f"abs({inner})", ATOM)
        if not self.latex:
            return Piece(f"|{inner}|" if self.bars == 1 else f"abs({inner})", ATOM)
        left, right = ("\\left|", "\\right|") if self.bars > 1 or self.loose else ("|", "|")
        return Piece(f"{left}{inner}{right}", ATOM)

    def count(self, e: Expr) -> Piece:
        n = str(e.args[0].value)
        if e.op == "fact":
            return Piece(f"{n}!", ATOM)
        head = self.rng.choice(("\\binom", "\\dbinom", "\\tbinom"))
        return Piece(f"{head}{{{n}}}{{{e.args[1].value}}}", POWER)


def spell(rng: Random, expr: Expr) -> str:
    """The expression in one random printing."""
    return Printer(rng).print(expr)


def percent(expr: Expr) -> Expr | None:
    """A number as printed before a percent sign, None if that is no decimal."""
    if expr.op != "num" or (expr.value * 10**6).denominator != 1:
        return None
    return num(expr.value, "percent")
