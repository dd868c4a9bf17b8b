"""Policies, golds, cut-off outputs, and hostile inputs at full size."""

import time

import pytest

from orion.answers import POLICIES, check, parse_gold


def test_unknown_policies_are_named_together_with_the_known_ones():
    with pytest.raises(ValueError, match=r"aime.*gsm8k.*math.*strict"):
        check("1", "1", "maths")


def test_strict_wants_a_box_and_aime_an_integer_in_range():
    assert check("The answer is 5.", "5").correct
    assert check("The answer is 5.", "5", "strict").reason == "no box"
    assert not check("\\boxed{35}", "35\\%", "strict").correct
    assert check("\\boxed{35}", "35\\%").correct
    assert check("\\boxed{073}", "73", "aime").correct
    assert parse_gold("1000", "aime") == "not an integer from 0 to 999"
    assert parse_gold("025", "aime") is None


def test_printed_doubles_of_gsm_hard():
    assert check("\\boxed{\\frac{250000}{3}}", "83333.33333333333", "gsm8k").correct
    assert check("#### -9867630", "-9867630.0", "gsm8k").correct
    assert not check("\\boxed{83333.33}", "83333.33333333333", "gsm8k").correct
    assert not check("\\boxed{\\frac{250000}{3}}", "83333.33333333333", "strict").correct


@pytest.mark.parametrize(
    "gold",
    [
        "85",
        "\\frac{1}{2}",
        "x^2+1",
        "(1,2)",
        "\\text{Evelyn}",
        "[0,\\infty)",
        "3:4",
        "204_5",
        "\\pm 2",
    ],
)
def test_readable_golds(gold):
    assert parse_gold(gold) is None


@pytest.mark.parametrize(
    ("gold", "reason"),
    [("", "empty"), ("\\frac{1}{", "brackets"), ("((", "brackets"), ("\\foo", "unknown command")],
)
def test_unreadable_golds_are_reported_and_never_make_a_response_incorrect(gold, reason):
    assert reason in parse_gold(gold)
    assert check("\\boxed{5}", gold).verdict == "unparseable"


@pytest.mark.parametrize(
    ("response", "finished", "verdict"),
    [
        ("so 3 + 4 = 7", True, "correct"),
        ("so 3 + 4 = 7", None, "correct"),
        ("so 3 + 4 = 7", False, "no_answer"),
        ("The answer is 7", False, "no_answer"),
        ("The answer is 7. Let me now", False, "correct"),
        ("\\boxed{7} and further", False, "correct"),
        ("\\boxed{7", False, "no_answer"),
        ("\\boxed{7", True, "correct"),
        ("<think> \\boxed{7} and then we", None, "no_answer"),
        ("so 3 + 4 = 7 -", None, "no_answer"),
        ("x^{2 + 7", None, "no_answer"),
        ("The answer is 7. " + "But maybe I should check. " * 60 + "So 4 ×", None, "no_answer"),
    ],
)
def test_cut_off_outputs_get_no_credit_for_a_bare_last_number(response, finished, verdict):
    assert check(response, "7", finished=finished).verdict == verdict


MILLION = 1_000_000
HOSTILE = {
    "blanks behind a box": "\\boxed{7}" + " " * 20_000 + "!x",
    "lines behind a box": "\\boxed{7}" + "\n" * 20_000 + "x",
    "signs behind a value": "The answer is 7" + "$* " * 6_000 + "!x",
    "blank box": "\\boxed{" + " " * 20_000 + "}",
    "thin spaces": "\\boxed{1" + "\\," * 8_000 + "}",
    "boxes": "\\boxed{" * (MILLION // 7),
    "dollars": "$" * 60_000,
    "spaced dollars": "$ " * 500_000,
    "displays": "\\[" * 20_000,
    "parentheses": "\\boxed{" + "(" * MILLION + "}",
    "digits": "1" * MILLION,
    "commas": "1," * 500_000,
    "lines": "\n" * MILLION,
    "markers": "Final answer is " * 60_000,
    "negations": "the answer is not " * 60_000,
    "hashes": "#" * MILLION,
    "nul": "\0" * MILLION,
    "surrogates": "\\boxed{\ud800\ud800}",
    "thinking": "<think>" * 140_000,
    "tower": "\\boxed{9^{9^{9^{9}}}}",
    "factorial": "\\boxed{(10^9)!}",
    "nested": "\\boxed{" + "\\frac{1}{" * 400 + "}" * 401,
    "joined boxes": "\\boxed{1}," * 100_000,
    "signs": "\\boxed{" + "\\pm 1" * 300 + "}",
    "binomial": "\\boxed{\\binom{10^9}{5\\cdot 10^8}}",
    "products": "\\boxed{" + "(x+1)" * 300 + "}",
    "exponent": "\\boxed{1e999999999}",
    "code": "\\boxed{__import__('os').system('true')}",
    "integral": "\\boxed{\\int_0^1 x dx}",
    "zero": "\\boxed{\\frac{1}{0}}",
    "set": "\\boxed{\\{" + ",".join(map(str, range(900))) + "\\}}",
    "sine": "\\boxed{\\sin(10^{10^{10}})}",
    "braces": "\\boxed{" + "{" * MILLION,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_inputs_get_a_reason_in_time(name):
    start = time.process_time()
    verdict = check(HOSTILE[name], "5")
    assert verdict.verdict != "correct" and verdict.reason
    assert check("\\boxed{5}", HOSTILE[name][:30_000]).verdict in (
        "unparseable",
        "incorrect",
        "no_answer",
    )
    assert time.process_time() - start < 2.5


def test_every_policy_is_frozen_and_carries_its_own_name():
    for name, policy in POLICIES.items():
        assert policy.name == name
        with pytest.raises(AttributeError):
            policy.numeric = False
