"""What is spent, against sums over the files; what a ceiling says of it."""

import json
import threading
import time

import polars as pl
import pytest

from orion.completions import parts
from orion.completions.store import CompletionStore
from orion.cost.ceiling import main as check_before
from orion.engines import Completion
from orion.errors import InputError
from orion.spending import totals, usage
from orion.spending.account import Account
from orion.spending.ceiling import Ceiling, read_ceiling
from orion.spending.usage import TRIES, Watch, find_logs, sum_hours
from tests.helpers.fake_pilot import write_usage

TEACHER, STUDENT = "ab" * 32, "cd" * 32


def store(results, digest, first, *tokens):
    """One part with completions of these tokens and prompts of 10."""
    completions = [
        Completion(f"{first + i:064x}", "text", "stop", 10, count) for i, count in enumerate(tokens)
    ]
    return CompletionStore(results / "completions", digest).append(completions)


@pytest.fixture
def results(tmp_path):
    """A run of two models: 5 completions, 7,210 s of jobs, 3,590 s of a try that failed."""
    folder = tmp_path / "results"
    store(folder, TEACHER, 0, 100, 200)
    store(folder, TEACHER, 2, 300)
    store(folder, STUDENT, 3, 4, 6)
    for name, digest in (("teacher", TEACHER), ("student", STUDENT)):
        path = folder / "models" / name / "model.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"name": name, "digest": digest}))
    write_usage(tmp_path / "logs/a/samples.usage.tsv", 7200.0, 1.0)
    write_usage(tmp_path / "logs/plan.usage.tsv", 10.0, 1.0)
    (folder / TRIES).mkdir(parents=True)
    (folder / TRIES / "0.s").write_text("0000000000003590.000")
    return folder


def read(results, **limits):
    account = Account(Ceiling(**limits), results / "completions")
    return account.sum_up(account.read_hours())


def test_the_names_of_the_stores_columns_are_its_own():
    assert totals.KEY == parts.KEY and set(totals.TOKENS) < set(parts.STORED_COLUMNS)


def test_all_that_is_spent_is_added_up(results):
    spent = read(results, hours=1.0, money=1.0, hour=0.5, prices={"teacher": [2.0, 8.0]})
    assert spent.completions == 5
    assert spent.tokens == 5 * 10 + 100 + 200 + 300 + 4 + 6
    assert spent.hours == pytest.approx((7200 + 10 + 3590) / 3600)
    # the student's own tokens cost nothing but time
    tokens = (3 * 10 * 2.0 + 600 * 8.0) / 1e6
    assert spent.money == pytest.approx(spent.hours * 0.5 + tokens)


def test_hours_are_read_only_where_they_count(results):
    (results.parent / "logs/plan.usage.tsv").write_text("no usage file")
    assert read(results, tokens=1).hours == 0
    assert read(results, money=1.0).hours == 0
    with pytest.raises(InputError, match=r"plan\.usage\.tsv: not a usage file"):
        read(results, hours=1.0)


def test_a_model_with_two_names_is_paid_for_once(results):
    again = results / "models" / "again"
    again.mkdir()
    (again / "model.json").write_text((results / "models/teacher/model.json").read_text())
    prices = {"teacher": [2.0, 8.0], "again": [2.0, 8.0], "absent": [9.0, 9.0]}
    assert read(results, money=1.0, prices=prices).money == pytest.approx(4860 / 1e6)


def test_a_completion_in_two_parts_counts_once(results):
    whole = pl.concat(
        [pl.read_parquet(path) for path in (results / "completions" / TEACHER[:16]).glob("*")]
    )
    # a merge that was killed before it removed what it had merged
    CompletionStore(results / "completions", TEACHER).write(whole)
    assert len(list((results / "completions").glob("*/*.parquet"))) == 4
    assert read(results, completions=6).completions == 5
    assert read(results, completions=5).completions == 5


def test_damaged_parts_count_nothing(results):
    folder = results / "completions" / STUDENT[:16]
    (folder / f"part-{'0' * 32}.parquet").write_bytes(b"PAR1 broken")
    assert read(results, completions=100).completions == 5
    assert read(results, completions=5).completions == 5


