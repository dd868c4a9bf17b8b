r"""Read the tokens of one side of a relation to items for arithmetic and to a text for the parser.

Input: tokens. Output: a `Side`. Units, sums of money and calculator marks are taken out of the
text; the items keep the units. A side with words that are no unit is not understood.
"""

from __future__ import annotations

from orion.answers.steps.arithmetic import Item
from orion.answers.steps.lexer import Token
from orion.answers.steps.links import Side
from orion.answers.steps.quantities import unit
from orion.answers.steps.signs import (
    DIVIDE,
    FRACTIONS,
    FUNCTION_WORDS,
    LISTING,
    MINUS,
    OPAQUE,
    SKIPPED,
    TEXTS,
    TIMES,
)

_SUPERSCRIPT = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_SUBSCRIPT = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_SEPARATORS = str.maketrans("", "", ",{}\\!")
_OPERAND_END = frozenset(("n", ")", "%", "!", "u", "v"))
# words that may stand in a unit and yet change nothing
_UNIT_LINKS = frozenset(("per", "of", "the", "a", "an", "each", "in", "for", "and", "to"))


class _Builder:
    def __init__(self, tokens: list[Token], text: str, in_formula: bool) -> None:
        self.tokens, self.text, self.in_formula = tokens, text, in_formula
        self.items: list[Item] = []
        self.parts: list[str] = []
        self.trouble = ""
        self.money = False
        self.at = 0

    def put(self, kind: str, text: str, part: str) -> None:
        if part and self.at and self.tokens[self.at - 1].end < self.tokens[self.at].start:
            part = " " + part
        self.items.append((kind, text))
        self.parts.append(part)

    @property
    def is_behind_value(self) -> bool:
        return bool(self.items) and self.items[-1][0] in _OPERAND_END

    def is_tight(self) -> bool:
        """Whether the sign at hand has no blank around it."""
        tokens, at = self.tokens, self.at
        before = at > 0 and tokens[at - 1].end == tokens[at].start
        return before and at + 1 < len(tokens) and tokens[at].end == tokens[at + 1].start

    def build(self) -> None:
        while self.at < len(self.tokens):
            token = self.tokens[self.at]
            getattr(self, f"put_{token.kind}", self.put_other)(token)
            self.at += 1

    def put_num(self, token: Token) -> None:
        digits = token.text.translate(_SEPARATORS) if len(token.text) > 3 else token.text
        if self.items and self.items[-1][0] in (")", "%", "u", "!"):
            self.trouble = "two values side by side"
        if (
            "," in token.text
            and "{" not in token.text
            and (self.is_in_list() or (self.items and self.items[-1][0] == "^"))
        ):
            self.trouble = "a list of numbers"
        grouped = self.at > 0 and self.tokens[self.at - 1].text == "{"
        if len(digits) > 1 and digits[0] == "0" and "." not in digits and not grouped:
            self.trouble = "a time or a code"
        self.put("n", digits, digits)

    def is_in_list(self) -> bool:
        """Whether a number with commas may be a list: alone in brackets, or of a function."""
        before = self.tokens[self.at - 1].text if self.at else ""
        after = self.tokens[self.at + 1].text if self.at + 1 < len(self.tokens) else ""
        heads = {token.text for token in self.tokens[max(0, self.at - 4) : self.at]}
        return (before in ("(", "[") and after in (")", "]")) or bool(heads & LISTING)

    def put_op(self, token: Token) -> None:
        sign = token.text
        if sign == "+" and self.items and self.items[-1][0] in ("*", "/", "//", "+"):
            self.trouble = "two signs side by side"
        if sign in MINUS:
            self.put("-", "-", "-")
        elif sign in TIMES:
            self.put("*", "*", "*")
        elif sign == "/" and self.items and self.items[-1][0] == "u" and self.is_word_ahead():
            self.at += 1
            self.items[-1] = ("u", f"{self.items[-1][1]}/{self.tokens[self.at].text}")
        elif sign in DIVIDE:
            self.put("//" if self.is_tight() and sign != "÷" else "/", "/", "/")
        elif sign in ("^", "**"):
            self.put_power(token)
        else:
            self.put(sign, sign, sign)

    def is_word_ahead(self) -> bool:
        ahead = self.tokens[self.at + 1 : self.at + 2]
        return bool(ahead) and ahead[0].kind == "word" and ahead[0].text not in ("x", "y", "n")

    def put_power(self, token: Token) -> None:
        ahead = [t.text for t in self.tokens[self.at + 1 : self.at + 4]]
        if ahead[:1] == ["\\circ"] or ahead == ["{", "\\circ", "}"]:
            self.at += len(ahead[:1] if ahead[0] == "\\circ" else ahead)
            self.items.append(("u", "degree"))
            self.parts.append("^\\circ ")
            return
        following = self.tokens[self.at + 1] if self.at + 1 < len(self.tokens) else None
        if self.items and self.items[-1][0] == "u" and self.items[-1][1] != "degree":
            self.skip_unit_power()
        elif self.in_formula and following and following.kind == "num" and len(following.text) > 1:
            # TeX raises one digit only: 2^35^2 is 2^3 5^2
            digit, rest = following.text[0], following.text[1:].translate(_SEPARATORS)
            self.at += 1
            self.put("^", "^", "^")
            self.items += [("n", digit), ("**", "*"), ("n", rest)]
            self.parts.append(f"{{{digit}}}*{rest}")
        else:
            self.put("^", "^", "^")

    def skip_unit_power(self) -> None:
        """Takes the exponent of a unit, as in cm^2, into the unit."""
        power = ""
        while self.at + 1 < len(self.tokens) and len(power) < 4:
            self.at += 1
            power += self.tokens[self.at].text
            if not power.startswith("{") or power.endswith("}"):
                break
        self.items[-1] = ("u", f"{self.items[-1][1]}^{power.strip('{}')}")

    def put_open(self, token: Token) -> None:
        comment = self.comment_end()
        if comment:
            # $10 (bacon) + $24 (chicken)
            self.at = comment
            return
        self.put("(", token.text, token.text)

    def comment_end(self) -> int:
        """The index of the bracket that ends a remark in words, 0 if there is none here."""
        if self.in_formula or self.tokens[self.at].text == "{" or not self.is_behind_value:
            return 0
        for at in range(self.at + 1, min(self.at + 9, len(self.tokens))):
            kind, text, *_ = self.tokens[at]
            if kind == "close":
                return at if at > self.at + 1 else 0
            if kind != "word" or len(text) < 3:
                return 0
        return 0

    def put_close(self, token: Token) -> None:
        self.put(")", token.text, token.text)

    def put_pct(self, token: Token) -> None:
        ahead = self.tokens[self.at + 1 : self.at + 2]
        if ahead and ahead[0].kind == "num":
            self.put("mod", "mod", "\\bmod ")
        else:
            self.put("%", "%", "\\%")

    def put_cur(self, token: Token) -> None:
        self.money = True

    def put_mark(self, token: Token) -> None:
        """A calculator mark is judged for itself."""

    def put_nl(self, token: Token) -> None:
        """Lines do not matter inside a formula."""

    def put_sup(self, token: Token) -> None:
        digits = token.text.translate(_SUPERSCRIPT)
        if self.items and self.items[-1][0] == "u":
            self.items[-1] = ("u", f"{self.items[-1][1]}^{digits}")
            return
        self.put("^", "^", f"^{{{digits}}}")
        if digits.startswith("-"):
            self.items.append(("-", "-"))
        self.items.append(("n", digits.lstrip("-") or "0"))

    def put_word(self, token: Token) -> None:
        word = token.text
        following = self.tokens[self.at + 1] if self.at + 1 < len(self.tokens) else None
        if word in ("x", "X") and self.is_times(following):
            self.put("*", "*", "\\times ")
        elif word in ("of", "times", "plus", "minus") and self.is_times(following):
            sign = {"plus": "+", "minus": "-"}.get(word, "*")
            self.put(sign, sign, sign)
        elif word == "divided" and following is not None and following.text == "by":
            self.at += 1
            self.put("/", "/", "/")
        elif word == "percent":
            self.put("%", "%", "\\%")
        elif word in FUNCTION_WORDS:
            self.put("v", word, word)
        elif word in ("mod", "MOD"):
            self.put("mod", "mod", "\\bmod ")
        elif self.is_short_unit(word):
            self.put_unit(word)
        elif len(word) == 1 or word == "pi" or self.in_formula or self.is_product(word):
            # the blank keeps 2e+9 from being read as a number with an exponent
            self.put("v", word, f" {word}" if word in ("e", "E") else word)
        elif self.is_behind_value or word in _UNIT_LINKS:
            self.put_unit(word)
        else:
            self.put("w", word, word)

    def is_short_unit(self, word: str) -> bool:
        """Whether a single letter behind a number is a unit, as in 3600 s/h."""
        if self.in_formula or word not in ("s", "h", "m", "g", "l", "L") or not self.items:
            return False
        apart = self.at > 0 and self.tokens[self.at - 1].end < self.tokens[self.at].start
        following = self.tokens[self.at + 1].text if self.at + 1 < len(self.tokens) else "/"
        return self.items[-1][0] == "n" and apart and following == "/"

    def is_product(self, word: str) -> bool:
        """Whether a short word that touches a number is a product of names: 2lh, 4ac."""
        touches = self.at > 0 and self.tokens[self.at - 1].end == self.tokens[self.at].start
        before = self.tokens[self.at - 1].kind if touches else ""
        return before == "num" and len(word) <= 3 and unit(word) is None and word.islower()

    def is_times(self, following: Token | None) -> bool:
        if not self.items or self.items[-1][0] not in _OPERAND_END or following is None:
            return False
        if following.kind in ("num", "cur", "mark") or following.text in ("\\$", "\\frac"):
            return True
        before = self.tokens[self.at - 1].end == self.tokens[self.at].start
        return following.kind == "open" and not (
            before and following.start == self.tokens[self.at].end
        )

    def put_unit(self, word: str) -> None:
        if self.items and self.items[-1][0] == "u":
            self.items[-1] = ("u", f"{self.items[-1][1]} {word}")
        else:
            self.items.append(("u", word))

    def put_cmd(self, token: Token) -> None:
        name = token.text
        if name in SKIPPED:
            return
        if name in FRACTIONS:
            self.put("f", name, name)
        elif name == "\\sqrt":
            ahead = self.tokens[self.at + 1 : self.at + 2]
            self.put("v" if ahead and ahead[0].text == "[" else "r", name, name)
        elif name in TIMES:
            self.put("*", "*", "*")
        elif name in DIVIDE:
            self.put("/", "/", "/")
        elif name in ("\\bmod", "\\mod"):
            self.put("mod", "mod", "\\bmod ")
        elif name == "\\%":
            self.put("%", "%", "\\%")
        elif name == "\\$":
            self.money = True
        elif name in TEXTS:
            self.put_text(token)
        elif name in ("\\degree", "\\circ"):
            self.items.append(("u", "degree"))
            self.parts.append("^\\circ ")
        elif name in OPAQUE:
            self.put("w", name, name)
        else:
            self.put("v", name, name + " ")

    def put_text(self, token: Token) -> None:
        """A text in a formula: a unit behind a value, else a name or words."""
        start = self.at
        if start + 1 >= len(self.tokens) or self.tokens[start + 1].text != "{":
            self.put("v", token.text, token.text + " ")
            return
        end = start + 1
        while end < len(self.tokens) and self.tokens[end].text != "}":
            end += 1
        if end >= len(self.tokens):
            self.trouble = "a text left open"
            return
        inside = self.text[self.tokens[start + 1].end : self.tokens[end].start].strip()
        self.at = end
        if inside in ("", ".", ","):
            return
        if len(inside) == 1 and token.text not in ("\\text", "\\mbox"):
            self.items.append(("v", inside))
            self.parts.append(f" {inside} ")
        elif self.is_behind_value and all(c.isalpha() or c in " /.²³-'" for c in inside):
            self.put_unit(inside)
        else:
            self.put("w", inside, f"\\text{{{inside}}}")

    def put_base(self, digits: str) -> None:
        """Reads the number before a subscript in the base that the subscript names."""
        literal = self.items[-1][1]
        try:
            value = str(int(literal, int(digits)))
        except ValueError:
            self.trouble = "no numeral of its base"
            return
        self.items[-1] = ("n", value)
        self.parts[-1] = self.parts[-1].replace(literal, value)

    def take_subscript(self) -> str:
        """The digits of the subscript behind the sign at hand, empty if it is something else."""
        ahead = [token.text for token in self.tokens[self.at + 1 : self.at + 4]]
        if len(ahead) == 3 and ahead[0] == "{" and ahead[2] == "}" and ahead[1].isdecimal():
            self.at += 3
            return ahead[1]
        if ahead and ahead[0].isdecimal():
            self.at += 1
            return ahead[0]
        return ""

    def put_punct(self, token: Token) -> None:
        if token.text == "_" and self.items and self.items[-1][0] == "n":
            digits = self.take_subscript()
            if digits and len(digits) <= 2 and len(self.items[-1][1]) <= 60:
                self.put_base(digits)
            else:
                self.trouble = "a subscript of a number"
            return
        if token.text in "|_',’":
            self.put("v", token.text, token.text.replace("’", "'"))
        elif token.text not in "&~":
            self.put("w", token.text, token.text)

    def put_sub(self, token: Token) -> None:
        if self.items and self.items[-1][0] == "n" and len(token.text) <= 2:
            self.put_base(token.text.translate(_SUBSCRIPT))
            return
        self.put("v", token.text, token.text)

    def put_other(self, token: Token) -> None:
        if token.text == "°":
            self.items.append(("u", "degree"))
            self.parts.append("^\\circ ")
            return
        self.put("v" if token.text in "√∛πθαβγλφω∞°" else "w", token.text, token.text)


def build_side(tokens: list[Token], text: str, in_formula: bool) -> Side:
    """The side that the tokens make up; there is at least one token."""
    builder = _Builder(tokens, text, in_formula)
    builder.build()
    kinds = frozenset(kind for kind, _ in builder.items)
    trouble = builder.trouble or ("words" if "w" in kinds else "")
    return Side(
        tokens[0].start,
        tokens[-1].end,
        tuple(builder.items),
        "".join(builder.parts),
        trouble,
        has_money=builder.money,
        kinds=kinds,
    )
