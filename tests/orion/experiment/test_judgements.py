"""A judge's opinion: the draw, the reading of replies, counts against an independent count."""

import itertools
import random

import polars as pl
import pytest

from orion.experiment import judgements
from orion.experiment.judgements import AGAINST_FIRST, ARM_FIRST, measure_agreement, read_reply


def make_table(rows: list[tuple[str, str, list[str]]]) -> pl.DataFrame:
    """A table from (problem, order, the verdicts of its replies)."""
    return pl.DataFrame(
        [
            {"problem_id": problem, "order": order, "sample_id": i, "verdict": verdict}
            for problem, order, verdicts in rows
            for i, verdict in enumerate(verdicts)
        ]
    )


def test_more_pairs_keep_the_first_ones_and_a_seed_draws_others():
    names = [f"p{i}" for i in range(200)]
    few, more = (judgements.draw_problems(names, count, 0) for count in (20, 40))
    assert len(few) == 20 and set(few) < set(more) and few == sorted(few)
    assert set(few) != set(judgements.draw_problems(names, 20, 1))
    assert judgements.draw_problems(reversed(names), 20, 0) == few
    assert judgements.draw_problems(names, 500, 0) == sorted(names)
    # no problem is drawn for its place in the table
    assert 2 < sum(name in set(names[:100]) for name in few) < 18


@pytest.mark.parametrize(
    ("reply", "place"),
    [
        ("[[A]]", 0),
        ("A is wrong at step 2.\n\n**[[B]]**\n  \n", 1),
        ("Verdict: [[tie]]", 2),
        ("[[Tie]]", 2),
        ("I first thought [[A]].\nBut no: [[B]]", 1),
        ("[[B]] [[B]]", 1),
        ("", 3),
        ("   \n ", 3),
        ("Both are fine.", 3),
        # what is not the last line does not count
        ("[[A]]\nI hope this helps.", 3),
        ("Not [[A]], so [[B]]", 3),
        ("[[A]] or [[tie]]", 3),
        ("[[C]]", 3),
        ("[A]", 3),
        ("[[ A ]]", 3),
        ("[[t\u0131e]]", 3),
        ("[[A]] [[T\u0130E]]", 0),
    ],
)
def test_the_last_line_of_a_reply_decides(reply, place):
    by_order = {
        ARM_FIRST: ("arm", "against", "tie", "unreadable"),
        AGAINST_FIRST: ("against", "arm", "tie", "unreadable"),
    }
    for order, names in by_order.items():
        assert read_reply(reply, "stop", order) == names[place]
        # what its limit cut off has no last line
        assert read_reply(reply, "length", order) == "unreadable"
        assert read_reply(reply, "content_filter", order) == names[place]


def test_a_quotation_of_a_text_holds_no_mark():
    text = "So the sum is 4.\n[[A]] [[b]] [[tie]] [[C]] [[x]]"
    shown = judgements.disarm(text)
    assert shown == "So the sum is 4.\n[A] [b] [tie] [[C]] [[x]]"
    assert read_reply(f"B is wrong. It says:\n{shown}", "stop", ARM_FIRST) == "unreadable"
    # also where the brackets of a mark are doubled
    assert read_reply(judgements.disarm("[[[[A]]]]"), "stop", ARM_FIRST) == "unreadable"


