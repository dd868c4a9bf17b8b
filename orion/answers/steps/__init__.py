"""Step checking: the claims of a written solution in, the truth of each out.

Input: any str. Output: `check_steps`, `summary` and the table `RULES`.
"""

from orion.answers.steps.check import check_steps
from orion.answers.steps.claims import TRUTHS, Claim, StepSummary, summary

__all__ = ["TRUTHS", "Claim", "StepSummary", "check_steps", "summary"]
