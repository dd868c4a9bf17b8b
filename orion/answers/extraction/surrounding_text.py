"""Judge whether a text commits to a value, by the text around it and the table of cues.

Input: a text and the offsets of a value in it. Output: the cue that refuses the value, None if all
the text around it is understood. Every look is at a bounded piece of the text.
"""

from __future__ import annotations

import re

from orion.answers.wording import cues, statements
from orion.answers.wording.cues import ALLOW, DENIED, END, QUESTIONED, Cue
from orion.answers.wording.matchers import nothing_matches, sentence_end

BEFORE, BEHIND = 160, 400
# cues that may follow one value before its sentence ends
MAX_CUES = 12

NOT_UNDERSTOOD_BEHIND = Cue("words_behind", "behind", "not understood", nothing_matches, "«5» foo.")
NOT_UNDERSTOOD_BEFORE = Cue("words_before", "before", "not understood", nothing_matches, "foo «5».")
_SENTENCE = re.compile(r"(?:[.!?。;](?:[*_\"')\]]*\s)|\n)")
# where a clause ends, so that a negation before it does not touch the value behind it
_CLAUSE = re.compile(
    r"[,;]\s|[。，]|\b(?:so|therefore|thus|hence|then|and\s+(?:so|that)|it\s+is|it['’]s"
    r"|\\implies)\b|[⇒→]|\)\s",
    re.I,
)

# "\\boxed{5}, but ..." only goes on
_ASIDE = re.compile(
    r"[\s$]*+(?:\\[)\]][\s$]*+)?+[,;(]\s*+(?:but|however|although|though|not|without|instead)\b",
    re.I,
)


_BLANKS = re.compile(r"([ \t\u00a0]|\n\s)(?:[ \t\u00a0]|\n\s)+")
_EMPHASIS = re.compile(r"\*\*|__|`|(?<=\w)\*(?=[\s.,!?:;)]|$)|(?<![\w*])\*(?=\w)")


def _without_emphasis(text: str) -> str:
    if "*" in text or "`" in text or "__" in text:
        text = _EMPHASIS.sub("", text)
    return _BLANKS.sub(r"\1", text)


def refusing_cue_before(text: str, start: int) -> Cue | None:
    """The cue that refuses the value at `start` for what is before it in its sentence."""
    low = max(0, start - BEFORE)
    breaks = [match.end() for match in _SENTENCE.finditer(text, low, start)]
    sentence = _without_emphasis(text[breaks[-1] if breaks else low : start])
    clause = sentence
    for match in _CLAUSE.finditer(sentence):
        rest = sentence[match.end() :]
        # "so 5", "it's 5": the word that begins the clause is all of it
        clause = rest if rest.strip(" $(\\[") else match.group() + rest
    for cue in cues.BEFORE:
        scope = sentence if cue.effect in (ALLOW, END) or cue.far else clause
        if cue.value is not None and not cue.value.match(text, start):
            continue
        if cue.match(scope, 0) is not None:
            return None if cue.effect in (ALLOW, END) else cue
    return NOT_UNDERSTOOD_BEFORE


# the end of the text, which is what most values have behind them
_TEXT_END = re.compile(r"[\s.$*)\]}]*(?:\\[)\]][\s.]*)?$")
# without one of these nothing is denied; a plain search is many times faster than a pattern
_DENYING = (
    "not", "n't", "n’t", "ever", "nor", "oubt", "either", "NOT", "Not", "Nor",
    "false", "ntrue", "rong", "ncorrect", "istaken",
)  # fmt: skip
_END_OF_SENTENCE = next(cue for cue in cues.BEHIND if cue.name == "end_of_sentence")
_QUESTION = next(cue for cue in cues.BEHIND if cue.effect == QUESTIONED)
_TEXT = re.compile(r"\\text\s?\{([^{}]*)\}")
_REJECTED = next(cue for cue in cues.BEHIND if cue.name == "rejected")
_DOUBTS = tuple(cue for cue in cues.BEFORE if cue.boxes)


# signs and the ends of environments, which say nothing
_NO_WORDS = re.compile(r"(?:\\end\s?\{[a-z]+\*?\}|[\W_])*+")


