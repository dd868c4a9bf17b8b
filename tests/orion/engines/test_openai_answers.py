"""Nothing paid for is thrown away: answers in the shapes of twelve servers, and errors in 200."""

import copy
import json
import random
from dataclasses import replace

import pytest

from orion import completions
from orion.engines import RuntimeOptions
from orion.engines.openai_answers import (
    Answer,
    ServerError,
    find_status,
    read_answer,
    read_finish_reason,
)
from orion.errors import InputError
from tests.helpers.engine_requests import (
    GENERATION,
    QUICK,
    TEACHER,
    fail_first,
    make_requests,
    make_table,
    run,
)
from tests.helpers.openai_server import answer
from tests.helpers.server_answers import (
    ADDITIONS,
    CONTENTS,
    REASONS,
    SHAPES,
    TEXT,
    THOUGHT,
    THOUGHT_FIRST,
    USAGES,
)


def dumps(body) -> bytes:
    return json.dumps(body).encode()


@pytest.mark.parametrize("name", SHAPES)
def test_every_servers_answer_is_read_whole(name):
    body, text = SHAPES[name]
    found = read_answer(dumps(body), 24)
    assert isinstance(found, Answer) and found.text == text
    assert found.finish_reason == REASONS[body["choices"][0]["finish_reason"]]
    counts = (found.prompt_tokens, found.completion_tokens)
    assert counts == ((None, None) if name == "lm studio" else (12, 9))


@pytest.mark.parametrize(("word", "stored"), REASONS.items(), ids=lambda value: repr(value)[:20])
def test_a_finish_reason_is_understood_or_kept_as_it_is(word, stored):
    assert read_finish_reason(word) == stored


def vary(rng: random.Random) -> tuple[bytes, str, str]:
    """A body that some server may send, the text of its answer, and its stored finish reason."""
    body, text = copy.deepcopy(SHAPES[rng.choice(list(SHAPES))])
    [choice] = body["choices"]
    word, reason = rng.choice(list(REASONS.items()))
    choice["finish_reason"] = word
    # "length" as the end of an answer that has begun changes no text
    if isinstance(choice["message"]["content"], str):
        choice["message"]["content"] = rng.choice(CONTENTS)(TEXT)
    body["usage"] = rng.choice(USAGES)
    if body["usage"] is None and rng.random() < 0.5:
        del body["usage"]
    body |= rng.choice(ADDITIONS)
    choice |= rng.choice(ADDITIONS)
    if rng.random() < 0.2:
        return as_stream(body, text), text, reason
    return dumps(body), text, reason


def as_stream(body: dict, text: str) -> bytes:
    """The answer in chunks, as a gateway sends it that always streams."""
    [choice] = body["choices"]
    deltas = [{"role": "assistant", "content": None}]
    deltas += [{"reasoning_content": c} for c in (THOUGHT if text == THOUGHT_FIRST else "")]
    deltas += [{"content": character} for character in TEXT]
    chunks = [{"choices": [{"delta": delta, "finish_reason": None}]} for delta in deltas]
    chunks.append({"choices": [{"delta": {}, "finish_reason": choice["finish_reason"]}]})
    if "usage" in body:
        chunks.append({"choices": [], "usage": body["usage"]})
    lines = [b": ping", *(b"data: " + dumps(chunk) for chunk in chunks), b"data: [DONE]"]
    return b"\n\n".join(lines[1:])


def test_nothing_paid_for_is_thrown_away(server, tmp_path):
    """Random answers of twelve servers' shapes: each question is asked once, now and later."""
    n = 240
    varied = [vary(random.Random(f"answers {i}")) for i in range(n)]
    assert len({body for body, _, _ in varied}) > 0.9 * n
    table = make_table(n)
    numbers: dict[str, int] = {}

    def script(body, attempt):
        with server.lock:
            number = numbers.setdefault(json.dumps(body, sort_keys=True), len(numbers))
        return varied[number][0]

    server.script = script

    def complete():
        return completions.complete(
            table,
            document=TEACHER,
            generation=GENERATION,
            root=tmp_path,
            options=RuntimeOptions(base_url=server.url, batch_size=1),
        )

    done = complete()
    assert set(server.attempts.values()) == {1} and len(server.bodies) == n
    found = sorted(done.select("response", "finish_reason").iter_rows())
    assert found == sorted((text, reason) for _, text, reason in varied)
    assert done["prompt_tokens"].min() > 0 and done["completion_tokens"].min() > 0
    assert complete().equals(done) and len(server.bodies) == n


def test_an_unknown_end_at_max_tokens_is_length():
    body, _ = SHAPES["openai"]
    assert read_answer(dumps(body), 9).finish_reason == "length"
    assert read_answer(dumps(body), 10).finish_reason == "unknown"


