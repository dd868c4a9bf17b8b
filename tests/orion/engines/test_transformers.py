"""The engine transformers against the library's generation, and against itself in other batches."""

import random
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, MistralConfig, MistralForCausalLM

from orion.engines import Completion, Request, RuntimeOptions, Sampling, open_engine
from orion.engines.sampling import draw_tokens
from orion.errors import InputError
from orion.models import checkpoints
from orion.models.document import ModelDocument
from tests.helpers.tiny_models import EOS, PAD, save

SAMPLING = Sampling(temperature=0.8, top_p=1.0, max_tokens=24, repetition_penalty=1.0)
GREEDY = replace(SAMPLING, temperature=0.0)


def make_requests(n_prompts: int = 8, k: int = 3) -> list[Request]:
    rng = random.Random(0)
    prompts = [
        " ".join(f"w{rng.randrange(100)}" for _ in range(rng.randint(1, 30)))
        for _ in range(n_prompts)
    ]
    rows = [(i, j, prompt) for i, prompt in enumerate(prompts) for j in range(k)]
    return [Request(f"{i}-{j}", prompt, 1000 * i + j) for i, j, prompt in rows]


def run(
    document: ModelDocument, sampling: Sampling, wanted: list[Request], **options
) -> dict[str, Completion]:
    """The completions by key; ``options``: of RuntimeOptions."""
    options = RuntimeOptions(device="cpu", **options)
    engine = open_engine("transformers", document, sampling, options)
    answers = list(engine.generate(wanted))
    found = {answer.key: answer for answer in answers}
    assert len(found) == len(answers) == len(wanted)
    return found


@pytest.mark.parametrize(
    "sampling",
    [SAMPLING, replace(SAMPLING, top_p=0.9, repetition_penalty=1.3)],
    ids=["plain", "top_p and penalty"],
)
def test_answers_depend_on_neither_batch_nor_order(document, sampling):
    wanted = make_requests()
    alone = run(document, sampling, wanted, batch_size=1)
    shuffled = random.Random(1).sample(wanted, len(wanted))
    assert run(document, sampling, shuffled, batch_size=7, prefill_tokens=40) == alone
    assert run(document, sampling, wanted[::-1], batch_size=64) == alone
    assert len({answer.response for answer in alone.values()}) > len(wanted) * 0.9


def test_sampling_is_the_draw_from_the_models_logits(document):
    # no cache, no padding, no batch: the definition
    model, tokenizer = (
        checkpoints.load_model(document, "cpu"),
        checkpoints.load_tokenizer(document),
    )
    wanted = make_requests(4, 2)
    found = run(document, SAMPLING, wanted)
    for request in wanted:
        ids = tokenizer(request.prompt, add_special_tokens=False)["input_ids"]
        new: list[int] = []
        while len(new) < SAMPLING.max_tokens and not (new and new[-1] in (EOS, PAD)):
            with torch.no_grad():
                logits = model(torch.tensor([ids + new])).logits[:, -1]
            seed, step = torch.tensor([request.seed]), torch.tensor([len(new)])
            new.append(int(draw_tokens(logits, seed, step, temperature=0.8, top_p=1.0)))
        answer = found[request.key]
        assert answer.response == tokenizer.decode(new, skip_special_tokens=True)
        assert (answer.prompt_tokens, answer.completion_tokens) == (len(ids), len(new))
        assert answer.finish_reason == ("stop" if new[-1] in (EOS, PAD) else "length")


def compare_with_generate(document: ModelDocument, sampling: Sampling) -> None:
    model, tokenizer = (
        checkpoints.load_model(document, "cpu"),
        checkpoints.load_tokenizer(document),
    )
    wanted = make_requests(9, 1)
    found = run(document, sampling, wanted, batch_size=5)
    for request in wanted:
        ids = tokenizer(request.prompt, add_special_tokens=False, return_tensors="pt")["input_ids"]
        penalty = sampling.repetition_penalty
        out = model.generate(
            ids, do_sample=False, max_new_tokens=sampling.max_tokens, repetition_penalty=penalty
        )
        expected = tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)
        assert found[request.key].response == expected


@pytest.mark.parametrize("penalty", [1.0, 1.5])
def test_greedy_answers_are_those_of_generate(document, penalty):
    compare_with_generate(document, replace(GREEDY, repetition_penalty=penalty))


