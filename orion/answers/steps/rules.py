r"""The table of rules: what a step check finds, and every rule that decides a claim, by its name.

Input: none. Output: `RULES`. Each row has an example that is a test: the truths of its claims in
reading order. `Claim.rule` is the name of a row that `decides`.
"""

from __future__ import annotations

from typing import NamedTuple


class Rule(NamedTuple):
    """One row: its name, what it does, an example and the truths of the example's claims."""

    name: str
    what: str
    example: str
    truths: tuple[str, ...]
    # whether a claim may carry its name; the other rows show what is found
    decides: bool = True


_T, _F, _U = "true", "false", "unknown"

RULES: tuple[Rule, ...] = (
    # what is found
    Rule("chain", "each link of a chain is a claim", "2 * 3 = 6 = 5 + 2", (_T, _F), False),
    Rule(
        "lines",
        "a line that begins with = goes on with the line before",
        "4 * (5 + 1)\n= 4 * 6\n= 25",
        (_T, _F),
        False,
    ),
    Rule(
        "aligned",
        "the rows of an aligned environment are one chain",
        "\\begin{align*}\n(3+4)^2 &= 7^2 \\\\\n&= 48\n\\end{align*}",
        (_T, _F),
        False,
    ),
    Rule(
        "mark",
        "A = <<e=v>>w is the claim A = w, and the mark a claim of its own",
        "He pays 2 * 3 = $<<2*4=8>>8.",
        (_F, _T),
        False,
    ),
    Rule(
        "columns",
        "L op R : columns , = V is one claim, each column another",
        "17 + 8 : 7 + 8 = 15 , 1 + 1 = 2 , = 35 ;",
        (_F, _T, _T),
        False,
    ),
    Rule(
        "restated",
        "a name computed on one line and given its value on the next",
        "m = 87 - 16 - 19\nm = 48",
        (_F,),
        False,
    ),
    Rule(
        "remark",
        "words in brackets between numbers are passed over",
        "$10 (bacon) + $24 (chicken) = $35",
        (_F,),
        False,
    ),
    Rule(
        "equation",
        "an equation in letters, a definition and a name are no claims",
        "Let x = 3. Then 2x + 3 = 11 and the total = 5 + 2.",
        (),
        False,
    ),
    # what holds, and what does not
    Rule("exact", "the exact values of both sides are compared", "16 - 3 - 4 = 10 eggs", (_F,)),
    Rule(
        "inequality",
        "the values of both sides are compared by size",
        "So $2^5 > 30$ and $7 + 1 \\le 7$.",
        (_T, _F),
    ),
    Rule("algebra", "roots and functions are compared exactly", "$\\sqrt{50} = 4\\sqrt{2}$", (_F,)),
    Rule("sympy", "a worker proves what algebra and numbers leave open", "$|5 - 12i| = 13$", (_T,)),
    Rule(
        "identity", "both sides are the same function of their letters", "$x(x+1) = x^2 + x$", (_T,)
    ),
    Rule(
        "substituted",
        "true for the one number that each name has been given",
        "So x = 5. Check: 3x + 1 = 16.",
        (_T,),
    ),
    Rule(
        "rewriting",
        "both sides rewrite one expression in letters, and are equal for no value but 0",
        "The total is (25x + 150) / 10 = 25x + 15 cards.",
        (_F,),
    ),
    Rule(
        "congruence",
        "whole numbers modulo a number",
        "$2401 \\equiv 3 \\pmod{13}$",
        (_F,),
    ),
    Rule("percent", "20% is 0.2 or 20, as the other side needs it", "2/8 * 100 = 25%", (_T,)),
    Rule(
        "division", "a/b written without blanks may bind tighter", "24 feet / 2/3 = 36 feet", (_T,)
    ),
    Rule(
        "units",
        "units are converted where the bare numbers differ",
        "2 hours - 30 minutes = 90 minutes",
        (_T,),
    ),
    Rule(
        "list_mark",
        "a dash before the first value of a line may be a list mark",
        "- 8 + 3 = 11",
        (_T,),
    ),
    Rule("rounded", "right to the digits that are written", "100/3 = 33.33, 2/3 = 0.66", (_T, _F)),
    # what is not decided
    Rule(
        "whole_number_rounding",
        "a rounding to a whole number that nobody announced",
        "He needs 19.4 * 1 = 19 days.",
        (_U,),
    ),
    Rule(
        "rounded_inside",
        "a difference that rounded decimals inside may explain",
        "1000/3 - 5 = 333.33 - 5",
        (_U,),
    ),
    Rule(
        "rounded_down",
        "cut off where the text rounds down",
        "We round down: 100 / 7 = 14.28",
        (_U,),
    ),
    Rule("cut_down", "digits cut off behind an approximate sign", "5/3 ≈ 1.666", (_U,)),
    Rule("rough", "two calculations that are about equal", "37 * 29 ≈ 40 * 27", (_U,)),
    Rule(
        "not_understood",
        "a side with words or signs that are not understood",
        "$1 + 2 + \\ldots + 9 = 44$",
        (_U,),
    ),
    Rule("incomplete", "what stands beside a side may belong to it", "Twice 3 + 4 = 14.", (_U,)),
    Rule("given_rate", "single quantities in different units", "1 trinket = 4 blinkets", (_U,)),
    Rule(
        "retracted",
        "the text takes it back or finds a contradiction",
        "3 * 4 = 14. Wait, that is wrong.",
        (_U,),
    ),
    Rule(
        "corrected",
        "the same calculation has its right value later",
        "3 * 4 = 14.\nStep 2.\n3 * 4 = 12.",
        (_U, _T),
    ),
    Rule(
        "attributed",
        "another's words, or an error that is shown",
        "Common mistake: 3 * 4 = 13.",
        (_U,),
    ),
    Rule("question", "a question", "Is 3 * 4 = 14?", (_U,)),
    Rule("hypothesis", "a supposition, a test or a denial", "Suppose that 2 * 3 = 7.", (_U,)),
    Rule("silent_conversion", "a factor between units like those named", "3 weeks * 2 = 42", (_U,)),
    Rule(
        "scale_in_words",
        "a power of ten that is said in words",
        "It makes 5 million: 5 * 3 = $15,000,000.",
        (_U,),
    ),
    Rule(
        "run_on",
        "the right side goes on with the value of the left",
        "5 * 3 = 15 + 2 = 17",
        (_U, _T),
    ),
    Rule("remainder", "a division with a remainder", "17 / 3 = 5, with 2 left.", (_U,)),
    Rule("clock", "hours of the day, which begin again at 12", "11 + 3 = 2 pm", (_U,)),
    Rule(
        "own_operation",
        "a star that may be an operation of the problem",
        "$2 * 6 = 2^6 + 6^2$",
        (_U,),
    ),
    Rule(
        "other_base",
        "right in another base of which the text speaks",
        "In base 7, $44 \\times 55 = 3506$.",
        (_U,),
    ),
    Rule("inverse_modulo", "an inverse modulo a number", "Modulo 1199, $50^{-1} = 24$.", (_U,)),
    Rule("modulo", "a remainder sign for the whole line", "5! = 121 mod 100", (_U,)),
    Rule("share", "a quantity as percentages of something", "48 = 100% + 20% of it", (_U,)),
    Rule("in_words", "a sign between words", "18,000 minus 90*6 = 540", (_U,)),
    Rule("lost_superscript", "32 may be a 3^2 that lost its superscript", "32 + 42 = 25", (_U,)),
    Rule(
        "range", "a range of numbers or a dash between words", "The numbers 100-499 = 400.", (_U,)
    ),
    Rule("letter_x", "an x between digits that may be a name", "Let x = 2. Then 36x2 = 4.", (_U,)),
    Rule("rate", "a number in a unit", "60 snowballs / 2 snowballs/15 minutes = 31", (_U,)),
    Rule(
        "mixed_units",
        "units in a formula that do not cancel",
        "$7 \\text{ km} = \\frac{5 \\text{ km}}{2 \\text{ h}}$",
        (_U,),
    ),
    Rule(
        "angle",
        "radians on one side, degrees on the other",
        "$\\frac{\\pi}{4} = 45$ degrees",
        (_U,),
    ),
    Rule(
        "letters",
        "a link of a chain in letters that is no identity",
        "$S = a + b = 2a + c$",
        (_U, _U),
    ),
    Rule("undecided", "neither equal nor different for certain", "$\\sin 30 = 0.6$", (_U,)),
    Rule("deadline", "the time for the text was over; no example can show it", "", ()),
    Rule(
        "too_long",
        "the text has more claims or characters than are read; stands once, at the cut",
        "",
        (),
    ),
)
