"""The table of cues of whole statements: what stands before "the answer is", and what comes next.

Input: the text before a marker, or the text behind the sentence of a value. Output: the rows that
match. A part of the table in `cues`, with the same kind of rows and examples.
"""

from __future__ import annotations

from orion.answers.wording.cues import ALLOW, DENIED, HEDGED, QUESTIONED, Cue
from orion.answers.wording.matchers import (
    ends_with,
    ends_with_unknown_adjective,
    ends_with_unknown_that,
    starts_with,
)

NEXT = (
    Cue("retracted_next", "next", DENIED,
        starts_with(r"[\s*_)\]$.,!\"'”]*+(?:\\[)\]][\s*_.$]*+)?+(?:wait|hmm+|oops|no[,.!]|nope"
                r"|not\s+quite|sorry|correction|rather[, ]|on\s+second\s+thought|i\s+mean\b"
                r"|(?:therefore|hence|so|thus)[, ]\s*(?:we\s+reject|there\s+(?:is|are)\s+no"
                r"|no\s+solution)"
                r"|scratch\s+that|actually[,:]?\s+no\b|(?:but|however),?\s+wait\b"
                r"|let\s+me\s+(?:re(?:do|consider|think|calculate|compute|visit|start|check)|correct|fix|try"
                r"|start\s+over)\b|(?:ignore|disregard|strike|forget)\s+(?:that|this|it)\b"
                r"|my\s+(?:mistake|bad)\b"
                r"|hold\s+on\b|hang\s+on\b|apologies\b|start\s+over\b"
                r"|i\s+(?:(?:mis|over)[a-z]+|made\s+an?|was\s+wrong|forgot|apologi[sz]e|am\s+not\s+sure|take\s+that\s+back)\b"
                r"|(?:(?:but|however|actually|and|yet)[,:]?\s+)?(?:this|that|it|which|(?:the"
                r"|my)\s+answer|[$\\(]*\d+\$?)"
                r"(?:['’]s|\s+(?:is|was|seems|looks|can|could|does|did|must|should|would|cannot"
                r"|contradicts)\b)?\s*"
                r"(?:to\s+be\s+|be\s+)?(?:(?:obviously|clearly|still|just|probably|definitely)\s+)?"
                r"(?:not\b(?!\s+(?:only|just))|n['’]t\b|(?<=cannot)\b|never|wrong|incorrect"
                r"|extraneous|spurious|inadmissible|rejected|unacceptable|undefined"
                r"|impossible|invalid|false|right\?"
                r"|correct\?|absurd|a\s+mistake|too\s+\w+|be\s+wrong"
                r"|(?<=contradicts)\b)(?!\s+to\b))"),
        "The answer is «5». Wait, that is wrong."),
    Cue("alternative_next", "next", HEDGED,
        starts_with(r"[\s*_)\]$.,!\"'”]*+(?:\\[)\]][\s*_.$]*+)?+(?:or|maybe|perhaps|possibly)\b"),
        "The answer is «5». Or maybe 6."),
)  # fmt: skip

# what may follow the last value of a text, if nothing else names it as the answer
CLOSING = (
    Cue("courtesy_next", "next", ALLOW,
        starts_with(r"(?:i\s+hope|hope|please|let\s+me\s+know|feel\s+free|thanks?|thank\s+you|great"
                    r"|good\s+luck|done|q\.?e\.?d|if\s+you\s+(?:have|need|want|would)"
                    r"|have\s+a\s+(?:nice|great|good)|(?:would|do)\s+you\s+(?:like|want|need|have)"
                    r"|does\s+(?:this|that)\s+(?:help|make\s+sense)|is\s+there\s+anything"
                    r"|any\s+(?:other\s+|more\s+|further\s+)?questions)\b"),
        "She has «7» apples. Let me know if you need more help."),
    Cue("named_next", "next", ALLOW,
        starts_with(r"(?:that|this|it)(?:['’]s|\s+(?:is|solves|answers|gives|completes))\s+"
                    r"(?:the|our)\s+(?:\w+\s+)?(?:answer|problem|question|solution|result)\b"),
        "28 + 32 = «60». This solves the problem."),
)  # fmt: skip

# what may not stand directly before "the answer is"
LEADING = (
    Cue("not_that", "leading", DENIED,
        ends_with(r"\b(?:(?:not|mistakes?|errors?|misconceptions?|trap|pitfall|wrongly|incorrectly"
                  r"|careless|false|wrong|untrue|incorrect|impossible|tempting|mistaken|naive"
                  r"|doubt\w*)\b[^.,;!?\n]{0,40}"
                  r"|(?:say|says|said|saying|claim\w*|argue\w*|pretend|imagine|expect\w*"
                  r"|thought)\s+(?:that\s+)?)"
                  r"(?:the|our|my|your|its)?\s*(?:final|correct|right)?\s*"),
        "It is false that the answer is «65»."),
    Cue("others_think", "leading", DENIED,
        ends_with(r"\b(?:students?|people|some|many|others|they|he|she|one)\s+(?:\w+\s+)?(?:think"
                  r"|thinks|say|believe"
                  r"|believes|assume|assumes)\s+(?:that\s+)?(?:the)?\s*(?:final|correct|right)?\s*"),
        "Some students think the answer is «7»."),
    Cue("asked", "leading", QUESTIONED,
        ends_with(r"^\W*(?:is|was|could|can|might|would)\s+(?:the|this|that)?\s*(?:final"
                  r"|correct)?\s*"),
        "Is the answer «7»"),
    Cue("other_answer", "leading", DENIED,
        ends_with_unknown_adjective,
        "Rejected answer: «7»"),
    Cue("if_the_answer", "leading", HEDGED,
        ends_with(r"\b(?:(?:if|whether|unless|suppose|assume|assuming|supposing|guess\w*|perhaps"
                  r"|maybe|possibly"
                  r"|probably)\b[^.,;!?\n]{0,20})"
                  r"(?:the|our|my|your|its)?\s*(?:final|correct|right)?\s*"),
        "Suppose that the answer is «65»."),
    Cue("unknown_that", "leading", DENIED,
        ends_with_unknown_that,
        "He fears that the answer is «65»."),
)  # fmt: skip
