"""Find the relations of plain text: the longest expression on each side of a sign.

Input: the tokens of a block of prose. Output: `Link`s. One pass over the tokens; each is looked at
a bounded number of times.
"""

from __future__ import annotations

from orion.answers.steps.expressions import ExpressionScanner
from orion.answers.steps.lexer import Token
from orion.answers.steps.links import MAX_EARLIER, MAX_LINKS, RELATIONS, Link, Side
from orion.answers.steps.sides import build_side
from orion.answers.steps.signs import SKIPPED

_EQUAL = ("=", "approx")
_ABOUT = frozenset(
    ("about", "approximately", "approx", "roughly", "around", "nearly", "almost", "only", "just")
)


class ProseScanner(ExpressionScanner):
    """Finds the links of one block of prose."""

    def find(self) -> list[Link]:
        """All links of the block."""
        links: list[Link] = []
        at, head = 0, -1
        while at < self.size and len(links) <= MAX_LINKS:
            if self.kinds[at] == "word" and len(self.words[at]) > 2:
                at += 1
                continue
            if self.words[at] in (";", ".", "\n"):
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
        """The index of the relation behind an expression, over one line break; -1: none."""
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
        while relation >= 0 and len(links) <= MAX_LINKS:
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
                    place=len(sides) - 1, earlier=tuple(sides[-MAX_EARLIER - 1 : -1]),
                    list_mark=mark,
                )
            )  # fmt: skip
            sides.append(right)
            mark = False
            relation = self.relation_behind(end)
            if relation < 0 and end > behind:
                end = behind
        for link, before_it in zip(links[first + 1 :], links[first:], strict=False):
            # a >= 5 = 638 - 44: the number belongs to the inequality
            if link.left.literal and link.operator == "=" and before_it.operator not in _EQUAL:
                link.trouble = "a mixed chain"
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
        # 1. or a) or 2: but neither the name a_3 nor the ratio 3:4
        named = self.word(at) == ":" and self.kind(at - 1) == "word" and len(self.word(at - 1)) > 1
        sign = self.word(at) in (")", "]", "}") or (
            self.word(at) in (".", ":") and (named or not self.touches(start))
        )
        numbered = sign and self.kind(at - 1) in ("num", "word")
        if numbered and (at - 2 < 0 or self.kind(at - 2) == "nl"):
            return mark, None, ()
        words: list[str] = []
        while at >= 0 and self.kind(at) == "word" and len(words) < 6:
            words.append(self.word(at).lower())
            at -= 1
        before = self.tokens[start - 1]
        if before.text == "**" and not (self.touches(start - 1) and self.touches(start)):
            # Markdown's bold
            return mark, None, ()
        list_mark = at <= 0 or self.kind(at - 1) == "nl"
        if words and self.kind(at) == "op" and len(words) < 6 and not list_mark:
            # a sum whose first terms are in words: + his 1 teacher + 2
            before = self.tokens[at]
        elif self.is_split_before(start):
            before = self.tokens[start - 2]
        if before.text in (",", ";") and self.kind(start - 2) == "num":
            words = ["num"]
        return mark, before, tuple(reversed(words))

    def is_split_before(self, start: int) -> bool:
        """Whether the side is the end of a longer one that a bracket, point or comma splits."""
        sign, kind = self.word(start - 1), self.kind(start - 2) if start > 1 else ""
        if self.kind(start - 1) == "open":
            return kind in ("op", "num", "close")
        if sign == ".":
            # .8 + . 84
            return kind == "op"
        # 14, 400 / 80 and 13,2000 / 60
        numbers = sign == "," and kind == "num" and self.kind(start) == "num"
        return numbers and (self.touches(start) or len(self.word(start)) == 3)
