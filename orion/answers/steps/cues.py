"""The words that decide what a relation means: beside it, around it, and inside units.

Input: none. Output: one set or pattern per role. Every pattern is linear: plain alternatives and
bounded runs.
"""

from __future__ import annotations

import re

from orion.answers.parsing.vocabulary import word_set

# behind one of these the left side is only the end of what is meant: twice 3 + 4 = 14
WORDS_BEFORE = word_set(
    "times twice plus minus by of than half double triple squared cubed over less sum product"
    " difference quotient thrice quarter third fourth fifth tenth percent point factor"
    " negative sqrt root mod modulo weeks days months years steps pages chapters questions"
    " parts numbers problems cases equations grade grades level levels x thirds quarters"
    " fourths fifths multiplied divided added multiply divide subtract add log ln sin cos tan"
    " step day week month year page chapter question part number problem case equation line"
    " until choose base or to between through versus vs not isn't"
)
# of these "of" begins a whole: a total of 3 + 4
WHOLES = word_set(
    "total sum amount cost weight distance profit score earnings length area price balance"
    " income maximum minimum average value"
)
# the same, the last two words
PHRASES_BEFORE = (("to", "the"), ("from", "the"), ("with", "the"))
# before a claim: a number and "and"
AND_BEFORE = re.compile(r"[\d)%$]\s+and\s+[$\\(\[]*$")
# before it: another claim
RELATION_BEFORE = re.compile(r"[=≈<>≤≥]|\\(?:approx|le|ge|equiv)")
# before one of these the right side is only the beginning: = 3 dozen
WORDS_AFTER = word_set(
    "times plus minus dozen dozens hundred thousand million billion trillion remainder r mod"
    " modulo squared cubed half halves third thirds quarter quarters fourths fifths tenths"
    " tens hundredths choose multiplied divided sin cos tan log ln sqrt something base hundreds"
    " thousands r. rem leftover score"
)
# the same, only directly behind the right side: = 5 of
NEXT_WORDS = word_set("of to k m with and or through percent out in")
# words that go on with a calculation whose value is not written as a relation: = 3 + 4 is 7
GOES_ON = word_set("is are plus times minus equals gives")
# words behind which two bare numbers are meant as equal: we get 3 = 7
GETS = word_set("get gets got obtain obtains gives yields have becomes")
# words that no unit holds: behind them a new statement begins
NO_UNIT = word_set(
    "is be was are were would will has have had he she they it and then so which that we i"
    " you gives give gets get makes but because if when while who equals total leaves means or"
    " costs cost from to at where as by than with along between through dx"
)
# words in a formula that join two statements
CONNECTIVES = word_set(
    "and or so since because thus if for where then hence therefore which but when with as we"
    " get gives that by now also is from let have modulo"
)
# functions whose argument may be in degrees or end elsewhere, or whose base is not certain
AMBIGUOUS_FUNCTIONS = word_set(
    "sin cos tan cot sec csc arcsin arccos arctan arccot arcsec arccsc log"
)
# behind a claim: the text takes it back, corrects it, or shows a contradiction
RETRACTED = re.compile(
    r"\bwait\b|\bhmm|\bfalse\b|❌|✗|\bno,|\boops|\bwrong\b|\bincorrect|\bmistake|\berror\b"
    r"|not possible|impossible"
    r"|contradict|doesn't make sense|does not make sense|not make sense|can't be|cannot be"
    r"|\bnot true|isn't true|not equal|\bnot correct|not right|isn't right|not satisf"
    r"|doesn't work|does not work|not valid|invalid|inconsistent|doesn't hold|does not hold"
    r"|no solution|not work|not match|doesn't match|does not match|doesn't equal|does not equal"
    r"|\bactually\b|should be|should have|correction|correct this|re-?evaluate|re-?check"
    r"|re-?examine|re-?calculate|let me redo|try again|misunderst|misread|discrepan|\bunless\b"
    r"|too (?:small|big|large|high|low|much)|\bnot an integer|not a valid|not the same|absurd"
    r"|nonsens|extraneous|which is not|not feasible|\bapolog|\bsorry|not enough|≠|\\ne\b|\\neq\b"
    r"|\b(?:hold|hang) on\b|\b(?:scratch|strike) that\b|\bmy bad\b|\bnever ?mind\b|\[sic\]",
    re.I,
)
# behind a claim: it is checked and upheld, by a calculation that the text calls right or in so many
# words, and nothing is objected next; anything else behind "wait" may take it back. All repetitions
# are bounded, since a text may hold any run of blanks and digits
CHECKED = re.compile(
    r"\bwait\b\W{0,3}(?:but )?"
    r"(?:let me|let us|let['’]s|i(?:['’]ll| will| should| need to| want to)) "
    r"(?:just |quickly )?(?:double[- ]?)?(?:check|verify|confirm)\b(?: (?:that|this|it))?"
    r"[\s:.,]{0,4}"
    r"(?:(?P<checked>[-\d .,+*/×÷·()]{0,60}\d[ )]{0,3}= ?-?[\d.,]{0,30}\d)[ ,]{0,3}"
    r"(?:that is |that['’]s )?"
    r"|yes,? |that is |that['’]s |it is |it['’]s )(?:right|correct)(?=\s{0,2}(?:[.,;!:]|$))"
    r"(?![^\n]{0,80}?\b(?:but|however|forgot|forgotten|except|though|although|yet|instead|only)\b)",
    re.I,
)
# what a calculation gives
RESULT = re.compile(r"=\s*(-?[\d.,]*\d)")
# before a claim: an opening mark of struck text
STRUCK = re.compile(r"(?:<(?:s|del|strike)>|\\(?:[bx]?cancel|sout)\{)[^<{}\n]*$")
# from such a word to a claim, also over the end of a line with a colon
_REACH = r"[^.;\n]*(?::[*_ ]{0,4}\n{1,2}[^.;\n]*)?$"
_LEARNER = r"\b(?:student|pupil|classmate|learner)"
# before a claim: it is what someone else holds, or is shown as an error
ATTRIBUTED = re.compile(
    r"(?:\b(?:thought|believes?|believed|claims|claimed|assumes|assumed|argues|argued|guesse[sd]"
    r"|misconceptions?|mistakes?|errors?|pitfall|fallacy|typo|myth|wrong(?:ly)?|incorrect(?:ly)?"
    r"|erroneous(?:ly)?|false(?:ly)?|non-?example|sa(?:id|ys) that|wrote down)\b"
    rf"|(?<!\bI )(?<!\bwe )\bthinks?\b|{_LEARNER}(?:['’]s|s?:)|[❌✗✘]){_REACH}",
    re.I,
)
# the same, if no unit follows: a student wrote 3 * 4 = 13, but not he wrote 3 * 4 = 13 pages
WRITTEN = re.compile(
    rf"(?:(?<!\bI )(?<!\bwe )\b(?:said|wrote)|\b(?:s?he|they|people)\s+(?:writes?|put|says?)"
    rf"|\btempting to|{_LEARNER}s?"
    r"\s+(?:\w+\s+){0,3}?(?:wrote|writes?|put|says?|said|got|gets?|answer(?:s|ed)|comput(?:es|ed)"
    rf"|calculat(?:es|ed)|obtain(?:s|ed)))\b{_REACH}",
    re.I,
)
# before or in it: the claim mends the error
MENDED = re.compile(r"\b(?:fix|correct|mend)(?:ing|ed|s|es)?\b", re.I)
# directly behind a claim: it is someone's words
SAID_AFTER = re.compile(
    r"[.,\"'’”$)\s]{0,4}\b(?:(?:s?he|they|the \w+) (?:thought|claimed|wrote|said|believed|guessed)"
    r"|(?:said|thought|claimed|wrote|guessed) (?:[A-Z]|he\b|she\b|they\b|the\b))"
)
# before a lone number: the first number of a ratio or division, 10 : 5 and 3:4
RATIO_BEFORE = re.compile(r"(?:[\d)%]|\b[A-Za-z])(?::|\s{1,3}:\s*)$")
# before any side: the same, with nothing before that first number
LONE_RATIO_BEFORE = re.compile(r"(?:^|[\n(=,;])[^\S\n]*\d[\d.,]*(?::|\s:[^\S\n]*)$")
# before one of two bare numbers: the same
NUMBER_BEFORE = re.compile(r"\d\s*:\s*$")
# behind a side: the second number of a ratio
RATIO_AFTER = re.compile(r"\s*:\s*(?:\d|[A-Za-z]\b)")
# before a number: a word that is cut short and says what the number counts
CUT_SHORT = re.compile(
    r"\b(?:nos?|nr|eqn?s?|figs?|exs?|prob|q|ch|chap|sec|pp?|vol|ref|art|thm|lem)\.\s*$", re.I
)
# near a claim: a time of day
TIME_OF_DAY = re.compile(
    r"\d[\s$()]{0,3}[ap]\.?\s?m\b|o['’]\s?clock|\bnoon\b|\bmidnight\b|\bclock\b", re.I
)
# before a claim on its line: it is supposed, tested or denied
HYPOTHESIS = re.compile(
    r"\b(?:if|suppose|supposing|assume|assuming|let(?!['’]s| us)|whether|unless|imagine|does"
    r"|would it|could|check that|verify that|guess|test|trying|solve|solving|is it|instead of"
    r"|rather than|is not|are not|not equal|cannot|can't|doesn't|never|isn't|mistakenly"
    r"|satisf(?:y|ies)|such that|must have|must equal)\b[^.;\n]*$",
    re.I,
)
# what ends the reach of such a word
CLAUSE = re.compile(r",|\bthen\b|\bso\b|\bwe get\b|\bwe have\b", re.I)
# what ends the reach of a word for an error or another's words: the text speaks for itself
OWN_WORDS = re.compile(CLAUSE.pattern + r"|\bbecause\b|\bsince\b", re.I)
# near a claim: rounding is announced
ROUNDED = re.compile(
    r"round|approx|about|nearest|whole number|estimat|roughly|\bat (?:least|most)\b|ceil|floor"
    r"|integer|full\b|complete\b|around|almost|nearly|decimal|significant",
    re.I,
)
# before a bare number: it is written as an equation
INTRODUCED = re.compile(r"\b(?:get|write|have|obtain|gives|yields|becomes):\s*$")
# behind a claim: it holds modulo a number
MODULO_AFTER = re.compile(r"[\s$)]{0,3}\(?\\?(?:p?mod|modulo)\b")
# behind a number: the rest of it, 5 and 2/3
MORE_AFTER = re.compile(r"\$?[^\S\n]*(?:and|&)[^\S\n]*(?:[($]?\d+\s?/\s?\d|a half)")
# behind a claim: a bracket with a calculation, which may be a factor, as in 2 * 7 * 2 = 14 (3 - 1)
FACTOR_AFTER = re.compile(
    r"[^\S\n]{0,3}\((?:[\d .,+*/^√×·−–-]|sqrt|\b[a-zA-Z]\b"
    r"|\((?:[\d.]|\b[a-zA-Z]\b){1,12}\)){1,60}\)"
)
# behind a claim: the sentence is a question
QUESTION = re.compile(r"[^.\n;!]{0,80}\?")
