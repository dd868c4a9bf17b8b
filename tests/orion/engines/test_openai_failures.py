"""The engine for servers when things go wrong: failures that pass, garbage, refusals, outages, and the key in all of them."""

import asyncio
import json
import threading
import time
from dataclasses import replace
from functools import partial

import pytest

from orion.engines import openai_protocol, retries
from orion.engines.retries import retry_after
from orion.errors import InputError
from tests.helpers.engine_requests import QUICK, first, opened, requests, run, spoilt
from tests.helpers.openai_server import GUARD_S, HANG, RESET, answer, slowly

KEY = "sk-secret-0123456789abcdef"


class Limits:
    """Stands in for asyncio: the first n tries run out of time when the server holds them all.

    The clock does not come into it, so that no machine is too slow for the tries that follow.
    """

    def __init__(self, n: int):
        self.n, self.held, self.tries = n, 0, []
        self.lock = threading.Lock()

    def __getattr__(self, name):
        return getattr(asyncio, name)

    def timeout(self, seconds):
        assert seconds == 77.0
        limit = asyncio.timeout(None)
        self.tries.append((asyncio.get_running_loop(), limit))
        return limit

    def script(self, body, attempt):
        """Hangs at every question's first attempt."""
        if attempt:
            return answer(body)
        with self.lock:
            self.held += 1
            if self.held == self.n:
                for loop, limit in self.tries:
                    loop.call_soon_threadsafe(limit.reschedule, 0)
        return HANG


@pytest.mark.parametrize(
    "failure",
    [
        (429, {}, b"slow down"),
        (500, {}, b"oops"),
        (503, {"Retry-After": "nonsense"}, b""),
        RESET,
        HANG,
    ],
    ids=["429", "500", "503", "reset", "timeout"],
)
def test_what_may_pass_is_tried_again(server, failure, capsys, monkeypatch):
    server.script = first(failure)
    if failure == HANG:
        limits = Limits(12)
        monkeypatch.setattr(retries, "asyncio", limits)
        server.script = limits.script
    found = run(server, retry_policy=replace(QUICK, timeout_s=77.0))
    assert {a.finish_reason for a in found.values()} == {"stop"}
    assert set(server.attempts.values()) == {2}
    log = capsys.readouterr().err
    assert "12 tries repeated, 0 requests given up" in log
    assert ("no answer within 77 s; trying again" in log) == (failure == HANG)


def test_retry_after_is_kept(server):
    server.script = first((429, {"Retry-After": "0.5"}, b""))
    start = time.monotonic()
    run(server, requests(3))
    assert time.monotonic() - start >= 0.5
    assert retry_after("2") == 2 and retry_after("1e9") == retries.MAX_RETRY_AFTER_S
    assert [
        retry_after(value)
        for value in (None, "-1", "nan", "tomorrow", "Thu, 01 Jan 1970 00:00:00 GMT")
    ] == [0] * 5
    assert 0 < retry_after("Fri, 01 Jan 2100 00:00:00 GMT") <= retries.MAX_RETRY_AFTER_S


GARBAGE = {
    "html": b"<html><body>Bad gateway</body></html>",
    "cut": json.dumps(answer({})).encode()[:-20],
    "empty": b"",
    "bytes": b"\xff\xfe\x00",
    "list": [1, 2],
    "nested": b"[" * 100_000,
    "no choices": {"usage": {}},
    "empty choices": spoilt(choices=[]),
    "choices of text": spoilt(choices=["stop"]),
    "no reason": spoilt(choice={"finish_reason": None}),
    "another reason": spoilt(choice={"finish_reason": ["stop"]}),
    "text is a number": spoilt(choice={"text": 5}),
    "content is a list": spoilt(choice={"message": {"content": ["a"], "reasoning": "b"}}),
    "ids of text": spoilt(choice={"token_ids": ["1"]}),
    "negative ids": spoilt(choice={"token_ids": [1, -1]}),
    "no usage": spoilt(usage=None),
    "negative usage": spoilt(usage={"prompt_tokens": 1, "completion_tokens": -1}),
    "true usage": spoilt(usage={"prompt_tokens": True, "completion_tokens": 1}),
    "huge usage": spoilt(usage={"prompt_tokens": 10**30, "completion_tokens": 1}),
    "fraction": spoilt(usage={"prompt_tokens": 1.5, "completion_tokens": 1}),
}


