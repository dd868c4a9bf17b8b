"""Properties of any text: no exception, spans in the text, the deadline kept, one answer."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orion.answers.steps import RULES, TRUTHS, Claim, check_steps, summary
from orion.answers.steps.budget import Budget
from orion.answers.steps.check import MAX_TEXT
from orion.answers.steps.links import MAX_LINKS

NAMES = {rule.name for rule in RULES if rule.decides}
# one piece of mathematics or prose, between blanks
_PIECES = r"""
1 2.5 .5 1,000 $ \$ % x 3x ( ) [ ] { } + - − – * / ÷ ^ ! = == ≈ \approx < > ≤ \le ≠ <<2*3=6>> << >>
\frac{1}{2} \sqrt{2} \sqrt[3]{x} \text{cm} \boxed{7} \begin{align*} \end{align*} & \\ \[ \] \( \)
. , ; : ? cups of and is equals wait, if 5! 2^{10} 3^25^2 ² ₃ _ \pmod{7} \equiv mod 0.\overline{3}
... \cdots | ` ``` ** \left( \right) 101_2 °
"""
PIECES = st.sampled_from([*_PIECES.split(), "\n", "\n\n"])
TEXTS = st.lists(PIECES, max_size=40).map(" ".join) | st.lists(PIECES, max_size=40).map("".join)
HOSTILE = {
    "open brackets": "(" * 50_000 + "=1",
    "equals": "1=1 " * 50_000,
    "a chain": "=1" * 100_000,
    "a chain in a formula": "$" + "=1" * 2_900 + "$",
    "fractions": "\\frac{" * 30_000 + "=1",
    "nested": "(" * 300 + "1" + ")" * 300 + "=2",
    "digits": "9" * 100_000 + "=1",
    "powers": "9^9^9^9=1, " + "2^" * 5_000 + "2=1, 10^{1000000}=1",
    "factorials": "400!*400!*400!=1, ((9!)!)!=2, $\\binom{10^9}{5\\cdot10^8}=1$",
    "towers of powers": "x^{" * 60_000 + "5 = " + "x^{" * 60_000 + "5",
    "a division by a word": "5÷apples = 5 ÷ ìcüq = 5/kg = ",
    "signs": "-" * 50_000 + "1=1",
    "signs of commands": "\\[" * 100_000 + "=1",
    "dollars": "$" * 200_000 + "=1",
    "false claims": "2+2=5 " * 20_000,
    "false formulas": "$2+2=5$ " * 20_000,
    "roots": "$\\sqrt{2+\\sqrt{3}}=\\sqrt{7}$ " * 3_000,
    "algebra": "(a+b+c+d+e+f+g+h)^9*(a+b)^9=(x+y+z+w)^12 " * 60,
    "units": "5 cm/s " * 30_000 + "=1",
    "surrogates": "\ud800 2+2=4 \udfff",
    "no character": "\0 2+2=4 \0",
}


def check_promises(text, claims):
    assert claims == sorted(claims, key=lambda claim: (claim.start, claim.end))
    for claim in claims:
        assert 0 <= claim.start < claim.end <= len(text)
        assert claim.text == text[claim.start : claim.end]
        assert claim.truth in TRUTHS and claim.rule in NAMES


@settings(max_examples=300, deadline=None)
@given(TEXTS | st.text(max_size=80))
def test_any_text(text):
    claims = check_steps(text, timeout_s=60)
    check_promises(text, claims)
    assert check_steps(text, timeout_s=60) == claims


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_texts_keep_the_deadline(kind):
    text = HOSTILE[kind]
    begun = time.thread_time()
    claims = check_steps(text, timeout_s=0.5)
    # finding the relations and the last link may go on for a moment
    assert time.thread_time() - begun < 3
    check_promises(text, claims)


def test_a_claim_without_time_is_unknown():
    claims = check_steps("2 + 2 = 4. " * 3, timeout_s=0)
    assert [(claim.truth, claim.rule) for claim in claims] == [("unknown", "deadline")]
    assert [c.truth for c in check_steps("2 + 2 = 5 and 3 + 3 = 7.")] == ["false", "false"]


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("1+1=2 " * (MAX_LINKS + 9), len("1+1=2 ") * MAX_LINKS + 3),
        ("$1+1=2$ " * (MAX_LINKS + 9), len("$1+1=2$ ") * MAX_LINKS + 4),
        ("1+1=2. " + "a" * MAX_TEXT + " 2+2=4 and 3+3=6", MAX_TEXT + 11),
        ("a" * MAX_TEXT + " 2+2=4", MAX_TEXT + 4),
    ],
    ids=["claims", "formulas", "characters", "no claim before the cut"],
)
def test_a_text_beyond_a_limit_ends_with_one_unknown_claim(text, at):
    *others, last = check_steps(text, timeout_s=60)
    assert (last.start, last.text, last.truth, last.rule) == (at, "=", "unknown", "too_long")
    assert {claim.truth for claim in others} <= {"true"}


def test_the_first_of_several_limits_is_the_one_that_is_told():
    # the block is given up long before the limit of characters is reached
    text = "x^{" * (MAX_TEXT // 6) + "5 = 1 " + "x^{" * (MAX_TEXT // 4) + " 2 = 3"
    [claim] = check_steps(text, timeout_s=60)
    assert (claim.start, claim.truth, claim.rule) == (text.index("="), "unknown", "too_long")


@pytest.mark.parametrize(
    "text",
    ["1+1=2 " * MAX_LINKS, "1+1=2. " + "a" * MAX_TEXT],
    ids=["claims", "characters"],
)
def test_a_limit_without_claims_beyond_it_is_silent(text):
    assert {claim.rule for claim in check_steps(text, timeout_s=60)} == {"exact"}


def test_a_number_that_the_limit_cuts_is_unknown():
    text = "a" * (MAX_TEXT - 6) + " 5+5=10"
    assert text[:MAX_TEXT].endswith("5+5=1")
    assert [(c.truth, c.rule) for c in check_steps(text)] == [("unknown", "too_long")]


def test_blocks_that_are_not_reached_in_time_are_one_unknown_claim(monkeypatch):
    left = iter([1.0, 1.0, -1.0])
    monkeypatch.setattr(Budget, "seconds_left", lambda self: next(left, -1.0))
    claims = check_steps("We get 2+2=4 and $3+3=6$ and $4+4=8$.")
    assert [(claim.text, claim.rule) for claim in claims] == [
        ("2+2=4", "deadline"), ("3+3=6", "deadline"), ("=", "deadline"),
    ]  # fmt: skip


@given(st.lists(st.sampled_from(TRUTHS), max_size=12))
def test_summary_counts_every_claim_once(truths):
    claims = [Claim(i, i + 1, "=", truth, "exact") for i, truth in enumerate(truths)]
    total = summary(reversed(claims))
    assert (total.true, total.false, total.unknown) == tuple(map(truths.count, TRUTHS))
    first = truths.index("false") if "false" in truths else None
    assert total.first_false == (None if first is None else claims[first])


DENIALS = (
    "%s. Wait, that is wrong.",
    "%s. This is not possible.",
    "Suppose that %s.",
    "Is %s?",
    "Let us check whether %s.",
    "%s, which is a contradiction.",
    "Twice %s.",
    "%s dozen.",
    "$%s + \\ldots$",
    "%s (mod 4)",
)


@pytest.mark.parametrize("frame", DENIALS)
@given(st.integers(2, 99), st.integers(2, 99), st.integers(1, 9))
def test_what_is_denied_or_goes_on_is_not_false(frame, a, b, error):
    text = frame.replace("%s", f"{a} + {b} = {a + b + error}")
    assert "false" not in {claim.truth for claim in check_steps(text)}


FRAMES = (
    "So %s.",
    "She pays %s dollars.",
    "$%s$",
    "\\[%s\\]",
    "Step 2: %s",
    "- The total is %s apples.",
    "\\begin{align*}\n%s\n\\end{align*}",
    "**%s**",
)


@pytest.mark.parametrize("frame", FRAMES)
@given(
    st.integers(2, 999), st.integers(2, 999), st.sampled_from("+-*"), st.sampled_from((0, 1, -7))
)
def test_a_plain_equation_is_true_or_false_in_every_frame(frame, a, b, sign, error):
    value = {"+": a + b, "-": a - b, "*": a * b}[sign]
    written = sign if sign != "*" else "\\cdot" if "\\" in frame or "$" in frame else "*"
    text = frame.replace("%s", f"{a} {written} {b} = {value + error}")
    expected = "false" if error else "true"
    assert [claim.truth for claim in check_steps(text)] == [expected], text
