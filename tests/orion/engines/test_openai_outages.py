"""The engine openai and servers that are away: late starts, kills, outages, busy gateways."""

import threading
import time
from dataclasses import replace

import pytest

from orion.errors import InputError
from tests.helpers.engine_requests import (
    QUICK,
    make_requests,
    open_openai,
    run,
)
from tests.helpers.openai_server import answer, answer_after


def test_a_server_that_is_not_there(server):
    server.kill()
    start = time.monotonic()
    with pytest.raises(
        InputError, match=r"models\.teacher\.server\.base_url: .*was not there for 0\.5 s"
    ) as error:
        run(server)
    assert server.url in str(error.value) and 0.5 <= time.monotonic() - start < 20


def test_a_server_that_starts_late(server):
    server.kill()
    threading.Timer(0.4, server.start).start()
    assert {
        a.finish_reason for a in run(server, retry_policy=replace(QUICK, start_s=60)).values()
    } == {"stop"}


def test_a_server_killed_and_started_again_loses_nothing(server):
    server.script = answer_after(0.02)
    engine = open_openai(server, batch_size=4)
    wanted = make_requests(60)
    found = []
    for completion in engine.generate(wanted):
        found.append(completion)
        if len(found) == 10:
            server.kill()
            threading.Timer(0.6, server.start).start()
    assert {a.finish_reason for a in found} == {"stop"} and len(found) == 60
    assert {a.key: a for a in found} == run(server, wanted)


def kill_after_ten(server, completions):
    for n, completion in enumerate(completions, start=1):
        yield completion
        if n == 10:
            server.kill()


def test_a_server_that_goes_for_good_ends_the_run(server):
    engine = open_openai(server, batch_size=2, retry_policy=replace(QUICK, outage_s=0.4))
    found = []
    with pytest.raises(InputError, match=r"was not there for 0.4 s.*finished completions are kept"):
        found.extend(kill_after_ten(server, engine.generate(make_requests(60))))
    assert len(found) >= 10 and {a.finish_reason for a in found} == {"stop"}


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_server_that_is_busy_for_good_ends_the_run(server, status):
    answered = []

    def script(body, attempt):
        if body["seed"] < 1008:
            answered.append(body)
            return answer(body)
        # busy only after all answers, however slow the machine is
        while len(answered) < 8:
            time.sleep(0.01)
        return (status, {}, b"busy")

    server.script = script
    engine = open_openai(server, batch_size=4, retry_policy=replace(QUICK, outage_s=1.0))
    found = []
    with pytest.raises(
        InputError, match=rf"answered nothing for 1 s: HTTP {status}: busy; run again"
    ):
        found.extend(engine.generate(make_requests(60)))
    # requests out of tries would be error rows
    assert [a.finish_reason for a in found] == ["stop"] * 8 and len(server.attempts) == 12


def test_one_prompt_that_breaks_the_gateway_costs_only_itself(server):
    def script(body, attempt):
        if body["seed"] == 1000:
            return (502, {}, b"bad gateway")
        time.sleep(0.02)
        return answer(body)

    server.script = script
    found = run(
        server, make_requests(120), retry_policy=replace(QUICK, backoff_s=0.01), batch_size=4
    )
    assert found["r0"].finish_reason == "error"
    assert {a.finish_reason for key, a in found.items() if key != "r0"} == {"stop"}


def test_an_outage_costs_no_tries(server):
    server.script = lambda body, attempt: (
        answer(body) if attempt >= 5 else (503, {"Retry-After": "0.1"}, b"")
    )
    # more failures than tries, for longer than start_s: the server can be reached
    found = run(server, retry_policy=replace(QUICK, tries=2, start_s=0.2))
    assert {a.finish_reason for a in found.values()} == {"stop"}
    assert set(server.attempts.values()) == {6}
