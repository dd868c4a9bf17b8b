"""Split LaTeX and plain text into tokens, in one linear pass with a limit on their number.

Input: a normalised string. Output: a list of `Token`.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from orion.answers.parsing.tree import MAX_TOKENS, NotMathematicsError, ParseError
from orion.answers.parsing.units import SCALES, find_unit
from orion.answers.parsing.vocabulary import (
    ACCENTS,
    BARE_COMMANDS,
    BRACKETS,
    CONSTANTS,
    FRACTIONS,
    FUNCTION_ALIASES,
    FUNCTIONS,
    GREEK,
    NUMBER_SETS,
    OPERATORS,
    PLAIN_GREEK,
    PLAIN_WORDS,
    SINGLE_TOKENS,
    SKIPPED_COMMANDS,
    TEXT_COMMANDS,
    UNIT_VECTORS,
    UNSUPPORTED_COMMANDS,
)
from orion.answers.wording.phrases import is_phrase_word


class Token(NamedTuple):
    """One token; its value is the canonical spelling, `spaced` says whether space came before it.

    kind: num, sym, const, fn, op, open, close, text or cmd.
    """

    kind: str
    value: str
    spaced: bool


_LEX = re.compile(
    r"(?P<space>[\s~]+)|(?P<num>\d+(?:\.\d*(?!\.))?|\.\d+)"
    r"|(?P<cmd>\\(?:[A-Za-z]+|.))|(?P<word>[A-Za-z]+)"
    r"|(?P<op>\.{2,}|\*\*|<=|>=|!=|==|=<|->|[-+*/^_=<>!%',;:&|])|(?P<bracket>[(){}\[\]])"
    r"|(?P<skip>[$\"`])|(?P<words>[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+)",
    re.S,
)
# most letters of a word that is read as a product, as in xyz
MAX_PRODUCT = 6
# words that begin a unit: 4 square metres
_POWER_WORDS = frozenset(("square", "sq", "cubic"))
_UNIT_END = re.compile(r"(?:\^\{?\d\}?)?(?:\s*/\s*[a-z]+(?:\^\{?\d\}?)?)?\s*$")
# a function that lost its space: sinx, lnx
_GLUED = re.compile(r"([a-z]?)(arcsin|arccos|arctan|sin|cos|tan|sec|csc|cot|ln|log)([a-z])")
# pi that lost its space: 2pir
_GLUED_PI = re.compile(r"pi([a-z])")
_MATHEMATICS = re.compile(r"[*^/+_=]|\\(?:[dt]?frac|sqrt|cdot|times)")
_EXPONENT = re.compile(r"[eE][-+]?\d+(?![A-Za-z\d.])")
_ROW_SPACING = re.compile(r"(?:\s*\[\s*-?[\d.]+\s*(?:pt|em|ex|mm|cm|in)\s*\])?")
_BOLD = re.compile(r"\\(?:mathbf|boldsymbol|bm|mathrm|bf)(?![A-Za-z])")
_BAR = re.compile(r"\s*(?:\||\\vert(?![A-Za-z]))")
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
        """The raw content of the brace group that begins here (None: no group)."""
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
                raise NotMathematicsError("a character that is no mathematics")
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
        r"""Appends the tokens of the command \name."""
        if name in FRACTIONS:
            self.put("cmd", "frac")
        elif name == "sqrt":
            self.put("cmd", "sqrt")
        elif name in ("binom", "dbinom", "tbinom"):
            self.put("cmd", "binom")
        elif name in OPERATORS:
            self.put("op", OPERATORS[name])
        elif name in CONSTANTS:
            self.put("const", CONSTANTS[name])
        elif name in BRACKETS:
            self.put(*BRACKETS[name])
        elif name in FUNCTIONS:
            self.put("fn", FUNCTION_ALIASES.get(name, name))
        elif name in GREEK:
            self.put("sym", name)
        elif name in TEXT_COMMANDS:
            self.put_text_group(name)
        elif name in SKIPPED_COMMANDS:
            self.skip_command(name)
        elif name in ACCENTS:
            self.put_accent(name)
        elif name in SINGLE_TOKENS:
            self.put(*SINGLE_TOKENS[name])
        elif name in UNSUPPORTED_COMMANDS:
            raise ParseError(f"\\{name} is not supported")
        else:
            self.put_command_with_argument(name)

    def put_command_with_argument(self, name: str) -> None:
        """Appends the tokens of a command whose argument is read here."""
        if name in ("textcolor", "color", "hspace", "vspace"):
            self.read_group()
        elif name in ("phantom", "hphantom", "vphantom"):
            # invisible, with braces or without
            if self.read_group() is None:
                self.at = _PHANTOM.match(self.text, self.at).end()  # type: ignore[union-attr]
        elif name == "mathbb":
            inner = (self.read_group() or "").strip()
            self.put("const", NUMBER_SETS.get(inner, f"mathbb{inner}"))
        elif name in ("begin", "end"):
            inner = (self.read_group() or "").strip()
            if name == "begin" and inner == "array":
                self.read_group()
            self.put("cmd", f"{name} {inner}")
        elif name in ("\\", "cr"):
            self.at = _ROW_SPACING.match(self.text, self.at).end()  # type: ignore[union-attr]
            self.put("op", "row")
        elif name == "ang":
            angle = (self.read_group() or "").replace(";", " ").strip()
            for token in _Lexer(f"{angle}\\circ").tokenize():
                self.put(token.kind, token.value)
        else:
            raise ParseError("unknown command")

    def put_accent(self, name: str) -> None:
        inner = self.read_group()
        if inner is None:
            at = _ACCENTED.match(self.text, self.at)
            if at is None:
                return
            inner, self.at = at[1], at.end()
        letter = UNIT_VECTORS.get(_BOLD.sub("", inner).strip(" \\{}"))
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
            name != "mathbf"
            and find_unit(word) is not None
            and self.is_after_value()
            and not self.text.startswith(("(", "{"), self.at)
        ):
            self.put("text", word)
        elif word in FUNCTIONS:
            self.put("fn", FUNCTION_ALIASES.get(word, word))
        elif name == "mathbf" and word in NUMBER_SETS:
            self.put("const", NUMBER_SETS[word])
        elif len(word) == 1 and (
            word.isalpha()
            and (
                name.startswith("math")
                or find_unit(word) is None
                or not (word in "ghsm" or self.is_after_value())
            )
        ):
            self.put("const" if word in "ei" else "sym", word)
        elif lower in PLAIN_WORDS and lower != "in":
            self.put(*PLAIN_WORDS[lower])
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
        """Whether a unit may follow here."""
        previous = self.out[-1] if self.out else None
        return previous is not None and (
            previous.kind in ("num", "text")
            or previous.value in (")", "}")
            or (previous.value == "pi" and self.spaced)
        )

    def put_word(self, spelling: str) -> None:
        lower = spelling.lower()
        if spelling in FUNCTIONS and not self.is_unit_ahead(spelling):
            self.put("fn", FUNCTION_ALIASES.get(spelling, spelling))
            return
        if self.is_unit_ahead(spelling) or (lower in _POWER_WORDS and self.is_after_value()):
            self.put("text", spelling)
        elif lower in PLAIN_WORDS and len(lower) > 1:
            self.put(*PLAIN_WORDS[lower])
        elif glued := _GLUED.fullmatch(spelling):
            self.put_letters(glued[1])
            self.put("fn", glued[2])
            self.put_letters(glued[3])
        elif (pi := _GLUED_PI.fullmatch(spelling)) and self.touches_value():
            self.put("const", "pi")
            self.put_letters(pi[1])
        elif self.spaced and self.out and self.is_counted_noun(spelling):
            # any other word behind a number names the things counted: 12 oranges
            self.put("text", lower)
        elif spelling in PLAIN_GREEK:
            self.put("sym", spelling)
        elif lower in SCALES and self.is_after_value():
            self.put("text", lower)
        elif len(spelling) <= MAX_PRODUCT and (
            self.touches_value() or self.is_product_of_names(spelling)
        ):
            # letters that touch other mathematics are a product, as in x^2yzab
            self.put_letters(spelling)
        elif len(spelling) > 3:
            head = next((w for w in ("sqrt", "pi") if spelling.endswith(w)), None)
            if head is None or len(spelling) > len(head) + 2:
                raise NotMathematicsError("words, not mathematics")
            for letter in spelling[: -len(head)]:
                self.put("sym", letter)
            self.put("fn" if head == "sqrt" else "const", head)
        elif spelling.endswith("pi"):
            self.put_letters(spelling[:-2])
            self.put("const", "pi")
        else:
            self.put_letters(spelling)

    def is_unit_ahead(self, word: str) -> bool:
        """Whether a plain word is a unit; one letter only behind a lone number: 5 m, 9.8 m/s^2."""
        if find_unit(word) is None:
            return False
        kinds = [token.kind for token in self.out]
        if [token.value for token in self.out[-1:]] == ["/"] and kinds[-2:-1] == ["text"]:
            return True
        if len(word) > 1:
            return self.is_after_value() and not self.text.startswith(("(", "{"), self.at)
        if (
            self.text[self.at : self.at + 1] == "^"
            and word != "m"
            and "-" not in self.text[self.at : self.at + 3]
        ):
            return False
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
        """Whether a word behind a number or a unit names the things counted."""
        kind = self.out[-1].kind
        known = is_phrase_word(spelling)
        if kind == "text":
            return known
        behind = kind == "num" or self.out[-1].value in (")", "}", "pi")
        return known and behind and len(spelling) > 2

    def touches_value(self) -> bool:
        """Whether the word just read touches a value before it or an exponent or index after it."""
        behind = (
            bool(self.out)
            and not self.spaced
            and self.out[-1].kind in ("num", "sym", "const", "close")
        )
        return behind or self.text[self.at : self.at + 1] in ("^", "_")

    def is_product_of_names(self, spelling: str) -> bool:
        """Whether a word is a product of names: no letter twice, and mathematics around it."""
        distinct = len(set(spelling)) == len(spelling) <= 5 and spelling not in BARE_COMMANDS
        return distinct and not self.is_after_value() and _MATHEMATICS.search(self.text) is not None

    def put_letters(self, spelling: str) -> None:
        """Appends a product of one-letter names."""
        for letter in spelling:
            self.put("const" if letter in "ei" else "sym", letter)


def tokenize(text: str) -> list[Token]:
    """The tokens of a normalised text; raises ParseError if it is not mathematics or too long."""
    return _Lexer(text).tokenize()
