"""Answer checking: a response and a gold answer in, a verdict with its reason out.

    from orion.answers import check
    check(r"so \boxed{\frac{2}{4}}", "0.5").verdict    # 'correct'

Rooms, each with its helpers:

    api         check, check_many, parse_gold; verdict (the record they return), frame (the polars form)
    extract     where the final answer stands: stated (behind a marker), inline (in running text), context (what stands around it)
    read        what kind of answer it is: normalise, tokens, parse (text to the small tree of `tree`), atoms, units
    compare     are two answers equal: equality, values, relations, sets, shapes, vectors, matching; canon, poly and angles
                (algebra), numeric and balls (certified numbers)
    guard       killable workers, which alone import sympy: worker
    policies    what counts; replay (Math-Verify's rule); audit (two policies on the same rows)

Model output is hostile: nothing here evaluates it, every stage is bounded, and sympy only ever runs inside a worker process.
"""

from orion.answers.api import check, check_many, parse_gold
from orion.answers.frame import check_frame
from orion.answers.policies import POLICIES, Policy
from orion.answers.verdict import VERDICTS, Verdict

__version__ = "0.2.0"

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
