"""Generated pairs: rewriting keeps an answer correct, a change makes it wrong, no string raises."""

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orion.answers import VERDICTS, check, check_many, parse_gold

settings.register_profile("orion", deadline=None, derandomize=True, max_examples=80)
settings.load_profile("orion")

small = st.integers(-12, 12)
positive = st.integers(1, 40)


def verdict(answer: str, gold: str) -> str:
    return check(f"Hence \\boxed{{{answer}}}.", gold).verdict


@st.composite
def polynomials(draw) -> tuple[str, str, list[tuple[int, int, int]]]:
    """Two spellings of a polynomial in x and y, and its terms (coefficient, power of x, of y)."""
    keys = draw(
        st.lists(
            st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=4, unique=True
        )
    )
    terms = [(draw(small.filter(bool)), a, b) for a, b in keys]
    return spell(terms), spell(draw(st.permutations(terms)), " \\cdot "), terms


def spell(terms: list[tuple[int, int, int]], sign: str = "") -> str:
    parts = []
    for c, a, b in terms:
        powers = [p for p in (f"x^{{{a}}}" if a else "", f"y^{{{b}}}" if b else "") if p]
        parts.append(f"{c:+d}" + (sign or "") * bool(powers) + (sign or "").join(powers))
    return "".join(parts)


@given(polynomials(), positive)
def test_reordered_polynomials_agree_and_shifted_ones_do_not(pair, shift):
    left, right, _ = pair
    assert verdict(left, right) == "correct"
    assert verdict(f"{left}+{shift}", right) == "incorrect"
    assert verdict(f"{left}+{shift}x", right) == "incorrect"


@given(polynomials(), polynomials())
def test_products_agree_with_their_factors_swapped(a, b):
    assert verdict(f"({a[0]})({b[0]})", f"({b[1]})\\cdot({a[1]})") == "correct"
    assert verdict(f"({a[0]})({b[0]})+1", f"({b[1]})({a[1]})") == "incorrect"


@given(st.fractions(-50, 50, max_denominator=60), st.integers(2, 9))
def test_fractions_in_every_dress(value, scale):
    n, d = value.numerator, value.denominator
    gold = f"\\frac{{{n}}}{{{d}}}"
    whole, rest = divmod(abs(n), d)
    sign = "-" if n < 0 else ""
    for dress in (
        f"{n}/{d}",
        f"\\dfrac{{{n * scale}}}{{{d * scale}}}",
        f"x = {n}/{d}",
        f"\\left(\\frac{{{n}}}{{{d}}}\\right)",
    ):
        assert verdict(dress, gold) == "correct", dress
    if rest and whole:
        assert verdict(f"{sign}{whole}\\frac{{{rest}}}{{{d}}}", gold) == "correct"
    assert verdict(f"\\frac{{{n * scale + 1}}}{{{d * scale}}}", gold) == "incorrect"


@given(positive, positive, positive)
def test_square_roots(a, b, c):
    assert verdict(f"\\sqrt{{{a * a * b}}}", f"{a}\\sqrt{{{b}}}") == "correct"
    assert (
        verdict(f"\\frac{{{c}}}{{\\sqrt{{{b}}}}}", f"\\frac{{{c}\\sqrt{{{b}}}}}{{{b}}}")
        == "correct"
    )
    assert verdict(f"\\sqrt{{{a * a * b + 1}}}", f"{a}\\sqrt{{{b}}}") == "incorrect"
    assert (
        verdict(f"\\sqrt{{{a + b}+2\\sqrt{{{a * b}}}}}", f"\\sqrt{{{a}}}+\\sqrt{{{b}}}")
        == "correct"
    )


@given(
    st.lists(st.integers(-30, 30), min_size=2, max_size=6, unique=True),
    st.randoms(use_true_random=False),
)
def test_lists_are_unordered_and_tuples_are_not(values, random):
    shuffled = values[:]
    random.shuffle(shuffled)
    gold, other = ", ".join(map(str, values)), ", ".join(map(str, shuffled))
    assert verdict(other, gold) == "correct"
    assert verdict(f"\\{{{other}\\}}", f"\\{{{gold}\\}}") == "correct"
    assert verdict(f"({other})", f"({gold})") == ("correct" if shuffled == values else "incorrect")
    assert verdict(", ".join(map(str, values[1:])), gold) == "incorrect"
    assert verdict(", ".join(map(str, [values[0] + 61, *values[1:]])), gold) == "incorrect"


