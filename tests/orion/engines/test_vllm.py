"""The engines vllm and openai against a real vLLM, which has its own environment and processes."""

import contextlib
import dataclasses
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from orion.engines import Completion, Request, RuntimeOptions, Sampling, open_engine
from orion.engines.openai import OpenAIEngine
from orion.engines.retries import RetryPolicy
from orion.errors import InputError
from orion.models import checkpoints, served, templates
from orion.models.document import ModelDocument

HELPERS = Path(__file__).parents[2] / "helpers"

SAMPLING = Sampling(temperature=0.8, top_p=0.9, max_tokens=24, repetition_penalty=1.0)
GREEDY = replace(SAMPLING, temperature=0.0, top_p=1.0)
COUNTED = replace(GREEDY, presence_penalty=0.3, frequency_penalty=0.5)
# two float32 implementations of one model: logits closer than this may swap, others may not
NEAR_TIE = 1e-3
ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
}


def make_requests(n_prompts: int = 8, k: int = 3) -> list[Request]:
    rng = random.Random(0)
    prompts = [
        " ".join(f"w{rng.randrange(100)}" for _ in range(rng.randint(1, 30)))
        for _ in range(n_prompts)
    ]
    return [
        Request(f"{i}-{j}", prompt, 2**62 + 1000 * i + j)
        for i, prompt in enumerate(prompts)
        for j in range(k)
    ]


def environment(root: Path) -> dict[str, str]:
    return {**os.environ, **ENVIRONMENT, "PYTHONPATH": str(root)}


def make_job(
    document: ModelDocument,
    wanted: list[Request],
    sampling: Sampling = SAMPLING,
    close_after: int = 0,
    **options,
) -> dict:
    """A job for vllm_jobs.py; ``options``: of RuntimeOptions."""
    return {
        "document": document.as_json(),
        "sampling": dataclasses.asdict(sampling),
        "options": options,
        "requests": [dataclasses.astuple(request) for request in wanted],
        "close_after": close_after,
    }


def make_jobs(llama_document: ModelDocument, adapter_document: ModelDocument) -> dict[str, dict]:
    wanted = make_requests()
    room = llama_document.context_length - SAMPLING.max_tokens
    edge = [
        Request("long", "w1 " * (room + 1), 1),
        Request("fits", "w1 " * room, 1),
        Request("short", "w2", 1),
    ]
    twice = replace(GREEDY, repetition_penalty=1.5)
    return {
        "greedy": make_job(llama_document, wanted, GREEDY, batch_size=16),
        "penalty": make_job(llama_document, wanted, twice, batch_size=16),
        "stop": make_job(llama_document, wanted, replace(GREEDY, stop=("w1", "w5")), batch_size=5),
        "counted": make_job(llama_document, wanted, COUNTED, batch_size=16),
        "one": make_job(llama_document, wanted, replace(SAMPLING, top_k=1), batch_size=16),
        "nearly one": make_job(llama_document, wanted, replace(SAMPLING, min_p=1.0), batch_size=16),
        "sampled": make_job(llama_document, wanted, batch_size=16),
        "shuffled": make_job(
            llama_document, random.Random(1).sample(wanted, len(wanted)), batch_size=3
        ),
        "closed": make_job(llama_document, wanted, close_after=5, batch_size=8),
        "edge": make_job(llama_document, edge, batch_size=4),
        "adapter": make_job(adapter_document, wanted, GREEDY, batch_size=16),
        "share": make_job(llama_document, wanted, gpu_memory_utilization=1.5),
        # more blocks than there is memory for: see vllm_jobs.py
        "memory": {
            **make_job(llama_document, wanted, batch_size=16),
            "environment": {"VLLM_CPU_KVCACHE_SPACE": "9000"},
        },
        "invariant": make_job(llama_document, wanted, batch_invariant=True),
        "empty prompt": make_job(llama_document, [Request("a", "", 1)]),
    }


