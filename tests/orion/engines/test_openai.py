"""The engine for servers against a scripted one: what is asked, what is read, how much at once and how much in all."""

import json
import random
import threading
import time
from dataclasses import replace
from functools import partial

import polars as pl
import pytest

from orion import cells, checkpoints, model
from orion.engines import Request, open_engine, wire
from orion.errors import InputError

from .asking import QUICK, SAMPLING, document, requests, run, spoilt
from .server import HANG, answer, slowly


def test_answers_depend_on_neither_concurrency_nor_order(server):
    wanted = requests(30)
    alone = run(document(server), wanted, batch_size=1)
    assert run(document(server), wanted[::-1], batch_size=30) == alone
    assert run(document(server), random.Random(1).sample(wanted, 30), batch_size=4) == alone
    assert len({a.response for a in alone.values()}) == 30
    assert {(a.finish_reason, a.prompt_tokens, a.completion_tokens) for a in alone.values()} == {("stop", 7, 5)}


def test_what_a_served_model_is_asked(server):
    doc = document(server)
    tokenizer = checkpoints.load_tokenizer(doc)
    turn = [{"role": "user", "content": "1 + 1 = ?"}]
    prompts = [checkpoints.render(tokenizer, turn), checkpoints.render(tokenizer, turn, enable_thinking=False)]
    run(doc, [Request(str(i), prompt, 2**62 + 5 + i) for i, prompt in enumerate(prompts)], batch_size=1)
    common = {"path": "/v1/chat/completions", "model": "org/teacher", "messages": turn}
    common |= {"temperature": 0.8, "top_p": 0.9, "max_tokens": 24}
    assert server.bodies[0] == {**common, "seed": 5}
    assert server.bodies[1] == {**common, "seed": 6, "chat_template_kwargs": {"enable_thinking": False}}
    assert "Authorization" not in server.headers[0]
    run(document(server, served_model="alias"), requests(1), replace(SAMPLING, repetition_penalty=1.1))
    assert server.bodies[2]["model"] == "alias" and server.bodies[2]["repetition_penalty"] == 1.1


def test_what_a_checkpoint_is_asked(server, model_doc):
    doc = {**model_doc, "server": {"base_url": server.url, "served_model": "student"}}
    tokenizer = checkpoints.load_tokenizer(doc)
    found = run(doc, [Request("a", "w1 <user> w2", 3)])
    body = {"path": "/v1/completions", "model": "student", "prompt": tokenizer.encode("w1 <user> w2")}
    body |= {"return_token_ids": True, "temperature": 0.8, "top_p": 0.9, "max_tokens": 24, "seed": 3}
    assert server.bodies == [body]
    assert found["a"].response.startswith("answer ")
    # ids, where the server gives them, are decoded here; one that is in no vocabulary decodes to nothing
    ids = tokenizer.encode("w5 w6 <user>") + [10**6, tokenizer.eos_token_id]
    server.script = lambda body, attempt: spoilt(choice={"text": " w5w6", "token_ids": ids})
    assert run(doc, [Request("a", "w1 <user> w2", 4)])["a"].response == "w5 w6"


def test_a_server_beside_a_checkpoint_changes_no_digest(model_doc):
    keys = {"source": {"kind": "path", "path": model_doc["path"]}, "dtype": "float32", "trust_remote_code": False}
    block = {"base_url": "http://localhost/v1", "api_key_env": None, "served_model": None}
    beside = model.described("tiny", {**keys, "server": block}, None)
    assert beside == {**model.described("tiny", keys, None), "server": block}
    assert beside["digest"] == model_doc["digest"]


def test_what_generation_config_would_change_is_set_to_neutral():
    file = {"top_k": 20, "top_p": 0.8, "repetition_penalty": 1.05, "min_p": None, "eos_token_id": 1}
    body = wire.completion_body("m", [1], Request("a", "w1", 3), SAMPLING, file)
    assert (body["top_k"], body["repetition_penalty"], body["top_p"]) == (-1, 1.0, 0.9) and "min_p" not in body
    body = wire.completion_body("m", [1], Request("a", "w1", 3), replace(SAMPLING, repetition_penalty=1.3), file)
    assert body["repetition_penalty"] == 1.3


