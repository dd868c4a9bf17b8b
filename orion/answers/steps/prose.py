"""Find the relations of plain text: the longest expression on each side of a sign.

Input: the tokens of a block of prose. Output: `Link`s. One pass over the tokens; each is looked at
a bounded number of times.
"""

from __future__ import annotations

from orion.answers.steps.lexer import Token
from orion.answers.steps.links import RELATIONS, Link
from orion.answers.steps.sides import (
    DIVIDE,
    FRACTIONS,
    SKIPPED,
    TEXTS,
    TIMES,
    Side,
    build_side,
)

MAX_UNIT_WORDS = 6
MAX_EXPRESSION = 400
_ABOUT = frozenset(
    ("about", "approximately", "approx", "roughly", "around", "nearly", "almost", "only", "just")
)
_MODULO = frozenset(("\\bmod", "\\mod"))
_SIGNS = frozenset(("+", "-", "−", "–"))
_GREEK = frozenset(("\\pi", "\\theta", "\\alpha", "\\beta", "\\gamma", "\\lambda"))
_ARTICLES = frozenset("aAI")
_SHORT_UNITS = frozenset("shmglLaA")
# words that no unit holds: behind them a new statement begins
_NO_UNIT = frozenset(
    [
        "is",
        "be",
        "was",
        "are",
        "were",
        "would",
        "will",
        "has",
        "have",
        "had",
        "he",
        "she",
        "they",
        "it",
        "and",
        "then",
        "so",
        "which",
        "that",
        "we",
        "i",
        "you",
        "gives",
        "give",
        "gets",
        "get",
        "makes",
        "but",
        "because",
        "if",
        "when",
        "while",
        "who",
        "equals",
        "total",
        "would",
        "leaves",
        "means",
        "or",
        "costs",
        "cost",
        "from",
        "to",
        "at",
        "when",
        "where",
        "as",
        "by",
        "than",
        "with",
        "along",
        "between",
        "through",
        "dx",
    ]
)


