"""The engine openai against a scripted server: requests, answers, concurrency and budget."""

import json
import random
import threading
from dataclasses import replace
from functools import partial

import pytest

from orion import completions
from orion.engines import (
    Request,
    RuntimeOptions,
    open_engine,
    openai_protocol,
)
from orion.errors import InputError
from orion.models import checkpoints, templates
from orion.provenance import canonical_json
from orion.stages import model
from tests.helpers.engine_requests import (
    GENERATION,
    SAMPLING,
    TEACHER,
    make_requests,
    make_table,
    malformed_answer,
    open_openai,
    run,
)
from tests.helpers.openai_server import GUARD_S, HANG, answer, together


def test_answers_depend_on_neither_concurrency_nor_order(server):
    wanted = make_requests(30)
    alone = run(server, wanted, batch_size=1)
    assert run(server, wanted[::-1], batch_size=30) == alone
    assert run(server, random.Random(1).sample(wanted, 30), batch_size=4) == alone
    assert len({a.response for a in alone.values()}) == 30
    assert {(a.finish_reason, a.prompt_tokens, a.completion_tokens) for a in alone.values()} == {
        ("stop", 7, 5)
    }


def test_what_a_served_model_is_asked(server):
    tokenizer = checkpoints.load_tokenizer(TEACHER)
    turn = [{"role": "user", "content": "1 + 1 = ?"}]
    prompts = [
        templates.render(tokenizer, turn),
        templates.render(tokenizer, turn, enable_thinking=False),
    ]
    run(
        server,
        [Request(str(i), prompt, 2**62 + 5 + i) for i, prompt in enumerate(prompts)],
        batch_size=1,
    )
    common = {"path": "/v1/chat/completions", "model": "org/teacher", "messages": turn}
    common |= {"temperature": 0.8, "top_p": 0.9, "max_tokens": 24}
    assert server.bodies[0] == {**common, "seed": 5}
    assert server.bodies[1] == {
        **common,
        "seed": 6,
        "chat_template_kwargs": {"enable_thinking": False},
    }
    assert "Authorization" not in server.headers[0]
    run(server, make_requests(1), replace(SAMPLING, repetition_penalty=1.1))
    assert server.bodies[2] == {
        **server.bodies[2],
        "model": "org/teacher",
        "repetition_penalty": 1.1,
    }
    every = {"top_k": 5, "min_p": 0.1, "presence_penalty": 0.2, "frequency_penalty": -0.3}
    run(server, make_requests(1), replace(SAMPLING, **every, stop=("a", "b")))
    assert {key: server.bodies[3][key] for key in (*every, "stop")} == {**every, "stop": ["a", "b"]}


def test_an_answer_is_cut_at_a_stop_string_that_the_servers_ids_hold(server, document):
    tokenizer = checkpoints.load_tokenizer(document)
    ids = tokenizer.encode("w5 w6 w7 w8")
    server.script = lambda body, attempt: malformed_answer(choice={"token_ids": ids})
    sampling = replace(SAMPLING, stop=("w7",))
    found = run(server, [Request("a", "w1", 4)], sampling, document=document)
    assert found["a"].response == "w5 w6 " and found["a"].finish_reason == "stop"


def test_what_a_checkpoint_is_asked(server, document):
    document = replace(document, served_name="student")
    tokenizer = checkpoints.load_tokenizer(document)
    found = run(server, [Request("a", "w1 <user> w2", 3)], document=document)
    body = {
        "path": "/v1/completions",
        "model": "student",
        "prompt": tokenizer.encode("w1 <user> w2"),
    }
    body |= {
        "return_token_ids": True,
        "temperature": 0.8,
        "top_p": 0.9,
        "max_tokens": 24,
        "seed": 3,
    }
    assert server.bodies == [body]
    assert found["a"].response.startswith("answer ")
    # ids of the server are decoded here; an id outside of the vocabulary decodes to nothing
    ids = [*tokenizer.encode("w5 w6 <user>"), 10**6, tokenizer.eos_token_id]
    server.script = lambda body, attempt: malformed_answer(
        choice={"text": " w5w6", "token_ids": ids}
    )
    assert (
        run(server, [Request("a", "w1 <user> w2", 4)], document=document)["a"].response == "w5 w6"
    )