@pytest.fixture(scope="module")
def done(vllm_python, root, llama_document, adapter_document, tmp_path_factory) -> dict:
    """All jobs in one process, since vLLM takes ten seconds to import."""
    output = tmp_path_factory.mktemp("vllm") / "answers.json"
    wanted = make_jobs(llama_document, adapter_document)
    command = [str(vllm_python), str(HELPERS / "vllm_jobs.py"), str(output)]
    ran = subprocess.run(
        command,
        input=json.dumps(list(wanted.values())),
        env=environment(root),
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert "INFO" not in ran.stdout, "vLLM's log belongs on standard error"
    found = dict(zip(wanted, json.loads(output.read_text()), strict=True))
    return {
        name: rows if isinstance(rows, str) else [Completion(**row) for row in rows]
        for name, rows in found.items()
    }


def by_key(rows: list[Completion]) -> dict[str, Completion]:
    assert len({row.key for row in rows}) == len(rows)
    return {row.key: row for row in rows}


def check_agreement(
    document: ModelDocument, sampling: Sampling, found: dict[str, Completion]
) -> None:
    """Greedy answers are those of the engine transformers, up to a near tie of two logits."""
    model = checkpoints.load_model(document, "cpu")
    tokenizer = checkpoints.load_tokenizer(document)
    engine = open_engine("transformers", document, sampling, RuntimeOptions(device="cpu"))
    same = 0
    for expected in engine.generate(make_requests()):
        got = found[expected.key]
        if got == expected:
            same += 1
            continue
        prompt = {request.key: request.prompt for request in make_requests()}[expected.key]
        ours, theirs = (
            tokenizer.encode(row.response, add_special_tokens=False) for row in (expected, got)
        )
        at = next(i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b)
        ids = torch.tensor([tokenizer.encode(prompt, add_special_tokens=False) + ours[:at]])
        with torch.no_grad():
            logits = model(ids).logits[0, -1]
        assert abs(float(logits[ours[at]] - logits[theirs[at]])) < NEAR_TIE, (expected, got)
    assert same > len(found) / 2


@pytest.mark.vllm
@pytest.mark.slow
@pytest.mark.parametrize("penalty", [1.0, 1.5])
def test_greedy_answers_are_those_of_the_engine_transformers(done, llama_document, penalty):
    found = by_key(done["greedy" if penalty == 1 else "penalty"])
    check_agreement(llama_document, replace(GREEDY, repetition_penalty=penalty), found)
    assert {row.finish_reason for row in found.values()} <= {"stop", "length"}


@pytest.mark.vllm
@pytest.mark.slow
def test_penalties_of_generated_tokens_are_those_of_the_engine_transformers(done, llama_document):
    found = by_key(done["counted"])
    engine = open_engine("transformers", llama_document, COUNTED, RuntimeOptions(device="cpu"))
    same = [found[row.key] == row for row in engine.generate(make_requests())]
    # a near tie may end otherwise
    assert sum(same) >= 0.9 * len(found) and found != by_key(done["greedy"])


@pytest.mark.vllm
@pytest.mark.slow
def test_a_completion_ends_before_a_stop_string(done):
    stopped, cut = by_key(done["stop"]), 0
    for key, row in by_key(done["greedy"]).items():
        text = re.split("w1|w5", row.response)[0]
        assert stopped[key].response == text
        if text != row.response:
            cut += 1
            assert stopped[key].finish_reason == "stop"
            assert stopped[key].completion_tokens <= row.completion_tokens
    assert cut >= 5


@pytest.mark.vllm
@pytest.mark.slow
@pytest.mark.parametrize("job", ["one", "nearly one"])
def test_the_most_probable_token_alone_is_greedy_decoding(done, job):
    assert by_key(done[job]) == by_key(done["greedy"])


@pytest.mark.vllm
@pytest.mark.slow
def test_an_adapter_is_served_unmerged(done, llama_document, adapter_document):
    found = by_key(done["adapter"])
    check_agreement(adapter_document, GREEDY, found)
    assert found != by_key(done["greedy"])


@pytest.mark.vllm
@pytest.mark.slow
def test_seeded_answers_depend_on_neither_batch_nor_order(done):
    alone = by_key(done["sampled"])
    assert by_key(done["shuffled"]) == alone
    assert len({row.response for row in alone.values()}) > len(alone) * 0.9
    # closed early, then asked again
    taken, again = done["closed"][:5], done["closed"][5:]
    assert by_key(again) == alone and all(alone[row.key] == row for row in taken)


@pytest.mark.vllm
@pytest.mark.slow
def test_reasons_and_counts(done, llama_document):
    tokenizer = checkpoints.load_tokenizer(llama_document)
    rows = [*done["sampled"], *done["greedy"]]
    assert {row.finish_reason for row in rows} == {"stop", "length"}
    prompts = {request.key: request.prompt for request in make_requests()}
    for row in rows:
        assert row.prompt_tokens == len(
            tokenizer.encode(prompts[row.key], add_special_tokens=False)
        )
        # the end token is counted and not shown; other special tokens are not shown either
        shown = len(tokenizer.encode(row.response, add_special_tokens=False))
        assert shown < row.completion_tokens or row.finish_reason == "length"
        assert row.completion_tokens == SAMPLING.max_tokens or row.finish_reason == "stop"
        assert "<" not in row.response


@pytest.mark.vllm
@pytest.mark.slow
def test_a_prompt_beyond_the_context_is_an_answer(done, llama_document):
    found = by_key(done["edge"])
    room = llama_document.context_length - SAMPLING.max_tokens
    assert found["long"] == Completion("long", "", "prompt_too_long", room + 1, 0)
    assert found["fits"].completion_tokens > 0 and found["short"].completion_tokens > 0


@pytest.mark.vllm
@pytest.mark.slow
def test_what_cannot_be_is_refused_with_a_cure(done):
    assert "--gpu-memory-percent 150" in done["share"]
    assert "does not start" in done["memory"] and "lower --batch-size (now 16)" in done["memory"]
    assert "no such mode on CPUs" in done["invariant"]
    assert "a prompt has no token" in done["empty prompt"]


def test_an_environment_without_vllm_is_told_which_one_has_it(llama_document, monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(
        InputError, match=r"no vLLM; make setup-vllm builds \.venv-vllm from envs/vllm\.lock"
    ):
        open_engine("vllm", llama_document, SAMPLING)


def render_turn(document: ModelDocument, content: str) -> str:
    """The prompt of one user's turn, with a thinking switch that this template ignores."""
    tokenizer = checkpoints.load_tokenizer(document)
    return templates.render(
        tokenizer, [{"role": "user", "content": content}], enable_thinking=False
    )


class VllmServer:
    """``vllm.entrypoints.openai.api_server`` on a free port of 127.0.0.1.

    ``kill`` sends SIGKILL to all of its processes.
    """

    def __init__(self, python: Path, root: Path, document: ModelDocument, log: Path):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.log = log
        self.command = [
            str(python),
            "-m",
            "vllm.entrypoints.openai.api_server",
            "--model",
            document.path,
        ]
        self.command += [
            "--served-model-name",
            "student",
            "--host",
            "127.0.0.1",
            "--port",
            str(self.port),
        ]
        self.command += [
            "--dtype",
            "float32",
            "--enforce-eager",
            "--max-model-len",
            str(document.context_length),
        ]
        self.command += [
            "--max-num-seqs",
            "16",
            "--no-enable-chunked-prefill",
            "--max-num-batched-tokens",
            "65536",
        ]
        self.environment = environment(root)
        self.start()

    def start(self) -> None:
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self.command, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )

    def wait(self, seconds: float = 1200.0) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=60)
                return
            time.sleep(0.5)
        raise AssertionError(self.log.read_text()[-3000:])

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture(scope="module")
def vllm_server(vllm_python, root, llama_document, tmp_path_factory):
    made = VllmServer(vllm_python, root, llama_document, tmp_path_factory.mktemp("server") / "log")
    try:
        made.wait()
        yield made
    finally:
        made.kill()