def test_a_server_that_counts_nothing(server, document, capsys):
    server.script = lambda body, attempt: {
        "choices": [{"text": "w1 w2 w3", "finish_reason": "stop"}]
    }
    requests = [replace(make_requests(1)[0], prompt="w1 <user> w2")]
    [completion] = run(server, requests, document=document).values()
    # our own tokenizer counts
    assert (completion.prompt_tokens, completion.completion_tokens) == (3, 3)
    # a served model has none: a quarter of the bytes
    server.script = lambda body, attempt: {**answer(body, "x" * 41), "usage": None}
    [completion] = run(server, make_requests(1)).values()
    assert completion.completion_tokens == 11 and completion.prompt_tokens > 5
    assert "the server counts no tokens; they are counted here or estimated" in (
        capsys.readouterr().err
    )
    with pytest.raises(InputError, match=r"token budget of 11 is used up"):
        run(server, token_budget=11, batch_size=1)


RATE_LIMITS = {
    "openrouter": {"error": {"code": 429, "message": "Rate limit exceeded: free-models-per-min"}},
    "code as text": {"error": {"code": "429", "message": "slow down"}},
    "openai": {"error": {"type": "requests", "code": "rate_limit_exceeded", "message": "slow"}},
    "google": [{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "quota"}}][0],
    "fastchat": {"object": "error", "message": "busy", "type": "too_many_requests", "code": 429},
    "in the choice": {"choices": [{"error": {"code": 429, "message": "upstream is busy"}}]},
    "words only": {"error": "Too many requests, try again later"},
    "overloaded": {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
}


@pytest.mark.parametrize("body", RATE_LIMITS.values(), ids=RATE_LIMITS)
def test_a_rate_limit_in_a_200_body_is_waited_for_and_costs_no_tries(server, body, capsys):
    server.script = lambda asked, attempt: (
        (200, {"Retry-After": "0.1"}, body) if attempt < 4 else answer(asked)
    )
    found = run(server, make_requests(3), retry_policy=replace(QUICK, tries=2))
    assert {a.finish_reason for a in found.values()} == {"stop"}
    assert set(server.attempts.values()) == {5}
    error = read_answer(dumps(body), 24)
    assert isinstance(error, ServerError) and error.status in (429, 503)
    assert f"HTTP 200 with an error ({error.status}): {error.message}" in capsys.readouterr().err


def test_the_words_of_the_server_are_shown(server, capsys):
    said = {
        "error": {
            "message": "Provider returned error",
            "code": 502,
            "metadata": {"raw": "the model is loading \x1b[31m", "provider_name": "x"},
        }
    }
    server.script = fail_first((200, {}, said))
    run(server, make_requests(1))
    shown = capsys.readouterr().err
    assert "(502): Provider returned error: the model is loading [31m; trying again" in shown


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ({"code": 401, "message": "No auth"}, r"\(401\): No auth .the key is refused"),
        ({"code": 402, "message": "Pay"}, r"\(402\): Pay .the account cannot pay"),
        ({"code": "insufficient_quota", "message": "Pay"}, r"Pay .the account cannot pay"),
        ({"type": "not_found_error", "message": "No x"}, r"\(404\): No x .there is no such"),
    ],
)
def test_what_no_request_can_survive_ends_the_run_also_in_a_200_body(server, error, message):
    server.script = lambda body, attempt: {"error": error}
    with pytest.raises(InputError, match=message):
        run(server, make_requests(30), batch_size=3)
    assert len(server.bodies) <= 3


def test_a_prompt_that_is_too_long_and_one_that_is_refused_in_a_200_body(server):
    errors = [
        {"message": "This model's maximum context length is 9 tokens", "code": None},
        {"message": "bad parameter", "type": "invalid_request_error"},
    ]
    server.script = lambda body, attempt: (
        answer(body) if body["seed"] == 1000 else {"error": errors[body["seed"] % 2]}
    )
    found = run(server, batch_size=1)
    assert [found[f"r{i}"].finish_reason for i in range(3)] == ["stop", "error", "prompt_too_long"]
    assert set(server.attempts.values()) == {1}


def test_an_error_without_a_kind_costs_tries_and_no_tokens(server):
    server.script = lambda body, attempt: (
        answer(body) if body["seed"] < 1009 else {"error": {"message": "oops"}}
    )
    found = run(server, batch_size=1, token_budget=110)
    assert [found[f"r{i}"].finish_reason for i in (8, 9)] == ["stop", "error"]
    assert max(server.attempts.values()) == QUICK.tries


@pytest.mark.parametrize("error", [None, [], {}, {"code": 10**9}, {"code": True}, 5, [[]]])
def test_odd_errors_have_a_status(error):
    assert find_status(error) == 500