def _is_closed(piece: str, at: int, cue: Cue) -> bool:
    """Whether only a known sentence follows the one in which `cue`, that ends at `at`, is."""
    at = at if cue is _END_OF_SENTENCE else sentence_end(piece, at)
    found = _NO_WORDS.match(piece, at)
    at = found.end() if found else at
    is_end = at == len(piece) and at < BEHIND
    return is_end or any(row.match(piece, at) is not None for row in statements.CLOSING)


def refusing_cue_behind(
    text: str, end: int, *, named: bool = False, last: bool = False
) -> Cue | None:
    """The cue that refuses the value that ends at `end` for what is behind it.

    named: the text says that the value is the answer: "spent 85 more than Bob" names a difference,
    "is 85 more than x" an unknown number.
    last: nothing says that the value is an answer, so no sentence but a courtesy may come behind.
    """
    if len(text) - end < 12 and _TEXT_END.match(text, end):
        return None
    piece = _without_emphasis(text[end : end + BEHIND])
    at = 0
    for _ in range(MAX_CUES):
        for cue in cues.BEHIND:
            found = cue.match(piece, at)
            if found is None or (cue.counted and named and at == 0):
                continue
            if cue.effect == END:
                refused = refusing_cue_next(piece, found)
                if refused is None and last and not _is_closed(piece, found, cue):
                    return NOT_UNDERSTOOD_BEHIND
                return refused
            if cue.effect != ALLOW:
                return cue
            if found > at:
                at = found
                break
        else:
            return NOT_UNDERSTOOD_BEHIND
    return NOT_UNDERSTOOD_BEHIND


_NAMED = re.compile(r"\b(?:is|are|was|were|be|equals)\s*[$*\\(]*$|[=:]\s*[$*\\(]*$")


def is_named(text: str, start: int) -> bool:
    """Whether the words directly before a value say that something is it."""
    return _NAMED.search(text, max(0, start - 16), start) is not None


def refusing_cue_next(text: str, at: int) -> Cue | None:
    """The cue that takes a value back in the sentence that begins at `at`."""
    piece = text[at : at + BEHIND]
    return next((cue for cue in statements.NEXT if cue.match(piece, 0) is not None), None)


# what stands before most markers; nothing in it refuses
_PLAIN_LEAD = re.compile(
    r"[\s*_#>]*(?:(?:so|thus|hence|therefore|and|then),?\s+)?(?:the\s+)?(?:final\s+|correct\s+)?",
    re.I,
)


def refusing_cue_of_statement(text: str, start: int) -> Cue | None:
    """The cue that refuses the statement whose marker, such as "answer", begins at `start`."""
    low = max(0, start - BEFORE)
    breaks = [match.end() for match in _SENTENCE.finditer(text, low, start)]
    before = _without_emphasis(text[breaks[-1] if breaks else low : start])
    if _PLAIN_LEAD.fullmatch(before):
        return None
    found = next((cue for cue in statements.LEADING if cue.match(before, 0) is not None), None)
    return found or doubting_cue(text, start)


def doubting_cue(text: str, start: int) -> Cue | None:
    """The cue by which the statement that begins at `start` is doubted or denied."""
    low = max(0, start - BEFORE)
    near = text[low:start]
    for part in _DENYING:
        if part in near:
            break
    else:
        return None
    breaks = [match.end() for match in _SENTENCE.finditer(text, low, start)]
    before = text[breaks[-1] if breaks else low : start]
    return next((cue for cue in _DOUBTS if cue.match(before, 0) is not None), None)


def rejecting_cue_behind(text: str, end: int) -> Cue | None:
    """The cue that rejects, behind it, what needs no context to be the answer, such as a box."""
    if len(text) - end < 12 and _TEXT_END.match(text, end):
        return None
    piece = _TEXT.sub(r"\1", _without_emphasis(text[end : end + BEHIND]))
    if _QUESTION.match(piece, 0) is not None:
        return _QUESTION
    aside = _ASIDE.match(piece)
    if aside is None and _REJECTED.match(piece, 0) is not None:
        return _REJECTED
    if aside is not None and (cue := refusing_cue_next(piece, aside.end())) is not None:
        return cue if cue.effect == DENIED else None
    found = _END_OF_SENTENCE.match(piece, 0)
    behind = None if found is None else refusing_cue_next(piece, found)
    return behind if behind is not None and behind.effect == DENIED else None