def test_sliding_windows_are_kept(tmp_path):
    torch.manual_seed(1)
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    size = {"vocab_size": 110, "hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 64}
    config = MistralConfig(
        **heads, **size, sliding_window=6, max_position_embeddings=96, initializer_range=0.3
    )
    save(tmp_path, MistralForCausalLM(config))
    compare_with_generate(
        checkpoints.checkpoint_document(tmp_path, name="window", dtype="float32"), GREEDY
    )


def test_learned_positions_are_not_exceeded_by_rows_that_ended(tmp_path):
    # rows that ended stay in the pool while most others go on
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=110, n_embd=32, n_layer=2, n_head=4, n_positions=60, initializer_range=0.1
    )
    save(tmp_path, GPT2LMHeadModel(config))
    document = checkpoints.checkpoint_document(
        tmp_path, name="learned", dtype="float32", context_length=60
    )
    rng = random.Random(0)
    prompts = [" ".join(f"w{rng.randrange(100)}" for _ in range(36)) for _ in range(80)]
    wanted = [Request(str(i), prompt, 3000 + i) for i, prompt in enumerate(prompts)]
    sampling = replace(SAMPLING, temperature=1.0)
    found = run(document, sampling, wanted, batch_size=8)
    assert {answer.finish_reason for answer in found.values()} == {"stop", "length"}
    assert run(document, sampling, wanted[:9], batch_size=1).items() <= found.items()


def test_reasons_are_told_apart_and_end_tokens_not_shown(document):
    found = run(document, SAMPLING, make_requests())
    reasons = {answer.finish_reason for answer in found.values()}
    assert reasons == {"stop", "length"}
    for answer in found.values():
        assert answer.finish_reason == "stop" or answer.completion_tokens == SAMPLING.max_tokens
        assert "<" not in answer.response


def test_a_prompt_beyond_the_context_is_an_answer(document):
    room = document.context_length - SAMPLING.max_tokens
    prompts = {"fits": "w1 " * room, "long": "w1 " * (room + 1), "short": "w2"}
    found = run(document, SAMPLING, [Request(key, prompt, 1) for key, prompt in prompts.items()])
    long = found.pop("long")
    assert (long.finish_reason, long.response, long.prompt_tokens) == (
        "prompt_too_long",
        "",
        room + 1,
    )
    assert long.completion_tokens == 0
    assert all(answer.completion_tokens > 0 for answer in found.values())


def test_running_out_of_memory_halves_the_batch_and_loses_nothing(document, monkeypatch):
    wanted = make_requests()
    expected = run(document, SAMPLING, wanted)
    options = RuntimeOptions(device="cpu", batch_size=16)
    engine = open_engine("transformers", document, SAMPLING, options)
    step, calls = engine._step, []

    def step_until_full(pool):
        calls.append(len(pool.rows))
        if len(pool.rows) > 8 and len(calls) > 3:
            raise torch.OutOfMemoryError("pretended")
        return step(pool)

    monkeypatch.setattr(engine, "_step", step_until_full)
    assert {answer.key: answer for answer in engine.generate(wanted)} == expected
    assert engine.batch_size == 8 and max(calls) == 16


def test_a_row_that_alone_exceeds_memory_is_an_error_not_an_exception(document, monkeypatch):
    options = RuntimeOptions(device="cpu", batch_size=4)
    engine = open_engine("transformers", document, SAMPLING, options)

    def never(*args, **kwargs):
        raise torch.OutOfMemoryError("pretended")

    monkeypatch.setattr(engine, "_step", never)
    answers = list(engine.generate(make_requests(3, 1)))
    assert sorted(answer.key for answer in answers) == ["0-0", "1-0", "2-0"]
    assert {answer.finish_reason for answer in answers} == {"error"}


def test_bfloat16_runs(document):
    found = run(replace(document, dtype="bfloat16"), SAMPLING, make_requests(3, 2))
    assert all(answer.completion_tokens > 0 for answer in found.values())


def test_no_requests_no_answers(document):
    assert run(document, SAMPLING, []) == {}


def test_an_empty_prompt_and_an_unknown_engine_are_refused(document):
    with pytest.raises(InputError, match="no token"):
        run(document, SAMPLING, [Request("a", "", 1)])
    with pytest.raises(
        InputError, match="engine: vlm is unknown; one of openai, transformers, vllm"
    ):
        open_engine("vlm", document, SAMPLING)


def test_a_checkpoint_that_changed_is_refused(document):
    changed = replace(document, files={**document.files, "model.safetensors": "0" * 64})
    with pytest.raises(InputError, match=r"not the file that model\.json describes"):
        checkpoints.load_model(changed)


def test_helpers_start_without_torch():
    code = (
        "import sys, orion.completions, orion.engines, orion.models.checkpoints; "
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
