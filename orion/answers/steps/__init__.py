r"""Step checking: the claims of a written solution in, the truth of each out.

    from orion.answers.steps import check_steps
    check_steps("He pays 3 * 4 = 13 dollars.")[0].truth    # 'false'

Modules, from the text to the verdict:

    claims        Claim, StepSummary, summary
    check         find the relations of a text, judge each: check_steps
    rules         the table of all rules, each with an example that is a test
    report        the lines of `orion answers steps`
    lexer         blocks of prose and formulas, and their tokens
    expressions   the longest expression in plain text
    prose         the relations of plain text
    restated      a name computed on one line, its value on the next
    formulas      the relations of a formula, over the rows of an environment
    links, sides  one relation, and one side of it
    signs, cues   the signs, and the words that decide what a relation means
    quantities    units and their factors
    judge         which comparison decides a link
    numbers       two rational numbers: arithmetic, readings, rounding, excuses
    congruences   whole numbers modulo a number
    bindings      the names that have been given one number
    trees         roots, functions and letters: floats, letters
    meaning       whether the text means a relation that does not hold
    budget        the deadline of a text
    verdicts      when a relation that does not hold is called false

A relation that does not hold is `false` only where all that stands in it and around it is
understood; otherwise it is `unknown`.
"""

from orion.answers.steps.check import check_steps
from orion.answers.steps.claims import TRUTHS, Claim, StepSummary, summary
from orion.answers.steps.rules import RULES, Rule

__all__ = ["RULES", "TRUTHS", "Claim", "Rule", "StepSummary", "check_steps", "summary"]
