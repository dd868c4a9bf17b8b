"""How a row of the table of cues matches: at the start or end of a text, or as a whole clause.

Input: patterns. Output: functions (text, offset) → the offset behind the match, or None. Every
pattern is linear or bounded.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from orion.answers.parsing.vocabulary import word_set
from orion.answers.wording.verbs import QUANTITIES, VERBS

Match = Callable[[str, int], int | None]


def nothing_matches(text: str, at: int) -> int | None:
    """The match of the rows for words that no other row knows."""
    return None


def starts_with(pattern: str) -> Match:
    compiled = re.compile(pattern, re.I)

    def match(text: str, at: int) -> int | None:
        found = compiled.match(text, at)
        return found.end() if found else None

    return match


def ends_with(pattern: str, *needed: str) -> Match:
    """Whether the text from an offset ends with the pattern, blanks and opening signs aside.

    needed: pieces in small letters, one of which every match holds; to look for them is cheaper.
    """
    compiled = re.compile(rf"(?:{pattern})[\s$(\[\\*_]*$", re.I)

    def match(text: str, at: int) -> int | None:
        if needed and not any(map(text.lower().__contains__, needed)):
            return None
        return len(text) if compiled.search(text, at) else None

    return match


REJECTING = (
    r"\b(?:not|never|no|none|cannot|neither|nor|without|wrong|incorrect|invalid|impossible"
    r"|undefined|false|mistakes?|errors?|contradict\w*|reject\w*|discard\w*|extraneous|fails?"
    r"|unless"
    r"|doubt\w*|violat\w*|exceeds?|outside|disagree\w*|inconsistent|conflict\w*|but|however"
    r"|although|though|instead|except|absurd|inadmissible|unacceptable"
    r"|too\s+(?:small|large|big|low|high|many|few|much|little))\b|n['’]t\b|[✗✘❌]"
)
OPEN = (
    r"\b(?:or|maybe|perhaps|possibly|probably|either|might|could|may|unsure|uncertain|guess\w*"
    r"|depend\w*|provided|assuming)\b|\?"
)
MULTIPLE = re.compile(r"\b(?:twice|half|double|triple|times|number|product|sum|square)\b", re.I)
REJECTED = re.compile(REJECTING, re.I)
LEFT_OPEN = re.compile(OPEN, re.I)
RETRACTED = re.compile(
    r"\b(?:but|however|wait|mistake|(?:this|that|it|which)\s+(?:can(?:not| not|['’]t)|(?:is|was)\s+"
    r"(?:wrong|incorrect|not|impossible|a\s+contradiction)))\b|\?",
    re.I,
)
_SENTENCE_END = re.compile(r"[.!?。](?=[\s*_\"'”)\]$\\]|$)|\n|</|<\|")
MAX_CLAUSE = 300


def sentence_end(text: str, at: int) -> int:
    """The offset of the end of the sentence that goes on at `at`, at most MAX_CLAUSE behind it."""
    end = _SENTENCE_END.search(text, at, at + MAX_CLAUSE)
    return end.start() if end else min(len(text), at + MAX_CLAUSE)


def clause(opening: str, *guards: re.Pattern, digits: bool = True) -> Match:
    """A clause that begins with `opening` and runs to the end of its sentence, no guard in it."""
    compiled = re.compile(opening, re.I)

    def match(text: str, at: int) -> int | None:
        found = compiled.match(text, at)
        if found is None:
            return None
        end = sentence_end(text, found.end())
        rest = text[found.end() : end] + ("?" if text.startswith("?", end) else "")
        if any(guard.search(rest) for guard in guards):
            return None
        return end if digits or not any(c.isdigit() for c in rest) else None

    return match


# blanks, emphasis and closing signs behind a value, up to the end of the line; possessive, so that
# no row that goes on with blanks can backtrack into it
SPACE = r"[ \t\u00a0*_`\"'”’$)\]]*+(?:\\[)\]][ \t\u00a0*_`\"'”’$)\]]*+)?+"
SCALE = (
    r"dozens?|hundreds?|thousands?|millions?|billions?|trillions?|lakhs?|crores?|score|gross"
    r"|myriads?"
    r"|fold|tens|halves|half|thirds?|quarters?|fourths?|fifths?|sixths?|sevenths?|eighths?|ninths?"
    r"|tenths?|hundredths?|thousandths?|millionths?"
)
NAMED = (
    r"(?:answer|solution|result|value|number|total|sum|product|probability|amount|choice|option"
    r"|root|one|area|length|maximum|minimum)"
)


def skip_gap(text: str, at: int) -> int:
    match = _GAP.match(text, at)
    return match.end() if match else at


_GAP = re.compile(r"[\s*_`\"'”’$]*(?:\\[)\],; ]|~|-)?[\s$]*")

ONE_OF = "|".join
_FILLER_WORDS = (
    "only exactly just about approximately around roughly nearly precisely a an the another "
    "additional extra also now still originally initially actually currently all them him her it "
    "us me you simply indeed"
)
_DETERMINERS = "his her their my our your the each"
FILLERS = (
    r"(?:\s*\b(?:" + ONE_OF(_FILLER_WORDS.split()) + r"|equal\s+to"
    r"|(?:an?|the)\s+(?:\w+\s+)?(?:" + ONE_OF(QUANTITIES.split()) + r")\s+of"
    r"|(?:" + ONE_OF(QUANTITIES.split()) + r")"
    r"|(?:" + ONE_OF(_DETERMINERS.split()) + r")\s+(?!(?:first|last|other|next|square|cube|root"
    r"|half|number)\b)[a-z]{3,}"
    r"|(?-i:[A-Z][a-z]+))\b)*"
)
_VERBS = frozenset(VERBS.split())
_VERB_WORD = re.compile(r"\b([a-z]+)\b|['’]s\b", re.I)
_MODAL = re.compile(r"\b(?:to|can|will|must|should|would|could)\s+$", re.I)
_OBJECT = re.compile(
    r"(?:\s+(?:out|up|off|away|back|down|in|on))?"
    + FILLERS
    + r"(?:\s+(?:with|for)"
    + FILLERS
    + r")?[\s$(\[\\*_]*$",
    re.I,
)


def _is_verb(text: str, word: re.Match) -> bool:
    lower = (word[1] or "").lower()
    if not lower or lower in _VERBS or lower[2:].endswith(("ed", "ing")):
        return True
    modal = _MODAL.search(text, max(0, word.start() - 24), word.start())
    return len(lower) > 2 and lower not in ("be", "the") and modal is not None


# words that FILLERS or _OBJECT can step over, wherever they stand
_STEPPED_OVER = word_set(
    f"{_FILLER_WORDS} {QUANTITIES} {_DETERMINERS} equal to of with for out up off away back down "
    "in on"
)
# characters at the end of a text in which the verb nearly always is
NEAR_END = 50
_STEPPED_BEFORE_NOUN = word_set(f"{_DETERMINERS} a an the")


def ends_with_verb_and_object(text: str, at: int) -> int | None:
    """The end of a text such as "made a profit of": a verb, then words that only lead to a value.

    Words are looked up in sets, from the end: one pattern of all verbs takes ten times as long.
    """
    near = max(at, text.find(" ", max(at, len(text) - NEAR_END)))
    for low in dict.fromkeys((near, at)):
        words = list(_VERB_WORD.finditer(text, low))
        # a word is judged with the two before it
        for index in range(len(words) - 1, -1 if low == at else 1, -1):
            word = words[index]
            if _is_verb(text, word) and _OBJECT.match(text, word.end()):
                return len(text)
            name = word[1] or ""
            known = name.lower() in _STEPPED_OVER or name[:1].isupper()
            before = {(words[i][1] or "").lower() for i in range(max(0, index - 2), index)}
            if not known and not before & _STEPPED_BEFORE_NOUN:
                # nothing that leads to a value can step over this word
                return None
    return None


NUMBER_WORDS = (
    r"(?:zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen"
    r"|fifteen|sixteen"
    r"|seventeen|eighteen|nineteen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|hundred"
    r"|thousand)"
)


# words before "that the answer is" that assert it
_ASSERTING = frozenset(
    [
        "get",
        "gets",
        "have",
        "has",
        "find",
        "finds",
        "found",
        "see",
        "conclude",
        "concludes",
        "know",
        "follows",
        "means",
        "mean",
        "shows",
        "show",
        "shown",
        "obtain",
        "deduce",
        "infer",
        "so",
        "note",
        "think",
        "believe",
        "confirm",
        "confirms",
        "confirmed",
        "clear",
        "implies",
        "determine",
        "notice",
        "given",
        "sure",
        "certain",
        "such",
        "fact",
        "evident",
        "verify",
        "indicates",
        "gives",
        "us",
        "say",
        "surprise",
        "therefore",
    ]
)
_THAT = re.compile(
    r"\b([a-z]+)\s+that\s+(?:(?:the|our|my|your|its)\s+)?(?:(?:final|correct|right)\s+)?$", re.I
)


def ends_with_unknown_that(text: str, at: int) -> int | None:
    """The end of a text such as "he fears that the", if its verb is none that asserts."""
    found = _THAT.search(text, at)
    return len(text) if found and found[1].lower() not in _ASSERTING else None


# Chinese, Japanese and Korean characters
CJK = "\\u4e00-\\u9fff\\u3040-\\u30ff\\uac00-\\ud7af"
# what is no counter or noun behind a number: negations, scales, alternatives, bounds
NOT_COUNTERS = (
    rf"[{CJK} ]*(?:不(?!同)|[没非或吗万百十亿半倍打余多几]|千(?![米克])"
    r"|的(?:平方|立方|一半)|分之|以上|以下|以内|可能|ない|ません|아니|또는|이상|이하|かも)"
)
NOT_ASSERTED = r"(?:可能|不是|并非|或|也许|大概|如果|假设|또는|아니|かも|ない)"
# words that may stand directly before "answer"; others make it another's, or an earlier one
_ALLOWED_BEFORE_ANSWER = (
    "the final correct right our my your its an this exact numerical simplified desired required"
    " overall complete short full and so thus hence therefore then is as that get give gives have"
    " find a real only main last in of to for with by single true unique actual best"
)
_BEFORE_ANSWER = frozenset(_ALLOWED_BEFORE_ANSWER.split())
_ADJECTIVE = re.compile(r"([A-Za-z'’]+)[ \t]+$")


def ends_with_unknown_adjective(text: str, at: int) -> int | None:
    """The end of a text whose last word, directly before "answer", is none that may stand there."""
    found = _ADJECTIVE.search(text, at)
    return len(text) if found and found[1].lower() not in _BEFORE_ANSWER else None


# words that may stand before "n = 6" for 6 to be a result and no case that is looked at
_BEFORE_EQUATION = word_set(
    "so thus hence therefore then and that is get gets got give gives given have has find finds "
    "found obtain obtains yield yields mean means imply implies show shows conclude concludes know "
    "value solution answer result finally us simplify simplifies sin cos tan log ln where"
)
_EQUATION_AT_END = re.compile(
    r"\b([A-Za-z]{2,})[ \t]+[$\\(]*[A-Za-z](?:_\{?\w{1,3}\}?)?\s*=\s*[$(\[\\*_]*$"
)


def ends_with_unknown_equation(text: str, at: int) -> int | None:
    """The end of a text such as "the case n =", if no word before the name says that it follows."""
    found = _EQUATION_AT_END.search(text, at)
    return len(text) if found and found[1].lower() not in _BEFORE_EQUATION else None
