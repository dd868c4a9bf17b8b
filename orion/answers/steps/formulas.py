r"""Find the relations of a formula: its chains, over the rows of an aligned environment.

Input: the tokens of a formula. Output: `Link`s. One pass over the tokens.
"""

from __future__ import annotations

from orion.answers.steps.cues import CONNECTIVES
from orion.answers.steps.lexer import Token
from orion.answers.steps.links import MAX_EARLIER, RELATIONS, Link, Side
from orion.answers.steps.sides import build_side
from orion.answers.steps.signs import DIVIDE, MINUS, TEXTS, TIMES

_CUTS = frozenset(
    ("\\quad", "\\qquad", "\\implies", "\\Rightarrow", "\\Longrightarrow", "\\iff", "\\because",
     "\\Leftrightarrow", "\\rightarrow", "\\therefore", "\\longrightarrow", "\\Longleftrightarrow",
     "\\hspace", "\\land", "\\lor", "\\vee", "\\wedge", "\\colon", "\\cr", "\\intertext")
)  # fmt: skip
_ALIGNED = frozenset(
    ("aligned", "align", "align*", "split", "gathered", "gather", "gather*", "equation",
     "equation*", "eqnarray", "eqnarray*", "multline", "multline*", "alignat", "alignat*")
)  # fmt: skip
_BLANK = frozenset(
    ("&", "\\,", "\\;", "\\:", "\\!", "\\ ", "\\quad", "\\qquad", "\n", "~", "\\hspace")
)
_DOTS = frozenset(("\\ldots", "\\dots", "\\cdots", "\\dotsc", "...", "…"))
_MAX_SIDE = 400


