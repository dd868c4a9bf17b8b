"""Phrases of units and counted things: the closed grammar of what may follow a value.

Input: the text behind a value. Output: how much of it is understood. A word is understood if it
is in a table: units (`parsing.units`), nouns and modifiers (`wording.nouns`), the lists here.
"""

from __future__ import annotations

import re
from functools import lru_cache

from orion.answers.parsing.units import read_unit
from orion.answers.parsing.vocabulary import word_set
from orion.answers.wording.matchers import CJK, NOT_COUNTERS
from orion.answers.wording.nouns import MODIFIERS, NOUNS
from orion.answers.wording.verbs import VERBS

# words that close a phrase without changing its value
_CLOSERS = word_set(
    "each apiece altogether total overall left remaining away apart ago old long tall wide high"
    " deep thick now today tonight tomorrow yesterday later afterwards needed required sold"
    " together"
    " combined again himself herself itself themselves"
    " exactly precisely daily weekly monthly yearly annually ratio"
)
# a comparison is whole only with the thing compared: "5 more cookies", not "5 more"
_COMPARED = word_set("more fewer less additional extra")
# words that name the scale of a number, and no thing
_SCALES_OF_ANGLE = word_set("degree degrees")
_ARTICLES = word_set("a an the his her its their our your my this that these those each every one")
_LINKS = word_set("of in on at for per from with by during after before to into around across and")
# words that may never stand inside a phrase, although a prepositional phrase takes unknown words
_FORBIDDEN = word_set(
    "is are was were be been being am do does did has have had will would shall should can could"
    " may might must not no nor none never neither either or but if unless whether than then so"
    " because since although though while when where which who whom whose what why how there"
    " however maybe perhaps possibly probably actually instead otherwise except without until"
    " wrong incorrect invalid impossible undefined false error mistake contradiction rejected"
    " half halves third thirds quarter quarters fourth fourths fifth fifths sixth seventh eighth"
    " ninth tenth tenths tens ten dozen dozens score scores gross hundred hundreds thousand"
    " thousands million millions billion billions trillion lakh lakhs crore crores myriad fold"
    " two three four five six seven eight nine eleven twelve twenty thirty forty fifty"
    " power powers times squared cubed factorial root roots plus minus over under above below"
    " between least most modulo mod remainder twice double triple thrice percent"
)
_VERBS = word_set(VERBS)
# "playing", "making" and so on, of the known verbs
_ACTIVITIES = frozenset(
    form
    for verb in _VERBS
    for form in (f"{verb}ing", f"{verb.removesuffix('e')}ing", f"{verb}{verb[-1]}ing")
)
_STARTERS = (_LINKS - {"and"}) | word_set("a an every each this last next")
_IN_TOTAL = re.compile(
    r"\s*(?:left\s+over|in\s+(?:total|all|the\s+end)|of\s+(?:them|these|those|it))\b", re.I
)
_KNOWN = NOUNS | MODIFIERS | _CLOSERS | _COMPARED | _ARTICLES | _LINKS
_LABEL = re.compile(
    r"[^.?!]{0,80}[:=]|(?:[A-Za-z'’-]+\s+){0,5}(?:is|are|equals|be)(?:\s+(?:about|approximately"
    r"|exactly))?"
    r"|about|approximately|exactly|roughly|so|thus|hence|therefore|and|option|choice|point|vertex"
    r"|center"
    r"|centre|interval|domain|range|set|area|volume|answer|solution|value|length|total|sum"
    r"|probability"
    r"|usd|rs|eur|gbp",
    re.I,
)
_WORD = re.compile(r"[ \t\n]*([A-Za-zμΩ]+(?:['’-][A-Za-z]+)*)")
_UNIT_RUN = re.compile(
    r"[ \t]*((?:(?:square|sq|cubic"
    r"|cu)\b\.?[ \t]*)?[A-Za-zμΩ]+\.?(?:[ \t]*\^?[ \t]*\{?-?[23]\}?(?!\d))?"
    r"(?:[ \t]*(?:/|·|\*)[ \t]*[A-Za-zμΩ]+(?:\^\{?-?\d\}?)?|[ \t]+(?:per|an?)[ \t]+[A-Za-z]+"
    r"|[ \t]+(?:squared|cubed)\b|[ \t]+[A-Za-z]\^\{?-\d\}?)*)"
)
MAX_WORDS = 24