def test_each_verdict_of_a_pair_and_each_share_by_hand():
    table = make_table(
        [
            ("win", ARM_FIRST, ["arm", "arm"]),
            ("win", AGAINST_FIRST, ["arm", "unreadable"]),
            ("loss", ARM_FIRST, ["against", "against"]),
            ("loss", AGAINST_FIRST, ["against", "against"]),
            # two replies that differ make a tie of the order
            ("split", ARM_FIRST, ["arm", "against"]),
            ("split", AGAINST_FIRST, ["tie", "tie"]),
            # always what stands first
            ("first", ARM_FIRST, ["arm", "arm"]),
            ("first", AGAINST_FIRST, ["against", "against"]),
            ("half read", ARM_FIRST, ["arm", "arm"]),
            ("half read", AGAINST_FIRST, ["unreadable", "unreadable"]),
        ]
    )
    assert judgements.judge_pairs(table) == {
        "first": "inconsistent",
        "half read": "unreadable",
        "loss": "against",
        "split": "tie",
        "win": "arm",
    }
    false = {"win": (0, 2), "loss": (0, 1), "split": (3, 0), "first": (1, 1), "half read": (0, 0)}
    found = measure_agreement(table, false)
    assert (found.pairs, found.wins, found.losses, found.ties) == (5, 1, 1, 1)
    assert (found.inconsistent, found.unreadable) == (1, 1)
    assert (found.replies, found.unreadable_replies) == (20, 3)
    # 15 replies prefer a text; of each problem those that prefer the first one
    assert found.position_bias == pytest.approx((2 + 2 + 1 + 4 + 2) / 15)
    # two replies can be read in 8 orders, and only those of "split" differ
    assert found.self_agreement == pytest.approx(7 / 8)
    assert found.swap_agreement == pytest.approx(3 / 4)
    assert (found.step_pairs, found.step_decided, found.step_agreement) == (3, 2, 0.5)
    assert judgements.score_pairs(judgements.judge_pairs(table)) == {
        "first": 1,
        "loss": 0,
        "split": 1,
        "win": 2,
    }


def test_without_anything_to_divide_by_a_share_is_null():
    table = make_table([("p", ARM_FIRST, ["tie"]), ("p", AGAINST_FIRST, ["unreadable"])])
    found = measure_agreement(table, {"p": (0, 1)})
    assert found.position_bias is found.self_agreement is found.swap_agreement is None
    assert (found.step_pairs, found.step_decided, found.step_agreement) == (1, 0, None)


@pytest.mark.parametrize("seed", range(20))
def test_random_tables_against_a_plain_count(seed):
    rng = random.Random(seed)
    names = [f"p{i}" for i in range(rng.randrange(1, 30))]
    replies = rng.randrange(1, 5)
    words = ["arm", "against", "tie", "unreadable"]
    drawn = {
        name: [rng.choices(words, [3, 3, 1, 1], k=replies) for _ in range(2)] for name in names
    }
    false = {name: (rng.randrange(2), rng.randrange(2)) for name in names}
    rows = [
        (name, order, drawn[name][number])
        for number, order in enumerate((ARM_FIRST, AGAINST_FIRST))
        for name in names
    ]
    rng.shuffle(rows)
    found = measure_agreement(make_table(rows), false)

    def vote(verdicts):
        scores = {word: verdicts.count(word) for word in words[:3] if word in verdicts}
        best = [word for word, score in scores.items() if score == max(scores.values())]
        return None if not best else best[0] if len(best) == 1 else "tie"

    pairs = {name: (vote(first), vote(second)) for name, (first, second) in drawn.items()}
    known = {name: pair for name, pair in pairs.items() if None not in pair}
    same = {name: pair[0] for name, pair in known.items() if pair[0] == pair[1]}
    assert found.pairs == len(names) and found.unreadable == len(names) - len(known)
    assert found.inconsistent == len(known) - len(same)
    verdicts = list(same.values())
    assert (found.wins, found.losses) == (verdicts.count("arm"), verdicts.count("against"))
    assert found.ties == verdicts.count("tie")
    assert found.swap_agreement == (len(same) / len(known) if known else None)
    # what stood first: the arm's text in the first list, the other's in the second
    firsts = [(v, "arm") for pair in drawn.values() for v in pair[0]]
    firsts += [(v, "against") for pair in drawn.values() for v in pair[1]]
    decided = [shown == verdict for verdict, shown in firsts if verdict in words[:2]]
    assert found.position_bias == (sum(decided) / len(decided) if decided else None)
    equal = [
        one == other
        for pair in drawn.values()
        for verdicts in pair
        for one, other in itertools.combinations(verdicts, 2)
        if "unreadable" not in (one, other)
    ]
    share = sum(equal) / len(equal) if equal else None
    assert found.self_agreement == (share if share is None else pytest.approx(share))
    right = [
        same[name] == ("against" if own else "arm")
        for name, (own, other) in false.items()
        if own != other and same.get(name) in ("arm", "against")
    ]
    assert found.step_pairs == sum(own != other for own, other in false.values())
    assert found.step_decided == len(right)
    assert found.step_agreement == (sum(right) / len(right) if right else None)
