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
from tests.helpers.openai_server import GUARD_S, answer, answer_after


def test_a_server_that_is_not_there(server):
    server.kill()
    start = time.monotonic()
    with pytest.raises(
        InputError, match=r"models\.teacher\.server\.base_url: .*was not there for 0\.5 s"
    ) as error:
        run(server, retry_policy=replace(QUICK, start_s=0.5))
    # far less than outage_s, which is for a server that has answered before
    assert server.url in str(error.value) and 0.5 <= time.monotonic() - start < GUARD_S


def test_a_server_that_starts_late(server):
    server.kill()
    threading.Timer(0.4, server.start).start()
    assert {a.finish_reason for a in run(server).values()} == {"stop"}


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


def call_after(n, action, completions):
    """The completions; ``action`` is called when the n-th has been taken."""
    for number, completion in enumerate(completions, start=1):
        yield completion
        if number == n:
            action()


def test_a_server_that_goes_for_good_ends_the_run(server):
    engine = open_openai(server, batch_size=2, retry_policy=replace(QUICK, outage_s=0.4))
    found = []
    with pytest.raises(InputError, match=r"was not there for 0.4 s.*finished completions are kept"):
        found.extend(call_after(10, server.kill, engine.generate(make_requests(60))))
    assert len(found) >= 10 and {a.finish_reason for a in found} == {"stop"}


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_server_that_is_busy_for_good_ends_the_run(server, status):
    all_read = threading.Event()

    def script(body, attempt):
        if body["seed"] < 1008:
            return answer(body)
        # an answer that is still on its way would not be kept when the run ends
        assert all_read.wait(GUARD_S)
        return (status, {}, b"busy")

    server.script = script
    engine = open_openai(server, batch_size=4, retry_policy=replace(QUICK, outage_s=0.6))
    found = []
    with pytest.raises(
        InputError, match=rf"answered nothing for 0.6 s: HTTP {status}: busy; run again"
    ):
        found.extend(call_after(8, all_read.set, engine.generate(make_requests(60))))
    # requests out of tries would be error rows
    assert [a.finish_reason for a in found] == ["stop"] * 8 and len(server.attempts) == 12


def test_one_prompt_that_breaks_the_gateway_costs_only_itself(server):
    # one answer to another prompt per failure of this one: the server is there all the time
    permits = threading.Semaphore(0)

    def script(body, attempt):
        if body["seed"] == 1000:
            permits.release()
            return (502, {}, b"bad gateway")
        assert permits.acquire(timeout=GUARD_S)
        return answer(body)

    server.script = script
    retry_policy = replace(QUICK, backoff_s=0.01, outage_s=GUARD_S)
    engine = open_openai(server, retry_policy=retry_policy, batch_size=4)
    found = {}
    for completion in engine.generate(make_requests(120)):
        found[completion.key] = completion
        if completion.key == "r0":
            permits.release(120)
    assert found["r0"].finish_reason == "error" and len(found) == 120
    assert {a.finish_reason for key, a in found.items() if key != "r0"} == {"stop"}


def test_an_outage_costs_no_tries(server):
    def script(body, attempt):
        with server.lock:
            well = len(server.attempts) == 12 and min(server.attempts.values()) > 3
        return answer(body) if well else (503, {"Retry-After": "0.1"}, b"")

    server.script = script
    # more failures than tries, for longer than start_s: the server can be reached
    found = run(server, retry_policy=replace(QUICK, tries=2, start_s=0.2))
    assert {a.finish_reason for a in found.values()} == {"stop"}
    assert min(server.attempts.values()) > 3
