"""The engine openai under failures: temporary ones, malformed answers, refusals, outages."""

import asyncio
import json
import threading
import time
from dataclasses import replace
from functools import partial

import pytest

from orion.engines import openai_answers, retries
from orion.engines.retries import read_retry_after
from orion.errors import InputError
from tests.helpers.engine_requests import (
    QUICK,
    fail_first,
    make_requests,
    malformed_answer,
    open_openai,
    run,
)
from tests.helpers.openai_server import HANG, RESET, answer

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
                # not the tries that follow, which may begin while this loop runs
                for loop, limit in self.tries[: self.n]:
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
    server.script = fail_first(failure)
    limits = Limits(12)
    if failure == HANG:
        monkeypatch.setattr(retries, "asyncio", limits)
        server.script = limits.script
    found = run(server, retry_policy=replace(QUICK, timeout_s=77.0))
    assert {a.finish_reason for a in found.values()} == {"stop"}
    assert set(server.attempts.values()) == {2}
    log = capsys.readouterr().err
    assert "12 tries repeated, 0 requests given up" in log
    assert ("no answer within 77 s; trying again" in log) == (failure == HANG)
    assert len(limits.tries) == (24 if failure == HANG else 0)


def test_an_answer_after_the_time_is_up_counts_as_none(server):
    server.script = lambda body, attempt: HANG
    with pytest.raises(InputError, match="answered none of 8 requests; the last: no answer within"):
        run(server, make_requests(8), retry_policy=replace(QUICK, tries=2, timeout_s=0.05))


def test_retry_after_is_kept(server):
    server.script = fail_first((429, {"Retry-After": "0.5"}, b""))
    start = time.monotonic()
    run(server, make_requests(3))
    assert time.monotonic() - start >= 0.5
    assert read_retry_after("2") == 2 and read_retry_after("1e9") == retries.MAX_RETRY_AFTER_S
    assert [
        read_retry_after(value)
        for value in (None, "-1", "nan", "tomorrow", "Thu, 01 Jan 1970 00:00:00 GMT")
    ] == [0] * 5
    assert 0 < read_retry_after("Fri, 01 Jan 2100 00:00:00 GMT") <= retries.MAX_RETRY_AFTER_S


MALFORMED = {
    "html": b"<html><body>Bad gateway</body></html>",
    "cut": json.dumps(answer({})).encode()[:-20],
    "empty": b"",
    "bytes": b"\xff\xfe\x00",
    "list": [1, 2],
    "nested": b"[" * 100_000,
    "no choices": {"usage": {}},
    "empty choices": malformed_answer(choices=[]),
    "choices of text": malformed_answer(choices=["stop"]),
    "text is a number": malformed_answer(choice={"text": 5}),
    "content is a number": malformed_answer(choice={"message": {"content": 5}}),
    "no text": {"choices": [{"finish_reason": "stop"}]},
    "a stream that is cut": b'data: {"choices": [{"del',
}


