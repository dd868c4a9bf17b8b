"""What is registered, added and removed, by the history of plans of one student."""

from collections import Counter

import pytest

from orion.experiment.plan import Version
from orion.report import registration
from orion.stages.plan import add_version, write_history
from tests.helpers.plans import write_plan
from tests.helpers.recompute_plan import History

A, B, C = (
    {"arm": arm, "against": "base", "kind": "superiority"} for arm in ("orion", "sft_own", "late")
)

STUDENT = registration.Subject("d", ("m",))


def make_history(*steps: tuple[dict, int]) -> list[Version]:
    history: list[Version] = []
    for plan, evaluations in steps:
        counts = {f"d/{model}": evaluations for model in plan["models"]}
        history = add_version(history, plan, counts, {}, date="")
    return history


def describe(history, student="d/m") -> list[tuple]:
    dataset, model = student.split("/")
    subject = registration.Subject(dataset, (model,))
    own = [v for v in history if subject.covers(v)]
    tests = registration.list_tests(own, subject)
    return [(t.arm, t.benchmark, t.status, t.evaluations) for t in tests]


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        # nothing changed
        ([(write_plan(A), 0)], [("orion", "registered", None)]),
        # a change before any result is free
        ([(write_plan(A, B), 0), (write_plan(C), 0)], [("late", "registered", None)]),
        # the losing one removed after results, and a winning one added
        (
            [(write_plan(A, B), 0), (write_plan(A), 32)],
            [("orion", "registered", None), ("sft_own", "removed", 32)],
        ),
        (
            [(write_plan(A), 0), (write_plan(A, C), 5)],
            [("orion", "registered", None), ("late", "added", 5)],
        ),
        # put back: as registered; added and dropped: forgotten; the count is that of the change
        (
            [(write_plan(A), 0), (write_plan(), 4), (write_plan(A), 8)],
            [("orion", "registered", None)],
        ),
        (
            [(write_plan(A), 0), (write_plan(A, C), 4), (write_plan(A), 8)],
            [("orion", "registered", None)],
        ),
        (
            [(write_plan(A), 0), (write_plan(A, C), 4), (write_plan(A), 6), (write_plan(C, A), 8)],
            [("late", "added", 8), ("orion", "registered", None)],
        ),
        # results from before the plan
        ([(write_plan(A), 16)], [("orion", "added", 16)]),
        # deleted tables do not make a fresh start
        (
            [(write_plan(A), 0), (write_plan(B), 9), (write_plan(C), 0)],
            [("late", "added", 9), ("orion", "removed", 9)],
        ),
        # another hypothesis is another test
        (
            [(write_plan({**A, "expect": "above"}), 0), (write_plan({**A, "expect": "below"}), 3)],
            [("orion", "added", 3), ("orion", "removed", 3)],
        ),
        # the student is away for a while
        (
            [(write_plan(A), 0), (write_plan(B, models=["n"]), 7), (write_plan(A, B), 32)],
            [("orion", "registered", None), ("sft_own", "added", 32)],
        ),
    ],
)
def test_the_registered_plan_is_the_last_one_before_the_first_evaluation(steps, expected, tmp_path):
    history = make_history(*steps)
    found = describe(history)
    assert [(arm, status, count) for arm, _, status, count in found] == expected
    # the same by the test's own reading of the file
    write_history(history, tmp_path / "plan.json")
    again = History(tmp_path, "d", "m")
    assert again.is_whole()
    assert [(c["arm"], s, n) for c, _, s, n in again.rows()] == expected


def test_a_comparison_may_be_about_some_benchmarks_only():
    both, one = ["b", "c"], {**A, "benchmarks": ["b"]}
    history = make_history((write_plan(one, B, benchmarks=both), 0))
    assert describe(history) == [
        ("orion", "b", "registered", None),
        ("sft_own", "b", "registered", None),
        ("sft_own", "c", "registered", None),
    ]
    # the test that was registered stays so where others are added
    wider = make_history((write_plan(one, benchmarks=both), 0), (write_plan(A, benchmarks=both), 3))
    assert describe(wider) == [("orion", "b", "registered", None), ("orion", "c", "added", 3)]
    fewer = make_history((write_plan(A, benchmarks=both), 0), (write_plan(one, benchmarks=both), 3))
    assert describe(fewer) == [("orion", "b", "registered", None), ("orion", "c", "removed", 3)]


def test_a_benchmark_that_was_dropped_takes_its_tests_along_and_they_are_shown():
    history = make_history(
        (write_plan(A, benchmarks=["b", "hard"]), 0), (write_plan(A, benchmarks=["b", "new"]), 8)
    )
    assert describe(history) == [
        ("orion", "b", "registered", None),
        ("orion", "new", "added", 8),
        ("orion", "hard", "removed", 8),
    ]


def test_a_new_student_has_what_was_registered_before_its_own_results():
    first, second = write_plan(A), write_plan(A, models=["m", "n"])
    history = add_version([], first, {"d/m": 0}, {}, date="")
    history = add_version(history, second, {"d/m": 32, "d/n": 0}, {}, date="")
    assert describe(history, "d/n") == [("orion", "b", "registered", None)]
    assert describe(history, "d/m") == [("orion", "b", "registered", None)]
    assert registration.list_elsewhere(history) == []
    third = add_version(history, write_plan(B, models=["n"]), {"d/n": 8}, {}, date="")
    assert registration.list_elsewhere(third) == ["m on d, 1 test"]


def test_terms_that_change_after_results_are_said():
    steps = [(write_plan(A), 0), (write_plan(A, seeds=[1, 2, 3]), 8), (write_plan(A, seeds=[1]), 9)]
    assert registration.describe_terms(make_history(*steps[:2]), STUDENT) == [
        "After 8 evaluations existed, the seeds changed from 1, 2 to 1, 2, 3."
    ]
    assert registration.describe_terms(make_history(*steps), STUDENT) == [
        "After 8 evaluations existed, the seeds changed from 1, 2 to 1."
    ]
    # back to what was registered, and changes before any result
    back = make_history(*steps, (write_plan(A), 9))
    assert registration.describe_terms(back, STUDENT) == []
    early = make_history((write_plan(A), 0), (write_plan(A, alpha=0.1), 0))
    assert registration.describe_terms(early, STUDENT) == []

    # another benchmark changes nothing for those that are there
    more = write_plan(A, benchmarks=["b", "c"], num_samples={"b": 4, "c": 64})
    assert registration.describe_terms(make_history((write_plan(A), 0), (more, 9)), STUDENT) == []
    fewer = more | {"num_samples": {"b": 8, "c": 64}}
    assert registration.describe_terms(make_history((more, 0), (fewer, 9)), STUDENT) == [
        "After 9 evaluations existed, the samples per problem changed from 4 on b, 64 on c to "
        "8 on b, 64 on c."
    ]


def test_digests_that_the_history_does_not_hold_are_counted():
    history = make_history((write_plan(A), 0))
    good = Counter({history[0].digest: 6})
    counts = registration.count_digests(history, good)
    assert counts == {"known": 6, "foreign": 0, "absent": 0}
    assert registration.describe_digests(counts) == []
    counts = registration.count_digests(history, good + Counter({"f" * 64: 2, None: 1}))
    lines = registration.describe_digests(counts)
    assert [line.partition(" of")[0] for line in lines] == ["2 files", "1 file"]
