"""One token budget per stage over tries, shards and kills, kept on disk until it is done."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from orion import tables
from orion.engines.budget import TokenBudget, budget_folder
from orion.errors import InputError
from orion.stages import sample
from tests.helpers.engine_requests import TEACHER
from tests.helpers.openai_server import HANG, answer

CONFIG = {
    "prompts": "demo",
    "generation": {
        "engine": "openai",
        "num_samples": 3,
        "temperature": 1.0,
        "top_p": 0.9,
        "repetition_penalty": 1.0,
        "max_tokens": 24,
        "seed": 0,
    },
}
N = 10  # problems: 30 completions of 12 tokens each


@pytest.fixture
def stage(tmp_path, server):
    """The stage's command line, with a budget, on problems of its own."""
    from tests.orion.stages.test_generation import problems

    problems(tmp_path, range(12))
    tables.write_json(TEACHER.as_json(), tmp_path / "model", {})

    def argv(budget: int, *options: str) -> list[str]:
        paths = {"problems": "problems", "model": "model", "completions": "store"}
        paths["output"] = "samples.parquet"
        words = [w for name, file in paths.items() for w in (f"--{name}", str(tmp_path / file))]
        words += ["--config", json.dumps(CONFIG), "--base-url", server.url]
        return [*words, "--token-budget", str(budget), *options]

    return argv


def test_a_second_try_does_not_get_the_budget_again(stage, server, tmp_path):
    with pytest.raises(InputError, match=r"token budget of 100 is used up \(108 counted\); 27 of"):
        sample.main(stage(100, "--batch-size", "1"))
    assert len(server.bodies) == 9
    for _ in range(3):
        with pytest.raises(
            InputError,
            match=r"budget of 100 is used up \(108 counted, 108 of them by other tries and shards\)"
            r"; 27 of 27 completions are missing.*raise the budget .resource token_budget.",
        ):
            sample.main(stage(100, "--batch-size", "1"))
    assert len(server.bodies) == 9
    # a higher one pays for the difference only
    with pytest.raises(InputError, match=r"budget of 150 is used up \(156 counted, 108 of them"):
        sample.main(stage(150, "--batch-size", "1"))
    assert len(server.bodies) == 13
    sample.main(stage(36 * 12, "--batch-size", "1"))
    assert len(server.bodies) == 36 and len(server.attempts) == 36
    # the stage is done: its next run, whatever it needs, begins anew
    folder = budget_folder(tmp_path / "store", tmp_path / "samples.parquet")
    assert not folder.exists() and folder.parent.exists()


def test_shards_share_one_budget_and_leave_nothing_of_it_unused(stage, server, capfd):
    # less than what either shard needs: whichever starts late, both run into it
    budget = 72
    with pytest.raises(InputError, match="shard 0, 1 of 2 failed"):
        sample.main(stage(budget, "--batch-size", "1", "--shards", "2"))
    shares = re.findall(r"has (\d+) of 36", capfd.readouterr().err)
    assert len(shares) == 2 and min(map(int, shares)) > budget / 12 + 2
    # each of the two may have sent one when the last token was spent
    assert budget / 12 <= len(server.bodies) <= budget / 12 + 2
    before = len(server.bodies)
    with pytest.raises(InputError, match="shard 0, 1 of 2 failed"):
        sample.main(stage(budget, "--shards", "2"))
    assert len(server.bodies) == before


def test_what_a_killed_try_has_spent_counts(stage, server):
    server.script = lambda body, attempt: HANG if len(server.bodies) > 7 else answer(body)
    child = subprocess.Popen(
        [sys.executable, "-m", "orion.stages.sample", *stage(100, "--batch-size", "1")],
        stderr=subprocess.DEVNULL,
        env={**os.environ, "POLARS_MAX_THREADS": "1"},
    )
    end = time.monotonic() + 120
    while len(server.bodies) < 8 and time.monotonic() < end:
        time.sleep(0.05)
    child.send_signal(signal.SIGKILL)
    child.wait()
    server.script = lambda body, attempt: answer(body)
    with pytest.raises(InputError, match=r"\(108 counted, 84 of them by other tries and shards\)"):
        sample.main(stage(100, "--batch-size", "1"))


def test_no_budget_leaves_no_file(stage, tmp_path):
    sample.main(stage(0))
    assert not (tmp_path / "store" / "budgets").exists()


def test_a_count_that_cannot_be_written_is_in_memory(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    budget = TokenBudget(10, tmp_path / "file" / "below")
    budget.add(6)
    assert not budget.is_spent
    budget.add(6)
    assert budget.is_spent and budget.total == 12
    assert capsys.readouterr().err.count("the tokens used cannot be written") == 1
    # damaged and foreign files count nothing
    folder = tmp_path / "counts"
    folder.mkdir()
    (folder / "a.tokens").write_bytes(b"\xff")
    (folder / "b.tokens").write_text("")
    (folder / "c.tokens").write_text("7")
    assert TokenBudget(10, folder).used_before == 7
