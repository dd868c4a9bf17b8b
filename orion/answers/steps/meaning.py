"""What stands around a claim: whether the text means it, takes it back, or asks.

Input: the text and a link. Output: the reason why a claim that does not hold is no false claim, or
an empty string. Only looked at when a claim does not hold.
"""

from __future__ import annotations

import re
import unicodedata

from orion.answers.steps import cues
from orion.answers.steps.lexer import Token
from orion.answers.steps.links import Link
from orion.answers.steps.quantities import unit

BEFORE, AFTER = 240, 260
# of the longest check of a step
CHECK = 120
# tokens beside a side with which it may be one expression
_SIGNS = frozenset(
    ("op", "num", "close", "pct", "cmd", "sup", "dots", "sub", "cur", "mark", "rel")
)  # fmt: skip
# signs of mathematics that take a side beside them, with a blank between too
_OPEN_SIGNS = frozenset("°√∛∜∑∏∫±∓∠∶")
# signs of mathematics between statements: therefore, because, end of proof
_BETWEEN_STATEMENTS = frozenset("∴∵∎⟶⟺⇔↦▷")
_FUNCTIONS = frozenset(("sin", "cos", "tan", "log"))
# a text as long as this that ends in the middle of a line may be cut off
_LONG = 600


def is_incomplete(link: Link, text: str) -> str:
    """Why the sides may go on beyond what was read; empty if they do not."""
    return _incomplete_before(link, text) or _incomplete_after(link, text)


def _incomplete_before(link: Link, text: str) -> str:
    if link.place:
        both = link.left.literal is not None and link.right.literal is not None
        return "two numbers in a chain" if both and link.place == 1 else ""
    if text[link.start : link.start + 1] == "+":
        return "a running sum"
    head = text[max(0, link.start - 80) : link.start]
    lone = link.left.literal is not None
    last = head.rstrip()[-1:]
    if last == ":" and _is_ratio_before(link, head):
        return "a ratio before"
    if last == "." and lone and cues.CUT_SHORT.search(head):
        return "a name before"
    if cues.AND_BEFORE.search(head):
        # 5 and 2/3, or the sum of 5 and 3 * 2; behind another claim a new one begins
        fraction = [kind for kind, _ in link.left.items] == ["n", "//", "n"]
        if fraction or not cues.RELATION_BEFORE.search(head):
            return "a number and before"
    if link.in_formula:
        return _before_formula(text[max(0, link.start - 40) : link.start])
    if link.before is None:
        if link.left.literal is not None and link.list_mark:
            return "a list mark"
        previous = text[max(0, link.start - 3) : link.start].rstrip(" ")
        return "beside a formula" if previous[-1:] in ("$", ")", "]") else ""
    if link.before.kind == "word":
        return _before_is_word(link, link.before)
    return _before_is_sign(link, link.before, text)


def _is_ratio_before(link: Link, head: str) -> bool:
    if cues.LONE_RATIO_BEFORE.search(head):
        return True
    if link.left.literal is None:
        return False
    both = link.right.literal is not None
    return bool(cues.RATIO_BEFORE.search(head) or (both and cues.NUMBER_BEFORE.search(head)))


def _before_formula(head: str) -> str:
    head = head.rstrip().rstrip("$\\([{").rstrip()
    if head[-2:] == " .":
        return "a sign before"
    words = re.findall(r"[^\W\d_]+", head[-24:]) if head[-1:].isalpha() else []
    return "a word before" if words and words[-1].lower() in cues.WORDS_BEFORE else ""


def _before_is_word(link: Link, token: Token) -> str:
    word = token.text.lower()
    if token.end == link.start:
        return "a sign before"
    if word == "of" and link.words_before[-2:-1] and link.words_before[-2] in cues.WHOLES:
        return "a name before" if link.left.literal is not None else ""
    if word in cues.WORDS_BEFORE or link.words_before[-2:] in cues.PHRASES_BEFORE:
        return "a word before"
    if link.left.literal is not None and word not in cues.GETS:
        return "a name before"
    return ""


def _before_is_sign(link: Link, token: Token, text: str) -> str:
    touches = token.end == link.start
    lone = link.left.literal is not None
    both = lone and link.right.literal is not None
    if touches and token.kind not in ("open", "punct", "other", "nl", "arrow"):
        return "a sign before"
    if token.kind == "rel" and not lone:
        # the total = 15 + 9 = 24
        return ""
    if token.kind in _SIGNS or is_sign(token, touches):
        return "a sign before"
    if lone and token.kind == "other" and (touches or both) and token.text not in "“‘«•":
        # #3, §3, a tag that the number belongs to
        return "a name before"
    if token.kind == "punct":
        if (lone and link.words_before == ("num",)) or text[link.start] in "-−–":
            return "a list before"
        if both and token.text in ",:":
            said = cues.INTRODUCED.search(text[max(0, link.start - 24) : link.start])
            return "" if said else "a list before"
        return "a sign before" if touches and token.text in ":._',’" else ""
    return "a remark" if both and token.kind == "open" else ""


