"""LaTeX and plain text to tokens, in one linear pass with a limit on their number.

Inputs: a normalised string. Outputs: a list of `Token`. Not runnable.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from orion.answers.parsing.tree import MAX_TOKENS, ParseError
from orion.answers.parsing.units import SCALES, UNITS


class Token(NamedTuple):
    """kind: num, sym, const, fn, op, open, close, text, cmd; value: its spelling after mapping; spaced: space stood before it."""

    kind: str
    value: str
    spaced: bool


def words(text: str) -> frozenset[str]:
    """The words of a text as a set."""
    return frozenset(text.split())


FUNCTIONS = words(
    "sin cos tan cot sec csc arcsin arccos arctan asin acos atan sinh cosh tanh coth ln log lg exp sqrt cbrt abs"
    " gcd lcm min max floor ceil sign sgn det arccot arcsec arccsc factorial binomial cis"
    " arcsinh arccosh arctanh arsinh arcosh artanh asinh acosh atanh"
)
_ALIASES = {
    "asin": "arcsin", "acos": "arccos", "atan": "arctan", "asinh": "arcsinh", "acosh": "arccosh", "atanh": "arctanh",
    "arsinh": "arcsinh", "arcosh": "arccosh", "artanh": "arctanh", "lg": "log10", "sgn": "sign",
}  # fmt: skip
GREEK = words(
    "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi rho sigma tau"
    " upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega ell hbar"
)
_OPERATORS = {
    "cdot": "*", "times": "*", "ast": "*", "div": "/", "pm": "pm", "mp": "mp", "le": "<=", "leq": "<=", "leqslant": "<=",
    "ge": ">=", "geq": ">=", "geqslant": ">=", "ne": "!=", "neq": "!=", "lt": "<", "gt": ">", "in": "in", "cup": "cup",
    "bigcup": "cup", "cap": "cap", "setminus": "minus", "backslash": "minus", "mid": "|", "vert": "|",
    "land": "and", "wedge": "and", "lor": "or", "vee": "or", "over": "over", "colon": ":", "approx": "approx", "to": "to",
    "rightarrow": "to", "equiv": "equiv", "sim": "sim", "bmod": "bmod", "mod": "mod", "pmod": "mod", "pod": "mod",
    "circ": "deg", "degree": "deg", "prime": "'", "choose": "choose", "parallel": "parallel", "perp": "perp",
}  # fmt: skip
_CONSTANTS = {
    "pi": "pi",
    "infty": "inf",
    "emptyset": "empty",
    "varnothing": "empty",
    "e": "e",
    "i": "i",
}
_NUMBER_SETS = {"R": "reals", "Z": "integers", "N": "mathbbN", "Q": "mathbbQ", "C": "mathbbC"}
_BRACKETS = {
    "{": ("open", "{|"), "}": ("close", "|}"), "lbrace": ("open", "{|"), "rbrace": ("close", "|}"), "langle": ("open", "("),
    "rangle": ("close", ")"), "lfloor": ("open", "floor"), "rfloor": ("close", "floor"), "lceil": ("open", "ceil"),
    "rceil": ("close", "ceil"), "lbrack": ("open", "["), "rbrack": ("close", "]"),
    "lvert": ("open", "abs"), "rvert": ("close", "abs"),
}  # fmt: skip
_FRACTIONS = words("frac dfrac tfrac cfrac nicefrac sfrac")
_TEXTS = words(
    "text mbox textrm textit textbf textsf texttt mathrm mathbf mathit mathsf operatorname textnormal hbox"
)
_SKIPPED = words(
    "left right big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr displaystyle textstyle limits nolimits bf rm it"
    " boldsymbol bm boxed fbox angle measuredangle triangle mathop mathstrut quad qquad thinspace enspace space"
    " nonumber , ; : ! > $"
) | {" ", "\n", "\t"}
_ACCENTS = words("vec hat bar overrightarrow tilde dot widehat mathcal mathfrak overleftrightarrow")
_UNSUPPORTED = words("int iint lim oint limsup liminf partial nabla forall exists")
_WORDS = {
    "and": ("op", "and"), "or": ("op", "or"), "pi": ("const", "pi"), "inf": ("const", "inf"), "infinity": ("const", "inf"),
    "oo": ("const", "inf"), "percent": ("op", "%"), "degrees": ("op", "deg"), "degree": ("op", "deg"), "union": ("op", "cup"),
    "mod": ("op", "mod"), "in": ("op", "in"), "to": ("op", ":"),
}  # fmt: skip
_LEX = re.compile(
    r"(?P<space>[\s~]+)|(?P<num>\d+(?:\.\d*(?!\.))?|\.\d+)|(?P<cmd>\\(?:[A-Za-z]+|.))|(?P<word>[A-Za-z]+)"
    r"|(?P<op>\.{2,}|\*\*|<=|>=|!=|==|=<|->|[-+*/^_=<>!%',;:&|])|(?P<bracket>[(){}\[\]])|(?P<skip>[$\"`])|(?P<words>[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+)",
    re.S,
)
# letters of a product without signs
MAX_PRODUCT = 6
_UNIT_END = re.compile(r"(?:\^\{?\d\}?)?(?:\s*/\s*[a-z]+(?:\^\{?\d\}?)?)?\s*$")
# a function that lost its space: sinx, lnx
_GLUED = re.compile(r"(arcsin|arccos|arctan|sin|cos|tan|sec|csc|cot|ln|log)([a-z])")
_MATHEMATICS = re.compile(r"[*^/+_=]|\\(?:[dt]?frac|sqrt|cdot|times)")
# words that lost their backslash, or have one too many
_COMMANDS = words("frac boxed text left right cdot sqrt mathrm")
_EXPONENT = re.compile(r"[eE][-+]?\d+(?![A-Za-z\d.])")
_ROW_SPACING = re.compile(r"(?:\s*\[\s*-?[\d.]+\s*(?:pt|em|ex|mm|cm|in)\s*\])?")
# the unit vectors i, j, k are written as plain, bold or accented letters
_UNIT_VECTORS = {"i": "i", "j": "j", "k": "k", "imath": "i", "jmath": "j"}
_BAR = re.compile(r"\s*(?:\||\\vert(?![A-Za-z]))")
# Greek letters written out in plain text; shorter names and "pi" are read elsewhere
_PLAIN_GREEK = GREEK - {"mu", "nu", "xi", "ell", "hbar", "Xi", "Pi"}
_PHANTOM = re.compile(r"\s*(?:\\[A-Za-z]+|\S)?")
_ACCENTED = re.compile(r"\s*(\\[A-Za-z]+|[A-Za-z\d])")
_MATHLIKE = re.compile(r"[\d\s.,+*/^=()-]+")


class _Lexer:
    def __init__(self, text: str) -> None:
        self.text, self.at, self.spaced = text, 0, False
        self.out: list[Token] = []

    def put(self, kind: str, value: str) -> None:
        self.out.append(Token(kind, value, self.spaced))
        self.spaced = False
        if len(self.out) > MAX_TOKENS:
            raise ParseError("too many tokens")

    def read_group(self) -> str | None:
        """The raw content of the brace group that begins here; the position moves behind it."""
        at = self.at
        while at < len(self.text) and self.text[at].isspace():
            at += 1
        if at >= len(self.text) or self.text[at] != "{":
            return None
        depth = 0
        for match in re.compile(r"\\.|[{}]", re.S).finditer(self.text, at):
            depth += {"{": 1, "}": -1}.get(match.group(), 0)
            if depth == 0:
                self.at = match.end()
                return self.text[at + 1 : match.start()]
        raise ParseError("unbalanced braces")

    def tokenize(self) -> list[Token]:
        while self.at < len(self.text):
            match = _LEX.match(self.text, self.at)
            if match is None:
                raise ParseError("a character that is no mathematics")
            self.at = match.end()
            kind, spelling = match.lastgroup, match.group()
            if kind == "space":
                self.spaced = True
            elif kind == "num":
                exponent = _EXPONENT.match(self.text, self.at)
                if exponent:
                    self.at = exponent.end()
                self.put("num", spelling + (exponent.group() if exponent else ""))
            elif kind == "cmd":
                self.put_command(spelling[1:])
            elif kind == "word":
                self.put_word(spelling)
            elif kind == "op":
                self.put(
                    "op",
                    {"**": "^", "==": "=", "=<": "<=", ";": ",", "->": "to", "&": "amp"}.get(
                        spelling, "dots" if spelling[0] == "." else spelling
                    ),
                )
            elif kind == "words":
                self.put("text", spelling)
            elif kind == "bracket":
                self.put("open" if spelling in "({[" else "close", spelling)
        return self.out

    def put_command(self, name: str) -> None:
        if name in _FRACTIONS or name in ("sqrt", "binom", "dbinom", "tbinom"):
            self.put(
                "cmd",
                "frac" if name in _FRACTIONS else name[-5:] if name.endswith("binom") else name,
            )
        elif name in _OPERATORS:
            self.put("op", _OPERATORS[name])
        elif name in _CONSTANTS:
            self.put("const", _CONSTANTS[name])
        elif name in _BRACKETS:
            self.put(*_BRACKETS[name])
        elif name in FUNCTIONS:
            self.put("fn", _ALIASES.get(name, name))
        elif name in GREEK:
            self.put("sym", name)
        elif name in _TEXTS:
            self.put_text_group(name)
        elif name in _SKIPPED:
            self.skip_command(name)
        elif name in ("textcolor", "color", "hspace", "vspace"):
            self.read_group()
        elif name in ("phantom", "hphantom", "vphantom"):
            # invisible, with braces or without
            self.at = _PHANTOM.match(self.text, self.at).end() if self.read_group() is None else self.at  # type: ignore[union-attr]
        elif name in _ACCENTS:
            self.put_accent(name)
        elif name in ("sum", "prod"):
            self.put("cmd", name)
        elif name == "mathbb":
            inner = (self.read_group() or "").strip()
            self.put("const", _NUMBER_SETS.get(inner, f"mathbb{inner}"))
        elif name in ("overline", "dot", "underline"):
            self.put("cmd", "overline")
        elif name in ("begin", "end"):
            inner = (self.read_group() or "").strip()
            if name == "begin" and inner == "array":
                self.read_group()
            self.put("cmd", f"{name} {inner}")
        elif name in ("ldots", "cdots", "dots", "dotsc", "dotsb"):
            self.put("op", "dots")
        elif name in ("\\", "cr"):
            self.at = _ROW_SPACING.match(self.text, self.at).end()  # type: ignore[union-attr]
            self.put("op", "row")
        elif name == "%":
            self.put("op", "%")
        elif name == "ang":
            for token in _Lexer(f"{(self.read_group() or '').replace(';', ' ').strip()}\\circ").tokenize():
                self.put(token.kind, token.value)
        elif name == "|":
            self.put("op", "cond")
        elif name in _UNSUPPORTED:
            raise ParseError(f"\\{name} is not supported")
        elif name == "&":
            self.put("op", ",")
        else:
            raise ParseError("unknown command")

    def put_accent(self, name: str) -> None:
        inner = self.read_group()
        if inner is None:
            at = _ACCENTED.match(self.text, self.at)
            if at is None:
                return
            inner, self.at = at[1], at.end()
        letter = _UNIT_VECTORS.get(inner.strip(" \\{}"))
        if letter and name in ("hat", "widehat", "vec", "overrightarrow"):
            self.put("const" if letter == "i" else "sym", letter)
        else:
            self.put("sym", f"{name}({inner.strip()})")

    def skip_command(self, name: str) -> None:
        if name in ("left", "right") and self.text.startswith(".", self.at):
            self.at += 1
        if name in ("left", "right") and (bar := _BAR.match(self.text, self.at)):
            self.at = bar.end()
            self.put("open" if name == "left" else "close", "abs")
            return
        self.spaced = self.spaced or not name.isalpha() or "quad" in name

    def put_text_group(self, name: str) -> None:
        content = self.read_group()
        if content is None:
            return
        word = content.strip().strip("$").strip()
        lower = word.lower()
        linked = lower.strip(",; ")
        if not word.strip(".:"):
            self.spaced = True
        elif linked in ("and", "or") and linked != lower:
            self.put("op", linked)
        elif (
            lower in UNITS and self.is_after_value() and not self.text.startswith(("(", "{"), self.at)
        ):
            self.put("text", word)
        elif word in FUNCTIONS:
            self.put("fn", _ALIASES.get(word, word))
        elif name == "mathbf" and word in _NUMBER_SETS:
            self.put("const", _NUMBER_SETS[word])
        elif len(word) == 1 and (
            word.isalpha()
            and (
                name.startswith("math")
                or word not in "ghLsmNJWVAKC"
                or not (word in "ghsm" or self.is_after_value())
            )
        ):
            self.put("const" if word in "ei" else "sym", word)
        elif lower in _WORDS and lower != "in":
            self.put(*_WORDS[lower])
        elif lower in ("if", "where", "for", "such that"):
            self.put("op", "cond")
        elif lower in (",", ";"):
            self.put("op", ",")
        elif _MATHLIKE.fullmatch(word):
            for token in _Lexer(word).tokenize():
                self.put(token.kind, token.value)
        else:
            self.put("text", word)

    def is_after_value(self) -> bool:
        """Whether a unit may stand here."""
        previous = self.out[-1] if self.out else None
        return previous is not None and (
            previous.kind in ("num", "text") or previous.value in (")", "}")
        )

    def put_word(self, spelling: str) -> None:
        lower = spelling.lower()
        if spelling in FUNCTIONS and not (lower in UNITS and self.is_unit_ahead(lower)):
            self.put("fn", _ALIASES.get(spelling, spelling))
            return
        if self.is_unit_ahead(lower):
            self.put("text", lower)
        elif lower in _WORDS and len(lower) > 1:
            self.put(*_WORDS[lower])
        elif glued := _GLUED.fullmatch(spelling):
            self.put("fn", glued[1])
            self.put_letters(glued[2])
        elif self.spaced and self.out and self.is_counted_noun(spelling):
            # any other word behind a number is what is counted: 12 oranges
            self.put("text", lower)
        elif spelling in _PLAIN_GREEK:
            self.put("sym", spelling)
        elif lower in SCALES and self.is_after_value():
            self.put("text", lower)
        elif len(spelling) <= MAX_PRODUCT and (self.touches_value() or self.is_product_of_names(spelling)):
            # letters that touch other mathematics are a product, as in x^2yzab
            self.put_letters(spelling)
        elif len(spelling) > 3:
            head = next((w for w in ("sqrt", "pi") if spelling.endswith(w)), None)
            if head is None or len(spelling) > len(head) + 2:
                raise ParseError("words, not mathematics")
            for letter in spelling[: -len(head)]:
                self.put("sym", letter)
            self.put("fn" if head == "sqrt" else "const", head)
        elif spelling.endswith("pi"):
            self.put_letters(spelling[:-2])
            self.put("const", "pi")
        else:
            self.put_letters(spelling)

    def is_unit_ahead(self, word: str) -> bool:
        """Whether a plain word is a unit: of one letter only where it ends a lone number, as in 5 m or 9.8 m/s^2."""
        if word not in UNITS:
            return False
        kinds = [token.kind for token in self.out]
        if [token.value for token in self.out[-1:]] == ["/"] and kinds[-2:-1] == ["text"]:
            return True
        if len(word) > 1:
            return self.is_after_value() and not self.text.startswith(("(", "{"), self.at)
        lone = all(
            token.kind in ("num", "open", "close", "const") or token.value in "-*^"
            for token in self.out
        )
        return (
            bool(self.out)
            and self.spaced
            and lone
            and _UNIT_END.match(self.text, self.at) is not None
        )

    def is_counted_noun(self, spelling: str) -> bool:
        """Whether a word behind a number, or behind a unit, says what is counted."""
        kind = self.out[-1].kind
        return (kind == "text" and len(spelling) > 1) or (kind == "num" and len(spelling) > 3)

    def touches_value(self) -> bool:
        """Whether the word that was just read stands right behind a value, or right before an exponent or index."""
        behind = (
            bool(self.out)
            and not self.spaced
            and self.out[-1].kind in ("num", "sym", "const", "close")
        )
        return behind or self.text[self.at : self.at + 1] in ("^", "_")

    def is_product_of_names(self, spelling: str) -> bool:
        """Whether a word is rather a product of names: no letter twice, and mathematics around it."""
        distinct = len(set(spelling)) == len(spelling) <= 5 and spelling not in _COMMANDS
        return distinct and not self.is_after_value() and _MATHEMATICS.search(self.text) is not None

    def put_letters(self, spelling: str) -> None:
        """A product of names of one letter."""
        for letter in spelling:
            self.put("const" if letter in "ei" else "sym", letter)


def tokenize(text: str) -> list[Token]:
    """The tokens of a normalised text; raises Unreadable where it is not mathematics or too long."""
    return _Lexer(text).tokenize()