class FormulaScanner:
    """A cursor over the tokens of one formula."""

    def __init__(self, tokens: list[Token], text: str) -> None:
        self.tokens, self.text = tokens, text
        self.size = len(tokens)
        self.side: list[Token] = []
        self.sides: list[list[Token]] = []
        self.operators: list[str] = []
        self.trouble = ""
        self.links: list[Link] = []
        self.negated = False

    def find(self) -> list[Link]:
        """All links of the formula."""
        at, depth = 0, 0
        while at < self.size:
            token = self.tokens[at]
            if token.kind == "open":
                depth += 1
            elif token.kind == "close":
                depth -= 1
            if token.text in ("\\begin", "\\end"):
                at, depth = self.environment(at, depth)
                continue
            if token.text in TEXTS and at + 1 < self.size and self.tokens[at + 1].text == "{":
                at = self.text_group(at, depth)
                continue
            if depth <= 0 and token.kind not in ("open", "close"):
                depth = 0 if depth < 0 else depth
                at = self.top_level(at)
                continue
            self.side.append(token)
            at += 1
        self.finish(None)
        if any(token.text in _DOTS for token in self.tokens):
            # 45, 90, ..., 990 = 1 * 45, 2 * 45, ...
            for link in self.links:
                if link.left.literal is not None and link.place == 0:
                    link.trouble = "a list"
        return self.links

    def environment(self, at: int, depth: int) -> tuple[int, int]:
        end = at + 1
        while end < self.size and self.tokens[end].text != "}":
            end += 1
        inner = self.tokens[at + 2 : end]
        name = self.text[inner[0].start : inner[-1].end] if inner else ""
        if name in _ALIGNED:
            if depth <= 0:
                self.finish(self.tokens[at])
            return end + 1, depth
        self.side.extend(self.tokens[at : end + 1])
        return end + 1, depth + (1 if self.tokens[at].text == "\\begin" else -1)

    def text_group(self, at: int, depth: int) -> int:
        """A text: a cut where it joins two statements, else a part of the side."""
        end = at + 1
        while end < self.size and self.tokens[end].text != "}":
            end += 1
        words = [t.text.lower() for t in self.tokens[at + 2 : end] if t.kind == "word"]
        if (
            depth <= 0
            and words
            and (not CONNECTIVES.isdisjoint(words[:1] + words[-1:]) or not self.side)
        ):
            self.finish(self.tokens[at])
            if not CONNECTIVES.isdisjoint(words):
                return end + 1
        self.side.extend(self.tokens[at : end + 1])
        return end + 1

    def ahead(self, at: int) -> Token | None:
        """The next token that is no blank."""
        while at < self.size and self.tokens[at].text in _BLANK:
            at += 1
        return self.tokens[at] if at < self.size else None

    def top_level(self, at: int) -> int:
        """One token outside all brackets; the index to go on from."""
        token = self.tokens[at]
        kind, text = token.kind, token.text
        if text == "\\not":
            self.negated = True
        elif kind == "rel" or (kind == "cmd" and text in RELATIONS):
            self.relation(RELATIONS.get(text, "in"))
        elif text == "\\\\":
            self.row_break(at)
        elif kind == "arrow" or text in _CUTS or (kind == "punct" and text in ",;.?"):
            if text in ("\\quad", "\\qquad") and self.is_amid_side(at):
                return at + 1
            self.finish(token)
        elif text == "&":
            following = self.ahead(at + 1)
            joins = following and (self.is_relation(following) or self.is_operator(following))
            if self.side and not joins and not self.is_operator(self.side[-1]):
                self.finish(token)
        elif kind != "nl":
            self.side.append(token)
        return at + 1

    def is_relation(self, token: Token) -> bool:
        return token.kind == "rel" or token.text in RELATIONS

    def is_operator(self, token: Token) -> bool:
        return (
            token.text in TIMES or token.text in DIVIDE or token.text == "+" or token.text in MINUS
        )

    def is_amid_side(self, at: int) -> bool:
        """Whether a wide blank stands beside a sign, and so separates nothing."""
        following = self.ahead(at + 1)
        if not self.side or following is None:
            return not self.side and bool(self.operators)
        if following.text in ("\\mod", "\\pmod", "\\bmod"):
            return True
        if self.is_operator(following):
            starts_row = at > 0 and self.tokens[at - 1].text in (
                "&",
                "\\\\",
                "\n",
                "\\quad",
                "\\qquad",
            )
            return starts_row or following.text not in MINUS
        return self.is_operator(self.side[-1]) or self.is_relation(following)

    def relation(self, operator: str) -> None:
        if self.negated:
            operator, self.negated = ("!=" if operator == "=" else "in"), False
        if not self.side:
            if self.operators and not self.sides:
                self.operators = []
            self.trouble = self.trouble if self.sides else ""
        self.sides.append(self.side)
        self.operators.append(operator)
        self.side = []

    def row_break(self, at: int) -> None:
        following = self.ahead(at + 1)
        if following is not None and following.text == "[" and self.tokens[at + 1].text == "[":
            # \\[4pt]
            close = at + 1
            while close < self.size and self.tokens[close].text != "]":
                close += 1
            following = self.ahead(close + 1)
            for i in range(at + 1, min(close + 1, self.size)):
                self.tokens[i] = self.tokens[i]._replace(kind="punct", text="~")
        if following is None or self.is_relation(following):
            return
        if self.is_operator(following) and self.side:
            blanks = {token.text for token in self.tokens[at + 1 : at + 6]}
            if following.text not in MINUS or (self.operators and blanks & {"\\quad", "\\qquad"}):
                return
            self.trouble = "a row that may go on"
            self.finish(self.tokens[at])
            self.trouble = "a row that may have begun before"
            return
        if not self.side and self.operators:
            return
        self.finish(self.tokens[at])

    def finish(self, following: Token | None) -> None:
        """Ends the chain at hand and adds its links."""
        groups = [*self.sides, self.side]
        operators, trouble = self.operators, self.trouble
        self.side, self.sides, self.operators, self.trouble = [], [], [], ""
        built: list[Side | None] = [
            build_side(group, self.text, True) if 0 < len(group) <= _MAX_SIDE else None
            for group in (groups if operators else ())
        ]
        earlier: list[Side] = []
        ends = [side.end for side in built if side is not None]
        for place, operator in enumerate(operators):
            left, right = built[place], built[place + 1]
            if left is not None:
                earlier.append(left)
            if left is None or right is None:
                continue
            last = place == len(operators) - 1
            self.links.append(
                Link(
                    left, operator, right, True, None, following if last else None, (),
                    place=place, length=len(operators),
                    earlier=tuple(earlier[-MAX_EARLIER - 1 : -1]),
                    trouble=trouble if last or not place else "", chain_end=max(ends),
                )
            )  # fmt: skip