@pytest.mark.parametrize("failure", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_is_tried_again(server, failure):
    server.script = first(failure)
    assert {a.finish_reason for a in run(server, requests(3)).values()} == {"stop"}
    assert set(server.attempts.values()) == {2}


def test_a_body_without_end_is_garbage(server, monkeypatch):
    monkeypatch.setattr(openai_protocol, "MAX_BYTES", 10_000)
    server.script = first(b" " * 10_001)
    assert {a.finish_reason for a in run(server, requests(3)).values()} == {"stop"}


def test_what_never_passes_is_an_error_row_with_a_reason(server, capsys):
    def script(body, attempt):
        if body["seed"] % 3 == 0:
            return b"<html>no\x1b[31m</html>"
        return (
            (422, {}, {"error": {"message": "bad parameter"}})
            if body["seed"] % 3 == 1
            else answer(body)
        )

    server.script = script
    # the good ones first, so that the server has answered before it fails
    found = run(server, sorted(requests(18), key=lambda r: r.seed % 3 != 2), batch_size=2)
    for request in requests(18):
        got = found[request.key]
        expected = "stop" if request.seed % 3 == 2 else "error"
        assert (got.finish_reason, bool(got.response)) == (expected, expected == "stop")
    log = capsys.readouterr().err
    assert (
        "not an answer: not JSON: <html>no [31m</html>, 4 times" in log
        and "HTTP 422: bad parameter" in log
    )
    assert "12 requests given up" in log and "\x1b" not in log
    # a refusal is not repeated
    assert all(server.attempts[q] == 1 for q in server.attempts if json.loads(q)["seed"] % 3 == 1)


def test_a_server_that_refuses_every_request_ends_the_run(server):
    server.script = lambda body, attempt: (400, {}, {"error": {"message": "unknown field seed"}})
    with pytest.raises(
        InputError, match=r"answered none of 8 requests; the last: HTTP 400: unknown field seed"
    ):
        run(server, requests(30), batch_size=4)


def test_the_key_is_sent_and_never_shown(server, monkeypatch, capsys):
    monkeypatch.setenv("TEACHER_KEY", KEY + "\n")
    server.script = lambda body, attempt: (
        (500, {}, {"error": {"message": f"Incorrect key {KEY}"}})
        if attempt == 0
        else answer(body, f"the key is {KEY}")
    )
    keyed = partial(run, server, api_key_env="TEACHER_KEY")
    found = keyed()
    assert {header["Authorization"] for header in server.headers} == {f"Bearer {KEY}"}
    server.script = lambda body, attempt: (401, {}, {"error": {"message": "x" * 190 + KEY}})
    with pytest.raises(InputError) as refused:
        keyed()
    server.script = lambda body, attempt: f"<html>{KEY}</html>".encode()
    with pytest.raises(InputError) as garbage:
        keyed()
    shown = "".join([*capsys.readouterr(), str(refused.value), str(garbage.value), repr(found)])
    assert KEY[:12] not in shown and "***" in shown
    monkeypatch.setenv("TEACHER_KEY", KEY + "\u00e9")
    with pytest.raises(InputError, match="TEACHER_KEY holds characters that no key has") as odd:
        keyed()
    assert KEY not in str(odd.value)
    monkeypatch.delenv("TEACHER_KEY")
    with pytest.raises(InputError, match="api_key_env: the environment has no TEACHER_KEY"):
        keyed()


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ((401, {}, b"no"), "HTTP 401: no .the key is refused.; see base_url, api_key_env"),
        ((403, {}, b"no"), "the key has no access"),
        (
            (404, {}, {"error": {"message": "The model `x` does not exist."}}),
            "does not exist.*no such address or model",
        ),
        ((307, {"Location": "http://127.0.0.1:9/"}, b""), "it moved: give its final address"),
        (
            (429, {}, {"error": {"message": "Pay", "code": "insufficient_quota"}}),
            "the account cannot pay",
        ),
    ],
    ids=["401", "403", "404", "307", "quota"],
)
def test_what_no_request_can_survive_ends_the_run_at_once(server, reply, message):
    server.script = lambda body, attempt: reply
    with pytest.raises(InputError, match=message) as error:
        run(server, requests(50), batch_size=3)
    assert server.url in str(error.value) and "models.teacher.server" in str(error.value)
    assert len(server.bodies) <= 3


def test_a_403_after_a_success_is_about_one_prompt(server):
    server.script = lambda body, attempt: (
        (403, {}, b"blocked") if body["seed"] == 1005 else answer(body)
    )
    found = run(server, batch_size=1)
    assert [key for key, a in found.items() if a.finish_reason == "error"] == ["r5"]