def test_a_prompt_beyond_the_context_is_an_answer(server, model_doc):
    doc = {**model_doc, "server": {"base_url": server.url}}
    room = model_doc["context_length"] - SAMPLING.max_tokens
    found = run(doc, [Request("long", "w1 " * (room + 1), 1), Request("fits", "w1 " * room, 1)])
    assert (found["long"].finish_reason, found["long"].prompt_tokens) == ("prompt_too_long", room + 1)
    assert found["fits"].finish_reason == "stop" and len(server.bodies) == 1
    assert run(doc, [Request("long", "w1 " * (room + 1), 1)])["long"].response == ""


def test_a_served_models_prompt_is_measured_by_the_server(server):
    # the server counts 7 tokens
    assert {a.finish_reason for a in run({**document(server), "context_length": 31}).values()} == {"stop"}
    found = run({**document(server), "context_length": 30})
    assert {(a.finish_reason, a.response, a.prompt_tokens, a.completion_tokens) for a in found.values()} == {
        ("prompt_too_long", "", 7, 0)
    }


@pytest.mark.parametrize(
    "refusal",
    [
        {"error": {"message": "This model's maximum context length is 96 tokens. However, you requested 120"}},
        {"error": {"message": "Please shorten", "code": "context_length_exceeded"}},
        {"error": {"message": "the request exceeds the available context size", "type": "exceed_context_size_error"}},
    ],
)
def test_a_server_that_finds_the_prompt_too_long(server, refusal):
    server.script = lambda body, attempt: answer(body) if body["seed"] == 1000 else (400, {}, refusal)
    found = run(document(server), requests(20), batch_size=1)
    assert [a.finish_reason for a in found.values()] == ["stop"] + ["prompt_too_long"] * 19
    assert {a.completion_tokens for a in list(found.values())[1:]} == {0}
    assert max(server.attempts.values()) == 1


OVERFLOWS = (400, {}, {"error": {"message": "This model's maximum context length is 48 tokens"}})


def test_a_checkpoints_server_with_a_shorter_context_ends_the_run(server, model_doc):
    server.script = lambda body, attempt: OVERFLOWS if body["seed"] == 2 else answer(body)
    doc = {**model_doc, "server": {"base_url": server.url}}
    message = rf"shorter context than the {model_doc['context_length']} tokens of models\.\w+\.context_length \(This model's max"
    with pytest.raises(InputError, match=message):
        run(doc, [Request("a", "w1", 1), Request("b", "w1 w2", 2)], batch_size=1)


def test_a_served_models_server_with_a_shorter_context_ends_the_run(server):
    server.script = lambda body, attempt: OVERFLOWS
    with pytest.raises(InputError, match=r"shorter context than the 4,096 tokens of models\.teacher\.context_length"):
        run(document(server), requests(20), batch_size=1)
    assert len(server.bodies) == 8
    # seven may be an accident, and so may prompts that are as long as the context
    assert {a.finish_reason for a in run(document(server), requests(7)).values()} == {"prompt_too_long"}
    tight = {**document(server), "context_length": 30}
    assert {a.finish_reason for a in run(tight, requests(20)).values()} == {"prompt_too_long"}


def test_half_surrogates_do_not_reach_the_tables(server):
    server.script = lambda body, attempt: json.dumps(answer(body, "a\ud800b")).encode()
    # one of three bytes each, in UTF-8 as Python would force it
    assert run(document(server), requests(1))["r0"].response == "a\ufffd\ufffd\ufffdb"


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
def test_reasoning_is_put_back(server, field):
    cases = {
        0: (
            answer({"messages": 1}, "\n\nIt is 2.", **{field: "\n1 and 1\n"}),
            "<think>\n1 and 1\n</think>\n\nIt is 2.",
        ),
        1: (answer({"messages": 1}, "It is 2.", **{field: ""}), "It is 2."),
        2: (answer({"messages": 1}, None, "length", content=None, **{field: "Hm"}), "<think>\nHm\n"),
        3: (answer({"messages": 1}, "", "stop", **{field: "Hm"}), "<think>\nHm\n</think>\n\n"),
    }
    server.script = lambda body, attempt: cases[body["seed"] - 1000][0]
    found = run(document(server), requests(4))
    assert [found[f"r{i}"].response for i in range(4)] == [text for _, text in cases.values()]
    assert found["r2"].finish_reason == "length"


