"""The key report.pass_at: refused before anything is paid where there are too few samples."""

import pytest

from orion.config import validate
from orion.errors import InputError
from tests.helpers.configurations import read_one_student


@pytest.fixture
def raw(root):
    return read_one_student(root)


def test_as_many_as_the_samples(raw):
    raw["evaluate"]["num_samples"] = 4
    raw["report"]["pass_at"] = [1, 4]
    assert validate(raw).report.pass_at == [1, 4]


def test_more_than_the_samples(raw):
    raw["evaluate"]["num_samples"] = 4
    raw["report"]["pass_at"] = [1, 8]
    with pytest.raises(InputError) as caught:
        validate(raw)
    message = str(caught.value)
    assert "report.pass_at: 8 is more than the 4 samples per problem of chains-test" in message
    assert "(evaluate.num_samples); raise that key, or drop 8" in message


def test_more_than_a_benchmark_has(raw):
    raw["evaluate"]["num_samples"] = 8
    raw["benchmarks"]["chains-hard"]["evaluate"] = {"num_samples": 2}
    raw["report"]["pass_at"] = [4]
    with pytest.raises(InputError, match=r"\(benchmarks\.chains-hard\.evaluate\.num_samples\)"):
        validate(raw)


@pytest.mark.parametrize("value", [[], [0], [1.5], "4"])
def test_what_is_no_list_of_counts(raw, value):
    raw["report"]["pass_at"] = value
    with pytest.raises(InputError, match=r"report\.pass_at"):
        validate(raw)
