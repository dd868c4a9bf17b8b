"""Source files, local and fetched: the digest of their bytes decides what reruns, not the time."""

import copy
import os
import time

import pytest

from tests.workflow.test_reruns import FROM_DATASET

pytestmark = pytest.mark.slow

ROWS = "".join(f'{{"id": {n}, "problem": "{"x" * 3000}", "answer": "1"}}\n' for n in range(1000))
URL = {"kind": "url", "url": "https://example.org/rows.jsonl", "sha256": "a" * 64}
FETCHED = f"results/sources/{'a' * 64}.jsonl"


@pytest.fixture(scope="module")
def files(checkout):
    """The checkout with a dataset from a file of 3 MB and a benchmark from an address, run once."""
    config = copy.deepcopy(checkout.config())
    (checkout.folder / "data").mkdir()
    (checkout.folder / "data/rows.jsonl").write_text(ROWS)
    source = {"kind": "file", "path": "data/*.jsonl"}
    fields = {"problem_id": "id", "problem": "problem", "answer": "answer"}
    traced = {**fields, "teacher_trace": "problem"}
    config["datasets"]["chains"] = {"source": source, "fields": traced}
    config["benchmarks"]["chains-test"] = {"source": URL, "fields": fields}
    checkout.write_config(config)
    checkout.run()
    return checkout


def touch(path):
    later = time.time() + 100
    os.utime(path, (later, later))


def test_a_touched_file_of_the_same_bytes_reruns_nothing(files):
    assert files.plan() == {}
    for name in ("data/rows.jsonl", FETCHED):
        touch(files.folder / name)
    assert files.plan() == {}


def test_one_changed_byte_reruns_the_dataset_and_what_follows(files):
    path = files.folder / "data/rows.jsonl"
    before = os.stat(path)
    path.write_text(ROWS.replace("x", "y", 1))
    # also with the old time and size
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert set(files.plan()) == FROM_DATASET
    path.write_text(ROWS)
    assert files.plan() == {}


def test_a_further_file_of_the_glob_reruns_the_dataset(files):
    added = files.folder / "data/more.jsonl"
    added.write_text('{"id": "z", "problem": "z", "answer": "1"}\n')
    assert set(files.plan()) == FROM_DATASET
    added.unlink()
    assert files.plan() == {}


def test_a_fetched_file_that_is_gone_is_fetched_and_changes_nothing(files):
    path = files.folder / FETCHED
    path.rename(path.with_suffix(".away"))
    assert set(files.plan()) <= {"fetch"}
    path.with_suffix(".away").rename(path)


@pytest.mark.parametrize(
    ("key", "value", "rules"),
    [
        ("url", "https://example.org/mirror/rows.jsonl", set()),
        (
            "sha256",
            "b" * 64,
            {"fetch", "benchmark", "lint_benchmark", "dataset", "evaluate_sample"},
        ),
    ],
)
def test_another_address_is_the_same_file_and_another_digest_is_not(files, key, value, rules):
    config = files.config()
    other = copy.deepcopy(config)
    other["benchmarks"]["chains-test"]["source"][key] = value
    files.write_config(other)
    found = set(files.plan())
    files.write_config(config)
    # the page shows the whole configuration
    assert found - {"report"} >= rules and (rules or found <= {"report"})