def test_a_filtered_answer_is_an_error(server):
    server.script = lambda body, attempt: answer(body, "half", "content_filter")
    found = run(document(server), requests(2))
    assert {(a.finish_reason, a.response) for a in found.values()} == {("error", "")}


def test_no_more_requests_at_once_than_wanted(server):
    server.script = slowly(0.05)
    run(document(server), requests(30), batch_size=5)
    assert server.most_busy == 5


def test_results_come_while_others_are_under_way_and_closing_cancels(server):
    server.script = lambda body, attempt: HANG if body["seed"] >= 1003 else answer(body)
    engine = open_engine("openai", document(server), SAMPLING, batch_size=6, patience=QUICK)
    before = threading.active_count()
    stream = engine.generate(requests(30))
    assert {next(stream).key for _ in range(3)} == {"r0", "r1", "r2"}
    start = time.monotonic()
    stream.close()
    assert time.monotonic() - start < 2
    assert not [thread for thread in threading.enumerate() if thread.name == "openai"]
    assert len(server.bodies) <= 12 and threading.active_count() <= before + 12
    engine.generate(requests(3)).close()
    assert list(engine.generate([])) == []


def test_a_budget_ends_the_run_and_a_higher_one_asks_for_the_rest_only(server, tmp_path):
    doc = document(server)
    generation = {"engine": "openai", "temperature": 0.8, "top_p": 0.9, "repetition_penalty": 1.0, "max_tokens": 24}
    rows = [
        {"problem_id": f"p{i // 3}", "sample_id": i % 3, "prompt_id": "solve", "prompt": request.prompt}
        for i, request in enumerate(requests(30))
    ]
    complete = partial(cells.complete, pl.DataFrame(rows), model_doc=doc, root=tmp_path, batch_size=1, patience=QUICK)
    complete = partial(complete, generation={**generation, "seed": 0})
    # 12 tokens an answer: the sixth is the first to reach 70
    with pytest.raises(
        InputError, match=r"token budget of 70 is used up \(72 counted\); 24 of 30 completions are missing"
    ):
        complete(token_budget=70)
    assert len(server.bodies) == 6
    done = complete(token_budget=24 * 12)
    assert done.height == 30 and set(done["finish_reason"]) == {"stop"}
    assert len(server.bodies) == 30 and len(server.attempts) == 30
    assert complete(token_budget=1).equals(done)


def test_a_budget_lets_what_is_under_way_end(server):
    server.script = slowly(0.1)
    engine = open_engine("openai", document(server), SAMPLING, batch_size=4, token_budget=1, patience=QUICK)
    found = []
    with pytest.raises(InputError, match="token budget"):
        found.extend(engine.generate(requests(20)))
    assert len(server.bodies) == 4


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("$NO_SUCH_PLACE/v1", "the environment has no NO_SUCH_PLACE"),
        ("http://me:secret@127.0.0.1/v1", "without a user"),
        ("http://127.0.0.1/v1?key=secret", "without a user, a query or a key"),
        ("ftp://127.0.0.1/v1", "give http"),
        ("http://", "give http"),
        ("${", "no address"),
    ],
)
def test_addresses_that_are_none(server, url, message):
    with pytest.raises(InputError, match=f"models.teacher.server.base_url: .*{message}") as error:
        run({**document(server), "server": {"base_url": url}})
    assert "secret" not in str(error.value)


def test_the_address_may_come_from_the_environment(server, monkeypatch):
    monkeypatch.setenv("TEACHER_HOST", f"127.0.0.1:{server.port}")
    assert len(run(document(server, base_url="http://${TEACHER_HOST}/v1/"))) == 12


def test_a_model_without_a_server_is_refused(model_doc):
    with pytest.raises(InputError, match=r"models\.tiny\.server: .*no block says which serves this model"):
        open_engine("openai", model_doc, SAMPLING)
