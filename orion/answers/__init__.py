r"""Answer checking: a response and a gold answer in, a verdict with its reason out.

    from orion.answers import check
    check(r"so \boxed{\frac{2}{4}}", "0.5").verdict    # 'correct'

Modules and sub-packages:

    api          check, check_many, parse_gold
    verdict      the five verdicts and the record that carries one
    policies     named rules of what counts as an answer and as equal
    frame        the polars form of check_many
    replay       the policies that let Math-Verify decide
    audit        two policies on the same rows
    rule_tables  all tables that decide a verdict, as rows to print
    extraction/  find the final answer in a response
    wording/     the words around a value: cues, units and nouns in phrases
    parsing/     read an answer to a small expression tree
    comparison/  decide whether two answers are equal
    algebra/     canonical forms and certified numbers
    steps/       the truth of the written chain, claim by claim
    workers/     killable processes, the only place that imports sympy and Math-Verify

Model output is hostile. Nothing here evaluates it, every step is bounded, and sympy runs only
inside a worker process.
"""

from orion.answers.api import check, check_many, parse_gold
from orion.answers.frame import check_frame
from orion.answers.policies import POLICIES, Policy
from orion.answers.verdict import VERDICTS, Verdict

__version__ = "0.3.0"

__all__ = [
    "POLICIES",
    "VERDICTS",
    "Policy",
    "Verdict",
    "__version__",
    "check",
    "check_frame",
    "check_many",
    "parse_gold",
]
