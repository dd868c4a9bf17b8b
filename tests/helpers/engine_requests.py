"""What the tests of the engine openai share: a served model, requests for it, and a run of them."""

from orion.engines import Request, Sampling, open_engine
from orion.engines.retries import RetryPolicy
from orion.models import served, templates
from tests.helpers.openai_server import answer

SAMPLING = Sampling(temperature=0.8, top_p=0.9, max_tokens=24, repetition_penalty=1.0)
# limits that no busy machine reaches; a test of one of them sets it
QUICK = RetryPolicy(tries=4, timeout_s=600.0, backoff_s=0.02, outage_s=600.0, start_s=600.0)


# a model that is only served
TEACHER = served.describe("teacher", {"model": "org/teacher"}, context_length=4096)


def requests(n: int = 12) -> list[Request]:
    tokenizer = served.ServedTokenizer(TEACHER)
    asked = [[{"role": "user", "content": f"w{i // 3}"}] for i in range(n)]
    return [
        Request(f"r{i}", templates.render(tokenizer, turn), 1000 + i)
        for i, turn in enumerate(asked)
    ]


def opened(server, doc: dict = TEACHER, sampling=SAMPLING, **options):
    return open_engine(
        "openai", doc, sampling, **{"base_url": server.url, "retry_policy": QUICK, **options}
    )


def run(
    server, wanted: list[Request] | None = None, sampling=SAMPLING, doc: dict = TEACHER, **options
) -> dict:
    engine = opened(server, doc, sampling, **options)
    wanted = requests() if wanted is None else wanted
    answers = list(engine.generate(wanted))
    assert len({a.key for a in answers}) == len(answers) == len(wanted)
    return {a.key: a for a in answers}


def first(failure):
    """A script whose first attempt at every question fails."""
    return lambda body, attempt: failure if attempt == 0 else answer(body)


def spoilt(**changes):
    """A sane answer with some of its parts replaced."""
    sane = answer({"prompt": 1})
    choice = {**sane["choices"][0], **changes.pop("choice", {})}
    return {**sane, "choices": [choice], **changes}
