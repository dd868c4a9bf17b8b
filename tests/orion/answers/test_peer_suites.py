"""Two peers' own test suites, judged by our checker, where their sources can be had.

Their text is not kept here: it is read from a checkout that a variable names
(ORION_MATH_VERIFY_SOURCE, ORION_INSPECT_AI_SOURCE), from `shared/peers` beside the checkout, or
fetched at the pinned commit. Where that is not possible the comparison is skipped. Every
disagreement is in peer_disagreements.jsonl, with who is right under the labelling rules.
"""

import json
import subprocess
from collections import Counter

import pytest

from orion.answers import Verdict
from tests.helpers.answers import peer_cases, peer_sources, peer_suites
from tests.helpers.answers.peer_cases import Case
from tests.helpers.answers.peer_suites import Comparison

# of the cases that we hold to be right
LEAST = {"math_verify": 0.97, "inspect_ai": 0.95}
# a list that calls most disagreements debatable would prove nothing
LEAST_COUNTED = 0.9
CURE = "python -m tests.helpers.answers.peer_suites --show --write"


@pytest.fixture(scope="module")
def sources():
    """A folder for each peer, or the reason why there is none; one failed fetch is the last."""
    found, reason = {}, None
    for peer in peer_sources.PEERS:
        found[peer] = peer_sources.local_source(peer)
        if found[peer] is None:
            try:
                if reason is None:
                    found[peer] = peer_sources.fetch_source(peer)
            except peer_sources.NoSourceError as error:
                reason = str(error)
            found[peer] = found[peer] or reason
    return found


@pytest.fixture(scope="module", params=peer_sources.PEERS)
def comparison(request, sources):
    source = sources[request.param]
    if isinstance(source, str):
        pytest.skip(f"no source of {request.param}: {source}")
    return peer_suites.compare(request.param, source, peer_suites.read_list())


def test_we_agree_with_what_we_hold_to_be_right(comparison, capsys):
    with capsys.disabled():
        print(f"\n{comparison.line()}")
    # a reader that finds nothing would agree with everything
    assert len(comparison.suite.cases) > 100
    assert comparison.counted >= LEAST_COUNTED * len(comparison.suite.cases)
    assert comparison.share >= LEAST[comparison.peer], comparison.line()


def test_every_disagreement_is_listed(comparison):
    shown = "\n".join(map(comparison.show, comparison.unlisted))
    assert comparison.unlisted == [], f"judge these in the list ({CURE}):\n{shown}"


def test_the_list_has_no_row_that_does_not_apply(comparison):
    reason = f"agreed by now, or not in the pinned commit's tests; {CURE} drops them"
    assert comparison.stale == [], reason


def test_every_row_of_the_list_says_who_is_right_and_why():
    for row in peer_suites.read_list().values():
        assert tuple(row) == peer_suites.FIELDS
        assert row["peer"] in peer_sources.PEERS
        assert row["right"] in (peer_suites.OURS, peer_suites.PEER, peer_suites.DEBATABLE), row
        assert row["reason"], row


MATH_VERIFY = r"""
import nothing_of_this_name
@pytest.mark.parametrize("gold,pred,expected", [
    ("$1$", r"\boxed" "{1}", 1),
    ("$1$", "2", 0),
    ("$1$", "2", 0),
    (f"{math.pi}", "3", 0),
])
def test_pairs(gold, pred, expected): raise SystemExit
@pytest.mark.parametrize("gold, pred, result, strict", [("x", "y", 1, False), ("x", "y", 0, True)])
def test_option(gold, pred, result, strict): ...
@pytest.mark.parametrize("pred,expected", [("B.", ["B"])])
def test_strings(pred, expected): ...
"""

INSPECT_AI = r"""
async def test_final():
    scorer = match(numeric=True)
    state = simple_task_state(model_output="so 1")
    result = await scorer(state, Target(["1", "2"]))
    assert result.text == CORRECT
    result = await scorer(state, Target(["3"]))
    assert result is not None and result.value == INCORRECT
async def test_elsewhere():
    scorer = match(location="any")
    state = simple_task_state(model_output="1 or 2")
    result = await scorer(state, Target(["1"]))
    assert result.text == CORRECT
@pytest.mark.parametrize("answer", ["7", "8"])
def test_function(answer):
    assert _score_answer(f"{answer} or 0", ("0",)).status == "answer_parse_error"
    result = _score_answer(answer, (answer,))
    assert result.status == "correct"
def test_computed():
    assert _score_answer(str(1), ("1",)).status == "correct"
def test_other():
    assert 1 == 1
"""


def as_tuples(suite):
    return [(case.golds, case.response, case.expected) for case in suite.cases.values()]


