"""The engine for servers against a scripted one: what is asked, what is read, how much at once and how much in all."""

import json
import random
import threading
from dataclasses import replace
from functools import partial

import polars as pl
import pytest

from orion import completions
from orion.engines import Request, open_engine, openai_protocol
from orion.errors import InputError
from orion.models import checkpoints, templates
from orion.provenance import canonical_json
from orion.stages import model
from tests.helpers.engine_requests import SAMPLING, TEACHER, opened, requests, run, spoilt
from tests.helpers.openai_server import GUARD_S, HANG, answer, together


def test_answers_depend_on_neither_concurrency_nor_order(server):
    wanted = requests(30)
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
    run(server, requests(1), replace(SAMPLING, repetition_penalty=1.1))
    assert server.bodies[2] == {
        **server.bodies[2],
        "model": "org/teacher",
        "repetition_penalty": 1.1,
    }


def test_what_a_checkpoint_is_asked(server, document):
    doc = {**document, "served_model": "student"}
    tokenizer = checkpoints.load_tokenizer(doc)
    found = run(server, [Request("a", "w1 <user> w2", 3)], doc=doc)
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
    # ids, where the server gives them, are decoded here; one that is in no vocabulary decodes to nothing
    ids = tokenizer.encode("w5 w6 <user>") + [10**6, tokenizer.eos_token_id]
    server.script = lambda body, attempt: spoilt(choice={"text": " w5w6", "token_ids": ids})
    assert run(server, [Request("a", "w1 <user> w2", 4)], doc=doc)["a"].response == "w5 w6"


def test_a_server_beside_a_checkpoint_changes_no_digest(document):
    keys = {
        "source": {"kind": "path", "path": document.path},
        "dtype": "float32",
        "trust_remote_code": False,
    }
    alone = model.described("tiny", keys, None)
    assert model.described("tiny", {**keys, "server": {"served_model": None}}, None) == alone
    beside = model.described("tiny", {**keys, "server": {"served_model": "student"}}, None)
    assert beside == {**alone, "served_model": "student"} and beside["digest"] == document.digest


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


def test_a_prompt_beyond_the_context_is_an_answer(server, document):
    room = document.context_length - SAMPLING.max_tokens
    found = run(
        server,
        [Request("long", "w1 " * (room + 1), 1), Request("fits", "w1 " * room, 1)],
        doc=document,
    )
    assert (found["long"].finish_reason, found["long"].prompt_tokens) == (
        "prompt_too_long",
        room + 1,
    )
    assert found["fits"].finish_reason == "stop" and len(server.bodies) == 1
    assert (
        run(server, [Request("long", "w1 " * (room + 1), 1)], doc=document)["long"].response == ""
    )


GENERATION = {
    "engine": "openai",
    "temperature": 0.8,
    "top_p": 0.9,
    "repetition_penalty": 1.0,
    "max_tokens": 24,
    "seed": 0,
}


def table(n: int) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "problem_id": f"p{i // 3}",
            "sample_id": i % 3,
            "template": "solve",
            "prompt": request.prompt,
        }
        for i, request in enumerate(requests(n))
    )


def test_a_served_models_prompt_is_measured_by_the_server_and_its_answer_paid_for_once(
    server, tmp_path
):
    complete = partial(
        completions.complete, table(12), generation=GENERATION, root=tmp_path, base_url=server.url
    )

    def shown(context_length):
        done = complete(document={**TEACHER, "context_length": context_length})
        return set(
            done.select("finish_reason", "prompt_tokens", "completion_tokens").iter_rows()
        ), done["response"]

    # the server counts 7 tokens, and answers what the configured context has no room for
    reasons, texts = shown(30)
    assert (
        reasons == {("prompt_too_long", 7, 0)} and set(texts) == {""} and len(server.bodies) == 12
    )
    assert shown(30)[0] == reasons and len(server.bodies) == 12
    reasons, texts = shown(31)
    assert reasons == {("stop", 7, 5)} and len(set(texts)) == 12 and len(server.bodies) == 12


def test_an_answer_that_was_cut_for_want_of_room_is_none(server):
    server.script = lambda body, attempt: answer(body, reason="length")
    tight = {**TEACHER, "context_length": 30}
    assert {(a.finish_reason, a.response) for a in run(server, doc=tight).values()} == {
        ("prompt_too_long", "")
    }
    assert {a.finish_reason for a in run(server).values()} == {"length"}


def test_where_only_refused_prompts_are_left_a_rerun_ends(server, tmp_path):
    """Eight refusals and no answer look like a wrong configuration, but not where nearly all of the table is there."""
    refused = {request.prompt for request in requests(600)[::60]}
    blocked = (400, {}, {"error": {"message": "content policy"}})
    # an answer first, which shows that the server is sane
    server.script = lambda body, attempt: (
        blocked if canonical_json({"messages": body["messages"]}) in refused else answer(body)
    )
    complete = partial(
        completions.complete, table(600), document=TEACHER, root=tmp_path, generation=GENERATION
    )
    first = complete(base_url=server.url, batch_size=1)
    assert first["finish_reason"].value_counts(sort=True)["count"].to_list() == [570, 30]
    before = len(server.bodies)
    assert complete(base_url=server.url, batch_size=1).equals(first)
    # each of them twice, as in the run before
    assert len(server.bodies) == before + 60
    server.script = lambda body, attempt: blocked
    with pytest.raises(InputError, match="answered none of 8 requests"):
        complete(base_url=server.url, batch_size=1, generation={**GENERATION, "seed": 1})