def is_phrase_word(word: str) -> bool:
    """Whether a word may be part of a phrase behind a number."""
    return word.lower() in _KNOWN


# Chinese, Japanese or Korean characters that neither deny nor scale their number
_CJK_THING = re.compile(rf"(?!{NOT_COUNTERS})[{CJK}]{{1,10}}")


def is_harmless(words: str) -> bool:
    """Whether no word changes, denies or opens the value before it."""
    return not _FORBIDDEN & {word.lower() for word in re.findall(r"[A-Za-z]+", words)}


def is_label(words: str) -> bool:
    """Whether words before a value only name it: "Area:", "the answer is"."""
    text = words.strip()
    inside = {word.lower() for word in re.findall(r"[A-Za-z]+", text)}
    denied = inside & (_FORBIDDEN - {"is", "are", "be", "so", "total"}) or "n't" in text
    return _LABEL.fullmatch(text) is not None and not denied


def _word_at(text: str, at: int) -> tuple[str, int]:
    match = _WORD.match(text, at)
    return (match[1], match.end()) if match else ("", at)


def match_unit(text: str, at: int = 0) -> int | None:
    """The offset behind the unit that begins at `at`: "cm", "square feet", "miles per hour"."""
    match = _UNIT_RUN.match(text, at)
    if match is None:
        return None
    run = match[1]
    while run:
        stop = match.start(1) + len(run)
        # "58 in all" holds no inch
        if read_unit(run) is not None and not (run == "in" and _WORD.match(text, stop)):
            return stop
        # drop the last word: "cups of" is no unit, "cups" is
        run = re.sub(r"(?:[\s/·*]+|^)[^\s/·*]+$", "", run)
    return None


def match_counted(text: str, at: int = 0) -> int | None:
    """The offset behind the counted things that begin at `at`: "red marbles", "jars of jam"."""
    first = at
    noun = None
    for _ in range(6):
        word, end = _word_at(text, at)
        lower = word.lower()
        counted_unit = at > first and len(word) > 2 and read_unit(word) is not None
        if _is_thing(lower) or counted_unit:
            noun = at = end
        elif lower in MODIFIERS or "-" in word or (lower in _COMPARED and at == first):
            at = end
        else:
            break
    return noun


_PREDICATE = re.compile(r"\s+(?:is|are|was|were)\s+(?:(?:still|now|then|all|also)\s+)?([a-z]+)\b")
_VERB_AT_END = re.compile(
    r"\b([a-z]{3,}s)(?:\s+(?:out|up|off|away|back|about|exactly|only|just|a|an|the|another|him"
    r"|her|them|it))*"
    r"[\s$(\[\\*_]*$"
)


def match_predicate(text: str, at: int) -> int | None:
    """The offset behind "are girls", "are still empty": a known word said of the value's things."""
    match = _PREDICATE.match(text, at)
    return match.end() if match and match[1] in NOUNS | MODIFIERS else None


def ends_with_verb(text: str, at: int) -> int | None:
    """The end of a text whose last word is a verb in -s: no noun, and no word that is forbidden."""
    match = _VERB_AT_END.search(text, at)
    if match is None or match[1] in NOUNS | MODIFIERS | _FORBIDDEN | _LINKS | _CLOSERS:
        return None
    return len(text)


def _is_thing(word: str) -> bool:
    """Whether a word names things: a noun, also as the end of a word with a hyphen, or a unit."""
    last = word.rpartition("-")[2]
    return word in NOUNS or word in _SCALES_OF_ANGLE or ("-" in word and last in NOUNS)


def match_words_behind(text: str) -> int | None:
    """The offset behind closing words or a prepositional phrase: "each", "of papers"."""
    end = match_closers(text) or match_prepositional(text)
    # "and" joins what follows
    return None if end is None else len(text[:end].rstrip().removesuffix(" and"))


