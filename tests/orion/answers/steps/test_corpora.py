"""False claims in solutions and traces that are right: few, and those read are errors of the texts.

The shares are of texts. What is called false in them was read: the log says what each is.
"""

import random
from pathlib import Path

import pytest

from orion.answers.steps import check_steps
from orion.data.sources import read_source

DATA = Path(__file__).resolve().parents[5] / "shared" / "data"
# most texts in a hundred with a claim called false
MOST_SOLUTIONS, MOST_TRACES = 0.3, 3.0
SETS = {
    "gsm8k": ("gsm8k_train.jsonl.zst", "gsm8k_test.jsonl"),
    "math": ("math500.jsonl", "math_test_minus500.jsonl.zst"),
}
TRACES, SEED = 200, 20261129


def read(name):
    return list(read_source({"kind": "jsonl", "path": str(DATA / name)}))


def texts_with_false_claims(texts):
    found = []
    for text in texts:
        wrong = [claim.text for claim in check_steps(text) if claim.truth == "false"]
        if wrong:
            found.append(wrong)
    return found


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize("name", SETS)
def test_published_solutions(name):
    texts = [row["solution"] for file in SETS[name] for row in read(file)]
    found = texts_with_false_claims(texts)
    assert 100 * len(found) <= MOST_SOLUTIONS * len(texts), found


@pytest.mark.slow
@pytest.mark.data
def test_traces_that_end_right():
    right = [row["response"] for row in read("teacher_traces.jsonl.zst") if row["correct"]]
    texts = random.Random(SEED).sample(right, TRACES)
    found = texts_with_false_claims(texts)
    assert 100 * len(found) <= MOST_TRACES * len(texts), found