@pytest.mark.parametrize(
    "refusal",
    [
        {
            "error": {
                "message": "This model's maximum context length is 96 tokens. However, you requested 120"
            }
        },
        {"error": {"message": "Please shorten", "code": "context_length_exceeded"}},
        {
            "error": {
                "message": "the request exceeds the available context size",
                "type": "exceed_context_size_error",
            }
        },
    ],
)
def test_a_server_that_finds_the_prompt_too_long(server, refusal):
    server.script = lambda body, attempt: (
        answer(body) if body["seed"] == 1000 else (400, {}, refusal)
    )
    found = run(server, requests(20), batch_size=1)
    assert [a.finish_reason for a in found.values()] == ["stop"] + ["prompt_too_long"] * 19
    assert {a.completion_tokens for a in list(found.values())[1:]} == {0}
    assert max(server.attempts.values()) == 1


OVERFLOWS = (400, {}, {"error": {"message": "This model's maximum context length is 48 tokens"}})


def test_a_checkpoints_server_with_a_shorter_context_ends_the_run(server, document):
    server.script = lambda body, attempt: OVERFLOWS if body["seed"] == 2 else answer(body)
    message = rf"shorter context than the {document.context_length} tokens of models\.\w+\.context_length \(This model's max"
    with pytest.raises(InputError, match=message):
        run(server, [Request("a", "w1", 1), Request("b", "w1 w2", 2)], doc=document, batch_size=1)


def test_a_served_models_server_with_a_shorter_context_ends_the_run(server):
    server.script = lambda body, attempt: OVERFLOWS
    with pytest.raises(
        InputError,
        match=r"shorter context than the 4,096 tokens of models\.teacher\.context_length",
    ):
        run(server, requests(20), batch_size=1)
    assert len(server.bodies) == 8
    # seven may be an accident, and so may prompts that are as long as the context
    assert {a.finish_reason for a in run(server, requests(7)).values()} == {"prompt_too_long"}
    tight = {**TEACHER, "context_length": 30}
    assert {a.finish_reason for a in run(server, requests(20), doc=tight).values()} == {
        "prompt_too_long"
    }


def test_half_surrogates_do_not_reach_the_tables(server):
    server.script = lambda body, attempt: json.dumps(answer(body, "a\ud800b")).encode()
    # one of three bytes each, in UTF-8 as Python would force it
    assert run(server, requests(1))["r0"].response == "a\ufffd\ufffd\ufffdb"


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
    found = run(server, requests(4))
    assert [found[f"r{i}"].response for i in range(4)] == [text for _, text in cases.values()]
    assert found["r2"].finish_reason == "length"


def test_a_filtered_answer_is_an_error(server):
    server.script = lambda body, attempt: answer(body, "half", "content_filter")
    found = run(server, requests(2))
    assert {(a.finish_reason, a.response) for a in found.values()} == {("error", "")}


def test_no_more_requests_at_once_than_wanted(server):
    server.script = together(5)
    run(server, requests(30), batch_size=5)
    assert server.most_busy == 5


def test_results_come_while_others_are_under_way_and_closing_cancels(server):
    server.script = lambda body, attempt: HANG if body["seed"] >= 1003 else answer(body)
    engine = opened(server, batch_size=6)
    before = threading.active_count()
    stream = engine.generate(requests(30))
    assert {next(stream).key for _ in range(3)} == {"r0", "r1", "r2"}
    # the server holds three requests and never answers: only cancelling them ends this
    closing = threading.Thread(target=stream.close, daemon=True)
    closing.start()
    closing.join(GUARD_S)
    assert not closing.is_alive()
    assert not [thread for thread in threading.enumerate() if thread.name == "openai"]
    assert len(server.bodies) <= 12 and threading.active_count() <= before + 12
    engine.generate(requests(3)).close()
    assert list(engine.generate([])) == []


def test_a_budget_ends_the_run_and_a_higher_one_asks_for_the_rest_only(server, tmp_path):
    complete = partial(
        completions.complete, table(30), document=TEACHER, generation=GENERATION, root=tmp_path
    )
    complete = partial(complete, base_url=server.url, batch_size=1)
    # 12 tokens an answer: the sixth is the first to reach 70
    with pytest.raises(
        InputError,
        match=r"token budget of 70 is used up \(72 counted\); 24 of 30 completions are missing",
    ):
        complete(token_budget=70)
    assert len(server.bodies) == 6
    done = complete(token_budget=24 * 12)
    assert done.height == 30 and set(done["finish_reason"]) == {"stop"}
    assert len(server.bodies) == 30 and len(server.attempts) == 30
    assert complete(token_budget=1).equals(done)


def test_a_budget_lets_what_is_under_way_end(server):
    server.script = together(4)
    engine = opened(server, batch_size=4, token_budget=1)
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
        run(server, base_url=url)
    assert "secret" not in str(error.value)


def test_the_address_may_come_from_the_environment(server, monkeypatch):
    monkeypatch.setenv("TEACHER_HOST", f"127.0.0.1:{server.port}")
    assert len(run(server, base_url="http://${TEACHER_HOST}/v1/")) == 12


def test_a_model_without_a_server_is_refused(document):
    with pytest.raises(
        InputError,
        match=r"models\.tiny\.server\.base_url: .*nothing says where one serves this model",
    ):
        open_engine("openai", document, SAMPLING)