@pytest.mark.vllm
@pytest.mark.slow
def test_a_real_server_answers_as_the_offline_engine_and_survives_a_kill(
    done, vllm_server, llama_document, capsys
):
    def open_openai(document, sampling, batch_size=None):
        url = f"http://127.0.0.1:{vllm_server.port}/v1"
        options = RuntimeOptions(batch_size=batch_size, base_url=url)
        policy = RetryPolicy(backoff_s=0.2, outage_s=1200.0)
        return OpenAIEngine(document, sampling, options, retry_policy=policy)

    student = replace(llama_document, served_name="student")
    greedy = open_openai(student, GREEDY, batch_size=8)
    assert by_key(list(greedy.generate(make_requests()))) == by_key(done["greedy"])
    nobody = open_openai(replace(student, served_name="nobody"), GREEDY)
    with pytest.raises(InputError, match=r"HTTP 404.*`nobody`"):
        list(nobody.generate(make_requests(1, 1)))

    # the same model without its checkpoint: the server applies its template and counts tokens
    chat_document = served.served_document(
        "llama", "student", None, context_length=llama_document.context_length
    )
    chat = open_openai(chat_document, GREEDY)
    turns = {"fits": "w1 w2", "long": "w1 " * 90}
    said = by_key(
        list(
            chat.generate(
                [Request(key, render_turn(chat_document, text), 1) for key, text in turns.items()]
            )
        )
    )
    prompt = "<user> w1 w2 <assistant>"
    # it fits the server's context, but leaves no room for max_tokens: answered, cut and paid for
    assert said["long"].finish_reason == "context_full"
    assert said["fits"].prompt_tokens == len(prompt.split())
    same = next(iter(greedy.generate([Request("fits", prompt, 1)])))
    assert (
        said["fits"].response.split() == same.response.split()
        and said["fits"].completion_tokens > 0
    )

    wanted = make_requests(60, 4)
    sampled = open_openai(student, SAMPLING, batch_size=4)
    found: list[Completion] = []
    for completion in sampled.generate(wanted):
        found.append(completion)
        if len(found) == 20:
            vllm_server.kill()
            vllm_server.start()
    assert "trying again" in capsys.readouterr().err
    assert len(found) == len(wanted) and {row.finish_reason for row in found} == {"stop", "length"}
    # another concurrency, another order, a server that never was killed
    again = open_openai(student, SAMPLING, batch_size=16)
    assert by_key(list(again.generate(wanted[::-1]))) == by_key(found)
