"""Which answers are counted as the same one."""

import pytest

from orion.answers.grouping import find_group


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("0.5", "\\frac{1}{2}"),
        ("1,250", "1250.0"),
        ("5", "5 apples"),
        ("5", "5\\text{ cents}"),
        ("28\\%", "28"),
        ("45^\\circ", "45"),
        ("2^{10}", "1024"),
        ("\\text{Yes}", "yes."),
        ("x + 1", "x+1"),
        ("2", "two"),
        ("13", "thirteen"),
    ],
)
def test_the_same(one, other):
    assert find_group(one) == find_group(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("1", "-1"), ("0.5", "0.25"), ("(1, 2)", "(2, 1)"), ("yes", "no"), ("28", "0.28"), ("", "0")],
)
def test_not_the_same(one, other):
    assert find_group(one) != find_group(other)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\x00\x1b[31m",
        "((((" * 5_000,
        "9" * 9_000,
        "9^{9^{9^{9}}}",
        "\\frac{1}{0}",
        "0^{-1}",
        "\\sqrt[4]{-1}",
        "1e" + "9" * 50,
        "\ud800",
    ],
)
def test_no_text_raises(text):
    assert find_group(text) == find_group(text)