_REMARK = re.compile(r"\s*\(([^()]{1,120})\)")
_REMARK_WORDS = re.compile(
    r"(?:rounded|rounding|to\s+the\s+nearest|approximately|approx\.?|about|roughly|exactly|exact"
    r"|simplified"
    r"|in\s+simplest\s+form|as\s+(?:required|desired|a\s+fraction|a\s+decimal|a\s+percentage)"
    r"|i\.e\.|that\s+is"
    r"|since|because|which\s+(?:is|means)|in\s+total|in\s+all|or\s+(?:equivalently\s+|about\s+"
    r"|approximately\s+)?[$\\]*[-\d])",
    re.I,
)
_OPEN_REMARK = re.compile(
    r"\b(?:not|no|never|wrong|maybe|perhaps|but|if|unless)\b|n['’]t\b|\?", re.I
)


def match_remark(text: str, at: int) -> int | None:
    """The offset behind a remark in brackets: how a value was rounded, its unit, why it holds."""
    match = _REMARK.match(text, at)
    if match is None:
        return None
    inside = match[1].strip()
    told = _REMARK_WORDS.match(inside) is not None and _OPEN_REMARK.search(inside) is None
    known = told or is_unit_phrase(inside)
    return match.end() if known else None


def match_closers(text: str, at: int = 0) -> int | None:
    """The offset behind closing words: "each", "in total", "of them", "left", "per day"."""
    total = _IN_TOTAL.match(text, at)
    if total is not None:
        return total.end()
    word, end = _word_at(text, at)
    return end if word.lower() in _CLOSERS else None


def _is_known(word: str) -> bool:
    """Whether a word of a prepositional phrase is in a table: things, names, verbs, units."""
    lower = word.lower().removesuffix("'s").removesuffix("’s")
    if lower in _KNOWN or lower in _VERBS or lower in _ACTIVITIES or word[0].isupper():
        return True
    last = lower.rpartition("-")[2]
    return (
        f"{lower}s" in NOUNS or last in NOUNS or (len(lower) > 2 and read_unit(lower) is not None)
    )


def match_prepositional(text: str, at: int = 0) -> int | None:
    """The offset behind a prepositional phrase: "at the farmer's market", "in the first bag"."""
    word, end = _word_at(text, at)
    lower = word.lower()
    # "70 minutes playing these games"
    active = lower in _ACTIVITIES
    if lower not in _STARTERS and not active:
        return None
    inner = int(active)
    for _ in range(MAX_WORDS):
        word, stop = _word_at(text, end)
        lower = word.lower()
        if not word or lower in _FORBIDDEN or not _is_known(word):
            break
        end = stop
        inner += lower not in _LINKS and lower not in _ARTICLES
    return end if inner else None


def match_phrase(text: str, at: int = 0) -> int | None:
    """The offset behind a unit or counted things."""
    unit = match_unit(text, at)
    counted = match_counted(text, at)
    return max((x for x in (unit, counted) if x is not None), default=None)


@lru_cache(maxsize=4096)
def is_unit_phrase(phrase: str) -> bool:
    """Whether a whole phrase may stand behind a number in a box: "red marbles", "cm per day"."""
    if len(phrase) > 200:
        return False
    if _CJK_THING.fullmatch(phrase):
        return True
    text = phrase.strip().rstrip(".").strip()
    if text.startswith("(") and text.endswith(")"):
        text = text[1:-1].strip()
    at = match_phrase(text)
    if at is None:
        at = match_closers(text)
    if at is None and re.match(r"(?:per|an?|each|every)\b", text):
        at = 0
    if at is None:
        return False
    while at < len(text):
        word, end = _word_at(text, at)
        lower = word.lower()
        step = match_closers(text, at)
        if step is None and lower == "and":
            step = match_phrase(text, end)
        if step is None and lower in ("per", "of", "a", "an", "each", "every", "in", "for", "the"):
            step = match_phrase(text, end)
            if step is None and lower in ("in", "of"):
                tail = re.compile(r"\s*(?:total|all|them|each|water|time|work|age)\b").match(
                    text, end
                )
                step = tail.end() if tail else None
            if step is None and lower in ("in", "of", "for", "per"):
                following, after = _word_at(text, end)
                step = match_phrase(text, after) if following.lower() in _ARTICLES else None
        if step is None:
            return False
        at = step
    return True