def test_a_server_beside_a_checkpoint_changes_no_digest(document):
    source = {"kind": "path", "path": document.path}
    config = model.ModelConfig(source, dtype="float32", trust_remote_code=False)
    alone = model.make_document("tiny", config, None)
    unnamed = replace(config, server=model.ServerConfig())
    assert model.make_document("tiny", unnamed, None) == alone
    named = replace(config, server=model.ServerConfig("student"))
    beside = model.make_document("tiny", named, None)
    assert beside == replace(alone, served_name="student") and beside.digest == document.digest


def test_what_generation_config_would_change_is_set_to_neutral():
    file = {"top_k": 20, "top_p": 0.8, "repetition_penalty": 1.05, "min_p": None, "eos_token_id": 1}
    body = openai_protocol.completion_body("m", [1], Request("a", "w1", 3), SAMPLING, file)
    assert (body["top_k"], body["repetition_penalty"], body["top_p"]) == (
        -1,
        1.0,
        0.9,
    ) and "min_p" not in body
    body = openai_protocol.completion_body(
        "m", [1], Request("a", "w1", 3), replace(SAMPLING, repetition_penalty=1.3), file
    )
    assert body["repetition_penalty"] == 1.3


def test_a_served_models_prompt_is_measured_by_the_server_and_its_answer_paid_for_once(
    server, tmp_path
):
    complete = partial(
        completions.complete,
        make_table(12),
        generation=GENERATION,
        root=tmp_path,
        options=RuntimeOptions(base_url=server.url),
    )

    def complete_in_context(context_length):
        done = complete(document=replace(TEACHER, context_length=context_length))
        return set(
            done.select("finish_reason", "prompt_tokens", "completion_tokens").iter_rows()
        ), done["response"]

    # the server counts 7 tokens, and answers what the configured context has no room for
    reasons, texts = complete_in_context(30)
    assert (
        reasons == {("prompt_too_long", 7, 0)} and set(texts) == {""} and len(server.bodies) == 12
    )
    assert complete_in_context(30)[0] == reasons and len(server.bodies) == 12
    reasons, texts = complete_in_context(31)
    assert reasons == {("stop", 7, 5)} and len(set(texts)) == 12 and len(server.bodies) == 12


def test_where_only_refused_prompts_are_left_a_rerun_ends(server, tmp_path):
    """Eight refusals and no answer mean a wrong configuration, unless nearly all is stored."""
    refused = {request.prompt for request in make_requests(600)[::60]}
    blocked = (400, {}, {"error": {"message": "content policy"}})
    # an answer first, which shows that the server is working
    server.script = lambda body, attempt: (
        blocked if canonical_json({"messages": body["messages"]}) in refused else answer(body)
    )
    complete = partial(
        completions.complete,
        make_table(600),
        document=TEACHER,
        root=tmp_path,
        generation=GENERATION,
    )
    complete = partial(complete, options=RuntimeOptions(base_url=server.url, batch_size=1))
    first = complete()
    assert first["finish_reason"].value_counts(sort=True)["count"].to_list() == [570, 30]
    before = len(server.bodies)
    assert complete().equals(first)
    # each of them twice, as in the run before
    assert len(server.bodies) == before + 60
    server.script = lambda body, attempt: blocked
    with pytest.raises(InputError, match="answered none of 8 requests"):
        complete(generation=replace(GENERATION, seed=1))


def test_half_surrogates_do_not_reach_the_tables(server):
    server.script = lambda body, attempt: json.dumps(answer(body, "a\ud800b")).encode()
    # one of three bytes each, in UTF-8 as Python would force it
    assert run(server, make_requests(1))["r0"].response == "a\ufffd\ufffd\ufffdb"


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
def test_reasoning_is_put_back(server, field):
    cases = {
        0: (
            answer({"messages": 1}, "\n\nIt is 2.", **{field: "\n1 and 1\n"}),
            "<think>\n1 and 1\n</think>\n\nIt is 2.",
        ),
        1: (answer({"messages": 1}, "It is 2.", **{field: ""}), "It is 2."),
        2: (
            answer({"messages": 1}, None, "length", content=None, **{field: "Hm"}),
            "<think>\nHm\n",
        ),
        3: (answer({"messages": 1}, "", "stop", **{field: "Hm"}), "<think>\nHm\n</think>\n\n"),
    }
    server.script = lambda body, attempt: cases[body["seed"] - 1000][0]
    found = run(server, make_requests(4))
    assert [found[f"r{i}"].response for i in range(4)] == [text for _, text in cases.values()]
    assert found["r2"].finish_reason == "length"