def test_rows_of_math_verify_are_read_and_not_run(tmp_path):
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_some.py").write_text(MATH_VERIFY)
    suite = peer_cases.read_math_verify(tmp_path)
    assert as_tuples(suite) == [
        (("$1$",), r"\boxed{1}", True),
        (("$1$",), "2", False),
        (("x",), "y", False),
    ]
    assert suite.left_out == {
        "the same case again": 1,
        "a value that its test computes": 1,
        "an option that is not its default": 1,
        "no gold and response": 1,
    }


def test_claims_of_inspect_ai_are_read_and_not_run(tmp_path):
    folder = tmp_path / "tests" / "scorer"
    folder.mkdir(parents=True)
    for name in peer_cases.INSPECT_FILES:
        (folder / f"{name}.py").write_text("")
    (folder / "test_match.py").write_text(INSPECT_AI)
    row = {"source": "x", "output": "4", "target": "5", "expected": "I"}
    (folder / "math_cases.json").write_text(json.dumps([row]))
    suite = peer_cases.read_inspect_ai(tmp_path)
    assert as_tuples(suite) == [
        (("1", "2"), "so 1", True),
        (("3",), "so 1", False),
        (("0",), "7 or 0", False),
        (("7",), "7", True),
        (("0",), "8 or 0", False),
        (("8",), "8", True),
        (("5",), "4", False),
    ]
    assert suite.left_out == {
        "the location any of match": 1,
        "a value that its test computes": 1,
        "no gold and response": 1,
    }


def test_what_is_not_agreed_must_be_judged_and_what_is_agreed_must_go():
    """Five cases: one agrees, and of four that do not one is not judged and two are not counted."""
    cases = [Case("math_verify", ("1",), str(number), True) for number in range(1, 6)]
    keys = [case.key for case in cases]
    suite = peer_cases.Suite({case.key: case for case in cases}, Counter())
    listed = {
        key: {"key": key, "peer": "math_verify", "right": right, "reason": "x"}
        for key, right in zip(keys, ("peer", "ours", "debatable", "peer"), strict=False)
    }
    differing = {key: Verdict("incorrect") for key in keys[1:]}
    comparison = Comparison("math_verify", suite, differing, listed)
    assert comparison.share == pytest.approx(1 / 3)
    assert comparison.stale == [keys[0]]
    assert comparison.unlisted == [keys[4]]
    rows = peer_suites.true_rows(comparison)
    assert [(row["key"], row["right"]) for row in rows] == [
        (keys[1], "ours"),
        (keys[2], "debatable"),
        (keys[3], "peer"),
        (keys[4], ""),
    ]


def git(folder, *arguments):
    done = subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *arguments],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


def test_the_tests_of_the_pinned_commit_are_fetched_once(tmp_path, monkeypatch):
    origin, cache = tmp_path / "origin", tmp_path / "cache"
    (origin / "tests").mkdir(parents=True)
    (origin / "tests" / "test_some.py").write_text(MATH_VERIFY)
    (origin / "large").write_text("not wanted")
    git(origin, "init", "--quiet")
    git(origin, "config", "uploadpack.allowFilter", "true")
    git(origin, "add", ".")
    git(origin, "commit", "--quiet", "--message", "x")
    pinned = git(origin, "rev-parse", "HEAD")
    peer = peer_sources.Peer(origin.as_uri(), pinned, "tests", "ORION_NO_SUCH_VARIABLE")
    monkeypatch.setitem(peer_sources.PEERS, "some", peer)
    assert peer_sources.local_source("some", cache) is None
    folder = peer_sources.fetch_source("some", cache)
    assert (folder / "tests" / "test_some.py").read_text() == MATH_VERIFY
    assert not (folder / "large").exists()
    assert peer_sources.local_source("some", cache) == folder
    assert [path.name for path in cache.iterdir()] == [folder.name]


def test_no_network_and_a_wrong_variable_are_said(tmp_path, monkeypatch):
    peer = peer_sources.Peer((tmp_path / "none").as_uri(), "0" * 40, "tests", "ORION_SOME_SOURCE")
    monkeypatch.setitem(peer_sources.PEERS, "some", peer)
    with pytest.raises(peer_sources.NoSourceError, match="none"):
        peer_sources.fetch_source("some", tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
    monkeypatch.setenv("ORION_SOME_SOURCE", str(tmp_path))
    with pytest.raises(ValueError, match="ORION_SOME_SOURCE: no folder tests"):
        peer_sources.local_source("some", tmp_path / "cache")


def test_a_fetch_that_hangs_is_ended(tmp_path):
    said = peer_sources._run("sleep 600 & sleep 600", tmp_path, 0.2)
    assert said == "not fetched within 0.2 s"
