"""Pairs of a wrong and a right text of one problem, for a model that is to prefer its own errors.

That is the exposure model of EULER (arXiv 2505.22131, first version). Input: the texts that an arm
may train on. Output: training rows, two for each pair: the wrong text, then the right one.
"""

from dataclasses import dataclass

from orion.experiment.candidates import Candidates, Row

# what an arm is trained on, and the kind of its wrong texts
ERROR_PAIRS, OWN_WRONG = "error_pairs", "own_wrong"
STUDENT, TEACHER = "student_correct", "teacher"


@dataclass(frozen=True)
class PairKeys:
    """``rejected``: whose right text is rejected, the student's own or the teacher's trace."""

    rejected: str = STUDENT


class Pairs:
    """The pairs of each problem, and in ``counts`` how many problems have none, and why.

    ``right``: the texts of the arm. ``wrong``: the student's wrong samples, of which only those
    that ended by themselves are taken: another text would teach the model to stop anywhere.
    """

    def __init__(self, right: Candidates, wrong: Candidates, keys: PairKeys):
        self.right, self.wrong, self.keys = right, wrong, keys
        self.counts: Row = {
            "rejected": keys.rejected,
            "pairs": 0,
            "problems_without_wrong": 0,
            "problems_without_right": 0,
        }

    def targets(self, problem_id: str) -> list[Row]:
        """The rows of a problem, wrong and right in turn; call it once for each problem.

        The first wrong text stands with the first right one, and so on; the one trace of a problem
        stands with each wrong text.
        """
        wrong = [{**row, "target_kind": OWN_WRONG} for row in self.wrong.own_sample(problem_id)]
        if self.keys.rejected == TEACHER:
            right = self.right.teacher(problem_id) * len(wrong)
            has_right = bool(self.right.teacher(problem_id))
        else:
            right = self.right.own_correct(problem_id)
            has_right = bool(right)
        pairs = list(zip(wrong, right, strict=False))
        self.counts["pairs"] += len(pairs)
        self.counts["problems_without_wrong"] += not wrong
        self.counts["problems_without_right"] += not has_right
        return [row for pair in pairs for row in pair]