@given(small.filter(bool), small, small, st.integers(2, 7))
def test_equations_and_inequalities_up_to_a_factor(a, b, c, factor):
    line = f"{a}x{b:+d}y = {c}"
    assert verdict(f"{-a * factor}x{-b * factor:+d}y = {-c * factor}", line) == "correct"
    assert verdict(f"{a}x{b:+d}y = {c + 1}", line) == "incorrect"
    assert verdict(f"{a * factor}x < {c * factor}", f"{a}x < {c}") == "correct"
    assert verdict(f"{-a}x > {-c}", f"{a}x < {c}") == "correct"
    assert verdict(f"{a}x > {c}", f"{a}x < {c}") == "incorrect"


@given(st.integers(0, 10**30), st.integers(1, 10**6))
def test_big_integers_are_exact(value, gap):
    grouped = f"{value:,}"
    assert verdict(grouped, str(value)) == "correct"
    assert verdict(str(value + gap), str(value)) == "incorrect"


@given(st.integers(-20, 20), st.integers(1, 9), st.sampled_from(["sin", "cos", "exp", "arctan"]))
def test_functions_of_different_numbers_differ(n, d, name):
    assert verdict(f"\\{name}({n}/{d})", f"\\{name}({2 * n}/{2 * d})") == "correct"
    assert verdict(f"\\{name}({n}/{d}) + 10^{{-40}}", f"\\{name}({n}/{d})") == "incorrect"


_PIECES = (
    "\\boxed{ } { ( ) [ ] $ \\frac \\sqrt ^ _ 1 2 x y , + - * / = < \\le \\text{ and or \\pm \\cup"
    " \\in \\infty . ! % | & \\\\ i e \\pi \\sin \\log \\overline{ 0. 10 \\{ \\} : é ½ ² √ \\left"
    " \\right \\circ cm ' \\binom \\mathbb{R} \\setminus"
    " 12:30 (A) #### </think> \ud800 \0 \\begin{pmatrix} \\end{pmatrix} <think> the answer is"
)
FRAGMENTS = st.sampled_from([*_PIECES.split(" "), " ", "the answer is ", "\n"])


@given(
    st.lists(FRAGMENTS, max_size=14),
    st.lists(FRAGMENTS, max_size=10),
    st.sampled_from([None, True, False]),
)
@settings(max_examples=250)
def test_no_string_raises_and_every_string_gets_a_reason(response, gold, finished):
    # factorials of symbols may reach a worker; other tests cover that
    response, gold = "".join(response), "".join(gold).replace("!", "")
    for text in (response, f"\\boxed{{{response}}}"):
        result = check(text, gold, finished=finished)
        assert result.verdict in VERDICTS
        assert result.correct or result.reason
        if result.extracted is not None:
            result.extracted.encode()
    assert parse_gold(gold) is None or isinstance(parse_gold(gold), str)


@given(st.text(max_size=60), st.text(max_size=20))
def test_any_text_gets_a_verdict(response, gold):
    assert check(response, gold).verdict in VERDICTS


def test_many_agrees_with_one_by_one_and_keeps_the_order():
    responses = [f"\\boxed{{{i % 7}}}" for i in range(50)] + ["nothing here", "cut off at"]
    golds = [str(i % 5) for i in range(50)] + ["1", "2"]
    together = check_many(responses, golds)
    assert together == [check(r, g) for r, g in zip(responses, golds, strict=True)]
    assert together == check_many(responses, golds, workers=3)
    with pytest.raises(ValueError, match="one of each"):
        check_many(responses, golds[:-1])


def test_digits_limit_of_the_interpreter_is_left_alone():
    before = sys.get_int_max_str_digits()
    assert verdict("3" * 6000, "3" * 6000) == "correct"
    assert verdict("3" * 5999 + "4", "3" * 6000) == "incorrect"
    assert verdict("1" + "0" * 5000, "10^{5000}") == "correct"
    assert sys.get_int_max_str_digits() == before