@pytest.mark.parametrize(
    ("limits", "reached", "exceeded"),
    [
        ({"completions": 6}, None, None),
        ({"completions": 5}, "ceiling.completions = 5 is reached: 5 completions", None),
        ({"completions": 4}, "5 completions", "ceiling.completions = 4 is below what is spent: 5"),
        ({"tokens": 700}, None, None),
        ({"tokens": 600}, "600 is reached: 660 tokens", "600 is below what is spent: 660 tokens"),
        ({"hours": 3.01}, None, None),
        ({"hours": 2.5}, "ceiling.hours = 2.500 is reached: 3 hours", "2.500 is below"),
        ({"money": 2.0, "hour": 0.5}, None, None),
        ({"money": 1.5, "hour": 0.5}, "ceiling.money = 1.500 is reached: 1.500", None),
        ({"money": 0.004, "prices": {"teacher": [2.0, 8.0]}}, "0.004 is reached: 0.00486", "below"),
        ({}, None, None),
    ],
)
def test_a_limit_is_reached_or_below_what_is_spent(results, limits, reached, exceeded):
    ceiling, spent = Ceiling(**limits), read(results, **limits)
    for found, words in (
        (ceiling.find_reached(spent), reached),
        (ceiling.find_exceeded(spent), exceeded),
    ):
        assert (found is None) == (words is None) and (words or "") in (found or "")


def test_the_check_before_a_run(results, tmp_path):
    words = ["--results", str(results), "--ceiling"]
    check_before([*words, ""])
    check_before([*words, '{"tokens": 660}'])
    # a run that was stopped is a little above its limit, and goes on to what costs nothing
    check_before([*words, '{"tokens": 601}'])
    with pytest.raises(InputError, match=r"ceiling\.tokens = 599 is below what is spent: 660 "):
        check_before([*words, '{"tokens": 599}'])
    with pytest.raises(InputError, match=r"ceiling\.completions = 4 is below what is spent: 5 "):
        check_before([*words, '{"completions": 4}'])
    # before the first job there is neither a store nor a log
    check_before(["--results", str(tmp_path / "none/results"), "--ceiling", '{"hours": 1}'])


@pytest.mark.parametrize("text", ['{"minutes": 3}', "[1]", "3", "{"])
def test_a_ceiling_that_the_configuration_does_not_write_is_refused(text):
    with pytest.raises(ValueError, match=r"no ceiling|property name"):
        read_ceiling(text)


def test_a_watch_counts_a_try_and_forgets_one_with_a_result(results):
    before = sum_hours(results)
    looked = threading.Event()
    with Watch(results, is_active=True, on_look=looked.set, every_s=0.01) as watch:
        assert watch.hours == pytest.approx(before)
        assert looked.wait(10)
        [own] = [path for path in (results / TRIES).iterdir() if path.name != "0.s"]
        assert sum_hours(results) - before == pytest.approx(float(own.read_text()) / 3600, abs=1e-4)
    assert sum_hours(results) == pytest.approx(before)


def test_a_try_that_fails_keeps_its_time(results):
    before = sum_hours(results)

    def fail():
        with Watch(results, is_active=True, every_s=0.01):
            time.sleep(0.05)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert sum_hours(results) - before >= 0.04 / 3600
    assert len(list((results / TRIES).iterdir())) == 2


def test_a_usage_file_that_is_being_written_is_read_again(results, monkeypatch):
    whole = sum_hours(results)
    path = next(find_logs(results).glob("**/*.usage.tsv"))
    text = path.read_text()
    path.write_text("")
    # Snakemake writes it while the reader waits
    monkeypatch.setattr(usage.time, "sleep", lambda _: path.write_text(text))
    assert sum_hours(results) == whole
    # one that is removed meanwhile counts no more
    path.write_text("")
    monkeypatch.setattr(usage.time, "sleep", lambda _: path.unlink())
    assert sum_hours(results) < whole


def test_a_watch_without_a_ceiling_on_time_writes_nothing(tmp_path):
    with Watch(tmp_path / "results", is_active=False) as watch:
        assert watch.hours == 0
    shard = Watch(tmp_path / "results", is_active=True, records=False)
    with pytest.raises(KeyError), shard:
        {}["absent"]
    assert not (tmp_path / "results").exists()