def _incomplete_after(link: Link, text: str) -> str:
    words = [word.lower() for word in link.right.after]
    if any(word in cues.WORDS_AFTER or word[:3] in _FUNCTIONS for word in words[:3]) or (
        words and words[0] in cues.NEXT_WORDS
    ):
        return "a word after"
    if not link.in_formula and text[link.end : link.end + 1].isalpha():
        # 6ab goes on, 6cm does not
        letters = re.match(r"\w+", text[link.end : link.end + 20])
        if letters and unit(letters.group()) is None:
            return "letters after"
    if link.end == len(text) > _LONG and not link.right.after:
        return "the text may be cut off"
    if cues.MODULO_AFTER.match(text, link.end):
        return "modulo"
    if cues.MORE_AFTER.match(text, link.end):
        return "more after"
    if cues.FACTOR_AFTER.match(text, link.end):
        return "a factor after"
    if link.right.literal is not None and cues.RATIO_AFTER.match(text, link.end):
        return "a ratio after"
    if link.in_formula:
        word = re.match(r"[A-Za-z]+", text[link.end : link.end + 24].lstrip("$ \\)]}\n"))
        if word and word.group().lower() in cues.WORDS_AFTER:
            return "a word after"
        return "a sign after" if text[link.end : link.end + 3].lstrip("$ ").startswith("%") else ""
    if link.after is None:
        following = text[link.end : link.end + 2].strip(" ")[:1]
        return "beside a formula" if following in ("$", "\\") else ""
    return _after_is_token(link, link.after, text)


def _after_is_token(link: Link, token: Token, text: str) -> str:
    touches = token.start == link.end
    if token.text == "**" and not text[token.end : token.end + 1].isalnum():
        # Markdown's bold
        return ""
    if token.kind == "cur" and link.right.after:
        return ""
    if token.kind in _SIGNS - {"close", "mark", "rel"} or is_sign(token, touches):
        return "a sign after"
    if token.kind == "word" and token.text in cues.GOES_ON and link.right.literal is None:
        return "a word after"
    if touches and (
        (token.kind == "open" and token.text != "{")
        or (token.kind == "punct" and token.text in ":_'")
    ):
        return "a sign after"
    return ""


def is_sign(token: Token, touches: bool) -> bool:
    """Whether a token that no rule knows is a sign of mathematics, as the root of ∛27."""
    if token.kind != "other" or token.text in _BETWEEN_STATEMENTS:
        return False
    return token.text in _OPEN_SIGNS or (touches and unicodedata.category(token.text) == "Sm")


def is_rounding_announced(link: Link, text: str) -> bool:
    """Whether words near the claim speak of rounding."""
    around = text[max(0, link.start - 120) : link.end + 160]
    return cues.ROUNDED.search(around) is not None


def why_not_meant(link: Link, text: str) -> str:
    """Why the text does not assert a relation that does not hold; empty if it does."""
    tail = text[link.end : link.end + AFTER]
    # a remark in brackets is part of the right side
    claimed = text[link.right.start : link.right.end].strip()
    reach = link.end + AFTER - link.right.start
    # a check that begins within reach is read to its end
    if takes_back(text[link.right.start : link.end + AFTER + CHECK], claimed, reach):
        return "retracted"
    if cues.QUESTION.match(tail):
        return "question"
    head = text[max(0, link.start - BEFORE) : link.start]
    line = head.rpartition("\n")[2]
    if is_struck(line, tail):
        return "retracted"
    if is_attributed(link, head, tail):
        return "attributed"
    hypothesis = cues.HYPOTHESIS.search(line)
    if hypothesis:
        single = link.left.literal is not None and link.right.literal is not None
        if single or not cues.CLAUSE.search(hypothesis.group()):
            return "hypothesis"
    return ""


def takes_back(behind: str, claimed: str, reach: int) -> bool:
    """Whether the text behind a claim takes it back, as "wait" does, within ``reach`` characters.

    ``claimed``: the right side of the claim. A check that upholds what stands last before it does
    not take it back: "14 - 4 = 10. Wait, let me check: 10 + 4 = 14, right.". One that does not use
    that value may be another result.
    """
    for match in cues.CHECKED.finditer(behind):
        checked = match["checked"]
        results = cues.RESULT.findall(behind, 0, match.start())
        last = results[-1] if results else claimed
        if checked is None or re.search(rf"(?<![\d.]){re.escape(last)}(?![\d])", checked):
            behind = behind.replace(match.group(), " " * len(match.group()))
    return cues.RETRACTED.search(behind, 0, reach) is not None


def is_struck(line: str, tail: str) -> bool:
    """Whether a claim stands between marks of struck text."""
    between = line.count("~~") % 2 == 1 and "~~" in tail.partition("\n")[0]
    return between or cues.STRUCK.search(line) is not None


def is_attributed(link: Link, head: str, tail: str) -> bool:
    """Whether a claim is what someone else holds, or is shown as an error."""
    if cues.SAID_AFTER.match(tail):
        return True
    found = cues.ATTRIBUTED.search(head)
    if found is None and not link.right.units:
        found = cues.WRITTEN.search(head)
    if found is None or cues.MENDED.search(head, max(0, found.start() - 24)):
        return False
    return not cues.OWN_WORDS.search(found.group())