@pytest.mark.parametrize("failure", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_answer_is_tried_again(server, failure):
    server.script = fail_first(failure)
    assert {a.finish_reason for a in run(server, make_requests(3)).values()} == {"stop"}
    assert set(server.attempts.values()) == {2}


def test_a_body_without_end_is_malformed(server, monkeypatch):
    monkeypatch.setattr(openai_answers, "MAX_BYTES", 10_000)
    server.script = fail_first(b" " * 10_001)
    assert {a.finish_reason for a in run(server, make_requests(3)).values()} == {"stop"}


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
    found = run(server, sorted(make_requests(18), key=lambda r: r.seed % 3 != 2), batch_size=2)
    for request in make_requests(18):
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
        run(server, make_requests(30), batch_size=4)


def test_the_key_is_sent_and_never_shown(server, monkeypatch, capsys):
    monkeypatch.setenv("TEACHER_KEY", KEY + "\n")
    server.script = lambda body, attempt: (
        (500, {}, {"error": {"message": f"Incorrect key {KEY}"}})
        if attempt == 0
        else answer(body, f"the key is {KEY}")
    )
    run_with_key = partial(run, server, api_key_env="TEACHER_KEY")
    found = run_with_key()
    assert {header["Authorization"] for header in server.headers} == {f"Bearer {KEY}"}
    server.script = lambda body, attempt: (401, {}, {"error": {"message": "x" * 190 + KEY}})
    with pytest.raises(InputError) as refused:
        run_with_key()
    server.script = lambda body, attempt: f"<html>{KEY}</html>".encode()
    with pytest.raises(InputError) as malformed:
        run_with_key()
    shown = "".join([*capsys.readouterr(), str(refused.value), str(malformed.value), repr(found)])
    assert KEY[:12] not in shown and "***" in shown
    monkeypatch.setenv("TEACHER_KEY", KEY + "\u00e9")
    with pytest.raises(
        InputError, match="TEACHER_KEY holds characters that no key can have"
    ) as odd:
        run_with_key()
    assert KEY not in str(odd.value)
    monkeypatch.delenv("TEACHER_KEY")
    with pytest.raises(InputError, match="api_key_env: the environment has no TEACHER_KEY"):
        run_with_key()


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
        run(server, make_requests(50), batch_size=3)
    assert server.url in str(error.value) and "models.teacher.server" in str(error.value)
    assert len(server.bodies) <= 3


def test_a_403_after_a_success_is_about_one_prompt(server):
    server.script = lambda body, attempt: (
        (403, {}, b"blocked") if body["seed"] == 1005 else answer(body)
    )
    found = run(server, batch_size=1)
    assert [key for key, a in found.items() if a.finish_reason == "error"] == ["r5"]


def test_what_was_answered_counts_in_the_next_call(server):
    def script(body, attempt):
        if body["seed"] < 1010:
            return answer(body)
        return (403 if body["seed"] == 1010 else 400, {}, b"this prompt is refused")

    server.script = script
    engine = open_openai(server, batch_size=1, token_budget=130)
    wanted = make_requests(21)
    first_call = [a.finish_reason for a in engine.generate(wanted)]
    assert first_call == ["stop"] * 10 + ["error"] * 11
    # the completion store asks failed requests once more: these eleven alone would look like a
    # server that refuses everything
    assert {a.finish_reason for a in engine.generate(wanted[10:])} == {"error"}
    # 120 of 130 tokens are used: one more answer, whichever call asks for it
    server.script = lambda body, attempt: answer(body)
    with pytest.raises(
        InputError, match=r"token budget of 130 is used up \(132 counted\); 10 of 11"
    ):
        list(engine.generate(wanted[10:]))


def test_an_answer_without_content_is_kept_and_not_asked_for_again(server):
    shapes = [
        ({"refusal": "I cannot help"}, "stop", ("refusal", "I cannot help")),
        ({"tool_calls": [{}]}, "tool_calls", ("tool_calls", "")),
        ({}, "stop", ("stop", "")),
        ({"reasoning_content": "Hm"}, "length", ("length", "<think>\nHm\n")),
    ]

    def script(body, attempt):
        more, reason, _ = shapes[body["seed"] % 4]
        return answer(body, None, reason, content=None, **more)

    server.script = script
    found = run(server)
    for i in range(12):
        completion = found[f"r{i}"]
        assert (completion.finish_reason, completion.response) == shapes[i % 4][2]
        assert completion.completion_tokens == 5
    assert set(server.attempts.values()) == {1}


@pytest.mark.parametrize(
    ("malformed", "tokens"),
    [
        (malformed_answer(choice={"text": None, "message": {"content": 5}}), 12),
        (malformed_answer(choice={"text": 5}, usage={"prompt_tokens": 7}), 7 + 24),
        (malformed_answer(choice={"text": 5}, usage=None), 24),
        (b"<html></html>", 24),
        ([1], 24),
    ],
)
def test_what_cannot_be_read_is_billed(server, malformed, tokens):
    server.script = lambda body, attempt: malformed
    with pytest.raises(
        InputError,
        match=rf"token budget of {tokens + 1} is used up \({2 * tokens} counted\); 5 of 5",
    ):
        run(server, make_requests(5), batch_size=1, token_budget=tokens + 1)
    assert len(server.bodies) == 2