def test_a_filtered_answer_is_kept_under_its_reason(server):
    server.script = lambda body, attempt: answer(body, "half", "content_filter")
    found = run(server, make_requests(2))
    assert {(a.finish_reason, a.response) for a in found.values()} == {("content_filter", "half")}
    assert set(server.attempts.values()) == {1}


def test_no_more_requests_at_once_than_wanted(server):
    server.script = together(5)
    run(server, make_requests(30), batch_size=5)
    assert server.most_busy == 5


def test_results_come_while_others_are_under_way_and_closing_cancels(server):
    server.script = lambda body, attempt: HANG if body["seed"] >= 1003 else answer(body)
    engine = open_openai(server, batch_size=6)
    before = threading.active_count()
    stream = engine.generate(make_requests(30))
    assert {next(stream).key for _ in range(3)} == {"r0", "r1", "r2"}
    # the server holds three requests and never answers: only cancelling them ends this
    closing = threading.Thread(target=stream.close, daemon=True)
    closing.start()
    closing.join(GUARD_S)
    assert not closing.is_alive()
    assert not [thread for thread in threading.enumerate() if thread.name == "openai"]
    assert len(server.bodies) <= 12 and threading.active_count() <= before + 12
    engine.generate(make_requests(3)).close()
    assert list(engine.generate([])) == []


def test_a_budget_ends_the_run_and_a_higher_one_asks_for_the_rest_only(server, tmp_path):
    complete = partial(
        completions.complete, make_table(30), document=TEACHER, generation=GENERATION, root=tmp_path
    )
    options = RuntimeOptions(base_url=server.url, batch_size=1)
    # 12 tokens per answer: the sixth is the first to reach 70
    with pytest.raises(
        InputError,
        match=r"token budget of 70 is used up \(72 counted\); 24 of 30 completions are missing",
    ):
        complete(options=replace(options, token_budget=70))
    assert len(server.bodies) == 6
    done = complete(options=replace(options, token_budget=24 * 12))
    assert done.height == 30 and set(done["finish_reason"]) == {"stop"}
    assert len(server.bodies) == 30 and len(server.attempts) == 30
    assert complete(options=replace(options, token_budget=1)).equals(done)


def test_a_budget_lets_what_is_under_way_end(server):
    server.script = together(4)
    engine = open_openai(server, batch_size=4, token_budget=1)
    found = []
    with pytest.raises(InputError, match="token budget"):
        found.extend(engine.generate(make_requests(20)))
    assert len(server.bodies) == 4


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("$NO_SUCH_PLACE/v1", "the environment has no NO_SUCH_PLACE"),
        ("http://me:secret@127.0.0.1/v1", "without a user"),
        ("http://127.0.0.1/v1?key=secret", "without a user, a query or a key"),
        ("ftp://127.0.0.1/v1", "give http"),
        ("http://", "give http"),
        ("${", "not an address"),
    ],
)
def test_addresses_that_are_none(server, url, message):
    with pytest.raises(InputError, match=f"models.teacher.server.base_url: .*{message}") as error:
        run(server, base_url=url)
    assert "secret" not in str(error.value)


def test_the_address_may_come_from_the_environment(server, monkeypatch):
    monkeypatch.setenv("TEACHER_HOST", f"127.0.0.1:{server.port}")
    assert len(run(server, base_url="http://${TEACHER_HOST}/v1/")) == 12


def test_a_model_without_a_server_is_refused(document):
    with pytest.raises(
        InputError,
        match=r"models\.tiny\.server\.base_url: the engine openai needs the address of a server",
    ):
        open_engine("openai", document, SAMPLING)
