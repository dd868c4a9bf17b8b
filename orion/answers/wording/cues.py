"""The table of cues: what the words around a value say about it.

Input: the text before or behind a value. Output: the rows that match. Every row has an example with
the value between guillemets, which is a test. `extraction.surrounding_text` applies the table: a
value is committed only if a row allows the words directly before it and rows that allow use up the
text behind it, to the end of its sentence.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from orion.answers.wording import phrases
from orion.answers.wording.matchers import (
    CJK,
    FILLERS,
    LEFT_OPEN,
    MULTIPLE,
    NAMED,
    NOT_ASSERTED,
    NOT_COUNTERS,
    NUMBER_WORDS,
    ONE_OF,
    OPEN,
    REJECTED,
    REJECTING,
    RETRACTED,
    SCALE,
    SPACE,
    Match,
    clause,
    ends_with,
    ends_with_unknown_equation,
    ends_with_verb_and_object,
    skip_gap,
    starts_with,
)
from orion.answers.wording.verbs import QUANTITIES

# effects: the value stands; the value stands and nothing behind it matters; the value is refused
ALLOW, END, DENIED, HEDGED, QUESTIONED, PART, ALTERNATIVES = (
    "allow", "end", "denied", "hedged", "questioned", "part of more", "one of alternatives",
)  # fmt: skip


class Cue(NamedTuple):
    """One row. match(text, at): the offset behind the cue that begins at `at`, None if none does.

    Rows of the side "before" get the text before the value and must reach its end. value: what the
    value and the text behind it must look like, if the row is for such values only. far: the row
    sees the whole sentence and not only the clause of the value. boxes: the row also judges boxes.
    counted: the row must not follow directly on a value that is named as the answer.
    """

    name: str
    side: str
    effect: str
    match: Match
    example: str
    value: re.Pattern | None = None
    far: bool = False
    boxes: bool = False
    counted: bool = False


BEHIND = (
    Cue("question", "behind", QUESTIONED,
        starts_with(SPACE + r"\?"),
        "Is the answer «5»?"),
    Cue("end_of_sentence", "behind", END,
        starts_with(SPACE + r"(?:[.!。;:]?+" + SPACE + r"(?:\\[)\]])?(?:\n|$|</|<\|)"
                    r"|,\s*$|(?:[.!。]|\.{2,4}|…)(?=[\s*_\"'”)\]$\\]))"),
        "The answer is «5»."),
    Cue("percent", "behind", ALLOW,
        starts_with(SPACE + r"(?:\\?%|(?:percent|per\s?cent|percentage|pct)\b)"
                r"(?!\s*(?:points?|of)\b)"),
        "It is «$28$» percent."),
    Cue("scale", "behind", PART,
        starts_with(SPACE + rf"-?(?:{SCALE})\b(?!-)"),
        "It takes «5» score."),
    Cue("contrast", "behind", END,
        starts_with(r"[\s*$,]*(?:\(\s*)?(?:and\s+)?(?:not|rather than|instead of)\s+(?:the\s+)?"
                r"(?:[$\\(]*[-\d][^\s]*|\(?[A-J]\)?(?=[\s.,;)]|$))"),
        "The answer is «5», not 6."),
    Cue("instead_of", "behind", ALLOW,
        starts_with(r"\s+instead\s+of\s+[a-z]+ing(?:\s+[a-z]+){0,4}(?=[.,!]|\s*$)"),
        "She earns «140» dollars in a week instead of playing games."),
    Cue("irreducible", "behind", END,
        starts_with(SPACE + r",?\s*(?:which|and\s+(?:this|that|it|the)(?:\s+\w+)?)\s+"
                    r"(?:(?:cannot|can\s+not|can['’]t)\s+be\s+(?:reduced|simplified|improved"
                    r"|exceeded"
                    r"|increased|decreased|beaten|lowered|raised|larger|smaller|greater)"
                    r"|do(?:es)?\s+not\s+contradict)\b"),
        "The answer is «7», which cannot be reduced any further."),
    Cue("whether_or_not", "behind", END,
        starts_with(SPACE + r",\s*(?:whether|no\s+matter|regardless\s+of|whichever"
                    r"|however\s+we)\b"),
        "The answer is «12», whether we count by rows or by columns."),
    Cue("and_clause", "behind", END,
        clause(SPACE + r",\s*and\s+(?:the|this|that|it|we|he|she|they|all|both)\b", REJECTED,
               LEFT_OPEN, digits=False),
        "The answer is «12», and this is the largest one."),
    Cue("no_other", "behind", END,
        starts_with(SPACE + r",?\s*(?:and|with)\s+(?:there\s+(?:are|is)\s+|has\s+)?no\s+(?:other"
                            r"|others"
                    r"|remainder|further|more)\b"),
        "The answer is «35», and there are no other solutions."),
    Cue("found_otherwise", "behind", END,
        starts_with(SPACE + r",?\s*but\s+(?:this|that|it)\s+(?:can|could|may)\s+(?:also\s+)?be\s+"
                    r"(?:found|checked|verified|computed|done|shown|obtained|derived|written"
                    r"|solved)\b"),
        "The answer is «88», but this can also be found by counting."),
    Cue("rejected", "behind", DENIED,
        starts_with(SPACE + r"[,;(]?\s*+(?:(?:which|that|this|it)\s+)?(?:is|are|was|were|seems?"
              r"|looks?|can|could|does|did|would"
                r"|has|do)?\s*+(?:to\s+be\s+)?(?:" + REJECTING + ")"),
        "The answer is «5» but this cannot be right."),
    Cue("alternative", "behind", ALTERNATIVES,
        starts_with(SPACE + r"[,;(]?\s*+(?:" + OPEN + ")"),
        "The answer is «5» or 6."),
    Cue("period", "behind", ALLOW,
        starts_with(r"\s+(?:[a-z]+\s+)?(?:over|throughout|during)\s+(?:the|a|this|that"
                r"|these)\s+(?:[a-z]+\s+)?"
                r"(?:weekend|week|day|days|weeks|month|months|year|years|summer|winter|course"
                r"|period|holidays?"
                r"|season|night|trip)\b(?:\s+of\s+(?:the|a)\s+\w+)?"),
        "Chloe read «240» pages over the weekend."),
    Cue("more", "behind", ALLOW,
        starts_with(r"\s+more(?=\s*(?:[.!]|$))"),
        "Jerome needs «27» more."),
    Cue("operator", "behind", PART,
        starts_with(r"\s*(?:\*\s?[\d(]|[+/^×÷·±<>≤≥=≠≈]|[-−–~]\s*[\d$(]|\s[-−–]\s)"
                r"|\s+(?:times\s+(?:[$\\(]*\d|[b-z]\b|as|the|that|more|less|larger|greater|smaller)"
                r"|plus|minus|divided|multiplied|choose|pi|squared|cubed|remainder|over|out\s+of"
                r"|short\s+of|to\s+(?:the|\$?\d|one)|factorial"
                r"|modulo|mod|percent(?:age)?\s+of|%\s+of|and\s+(?:a|[$\\(]*\d|half))\b"),
        "We get «5» times 3."),
    Cue("count", "behind", ALLOW,
        starts_with(r"\s+(?:times)\b"),
        "He did it «5» times."),
    Cue("reason", "behind", END,
        clause(SPACE + r",?\s*(?:because|since|as(?=\s+(?:the|it|we|he|she|they|there|each|\d"
              r"|shown"
                r"|required|desired|expected|well|calculated|computed|above|before|follows))"
                r"|due\s+to)\b",
                RETRACTED),
        "The answer is «5», since x is not negative."),
    Cue("consequence", "behind", END,
        clause(SPACE + r",?\s*(?:and\s+)?(?:so|thus|hence|therefore|meaning|making|leaving"
              r"|giving|given|while"
                r"|which|where|who|that\s+is|namely|respectively|in\s+which)\b"
                r"|[\s*$]*[,(]?\s*i\.\s?e\.", REJECTED,
                LEFT_OPEN),
        "The answer is «72», so the farmer earns that much."),
    Cue("relative_clause", "behind", END,
        clause(r"\s+(?:that|who)\s+[a-z]+", REJECTED, LEFT_OPEN, digits=False),
        "She has «12» cookies that she can sell."),
    Cue("named_as_answer", "behind", END,
        clause(SPACE + rf"(?:is|are|was)\s+(?:the|our|your)\s+(?:\w+\s+){{0,3}}{NAMED}s?\b",
                REJECTED,
                LEFT_OPEN),
        "So «5» is the final answer."),
    Cue("courtesy", "behind", END,
        starts_with(SPACE + r"[.,!]?\s*(?:I hope|Hope (?:this|it)|Let me know|Thank|Good luck|Great"
              r"|Done|QED"
                r"|Q\.E\.D|■|□|✓|✅)"),
        "The answer is «5» I hope it is correct."),
    Cue("for_all", "behind", ALLOW,
        starts_with(SPACE + r",?\s*for\s+(?:all|any|every|each)\s+(?:(?:real|positive|integer"
              r"|natural|nonnegative)"
                r"\s+)*(?:numbers?\s+|values?\s+of\s+|integers?\s+)?[$\\(]*[a-z]\b\)?\$?"),
        "The answer is «5x + 3» for all x."),
    Cue("as_shown", "behind", ALLOW,
        starts_with(SPACE + r",?\s*as\s+(?:shown|required|desired"
              r"|expected|claimed"
              r"|stated|wanted|requested|above|well)\b(?:\s+above)?"),
        "The answer is «(3, 4)» as shown."),
    Cue("unit_or_things", "behind", ALLOW,
        lambda text, at: phrases.match_phrase(text, skip_gap(text, at)),
        "It takes «12» red marbles."),
    Cue("those_that", "behind", END,
        clause(r"\s+of\s+(?:these|those|them)\s+(?:satisfy|satisfies|meet|meets|work|works|fit|fits"
               r"|remain|remains|qualify|qualifies|pass|passes|are\s+(?:valid|possible|integers"
               r"|primes?|left|even|odd))\b", REJECTED, LEFT_OPEN, digits=False),
        "Only «2» of these satisfy both conditions."),
    Cue("closing_word", "behind", ALLOW,
        lambda text, at: phrases.match_closers(text, skip_gap(text, at)), "They cost «5» each."),
    Cue("passive", "behind", ALLOW,
        starts_with(r"\s+(?:is|are|was|were|will\s+be|have\s+been)\s+(?:(?:now|still"
                r"|then)\s+)?(?:(?=(?:in|on|at)\s)|left(?:\s+un\w+)?|remaining|needed|required"
                r"|sold|used|eaten"
                r"|made|possible|available|enough|given|spent|produced|wasted|in\s+total|there)\b"),
        "So «5» apples are left."),
    Cue("time_clause", "behind", END,
        clause(r"\s+(?:when|before|after|until|once|by\s+the\s+time)\s+(?:he|she|they|it|we|you"
               r"|the|all|everyone)\b", REJECTED, LEFT_OPEN, digits=False),
        "Sam has «16» gallons of milk left when he gets home."),
    Cue("took_part", "behind", END,
        clause(r"\s+(?:stay|stays|stayed|remain|remains|remained|attend|attended|arrive|arrived|came"
               r"|passed|survived|voted|finished|live|lives|play|plays|like|likes|prefer"
               r"|showed\s+up)\b", REJECTED, LEFT_OPEN, digits=False),
        "So «63» students stayed until the end."),
    Cue("predicate", "behind", ALLOW,
        phrases.match_predicate, "Of these, «37» are girls."),
    Cue("purpose", "behind", END,
        clause(r"\s+(?:in\s+order\s+)?to\s+(?!the\b|be\b|one\b|an?\b)[a-z]{2,}", REJECTED,
                LEFT_OPEN,
                digits=False),
        "She needs «12» dollars to buy it."),
    Cue("compared_with", "behind", END,
        clause(r"\s+(?:(?:more|less|fewer|older|younger|longer|taller|shorter"
                                 r"|faster|heavier"
                r"|cheaper|farther)\s+)?"
                r"than\s+(?=[a-z]{2,})", REJECTED, LEFT_OPEN, MULTIPLE, digits=False),
        "He has «5» more cookies than Bob.",
        counted=True),
    Cue("prepositional_phrase", "behind", ALLOW,
        lambda text, at: phrases.match_prepositional(text, skip_gap(text, at)),
        "She earns «18» dollars every day at the market."),
    Cue("comma", "behind", ALLOW,
        starts_with(r"[\s*$]*,\s*(?=(?:in|altogether|total|overall|per|for|on|at|each|every"
                    r"|with)\b)"),
        "The total is «72» clips, altogether."),
    Cue("remark", "behind", ALLOW,
        phrases.match_remark,
        "The answer is «5» (rounded to the nearest integer)."),
    Cue("struck_out", "behind", DENIED,
        starts_with(r"\s*~~"),
        "The answer is ~~«5»~~."),
    Cue("chinese", "behind", END,
        starts_with(rf"[ \t]*(?!{NOT_COUNTERS})[{CJK}]{{1,10}}(?:[。．.!！，,；]|\s*$|\n)"),
        "答：一共有«12»种方法。"),
)  # fmt: skip

BEFORE = (
    Cue("not_this_but", "before", ALLOW,
        ends_with(r"\bnot\s+\S+,?\s+but(?:\s+(?:rather|instead"
              r"|is))?"),
        "The answer is not 24 but «42»."),
    Cue("number_in_words", "before", ALLOW,
        ends_with(rf"(?<!negative )(?<!minus )\b{NUMBER_WORDS}[-\s]*"),
        "There are twenty-four («24») ways.", re.compile(r"\(?[\d,.]+\)")),
    Cue("denied", "before", DENIED,
        ends_with(r"(?:\b(?:not|never|cannot|nor|neither)\b|n['’]t\b)(?:\s+(?:be|equal|to|just"
              r"|simply)){0,3}"),
        "The answer is not «5».", boxes=True),
    Cue("doubted", "before", DENIED,
        ends_with(r"(?:\bdoubt|\b(?:false|untrue|wrong|incorrect|mistaken)"
                  r"|(?:\b(?:not|never)|n['’]t)\s+(?:think|believe|true|certain|sure|clear"
                  r"|the\s+case))\b"
                  r"[^.,;:!?\n]{0,40}"),
        "I do not think that we get «5».", far=True, boxes=True),
    Cue("rejected_label", "before", DENIED,
        ends_with(r"\b(?:errors?|wrong|bound|confidence|rejected|former|tentative|unconfirmed"
                  r"|guess|attempt|draft"
                  r"|incorrect|old|previous|earlier)\b[^:\n]{0,20}[:=]\s*"),
        "Confidence: «70»",
        far=True),
    Cue("no_solution", "before", DENIED,
        ends_with(r"\b(?:no|none|neither|nor|not|never|cannot|impossible|undefined|without|unless"
              r"|except|wrong|incorrect"
              r"|invalid|contradict\w*|exclud\w*|instead|fails?|reject\w*"
              r"|unlikely|rumou?red|exceed\w*|missed|pretend\w*|lied|slip|supposed|alleged|bound"
              r"|confidence"
              r"|discard\w*|rul(?:e|es|ed|ing)\s+out|eliminat\w*|ignor\w*"
              r"|dismiss\w*)\b[^.,;!?\n]{0,80}"
              r"|n['’]t\b[^.,;!?\n]{0,80}"),
        "There is no solution for «5»."),
    Cue("guess", "before", HEDGED,
        ends_with(r"\b(?:maybe|perhaps|possibly|probably|either|unsure"
              r"|guess\w*|whether|depend\w*|suppose|assume|assuming|supposing|let|try|tried|say"
              r"|or|if(?!\w)[^.,;:!?\n]{0,60})\b[^.,;:!?\n]{0,30}"
              r"|\b(?:might|could|may|would)\s+(?:\w+\s+)?(?:be|equal)\b" + FILLERS),
        "It might be «5»."),
    Cue("clock", "before", ALLOW,
        ends_with(r"\b(?:at|by|until)"),
        "The movie ends at «11:15».", re.compile(r"\d{1,2}:\d{2}"
              r"|\d{1,2}\s?[ap]\.?m")),
    Cue("duration", "before", ALLOW,
        ends_with(r"\b(?:after|within|in|for|of)"),
        "The train arrives after «42» minutes.",
        re.compile(r"[$\\(]*[\d.,/]+[$)]*\s*(?:more\s+)?(?:seconds?|minutes?|hours?|days?|weeks?"
                   r"|months?|years?)\b")),
    Cue("change", "before", ALLOW,
        ends_with(r"\b(?:by|to)"),
        "It grows by «100%».",
        re.compile(r"[$\\(]*[\d.]+\s*\\?%")),
    Cue("comes_to", "before", ALLOW,
        ends_with(r"\b(?:comes?|came|turns?|turned|works?|worked)\s+out\s+(?:as|at|to\s+be)\b"
                  + FILLERS
                  + r"|\b(?:comes|came|come|amounts?|amounted|works?\s+out|worked\s+out|adds?\s+up"
              r"|added\s+up|sums?|simplif(?:y|ies)"
              r"|evaluates?|reduces?|leads?|equals?|equates?|rounds?|rounded|goes|drops?|dropped"
              r"|rises?|rose|fell|falls"
              r"|increases?|increased|decreases?|decreased|down|converts?"
              r"|corresponds?)\s+to\b" + FILLERS, "to", "out"),
        "The perimeter comes to «64» feet."),
    Cue("left_with", "before", ALLOW,
        ends_with(r"\b(?:up|left|remains?|finish(?:es)?|ends?|starts?)\s+with\b" + FILLERS, "with"),
        "Kofi ends"
              " up with «39» marbles."),
    Cue("at_point", "before", ALLOW,
        ends_with(r"\b(?:at|through|point)"),
        "The vertex sits at «(-4, 9)».",
        re.compile(r"[$\\]*(?:left)?\s*\(\s*-?[\d\\]")),
    Cue("rate", "before", ALLOW,
        ends_with(r"\bat(?:\s+(?:about|exactly|only))?"),
        "He covers the"
              " trip at «24» km per hour.",
        re.compile(r"\$?[\d.,]+\s*(?:\\?%|percent|mph|km/h|m/s|[a-z]+\s+(?:per|an?)\s|[a-z]+/)")),
    Cue("parts", "before", ALLOW,
        ends_with(r"\binto\b" + FILLERS, "into"),
        "He cut the plank into «9» equal pieces."),
    Cue("room_for", "before", ALLOW,
        ends_with(r"\b(?:room|space|enough|money|seats?)\s+for\b" + FILLERS, "for"),
        "The shelf has room for «31» jars."),
    Cue("reason_before", "before", PART,
        ends_with(r"\b(?:because|since|due\s+to"
              r"|given\s+that)\b[^.;!?\n]{0,80}"),
        "There are many, because 0 = «0»."),
    Cue("bound", "before", PART,
        ends_with(r"\b(?:(?:less|more|fewer|greater|other|larger|smaller|higher|lower"
                  r"|bigger)\s+than"
              r"|at\s+(?:least|most)|up\s+to"
              r"|between|under|below|above|over|from|to|by|out\s+of|divisible\s+by|multiple\s+of"
              r"|power\s+of)"),
        "It is at least «5»."),
    Cue("number_of_a_thing", "before", PART,
        ends_with(r"\b(?:equation|step|case|part|example|choice|page|question|problem|option"
                  r"|chapter"
              r"|line|day|year|room"
              r"|number|no\.?|figure|table|section|exercise|item|level|grade|line|row|column|base"
              r"|digit|method)"
              r"(?:\s+#)?"),
        "This is step «5»."),
    Cue("condition", "before", PART,
        ends_with(r"\b(?:for|when|if|at|with|where|let|suppose|assume|given|from|by|since|because"
                  r"|in"
              r"|of)\s+[$\\(]*[a-z]"
              r"(?:_\{?\w\}?)?\s*=\s*"),
        "It holds for n = «5»."),
    Cue("equation_of_a_case", "before", PART,
        ends_with_unknown_equation,
        "Consider the case n = «6»."),
    Cue("start", "before", ALLOW,
        ends_with(r"(?:^|[.!?:;。：]|\n|^[\s>#]*(?:[-*•+]|\d+[.)])\s"
              r"|^[\s>#*_]*(?-i:[A-Z])[^,.!?;:\d]{0,60},\s)[\s>#]*"
              r"(?:\b(?:only|exactly|just|about|approximately|around|roughly|nearly|precisely|a"
              r"|an|the|total|of|all)\b\s*)*"),
        "«42»"),
    Cue("mark", "before", ALLOW,
        ends_with(r"[=:≈→⇒—：]|\b\w{2,}\s+[-–]\s|\\(?:to|Rightarrow|implies"
              r"|approx|therefore)|=>|->"),
        "Total - «5»"),
    Cue("verb", "before", ALLOW,
        ends_with_verb_and_object,
        "Josh made a profit of «70,000»."),
    Cue("verb_in_s", "before", ALLOW,
        phrases.ends_with_verb, "So the crew excavates «22» tonnes."),
    Cue("quantity", "before", ALLOW,
        ends_with(r"\b(?:" + ONE_OF(QUANTITIES.split()) + r")\s+of\b" + FILLERS, "of"),
        "with a total of «12»"),
    Cue("connective", "before", ALLOW,
        ends_with(r"(?:^|[\s,])(?:so|thus|hence|therefore|then|finally|that|i\.e\.|namely)[,:]?"),
        "Therefore, «5»."),
    Cue("chinese", "before", ALLOW,
        ends_with(rf"(?:^|[。，：:；\n])(?![^。，；\n]*{NOT_ASSERTED})[^。，；\n]*[{CJK}]"),
        "答：一共有«12»种方法。"),
)  # fmt: skip