def test_a_server_that_is_not_there(server):
    server.kill()
    start = time.monotonic()
    with pytest.raises(
        InputError, match="models.teacher.server.base_url: .*was not there for 0.5 s"
    ) as error:
        run(server, patience=replace(QUICK, start_s=0.5))
    # far less than outage_s, which is for a server that has answered before
    assert server.url in str(error.value) and 0.5 <= time.monotonic() - start < GUARD_S


def test_a_server_that_starts_late(server):
    server.kill()
    threading.Timer(0.4, server.start).start()
    assert {a.finish_reason for a in run(server).values()} == {"stop"}


def test_a_server_killed_and_started_again_loses_nothing(server):
    server.script = slowly(0.02)
    engine = opened(server, batch_size=4)
    wanted = requests(60)
    found = []
    for completion in engine.generate(wanted):
        found.append(completion)
        if len(found) == 10:
            server.kill()
            threading.Timer(0.6, server.start).start()
    assert {a.finish_reason for a in found} == {"stop"} and len(found) == 60
    assert {a.key: a for a in found} == run(server, wanted)


def test_a_server_that_goes_for_good_ends_the_run(server):
    engine = opened(server, batch_size=2, retry_policy=replace(QUICK, outage_s=0.4))
    found = []
    with pytest.raises(InputError, match=r"was not there for 0.4 s.*what it answered is kept"):
        for completion in engine.generate(requests(60)):
            found.append(completion)
            if len(found) == 10:
                server.kill()
    assert len(found) >= 10 and {a.finish_reason for a in found} == {"stop"}


def test_what_was_answered_counts_in_the_next_call(server):
    def script(body, attempt):
        if body["seed"] < 1010:
            return answer(body)
        return (403 if body["seed"] == 1010 else 400, {}, b"this prompt is refused")

    server.script = script
    engine = opened(server, batch_size=1, token_budget=130)
    wanted = requests(21)
    first_call = [a.finish_reason for a in engine.generate(wanted)]
    assert first_call == ["stop"] * 10 + ["error"] * 11
    # the cell store asks once more for what failed: these eleven alone would look like a server that refuses everything
    assert {a.finish_reason for a in engine.generate(wanted[10:])} == {"error"}
    # 120 of 130 tokens are used: one more answer, whichever call asks for it
    server.script = lambda body, attempt: answer(body)
    with pytest.raises(
        InputError, match=r"token budget of 130 is used up \(132 counted\); 10 of 11"
    ):
        list(engine.generate(wanted[10:]))


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
    engine = opened(server, batch_size=4, retry_policy=replace(QUICK, outage_s=0.6))
    found = []
    with pytest.raises(
        InputError, match=rf"answered nothing for 0.6 s: HTTP {status}: busy; run again"
    ):
        for completion in engine.generate(requests(60)):
            found.append(completion)
            if len(found) == 8:
                all_read.set()
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
    found = {}
    for completion in opened(server, retry_policy=retry_policy, batch_size=4).generate(
        requests(120)
    ):
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
    # longer than tries last, and than the wait for a first connection: the server is there
    found = run(server, retry_policy=replace(QUICK, tries=2, start_s=0.2))
    assert {a.finish_reason for a in found.values()} == {"stop"} and max(
        server.attempts.values()
    ) > 2


def test_an_answer_without_content_is_an_error_at_once(server):
    refusals = [{"refusal": "I cannot help"}, {"tool_calls": [{}]}, {}]
    server.script = lambda body, attempt: (
        answer(body, None, content=None, **refusals[body["seed"] % 3])
        if body["seed"] < 1006
        else answer(body)
    )
    found = run(server)
    assert [found[f"r{i}"].finish_reason for i in range(12)] == ["error"] * 6 + ["stop"] * 6
    assert {(found[f"r{i}"].response, found[f"r{i}"].completion_tokens) for i in range(6)} == {
        ("", 5)
    }
    assert set(server.attempts.values()) == {1}


@pytest.mark.parametrize(
    ("garbage", "tokens"),
    [
        (spoilt(choice={"finish_reason": None}), 12),
        (spoilt(usage={"prompt_tokens": 7}), 7 + 24),
        (spoilt(usage=None), 24),
        (b"<html></html>", 24),
        ([1], 24),
    ],
)
def test_what_cannot_be_read_is_billed(server, garbage, tokens):
    server.script = lambda body, attempt: garbage
    with pytest.raises(
        InputError,
        match=rf"token budget of {tokens + 1} is used up \({2 * tokens} counted\); 5 of 5",
    ):
        run(server, requests(5), batch_size=1, token_budget=tokens + 1)
    assert len(server.bodies) == 2
