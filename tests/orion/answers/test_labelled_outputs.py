"""Real outputs with labels, the sets that bench/answers.py times: what differs was read by eye, and the label is at fault."""

import importlib.util

import pytest

from orion.answers import check


@pytest.fixture(scope="module")
def sets(root):
    spec = importlib.util.spec_from_file_location("answer_sets", root / "bench" / "answer_sets.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.data
@pytest.mark.parametrize("name", ["math500", "qwen", "palign", "traces"])
def test_verdicts_differ_from_the_labels_only_where_the_label_is_wrong(sets, name):
    cases = sets.load([name], sets.DATA, False, 0)[name]
    wrong = [
        case
        for case in cases
        if case.right is not None and check(case.response, case.gold).correct != case.right
    ]
    assert len(wrong) == sets.SIZES[name][2], [(case.gold, case.response[-80:]) for case in wrong]
