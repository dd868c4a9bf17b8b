"""Real outputs with labels, the sets of bench/answers.py; known differences are wrong labels."""

import pytest

from bench import answer_sets
from orion.answers import check


@pytest.mark.data
@pytest.mark.parametrize("name", ["math500", "qwen", "palign", "traces"])
def test_verdicts_differ_from_the_labels_only_where_the_label_is_wrong(name):
    cases = answer_sets.load([name], answer_sets.DATA, False, 0)[name]
    wrong = [
        case
        for case in cases
        if case.right is not None and check(case.response, case.gold).correct != case.right
    ]
    assert len(wrong) == answer_sets.SIZES[name][2], [
        (case.gold, case.response[-80:]) for case in wrong
    ]
