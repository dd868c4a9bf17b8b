"""An engine that is told to stop begins nothing more, ends what is under way, and loses none."""

import json

import pytest

from orion import tables
from orion.engines import Request, RuntimeOptions, Sampling, open_engine
from orion.errors import InputError
from orion.stages import sample
from tests.helpers.engine_requests import TEACHER
from tests.orion.engines.test_budget import CONFIG

TOTAL = 36
SAMPLING = Sampling(temperature=0.8, top_p=1.0, max_tokens=12, repetition_penalty=1.0)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_transformers_ends_the_batch_under_way(document, batch_size):
    requests = [Request(f"{i}", f"w{i} w{i + 1}", i) for i in range(12)]
    whole = {
        answer.key: answer
        for answer in open_engine(
            "transformers", document, SAMPLING, RuntimeOptions(device="cpu", batch_size=batch_size)
        ).generate(requests)
    }
    seen = []
    options = RuntimeOptions(device="cpu", batch_size=batch_size, is_stopped=lambda: len(seen) >= 5)
    for answer in open_engine("transformers", document, SAMPLING, options).generate(requests):
        seen.append(answer)
    assert 5 <= len(seen) < 5 + batch_size
    assert all(whole[answer.key] == answer for answer in seen)


@pytest.fixture
def stage(tmp_path, server):
    """The command line of the stage sample on 12 problems, 3 answers of 12 tokens each."""
    from tests.orion.stages.test_generation import problems

    problems(tmp_path, range(12))
    tables.write_json(TEACHER.as_json(), tmp_path / "model", {})

    def argv(ceiling, *options):
        places = {"problems": "problems", "model": "model", "completions": "results/completions"}
        places["output"] = "samples.parquet"
        words = [w for name, file in places.items() for w in (f"--{name}", str(tmp_path / file))]
        words += ["--config", json.dumps(CONFIG), "--base-url", server.url]
        return [*words, "--ceiling", json.dumps(ceiling) if ceiling else "", *options]

    return argv


@pytest.mark.parametrize("options", [["--batch-size", "1"], ["--batch-size", "4"]], ids=str)
def test_a_served_run_stops_at_its_ceiling_and_goes_on(stage, server, options):
    with pytest.raises(InputError, match=r"ceiling\.completions = 12 is reached: 12 completions"):
        sample.main(stage({"completions": 12}, *options))
    assert len(server.bodies) == 12
    with pytest.raises(InputError, match="24 of this job's 36 completions are left"):
        sample.main(stage({"completions": 12}, *options))
    assert len(server.bodies) == 12
    sample.main(stage(None, *options))
    assert len(server.bodies) == TOTAL


def test_a_served_run_lets_the_requests_under_way_end(stage, server):
    batch = 4
    with pytest.raises(InputError, match=r"ceiling\.tokens = 100 is reached") as error:
        sample.main(stage({"tokens": 100}, "--batch-size", str(batch)))
    asked = len(server.bodies)
    left = TOTAL - asked
    # every answer that was asked for is stored
    assert f"{left} of this job's {TOTAL} completions are left" in str(error.value)
    sample.main(stage(None))
    assert len(server.bodies) == TOTAL


def test_shards_stop_too_and_count_their_time_once(stage, server, tmp_path):
    with pytest.raises(InputError, match="shard"):
        sample.main(stage({"completions": 12, "hours": 5.0}, "--shards", "2", "--batch-size", "1"))
    assert 12 <= len(server.bodies) < TOTAL
    assert len(list((tmp_path / "results/work/tries").iterdir())) == 1
