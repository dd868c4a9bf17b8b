"""pass@r and maj@r against a count over all subsets."""

import itertools
import random
from collections import Counter
from fractions import Fraction

import polars as pl
import pytest

from orion.experiment.voting import Votes, choose_sizes, count_votes, majority_at

RIGHT = "right"


def brute_force(votes: Votes, r: int) -> Fraction:
    """The mean over all subsets of r samples of the right answer's part in the vote."""
    samples = [RIGHT] * votes.right + [None] * votes.silent
    for number, size in enumerate(votes.wrong):
        samples += [f"wrong {number}"] * size
    total, subsets = Fraction(0), 0
    for subset in itertools.combinations(samples, r):
        subsets += 1
        counts = Counter(answer for answer in subset if answer is not None)
        most = max(counts.values(), default=0)
        winners = [answer for answer, count in counts.items() if count == most]
        if RIGHT in winners:
            total += Fraction(1, len(winners))
    return total / subsets


@pytest.mark.parametrize(
    "votes",
    [
        Votes(0, (), 3),
        Votes(3, (), 0),
        Votes(1, (), 4),
        Votes(2, (2,), 0),
        Votes(2, (2, 2), 1),
        Votes(3, (3, 2, 1), 1),
        Votes(1, (1, 1, 1, 1), 2),
        Votes(0, (4, 1), 1),
        Votes(5, (4, 1, 1), 0),
        Votes(2, (5, 3), 0),
    ],
)
def test_a_vote_is_the_mean_over_all_subsets(votes):
    sizes = tuple(range(1, votes.samples + 1))
    found = majority_at(votes, sizes)
    for r, value in zip(sizes, found, strict=True):
        assert value == pytest.approx(float(brute_force(votes, r)), abs=1e-12), r


def test_random_votes_are_the_mean_over_all_subsets():
    rng = random.Random(5)
    for _ in range(60):
        wrong = sorted((rng.randint(1, 4) for _ in range(rng.randint(0, 4))), reverse=True)
        votes = Votes(rng.randint(0, 4), tuple(wrong), rng.randint(0, 2))
        if not votes.samples:
            continue
        sizes = tuple(sorted(rng.sample(range(1, votes.samples + 1), min(3, votes.samples))))
        expected = [float(brute_force(votes, r)) for r in sizes]
        assert majority_at(votes, sizes) == pytest.approx(expected, abs=1e-12), votes


def test_one_vote_is_the_accuracy_and_a_tie_favours_nobody():
    assert majority_at(Votes(3, (2,), 3), (1,)) == (3 / 8,)
    assert majority_at(Votes(2, (2, 2), 0), (6,))[0] == pytest.approx(1 / 3)


def test_a_vote_of_a_thousand_samples_is_finite_and_one_more_is_refused():
    [value] = majority_at(Votes(501, (499,), 0), (1000,))
    assert value == 1.0
    half = majority_at(Votes(500, (500,), 0), (500, 1000))
    assert half == pytest.approx((0.5, 0.5))
    with pytest.raises(ValueError, match="1001 samples is not defined"):
        majority_at(Votes(501, (500,), 0), (2,))
    with pytest.raises(ValueError, match="of 3 samples is not defined"):
        majority_at(Votes(2, (1,), 0), (4,))


def test_sizes():
    assert choose_sizes(1, None) == (1,)
    assert choose_sizes(4, None) == (1, 2, 4)
    assert choose_sizes(5, None) == (1, 2, 4, 5)
    assert choose_sizes(64, [8, 1, 8]) == (1, 8)


def test_equal_wrong_answers_are_one_group_and_texts_without_an_answer_are_silent():
    rows = [
        ("b", "incorrect", "0.5"),
        ("b", "incorrect", "\\frac{1}{2}"),
        ("b", "incorrect", "3"),
        ("b", "no_answer", None),
        ("a", "correct", "7"),
        ("a", "correct", "7.0"),
        ("a", "unparseable", "? ?"),
        ("a", "timeout", "? ?"),
    ]
    frame = pl.DataFrame(rows, schema=["problem_id", "verdict", "extracted"], orient="row")
    assert count_votes(frame) == [Votes(2, (2,), 0), Votes(0, (2, 1), 1)]
    everything_right = frame.filter(pl.col("verdict") == "correct")
    assert count_votes(everything_right) == [Votes(2, (), 0)]
