"""The engine openai and prompts that are too long, by our own count or by the server's."""

from dataclasses import replace

import polars as pl
import pytest

from orion import completions
from orion.completions import compaction
from orion.engines import Request, RuntimeOptions
from orion.errors import InputError
from tests.helpers.engine_requests import (
    GENERATION,
    SAMPLING,
    TEACHER,
    make_requests,
    run,
)
from tests.helpers.openai_server import answer


def test_a_prompt_beyond_the_context_is_an_answer(server, document):
    room = document.context_length - SAMPLING.max_tokens
    found = run(
        server,
        [Request("long", "w1 " * (room + 1), 1), Request("fits", "w1 " * room, 1)],
        document=document,
    )
    assert (found["long"].finish_reason, found["long"].prompt_tokens) == (
        "prompt_too_long",
        room + 1,
    )
    assert found["fits"].finish_reason == "stop" and len(server.bodies) == 1
    assert (
        run(server, [Request("long", "w1 " * (room + 1), 1)], document=document)["long"].response
        == ""
    )


def test_an_answer_that_was_cut_for_want_of_room_is_paid_for_once_and_valid_for_no_table(
    server, tmp_path
):
    server.script = lambda body, attempt: answer(body, reason="length")
    tight = replace(TEACHER, context_length=30)
    assert {a.finish_reason for a in run(server, document=tight).values()} == {"context_full"}
    assert {a.finish_reason for a in run(server).values()} == {"length"}
    table = pl.DataFrame(
        {"problem_id": f"p{i}", "sample_id": 0, "prompt": request.prompt}
        for i, request in enumerate(make_requests(12)[::3])
    )

    def complete(document):
        asked = len(server.bodies)
        options = RuntimeOptions(base_url=server.url)
        done = completions.complete(
            table, document=document, generation=GENERATION, root=tmp_path, options=options
        )
        rows = done.select("finish_reason", "response", "completion_tokens").unique().rows()
        return rows, len(server.bodies) - asked

    assert complete(tight) == ([("prompt_too_long", "", 0)], 4)
    assert complete(tight) == ([("prompt_too_long", "", 0)], 0)
    # a server with more room is asked again, and what it says stays
    server.script = lambda body, attempt: answer(body, "whole")
    assert complete(TEACHER) == ([("stop", "whole", 5)], 4)
    assert complete(TEACHER) == ([("stop", "whole", 5)], 0)
    [folder] = tmp_path.iterdir()
    assert compaction.compact(folder, max_small_parts=1) == 1
    assert complete(TEACHER) == ([("stop", "whole", 5)], 0)


@pytest.mark.parametrize(
    "refusal",
    [
        {
            "error": {
                "message": "This model's maximum context length is 96 tokens. However, you "
                "requested 120"
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
    found = run(server, make_requests(20), batch_size=1)
    assert [a.finish_reason for a in found.values()] == ["stop"] + ["prompt_too_long"] * 19
    assert {a.completion_tokens for a in list(found.values())[1:]} == {0}
    assert max(server.attempts.values()) == 1


TOO_LONG = (400, {}, {"error": {"message": "This model's maximum context length is 48 tokens"}})


def test_a_checkpoints_server_with_a_shorter_context_ends_the_run(server, document):
    server.script = lambda body, attempt: TOO_LONG if body["seed"] == 2 else answer(body)
    message = (
        rf"shorter context than the {document.context_length} tokens of "
        r"models\.\w+\.context_length \(This model's max"
    )
    with pytest.raises(InputError, match=message):
        run(
            server,
            [Request("a", "w1", 1), Request("b", "w1 w2", 2)],
            document=document,
            batch_size=1,
        )


def test_a_served_models_server_with_a_shorter_context_ends_the_run(server):
    server.script = lambda body, attempt: TOO_LONG
    with pytest.raises(
        InputError,
        match=r"shorter context than the 4,096 tokens of models\.teacher\.context_length",
    ):
        run(server, make_requests(20), batch_size=1)
    assert len(server.bodies) == 8
    # seven may be an accident, and so may prompts that are as long as the context
    assert {a.finish_reason for a in run(server, make_requests(7)).values()} == {"prompt_too_long"}
    tight = replace(TEACHER, context_length=30)
    assert {a.finish_reason for a in run(server, make_requests(20), document=tight).values()} == {
        "prompt_too_long"
    }
