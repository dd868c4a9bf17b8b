"""Find the longest expression that begins at a word of plain text: numbers, signs, units.

Input: the tokens of a block of prose. Output: indices of tokens. The lower layer of `prose`.
"""

from __future__ import annotations

from orion.answers.steps.cues import NO_UNIT
from orion.answers.steps.lexer import Token
from orion.answers.steps.links import RELATIONS
from orion.answers.steps.signs import DIVIDE, FRACTIONS, FUNCTION_WORDS, SKIPPED, TEXTS, TIMES

MAX_UNIT_WORDS = 6
# tokens that all expressions of a block together may look at, beside some for each token
MAX_WORK = 20_000
MAX_EXPRESSION = 400
_AHEAD = 16
_MODULO = frozenset(("\\bmod", "\\mod"))
_SIGNS = frozenset(("+", "-", "−", "–"))
_GREEK = frozenset(("\\pi", "\\theta", "\\alpha", "\\beta", "\\gamma", "\\lambda"))
_ARTICLES = frozenset("aAI")
_SHORT_UNITS = frozenset("shmglLaA")


class ExpressionScanner:
    """A cursor over the tokens of one block of prose, and the longest expression at it."""

    def __init__(self, tokens: list[Token], text: str) -> None:
        self.tokens, self.text = tokens, text
        self.size = len(tokens)
        # with room to look ahead of the last token
        self.kinds = [token.kind for token in tokens] + ["end"] * _AHEAD
        self.words = [token.text for token in tokens] + [""] * _AHEAD
        self.work = 0
        # the offset of the first expression that was not looked at, as the block cost too much
        self.gave_up_at: int | None = None

    # tokens

    def kind(self, at: int) -> str:
        return self.kinds[at]

    def word(self, at: int) -> str:
        return self.words[at]

    def touches(self, at: int) -> bool:
        """Whether a token touches the one before it."""
        return 0 < at < self.size and self.tokens[at - 1].end == self.tokens[at].start

    def is_relation(self, at: int) -> bool:
        return self.relation_end(at) > at

    def relation_end(self, at: int) -> int:
        """The index behind a relation, in signs or in words; `at` if there is none."""
        kind, word = self.kind(at), self.word(at)
        if kind == "rel" or (kind == "cmd" and word in RELATIONS) or word == "equals":
            return at + 1
        return at

    def is_operator(self, at: int) -> bool:
        kind, word = self.kind(at), self.word(at)
        return (kind == "op" and word != "!") or (
            kind == "cmd" and (word in TIMES or word in DIVIDE)
        )

    def starts_operand(self, at: int) -> bool:
        """Whether a value may begin here."""
        kind, word = self.kind(at), self.word(at)
        if kind in ("num", "cur", "mark") or (kind == "open" and word != "{"):
            return True
        if kind == "cmd":
            return (
                word in FRACTIONS
                or word in ("\\sqrt", "\\$", "\\binom", "\\left")
                or word in _GREEK
            )
        if kind == "op":
            return word in _SIGNS and self.starts_sign(at)
        if kind == "word" and word in FUNCTION_WORDS:
            return self.kind(at + 1) == "open" and self.touches(at + 1)
        return kind == "other" and word in "√π"

    def starts_sign(self, at: int) -> bool:
        """Whether a plus or minus is the sign of the value behind it."""
        if self.kind(at + 1) == "op" or not self.starts_operand(at + 1):
            return False
        if at == 0 or self.kind(at - 1) in ("nl", "rel", "open", "arrow"):
            return True
        return self.touches(at + 1) and not self.touches(at)

    def is_variable(self, at: int) -> bool:
        """Whether a one-letter word is a name and no article."""
        if self.kind(at) != "word" or len(self.word(at)) != 1:
            return self.word(at) == "pi"
        if self.word(at) not in _ARTICLES or (self.touches(at) and self.kind(at - 1) == "num"):
            return True
        return self.is_operator(at + 1) or self.is_relation(at + 1) or self.is_operator(at - 1)

    def group_end(self, at: int) -> int:
        """The index behind the bracket that closes the one at `at`; `at` if there is none."""
        depth = 0
        if self.is_exhausted():
            return at
        for i in range(at, min(self.size, at + MAX_EXPRESSION)):
            self.work += 1
            depth += {"open": 1, "close": -1}.get(self.kind(i), 0)
            if depth == 0:
                return i + 1
            if self.kind(i) == "nl":
                break
        return at

    def is_exhausted(self) -> bool:
        """Whether the block has cost more work than any honest text does (at most 1 per token)."""
        return self.work > MAX_WORK + 5 * self.size

    # expressions

    def scan(self, start: int) -> int:
        """The index behind the longest expression at `start`; `start` if there is none."""
        at, depth, good, wants = start, 0, start, True
        if self.is_exhausted():
            if self.gave_up_at is None and start < self.size:
                self.gave_up_at = self.tokens[start].start
            return start
        while at < self.size and at - start < MAX_EXPRESSION:
            ahead = self.operand(at) if wants else self.continuation(at, depth)
            # a unit of no words would be read for ever
            if ahead is None or ahead[0] <= at:
                break
            at, depth_change, wants = ahead
            depth += depth_change
            if depth == 0 and not wants:
                good = at
        self.work += at - start
        return good

    def operand(self, at: int) -> tuple[int, int, bool] | None:
        """What may stand where a value is wanted: (index behind it, change of depth, wants one)."""
        kind, word = self.kind(at), self.word(at)
        if kind == "num":
            return at + 1, 0, False
        if (kind == "op" and word in _SIGNS) or kind in ("cur", "mark") or word == "\\$":
            return at + 1, 0, True
        if kind == "open":
            return at + 1, 1, True
        if kind == "cmd" and word in FRACTIONS:
            end = self.group_end(at + 1)
            second = self.group_end(end) if end > at + 1 else end
            return (second, 0, False) if second > end else None
        if kind == "cmd" and word in ("\\sqrt", "\\binom"):
            end = at + 1
            for _ in range(2):
                if self.kind(end) == "open":
                    end = self.group_end(end)
            return (end, 0, False) if end > at + 1 else None
        if kind == "cmd" and word in SKIPPED:
            return at + 1, 0, True
        if kind == "cmd" and word in _GREEK:
            return at + 1, 0, False
        if kind == "other" and word in "√π":
            return at + 1, 0, word == "√"
        if kind == "word" and word in FUNCTION_WORDS:
            end = self.group_end(at + 1)
            return (end, 0, False) if end > at + 1 else None
        if self.is_variable(at):
            return at + 1, 0, False
        return None

    def continuation(self, at: int, depth: int) -> tuple[int, int, bool] | None:
        """What may stand behind a value."""
        kind, word = self.kind(at), self.word(at)
        if kind == "pct" and self.kind(at + 1) == "num" and not self.touches(at):
            return at + 1, 0, True
        if kind in ("pct", "sup", "sub") or word in ("!", "\\%", "percent", "°"):
            return at + 1, 0, False
        if kind == "close":
            return (at + 1, -1, False) if depth else None
        if kind == "op" or (kind == "cmd" and (word in TIMES or word in DIVIDE or word in _MODULO)):
            if word in DIVIDE and self.is_unit_word(at + 1):
                return self.unit_end(at), 0, False
            return at + 1, 0, True
        if kind == "cmd":
            if word in FRACTIONS:
                return self.operand(at)
            if word in SKIPPED:
                return at + 1, 0, False
            if word in TEXTS and self.kind(at + 1) == "open":
                end = self.group_end(at + 1)
                return (end, 0, False) if end > at + 1 else None
            return None
        if kind == "open":
            return self.bracket(at)
        if kind == "num":
            return self.mixed_number(at)
        if kind == "word":
            return self.word_behind_value(at, depth)
        if kind == "punct" and word == "_" and self.touches(at):
            return at + 2, 0, False
        return None

    def bracket(self, at: int) -> tuple[int, int, bool] | None:
        """A bracket behind a value: a factor, or a remark in words that is passed over."""
        if self.touches(at):
            return at + 1, 1, True
        end = self.group_end(at)
        inside = range(at + 1, end - 1)
        if end > at and all(self.kind(i) == "word" and len(self.word(i)) > 2 for i in inside):
            return end, 0, False
        before = self.tokens[at - 1]
        if before.kind == "close" or (before.kind == "word" and len(before.text) == 1):
            return at + 1, 1, True
        return None

    def mixed_number(self, at: int) -> tuple[int, int, bool] | None:
        """The fraction of 3 1/2."""
        if self.kind(at - 1) == "num" and self.word(at + 1) == "/" and self.kind(at + 2) == "num":
            tight = self.touches(at + 1) and self.touches(at + 2)
            return (at + 3, 0, False) if tight else None
        return None

    def word_behind_value(self, at: int, depth: int) -> tuple[int, int, bool] | None:
        word = self.word(at)
        if word in ("x", "X", "times", "plus", "minus", "of", "mod", "MOD") and (
            self.starts_operand(at + 1) and self.kind(at + 1) != "op"
        ):
            if word == "of" and self.kind(at - 1) == "word":
                return None
            if word not in ("x", "X") or not (self.touches(at) and self.touches(at + 1)):
                return at + 1, 0, True
            if self.kind(at + 1) != "open":
                return at + 1, 0, True
        if word == "divided" and self.word(at + 1) == "by" and self.starts_operand(at + 2):
            return at + 2, 0, True
        if self.is_variable(at) and self.touches(at):
            return at + 1, 0, False
        if len(word) == 1 and self.is_variable(at) and self.kind(at - 1) == "close":
            return at + 1, 0, False
        end = self.unit_end(at) if word != "of" else at
        if end > at and (
            self.is_operator(end)
            or (self.word(end) in ("x", "X") and self.starts_operand(end + 1))
            or (self.is_relation(end) and self.kind(end) != "word")
            or (self.kind(end) == "close" and depth)
            or (self.kind(end) in ("pct",))
        ):
            return end, 0, False
        return None

    def is_unit_word(self, at: int) -> bool:
        return self.kind(at) == "word" and len(self.word(at)) > 1 and self.word(at) != "pi"

    def is_unit_behind_slash(self, at: int) -> bool:
        """Whether a word may be the lower part of a unit; 459 blinks / x is a calculation."""
        word = self.word(at)
        return self.kind(at) == "word" and (len(word) > 1 or word in _SHORT_UNITS)

    def unit_end(self, at: int) -> int:
        """The index behind the words of a unit, such as `kb/s` or `tennis balls`."""
        end = at
        while end - at < MAX_UNIT_WORDS:
            if self.kind(end) == "word" and not (
                self.word(end) in ("x", "X") and self.starts_operand(end + 1)
            ):
                if self.word(end).lower() in NO_UNIT:
                    return end
                if len(self.word(end)) == 1 and self.word(end) not in _SHORT_UNITS:
                    return end
                end += 1
            elif (self.word(end) == "/" and self.is_unit_behind_slash(end + 1)) or (
                self.word(end) == "^" and self.kind(end + 1) == "num" and end > at
            ):
                end += 2
            elif self.kind(end) == "sup" and end > at:
                end += 1
            elif self.kind(end) == "open" and end > at:
                close = self.group_end(end)
                words = range(end + 1, close - 1)
                if close > end and all(self.kind(i) == "word" for i in words):
                    end = close
                else:
                    break
            else:
                break
        return end
