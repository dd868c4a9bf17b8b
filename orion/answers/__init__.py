"""Answer checking: a response and a gold answer in, a verdict with its reason out.

    from orion.answers import check
    check(r"so \boxed{\frac{2}{4}}", "0.5").verdict    # 'correct'

Rooms: `extract` (where the final answer stands), `normalise` and `tokens` and `parse` (text to a small tree), `read` (what kind
of answer it is), `compare` (are two answers equal), `guard` (killable workers), `policies`, `verdict`. Model output is hostile:
nothing here evaluates it, every stage is bounded, and sympy only ever runs inside a worker process.
"""

from orion.answers.api import check, check_many, parse_gold
from orion.answers.frame import check_frame
from orion.answers.policies import POLICIES, Policy
from orion.answers.verdict import VERDICTS, Verdict

__version__ = "0.1.0"

__all__ = ["POLICIES", "VERDICTS", "Policy", "Verdict", "__version__", "check", "check_frame", "check_many", "parse_gold"]
