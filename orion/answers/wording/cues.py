"""The table of cues: what the words around a value say about it.

Input: the text before or behind a value. Output: the rows that match. Every row has an example with
the value between guillemets, which is a test. `extraction.surrounding_text` applies the table: a
value is committed only if the text around it is used up by rows that allow it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from orion.answers.wording import phrases
from orion.answers.wording.verbs import QUANTITIES, VERBS

Match = Callable[[str, int], int | None]

# effects: the value stands; the value stands and nothing behind it matters; the value is refused
ALLOW, END, DENIED, HEDGED, QUESTIONED, PART = (
    "allow", "end", "denied", "hedged", "questioned", "part of more",
)  # fmt: skip


class Cue(NamedTuple):
    """One row. match(text, at): the offset behind the cue that begins at `at`, None if none does.

    Rows of the side "before" get the text before the value and must reach its end. value: what the
    value and the text behind it must look like, if the row is for such values only.
    """

    name: str
    side: str
    effect: str
    match: Match
    example: str
    value: re.Pattern | None = None


def nothing_matches(text: str, at: int) -> int | None:
    """The match of the rows for words that no other row knows."""
    return None


def _starts(pattern: str) -> Match:
    compiled = re.compile(pattern, re.I)

    def match(text: str, at: int) -> int | None:
        found = compiled.match(text, at)
        return found.end() if found else None

    return match


def _ends(pattern: str) -> Match:
    compiled = re.compile(rf"(?:{pattern})[\s$(\[\\*_]*$", re.I)

    def match(text: str, at: int) -> int | None:
        return len(text) if compiled.search(text, at) else None

    return match


_REJECTING = (
    r"\b(?:not|never|no|none|cannot|neither|nor|without|wrong|incorrect|invalid|impossible"
    r"|undefined|false|mistakes?|errors?|contradict\w*|reject\w*|discard\w*|extraneous|fails?"
    r"|unless"
    r"|doubt\w*|but|however|although|though|instead|except|absurd|inadmissible|unacceptable"
    r"|too\s+(?:small|large|big|low|high|many|few|much|little))\b|n['’]t\b|[✗✘❌]"
)
_OPEN = (
    r"\b(?:or|maybe|perhaps|possibly|probably|either|might|could|may|unsure|uncertain|guess\w*"
    r"|depend\w*|provided|assuming)\b|\?"
)
_MULTIPLE = re.compile(r"\b(?:twice|half|double|triple|times|number|product|sum|square)\b", re.I)
_REJECTED = re.compile(_REJECTING, re.I)
_LEFT_OPEN = re.compile(_OPEN, re.I)
_RETRACTED = re.compile(
    r"\b(?:but|however|wait|mistake|(?:this|that|it|which)\s+(?:can(?:not| not|['’]t)|(?:is|was)\s+"
    r"(?:wrong|incorrect|not|impossible|a\s+contradiction)))\b|\?",
    re.I,
)
_SENTENCE_END = re.compile(r"[.!?。](?=[\s*_\"'”)\]$\\]|$)|\n|</|<\|")
MAX_CLAUSE = 300


def _sentence_end(text: str, at: int) -> int:
    end = _SENTENCE_END.search(text, at, at + MAX_CLAUSE)
    return end.start() if end else min(len(text), at + MAX_CLAUSE)


def _clause(opening: str, *guards: re.Pattern, digits: bool = True) -> Match:
    """A clause that begins with `opening` and runs to the end of its sentence, no guard in it."""
    compiled = re.compile(opening, re.I)

    def match(text: str, at: int) -> int | None:
        found = compiled.match(text, at)
        if found is None:
            return None
        end = _sentence_end(text, found.end())
        rest = text[found.end() : end] + ("?" if text.startswith("?", end) else "")
        if any(guard.search(rest) for guard in guards):
            return None
        return end if digits or not any(c.isdigit() for c in rest) else None

    return match


_SPACE = r"[\s*_`\"'”’$)\]]*(?:\\[)\]])?[\s*_`\"'”’$)\]]*"
_SCALE = (
    r"dozens?|hundreds?|thousands?|millions?|billions?|trillions?|lakhs?|crores?|score|gross"
    r"|myriads?"
    r"|fold|tens|halves|half|thirds?|quarters?|fourths?|fifths?|sixths?|sevenths?|eighths?|ninths?"
    r"|tenths?|hundredths?|thousandths?|millionths?"
)
_NAMED = (
    r"(?:answer|solution|result|value|number|total|sum|product|probability|amount|choice|option"
    r"|root|one|area|length|maximum|minimum)"
)

BEHIND = (
    Cue("question", "behind", QUESTIONED, _starts(_SPACE + r"\?"), "Is the answer «5»?"),
    Cue("end_of_sentence", "behind", END,
        _starts(_SPACE + r"(?:[.!。;:]?" + _SPACE + r"(?:\n|$|</|<\||```)"
                                                   r"|[.!。](?=[\s*_\"'”)\]$\\]))"),
        "The answer is «5»."),
    Cue("percent", "behind", ALLOW,
        _starts(_SPACE + r"(?:\\?%|(?:percent|per\s?cent|percentage|pct)\b)"
                r"(?!\s*(?:points?|of)\b)"),
        "It is «$28$» percent."),
    Cue("scale", "behind", PART, _starts(_SPACE + rf"-?(?:{_SCALE})\b"), "It takes «5» score."),
    Cue("contrast", "behind", END,
        _starts(r"[\s*$,]*(?:\(\s*)?(?:and\s+)?(?:not|rather than|instead of)\s+(?:the\s+)?"
                r"(?:[$\\(]*[-\d][^\s]*|\(?[A-J]\)?(?=[\s.,;)]|$))"),
        "The answer is «5», not 6."),
    Cue("instead_of", "behind", ALLOW,
        _starts(r"\s+instead\s+of\s+[a-z]+ing(?:\s+[a-z]+){0,4}(?=[.,!]|\s*$)"),
        "She earns «140» dollars in a week instead of playing games."),
    Cue("irreducible", "behind", END,
        _starts(_SPACE + r",?\s*which\s+(?:cannot|can\s+not|can['’]t)\s+be\s+(?:reduced"
                         r"|simplified)\b"),
        "The answer is «7», which cannot be reduced any further."),
    Cue("rejected", "behind", DENIED,
        _starts(_SPACE + r"[,;(]?\s*(?:(?:which|that|this|it)\s+)?(?:is|are|was|were|seems?"
                         r"|looks?|can|could|does|did|would"
                r"|has|do)?\s*(?:to\s+be\s+)?(?:" + _REJECTING + ")"),
        "The answer is «5» but this cannot be right."),
    Cue("alternative", "behind", HEDGED, _starts(_SPACE + r"[,;(]?\s*(?:" + _OPEN + ")"),
        "The answer is «5» or 6."),
    Cue("operator", "behind", PART,
        _starts(r"\s*(?:\*\s?[\d(]|[+/^×÷·±<>≤≥=≠≈]|[-−–~]\s*[\d$(]|\s[-−–]\s)"
                r"|\s+(?:times\s+(?:[$\\(]*\d|[b-z]\b|as|the|that|more|less|larger|greater|smaller)"
                r"|plus|minus|divided|multiplied|choose|pi|squared|cubed|remainder|over|out\s+of"
                r"|short\s+of|to\s+(?:the|\$?\d|one)|factorial"
                r"|modulo|mod|percent(?:age)?\s+of|%\s+of|and\s+(?:a|[$\\(]*\d|half))\b"),
        "We get «5» times 3."),
    Cue("count", "behind", ALLOW, _starts(r"\s+(?:times)\b"), "He did it «5» times."),
    Cue("reason", "behind", END,
        _clause(_SPACE + r",?\s*(?:because|since|as(?=\s+(?:the|it|we|he|she|they|there|each|\d"
                         r"|shown"
                r"|required|desired|expected|well|calculated|computed|above|before|follows))"
                r"|due\s+to)\b",
                _RETRACTED),
        "The answer is «5», since x is not negative."),
    Cue("consequence", "behind", END,
        _clause(_SPACE + r",?\s*(?:and\s+)?(?:so|thus|hence|therefore|meaning|making|leaving"
                         r"|giving|given|while"
                r"|which|where|who|that\s+is|namely|after|when|once|as|respectively|in\s+which)\b"
                r"|[\s*$]*[,(]?\s*i\.\s?e\.", _REJECTED,
                _LEFT_OPEN),
        "The answer is «72», so the farmer earns that much."),
    Cue("relative_clause", "behind", END,
        _clause(r"\s+(?:that|who)\s+[a-z]+", _REJECTED, _LEFT_OPEN, digits=False),
        "She has «12» cookies that she can sell."),
    Cue("named_as_answer", "behind", END,
        _clause(_SPACE + rf"(?:is|are|was)\s+(?:the|our|your)\s+(?:\w+\s+){{0,3}}{_NAMED}s?\b",
                _REJECTED,
                _LEFT_OPEN),
        "So «5» is the final answer."),
    Cue("courtesy", "behind", END,
        _starts(_SPACE + r"[.,!]?\s*(?:I hope|Hope (?:this|it)|Let me know|Thank|Good luck|Great"
                         r"|Done|QED"
                r"|Q\.E\.D|■|□|✓|✅)"),
        "The answer is «5» I hope it is correct."),
    Cue("for_all", "behind", ALLOW,
        _starts(_SPACE + r",?\s*for\s+(?:all|any|every|each)\s+(?:(?:real|positive|integer"
                         r"|natural|nonnegative)"
                r"\s+)*(?:numbers?\s+|values?\s+of\s+|integers?\s+)?[$\\(]*[a-z]\b\)?\$?"),
        "The answer is «5x + 3» for all x."),
    Cue("as_shown", "behind", ALLOW, _starts(_SPACE + r",?\s*as\s+(?:shown|required|desired"
                                                      r"|expected|claimed"
                                             r"|stated|wanted|requested|above|well)\b(?:\s+above)?"),
        "The answer is «(3, 4)» as shown."),
    Cue("unit_or_things", "behind", ALLOW,
        lambda text, at: phrases.match_phrase(text, _skip(text, at)),
        "It takes «12» red marbles."),
    Cue("closing_word", "behind", ALLOW,
        lambda text, at: phrases.match_closers(text, _skip(text, at)), "They cost «5» each."),
    Cue("passive", "behind", ALLOW,
        _starts(r"\s+(?:is|are|was|were|will\s+be|have\s+been)\s+(?:(?:now|still"
                r"|then)\s+)?(?:(?=(?:in|on|at)\s)|left(?:\s+un\w+)?|remaining|needed|required"
                r"|sold|used|eaten"
                r"|made|possible|available|enough|given|spent|produced|wasted|in\s+total|there)\b"),
        "So «5» apples are left."),
    Cue("purpose", "behind", END,
        _clause(r"\s+(?:in\s+order\s+)?to\s+(?!the\b|be\b|one\b|an?\b)[a-z]{2,}", _REJECTED,
                _LEFT_OPEN,
                digits=False),
        "She needs «12» dollars to buy it."),
    Cue("compared_with", "behind", END,
        _clause(r"\s+(?:(?:more|less|fewer|older|younger|longer|taller|shorter|faster|heavier"
                r"|cheaper|farther)\s+)?"
                r"than\s+(?=[a-z]{2,})", _REJECTED, _LEFT_OPEN, _MULTIPLE, digits=False),
        "He has «5» more cookies than Bob."),
    Cue("prepositional_phrase", "behind", ALLOW,
        lambda text, at: phrases.match_prepositional(text, _skip(text, at)),
        "She earns «18» dollars every day at the market."),
    Cue("comma", "behind", ALLOW,
        _starts(r"[\s*$]*,\s*(?=(?:in|altogether|total|overall|per|for|on|at|each|every|with)\b)"),
        "The total is «72» clips, altogether."),
    Cue("remark", "behind", ALLOW,
        _starts(r"\s*\((?:(?![^()]*(?:" + _REJECTING + "|" + _OPEN + r"))[^()]{1,120})\)"),
        "The answer is «5» (rounded to the nearest integer)."),
    Cue("chinese", "behind", END,
        _starts(r"[ \t]*(?![不或吗？])[\u4e00-\u9fff\u3040-\u30ff\uac00-\ud7af]{1,12}"
                r"(?:[。．.!！，,；]|\s|$)"),
        "答：一共有«12»种方法。"),
)  # fmt: skip


def _skip(text: str, at: int) -> int:
    match = _GAP.match(text, at)
    return match.end() if match else at


_GAP = re.compile(r"[\s*_`\"'”’$]*(?:\\[)\],; ]|~|-)?[\s$]*")

_ONE_OF = "|".join
_FILLERS = (
    r"(?:\s*\b(?:only|exactly|just|about|approximately|around|roughly|nearly|precisely|a|an|the"
    r"|another"
    r"|additional|extra|equal\s+to|also|now|still|all|them|him|her|it|us|me|you|simply|indeed"
    r"|(?:an?|the)\s+(?:\w+\s+)?(?:" + _ONE_OF(QUANTITIES.split()) + r")\s+of"
    r"|(?-i:[A-Z][a-z]+))\b)*"
)
_NUMBER_WORDS = (
    r"(?:zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen"
    r"|fifteen|sixteen"
    r"|seventeen|eighteen|nineteen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|hundred"
    r"|thousand)"
)
BEFORE = (
    Cue("not_this_but", "before", ALLOW, _ends(r"\bnot\s+\S+,?\s+but(?:\s+(?:rather|instead|is))?"),
        "The answer is not 24 but «42»."),
    Cue("number_in_words", "before", ALLOW, _ends(rf"\b{_NUMBER_WORDS}[-\s]*"),
        "There are twenty-four («24») ways.", re.compile(r"\(?[\d,.]+\)")),
    Cue("clock", "before", ALLOW,
        _ends(r"\b(?:at|by|until)"), "The movie ends at «11:15».", re.compile(r"\d{1,2}:\d{2}"
                                                                              r"|\d{1,2}\s?[ap]\.?m")),
    Cue("duration", "before", ALLOW, _ends(r"\b(?:after|within|in|for|of)"), "The train arrives"
                                                                             " after «42» minutes.",
        re.compile(r"[$\\(]*[\d.,/]+[$)]*\s*(?:more\s+)?(?:seconds?|minutes?|hours?|days?|weeks?"
                   r"|months?|years?)\b")),
    Cue("denied", "before", DENIED,
        _ends(r"(?:\b(?:not|never|cannot|nor|neither)\b|n['’]t\b)(?:\s+(?:be|equal|to|just"
              r"|simply)){0,3}"),
        "The answer is not «5»."),
    Cue("doubted", "before", DENIED,
        _ends(r"(?:\bdoubt|(?:\b(?:not|never)|n['’]t)\s+(?:think|believe|true|certain|sure|clear"
              r"|the\s+case))\b"
              r"[^.,;:!?\n]{0,40}"),
        "I do not think that we get «5»."),
    Cue("no_solution", "before", DENIED,
        _ends(r"\b(?:no|none|neither|nor|not|never|cannot|impossible|undefined|without|unless"
              r"|except|wrong|incorrect"
              r"|invalid|contradict\w*|exclud\w*|instead|fails?|reject\w*"
              r"|discard\w*)\b[^.,;!?\n]{0,80}"
              r"|n['’]t\b[^.,;!?\n]{0,80}"),
        "There is no solution for «5»."),
    Cue("guess", "before", HEDGED,
        _ends(r"\b(?:maybe|perhaps|possibly|probably|either|unsure"
              r"|guess\w*|whether|depend\w*|suppose|assume|assuming|supposing|let|try|tried|say"
              r"|or|if(?!\w)[^.,;:!?\n]{0,60})\b[^.,;:!?\n]{0,30}"
              r"|\b(?:might|could|may|would)\s+(?:\w+\s+)?(?:be|equal)\b" + _FILLERS),
        "It might be «5»."),
    Cue("change", "before", ALLOW, _ends(r"\b(?:by|to)"), "It grows by «100%».",
        re.compile(r"[$\\(]*[\d.]+\s*\\?%")),
    Cue("bound", "before", PART,
        _ends(r"\b(?:(?:less|more|fewer|greater|other|larger|smaller|higher|lower|bigger)\s+than"
              r"|at\s+(?:least|most)|up\s+to"
              r"|between|under|below|above|over|from|to|by|out\s+of|divisible\s+by|multiple\s+of"
              r"|power\s+of)"),
        "It is at least «5»."),
    Cue("number_of_a_thing", "before", PART,
        _ends(r"\b(?:equation|step|case|part|example|choice|page|question|problem|option|chapter"
              r"|line|day|year|room"
              r"|number|no\.?|figure|table|section|exercise|item|level|grade|line|row|column|base"
              r"|digit|method)"
              r"(?:\s+#)?"),
        "This is step «5»."),
    Cue("condition", "before", PART,
        _ends(r"\b(?:for|when|if|at|with|where|let|suppose|assume|given|from|by|since|because|in"
              r"|of)\s+[$\\(]*[a-z]"
              r"(?:_\{?\w\}?)?\s*=\s*"),
        "It holds for n = «5»."),
    Cue("start", "before", ALLOW,
        _ends(r"(?:^|[.!?:;。：]|\n|^[\s>#]*(?:[-*•+]|\d+[.)])\s)[\s>#]*"),
        "«42»"),
    Cue("mark", "before", ALLOW, _ends(r"[=:≈→⇒—：]|\b\w{2,}\s+[-–]\s|\\(?:to|Rightarrow|implies"
                                       r"|approx|therefore)|=>|->"),
        "Total - «5»"),
    Cue("verb", "before", ALLOW,
        _ends(r"(?:\b(?:" + _ONE_OF(VERBS.split()) + r"|[a-z]{2,}(?:ed|ing)"
              r"|(?:to|can|will|must|should|would|could)\s+(?!be\b|the\b|a\b)[a-z]{3,})|['’]s)\b"
              + _FILLERS + r"(?:\s+(?:with|for))?" + _FILLERS),
        "Josh made a profit of «70,000»."),
    Cue("quantity", "before", ALLOW,
        _ends(r"\b(?:" + _ONE_OF(QUANTITIES.split()) + r")\s+of\b" + _FILLERS),
        "with a total of «12»"),
    Cue("connective", "before", ALLOW,
        _ends(r"(?:^|[\s,])(?:so|thus|hence|therefore|then|finally|that|i\.e\.|namely)[,:]?"),
        "Therefore, «5»."),
    Cue("chinese", "before", ALLOW, _ends(r"(?<![不或])[\u4e00-\u9fff\u3040-\u30ff\uac00-\ud7af]"),
        "答：一共有«12»种方法。"),
)  # fmt: skip

NEXT = (
    Cue("retracted_next", "next", DENIED,
        _starts(r"[\s*_)\]$.,!\"'”]*(?:\\[)\]])?[\s*_.$]*(?:wait|hmm+|oops|no[,.!]|nope"
                r"|not\s+quite|sorry|correction"
                r"|scratch\s+that|actually[,:]?\s+no\b|(?:but|however),?\s+wait\b"
                r"|let\s+me\s+(?:re(?:do|consider|think|calculate|compute|visit)|correct|fix|try)\b"
                r"|i\s+(?:made\s+a|was\s+wrong|am\s+not\s+sure|take\s+that\s+back)\b"
                r"|(?:(?:but|however|actually|and|yet)[,:]?\s+)?(?:this|that|it|which|(?:the"
                r"|my)\s+answer|[$\\(]*\d+\$?)"
                r"(?:['’]s|\s+(?:is|was|seems|looks|can|could|does|did|must|should|would|cannot"
                r"|contradicts)\b)?\s*"
                r"(?:to\s+be\s+|be\s+)?(?:(?:obviously|clearly|still|just|probably|definitely)\s+)?"
                r"(?:not\b(?!\s+(?:only|just))|n['’]t\b|(?<=cannot)\b|never|wrong|incorrect"
                r"|impossible|invalid|false|right\?"
                r"|correct\?|absurd|a\s+mistake|too\s+\w+|be\s+wrong|(?<=contradicts)\b))"),
        "The answer is «5». Wait, that is wrong."),
    Cue("alternative_next", "next", HEDGED,
        _starts(r"[\s*_)\]$.,!\"'”]*(?:\\[)\]])?[\s*_.$]*(?:or|maybe|perhaps|possibly)\b"),
        "The answer is «5». Or maybe 6."),
)  # fmt: skip

CUES = (*BEFORE, *BEHIND, *NEXT)
