"""Helpers of the tests of the engine openai: a served model, requests for it, a run of them."""

import polars as pl

from orion.engines import Completion, GenerationConfig, Request, RuntimeOptions, Sampling
from orion.engines.openai import OpenAIEngine
from orion.engines.retries import RetryPolicy
from orion.models import served, templates
from orion.models.document import ModelDocument
from tests.helpers.openai_server import answer

SAMPLING = Sampling(temperature=0.8, top_p=0.9, max_tokens=24, repetition_penalty=1.0)
# short waits between tries; limits that no busy machine reaches: a test of one of them sets it
QUICK = RetryPolicy(tries=4, timeout_s=600.0, backoff_s=0.02, outage_s=600.0, start_s=600.0)

# a model that is only served
TEACHER = served.served_document("teacher", "org/teacher", None, context_length=4096)


GENERATION = GenerationConfig(
    num_samples=3,
    temperature=0.8,
    top_p=0.9,
    repetition_penalty=1.0,
    max_tokens=24,
    seed=0,
    engine="openai",
)


def make_requests(n: int = 12) -> list[Request]:
    tokenizer = served.ServedTokenizer(TEACHER)
    turns = [[{"role": "user", "content": f"w{i // 3}"}] for i in range(n)]
    return [
        Request(f"r{i}", templates.render(tokenizer, turn), 1000 + i)
        for i, turn in enumerate(turns)
    ]


def make_table(n: int) -> pl.DataFrame:
    """`make_requests` as the completion store takes them: three samples of each prompt."""
    return pl.DataFrame(
        {
            "problem_id": f"p{i // 3}",
            "sample_id": i % 3,
            "template": "solve",
            "prompt": request.prompt,
        }
        for i, request in enumerate(make_requests(n))
    )


def open_openai(
    server,
    document: ModelDocument = TEACHER,
    sampling: Sampling = SAMPLING,
    *,
    retry_policy: RetryPolicy = QUICK,
    **options,
) -> OpenAIEngine:
    """The engine openai; ``options``: of RuntimeOptions."""
    return OpenAIEngine(
        document,
        sampling,
        RuntimeOptions(**{"base_url": server.url, **options}),
        retry_policy=retry_policy,
    )


def run(
    server,
    requests: list[Request] | None = None,
    sampling: Sampling = SAMPLING,
    document: ModelDocument = TEACHER,
    **options,
) -> dict[str, Completion]:
    """The completions by key."""
    engine = open_openai(server, document, sampling, **options)
    requests = make_requests() if requests is None else requests
    answers = list(engine.generate(requests))
    assert len({a.key for a in answers}) == len(answers) == len(requests)
    return {a.key: a for a in answers}


def fail_first(failure):
    """A script whose first attempt at every question fails."""
    return lambda body, attempt: failure if attempt == 0 else answer(body)


def malformed_answer(**changes):
    """A valid answer with some of its parts replaced."""
    valid = answer({"prompt": 1})
    choice = {**valid["choices"][0], **changes.pop("choice", {})}
    return {**valid, "choices": [choice], **changes}