class ProseScanner:
    """A cursor over the tokens of one block of prose."""

    def __init__(self, tokens: list[Token], text: str) -> None:
        self.tokens, self.text = tokens, text
        self.size = len(tokens)

    # tokens

    def kind(self, at: int) -> str:
        return self.tokens[at].kind if at < self.size else "end"

    def word(self, at: int) -> str:
        return self.tokens[at].text if at < self.size else ""

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
        return kind == "other" and word in "√π"

    def starts_sign(self, at: int) -> bool:
        """Whether a plus or minus is the sign of the value behind it."""
        if not self.starts_operand(at + 1) or self.kind(at + 1) == "op":
            return False
        if at == 0 or self.kind(at - 1) in ("nl", "rel", "open", "arrow"):
            return True
        return self.touches(at + 1) and not self.touches(at)

    def is_variable(self, at: int) -> bool:
        """Whether a one-letter word is a name and no article."""
        if self.kind(at) != "word" or len(self.word(at)) != 1:
            return self.word(at) == "pi"
        if self.word(at) not in _ARTICLES:
            return True
        return self.is_operator(at + 1) or self.is_relation(at + 1) or self.is_operator(at - 1)

    def group_end(self, at: int) -> int:
        """The index behind the bracket that closes the one at `at`; `at` if there is none."""
        depth = 0
        for i in range(at, min(self.size, at + MAX_EXPRESSION)):
            depth += {"open": 1, "close": -1}.get(self.kind(i), 0)
            if depth == 0:
                return i + 1
            if self.kind(i) == "nl":
                break
        return at

    # expressions

    def scan(self, start: int) -> int:
        """The index behind the longest expression that begins at `start`; `start`: there is none."""
        at, depth, good, wants = start, 0, start, True
        while at < self.size and at - start < MAX_EXPRESSION:
            ahead = self.operand(at) if wants else self.continuation(at, depth)
            if ahead is None:
                break
            at, depth_change, wants = ahead
            depth += depth_change
            if depth == 0 and not wants:
                good = at
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
            or self.is_relation(end)
            or (self.kind(end) == "close" and depth)
            or (self.kind(end) in ("pct",))
        ):
            return end, 0, False
        return None

    def is_unit_word(self, at: int) -> bool:
        return self.kind(at) == "word" and len(self.word(at)) > 1 and self.word(at) != "pi"

    def unit_end(self, at: int) -> int:
        """The index behind the words of a unit, such as `kb/s` or `tennis balls`."""
        end = at
        while end - at < MAX_UNIT_WORDS:
            if self.kind(end) == "word" and not (
                self.word(end) in ("x", "X") and self.starts_operand(end + 1)
            ):
                if self.word(end).lower() in _NO_UNIT:
                    return end
                if len(self.word(end)) == 1 and self.word(end) not in _SHORT_UNITS:
                    return end
                end += 1
            elif (self.word(end) == "/" and self.kind(end + 1) == "word") or (
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

    # links

    def find(self) -> list[Link]:
        """All links of the block."""
        links: list[Link] = []
        at, head = 0, -1
        while at < self.size:
            if self.word(at) in (";", ".") or self.kind(at) == "nl":
                head = -1
            if head >= 0 and self.kind(at) == "rel" and self.word(at - 1) == ",":
                at, head = self.chain(head, at, links, columns=True), -1
                continue
            if not (self.starts_operand(at) or self.is_variable(at)):
                at += 1
                continue
            end = self.scan(at)
            if end == at:
                at += 1
                continue
            if self.word(end) == ":" and any(self.is_operator(i) for i in range(at, end)):
                # 17 + 8 : 7 + 8 = 15 , 1 + 1 = 2 , = 25 ;
                head = at
            at = self.chain(at, end, links)
        return links

    def relation_behind(self, end: int) -> int:
        """The index of the relation that follows an expression, through one line break; -1: none."""
        at = end
        while self.word(at) in SKIPPED:
            at += 1
        if self.is_relation(at):
            return at
        if self.kind(at) == "nl" and self.is_relation(at + 1):
            return at + 1
        return -1

    def chain(self, start: int, end: int, links: list[Link], columns: bool = False) -> int:
        """Adds the links of the chain whose first side is start..end; the index to go on from.

        With columns, the first side is the expression at `start`, far before its relation.
        """
        relation = end if columns else self.relation_behind(end)
        end = self.scan(start) if columns else end
        if relation < 0:
            return end
        sides = [self.side(start, end)]
        mark, before, named = self.surroundings(start)
        first = len(links)
        while relation >= 0:
            words = self.kind(relation) == "word"
            operator = "=" if words else RELATIONS.get(self.word(relation), "in")
            at = self.relation_end(relation)
            if self.kind(at) == "nl":
                at += 1
            while self.word(at).lower() in _ABOUT or self.word(at) in SKIPPED:
                operator = "approx" if self.word(at).lower() in _ABOUT else operator
                at += 1
            if self.word(at) == "~":
                operator, at = "approx", at + 1
            behind = self.scan(at) if self.starts_operand(at) or self.is_variable(at) else at
            if behind == at:
                end = self.relation_end(relation)
                break
            right = self.side(at, behind)
            if words and sides[-1].literal is not None:
                # "1% is equal to 5" says what a part of something is
                end = behind
                break
            end = self.unit_end(behind)
            right.after = tuple(self.word(i) for i in range(behind, end))
            following = self.tokens[end] if end < self.size else None
            links.append(
                Link(
                    sides[-1], operator, right, False, before, following, named,
                    place=len(sides) - 1, earlier=tuple(sides[:-1]), list_mark=mark,
                )
            )  # fmt: skip
            sides.append(right)
            mark = False
            relation = self.relation_behind(end)
            if relation < 0 and end > behind:
                end = behind
        for link in links[first:]:
            link.length = len(sides) - 1
            link.chain_end = sides[-1].end
        return end

    def side(self, start: int, end: int) -> Side:
        return build_side(self.tokens[start:end], self.text, False)

    def surroundings(self, start: int) -> tuple[bool, Token | None, tuple[str, ...]]:
        """Whether a list mark begins the side, the token before it, and the words before that."""
        at = start - 1
        at_line_start = at < 0 or self.kind(at) == "nl"
        mark = at_line_start and self.kind(start) == "op"
        if at_line_start:
            return mark, None, ()
        if self.kind(at) == "op" and (at == 0 or self.kind(at - 1) == "nl"):
            # a list mark such as "* " or "- " that is no part of the side
            return mark, None, ()
        if self.kind(at) in ("close", "punct") and self.kind(at - 1) in ("num", "word"):
            if at - 2 < 0 or self.kind(at - 2) == "nl":
                return mark, None, ()
        words: list[str] = []
        while at >= 0 and self.kind(at) == "word" and len(words) < 6:
            words.append(self.word(at).lower())
            at -= 1
        before = self.tokens[start - 1]
        if before.text == "**" and (
            before.end < self.tokens[start].start or not self.touches(start - 1)
        ):
            # Markdown's bold
            return mark, None, ()
        if words and at >= 0 and self.kind(at) == "op" and len(words) < 6:
            # a sum whose first terms are in words: + his 1 teacher + 2
            before = self.tokens[at]
        elif before.kind == "open" and start > 1 and self.kind(start - 2) in ("op", "num", "close"):
            before = self.tokens[start - 2]
        elif before.text == "." and start > 1 and self.kind(start - 2) == "op":
            # .8 + . 84
            before = self.tokens[start - 2]
        elif before.text == "," and self.kind(start - 2) == "num" and self.kind(start) == "num":
            # 14, 400 / 80 and 13,2000 / 60
            if self.touches(start) or len(self.word(start)) == 3:
                before = self.tokens[start - 2]
        if before.text in (",", ";") and self.kind(start - 2) == "num":
            words = ["num"]
        return mark, before, tuple(reversed(words))
