"""What one server's requests look like: mapped parameters, headers, query, and their keys."""

from dataclasses import replace
from functools import partial

import pytest

from orion import completions
from orion.engines import RequestMapping, RuntimeOptions
from orion.errors import InputError
from tests.helpers.engine_requests import (
    GENERATION,
    SAMPLING,
    TEACHER,
    make_requests,
    make_table,
    run,
)
from tests.helpers.openai_server import answer

REASONING = RequestMapping(
    rename={"max_tokens": "max_completion_tokens"},
    drop=["temperature", "top_p"],
    add={"reasoning_effort": "low"},
)
SECRET = "azure-0123456789"


def test_a_reasoning_model_gets_what_it_takes(server):
    def script(body, attempt):
        if {"max_tokens", "temperature", "top_p"} & set(body):
            return (400, {}, {"error": {"message": "Unsupported parameter: 'max_tokens'"}})
        return answer(body)

    server.script = script
    with pytest.raises(
        InputError,
        match=r"Unsupported parameter: 'max_tokens' \(a parameter that the server refuses: see "
        r"models\.teacher\.server\.request\)",
    ):
        run(server)
    found = run(server, sampling=replace(SAMPLING, request=REASONING))
    assert {a.finish_reason for a in found.values()} == {"stop"}
    sent = server.bodies[-1]
    assert sent["max_completion_tokens"] == 24 and sent["reasoning_effort"] == "low"
    assert {"seed", "messages", "model"} <= set(sent)


def test_headers_and_query_come_from_the_environment_and_are_never_shown(
    server, monkeypatch, capsys
):
    monkeypatch.setenv("AZURE_KEY", f" {SECRET}\n")
    options = {
        "headers": {"api-key": "$AZURE_KEY", "X-Title": "a $$5 run"},
        "query": {"api-version": "2024-10-21", "code": "x$AZURE_KEY"},
    }
    server.script = lambda body, attempt: (
        (500, {}, {"error": f"the key {SECRET} is slow"})
        if attempt == 0
        else answer(body, f"I saw {SECRET}")
    )
    found = run(server, make_requests(3), **options)
    path = f"/v1/chat/completions?api-version=2024-10-21&code=x{SECRET}"
    assert {body["path"] for body in server.bodies} == {path}
    assert {h["api-key"] for h in server.headers} == {SECRET}
    assert {h["X-Title"] for h in server.headers} == {"a $5 run"}
    assert {a.response for a in found.values()} == {"I saw ***"}
    assert SECRET not in "".join(capsys.readouterr())
    monkeypatch.delenv("AZURE_KEY")
    with pytest.raises(
        InputError,
        match=r"models\.teacher\.server\.headers\.api-key: the environment has no AZURE_KEY; exp",
    ):
        run(server, **options)
    monkeypatch.setenv("AZURE_KEY", "k\u00e9y-0123456789")
    with pytest.raises(InputError, match=r"headers\.api-key: holds characters that no") as odd:
        run(server, **options)
    assert "0123456789" not in str(odd.value)


def test_answers_under_another_mapping_are_others_and_a_new_name_is_none(server, tmp_path):
    complete = partial(
        completions.complete,
        make_table(6),
        document=TEACHER,
        root=tmp_path,
        options=RuntimeOptions(base_url=server.url),
    )

    def ask(mapping):
        before = len(server.bodies)
        complete(generation=replace(GENERATION, request=mapping))
        return len(server.bodies) - before

    assert ask(None) == 6
    # a mapping that only renames asks for the same answers, which are there
    assert ask(RequestMapping(rename={"max_tokens": "max_completion_tokens"})) == 0
    assert ask(RequestMapping()) == 0
    assert ask(REASONING) == 6
    assert ask(replace(REASONING, rename={}, drop=["top_p", "temperature"])) == 0
    assert ask(replace(REASONING, add={"reasoning_effort": "high"})) == 6
    assert ask(None) == 0
