"""Penalties, top-k, min-p and stop strings: their definitions, and in the engine transformers."""

import math
from dataclasses import replace

import pytest
import torch

from orion.engines import Request, RuntimeOptions, Sampling, open_engine
from orion.engines.logits import counts_tokens, leave_out, penalise_generated
from orion.engines.sampling import draw_tokens, gumbel_noise, start_streams
from orion.engines.stop_strings import StopStrings, cut
from orion.models import checkpoints

SAMPLING = Sampling(temperature=0.8, top_p=1.0, max_tokens=24, repetition_penalty=1.0)


def test_top_k_keeps_the_most_probable_and_their_equals():
    logits = torch.tensor([[3.0, 1.0, 2.0, 2.0, 0.0], [0.0, 5.0, 4.0, 3.0, 2.0]])
    kept = leave_out(logits, replace(SAMPLING, top_k=2)) > -math.inf
    assert kept.tolist() == [[True, False, True, True, False], [False, True, True, False, False]]
    assert leave_out(logits, replace(SAMPLING, top_k=9)) is logits


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_min_p_keeps_what_has_its_share_of_the_largest_probability(dtype):
    generator = torch.Generator().manual_seed(0)
    logits = (torch.randn(50, 40, generator=generator) * 3).to(dtype)
    for temperature in (0.5, 1.0, 1.7):
        sampling = replace(SAMPLING, temperature=temperature, min_p=0.1)
        probabilities = (logits.double() / temperature).softmax(-1)
        expected = probabilities >= 0.1 * probabilities.amax(-1, keepdim=True)
        assert torch.equal(leave_out(logits, sampling) > -math.inf, expected)
        assert 50 < int(expected.sum()) < 1500


def plain_draw(logits: list[float], sampling: Sampling, seed: int, step: int) -> int:
    """Top-k, min-p and top-p by one sort in Python, then the noise of every token."""
    scaled = [x / sampling.temperature for x in logits]
    weights = [math.exp(x - max(scaled)) for x in scaled]
    kth = sorted(weights, reverse=True)[sampling.top_k - 1] if sampling.top_k else 0.0
    least = max(kth, sampling.min_p or 0.0)
    left = [i for i, w in enumerate(weights) if w >= least]
    total, before, kept = sum(weights[i] for i in left), 0.0, []
    for i in sorted(left, key=lambda i: (-weights[i], i)):
        if before < sampling.top_p * total or not kept:
            kept.append(i)
        before += weights[i]
    start = start_streams(torch.tensor([seed]), torch.tensor([step]))
    noise = gumbel_noise(start, torch.arange(len(logits)))[0].tolist()
    return max(kept, key=lambda i: math.log(weights[i]) + noise[i])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("scale", [0.5, 3.0])
@pytest.mark.parametrize(
    "cuts",
    [
        {"top_p": 0.8},
        {"top_p": 0.99, "top_k": 30},
        {"top_p": 0.9, "min_p": 0.05},
        {"top_p": 0.95, "top_k": 300, "min_p": 0.01},
        {"top_p": 1e-6, "top_k": 3},
    ],
    ids=str,
)
def test_tokens_are_those_of_a_plain_sort(dtype, scale, cuts):
    sampling = replace(SAMPLING, temperature=0.7, **cuts)
    generator = torch.Generator().manual_seed(3)
    # numbers of the narrow type have many ties
    logits = (torch.randn(24, 1500, generator=generator) * scale).to(dtype)
    seeds, steps = torch.arange(24) + 2**40, torch.arange(24) * 3
    drawn = draw_tokens(
        leave_out(logits, sampling), seeds, steps, temperature=0.7, top_p=sampling.top_p
    )
    rows = zip(logits.double().tolist(), seeds.tolist(), steps.tolist(), strict=True)
    assert drawn.tolist() == [plain_draw(row, sampling, *place) for row, *place in rows]


def test_greedy_decoding_leaves_nothing_out():
    logits = torch.randn(2, 9)
    greedy = replace(SAMPLING, temperature=0.0, top_k=1, min_p=0.5)
    assert leave_out(logits, greedy) is logits


def test_penalties_are_those_of_the_protocol():
    logits = torch.tensor([[1.0, 1.0, 1.0]])
    counts = torch.tensor([[0.0, 1.0, 3.0]])
    sampling = replace(SAMPLING, presence_penalty=0.5, frequency_penalty=0.25)
    assert penalise_generated(logits, counts, sampling).tolist() == [[1.0, 0.25, -0.25]]
    assert counts_tokens(sampling) and not counts_tokens(SAMPLING)


class Letters:
    """A tokenizer of single letters; token 0 is special and has no text."""

    def decode(self, tokens, skip_special_tokens, clean_up_tokenization_spaces):
        assert skip_special_tokens and not clean_up_tokenization_spaces
        return "".join(chr(96 + token) for token in tokens if token)


def test_a_stop_string_is_seen_at_its_last_token_and_cut_off():
    stop = StopStrings(("cd", "xyz"), Letters())
    tokens = [1, 2, 0, 3, 4, 5]
    seen = [stop.is_reached(tokens[:n]) for n in range(1, len(tokens) + 1)]
    assert seen == [False, False, False, False, True, True]
    assert stop.cut("abcdecd") == "ab" and stop.cut("abc") == "abc"
    assert cut("a xyz cd", ("cd", "xyz")) == "a " and cut("abc", None) == "abc"
    assert not StopStrings(None, Letters()) and not StopStrings(None, Letters()).is_reached([1])


def run(document, sampling, wanted, **options):
    engine = open_engine(
        "transformers", document, sampling, RuntimeOptions(device="cpu", **options)
    )
    return {answer.key: answer for answer in engine.generate(wanted)}


@pytest.fixture(scope="module")
def wanted():
    return [Request(f"{i}", f"w{i} w{3 * i} w7", 1000 + i) for i in range(12)]


def test_one_most_probable_token_is_greedy_decoding(document, wanted):
    greedy = run(document, replace(SAMPLING, temperature=0.0), wanted)
    assert run(document, replace(SAMPLING, top_k=1), wanted) == greedy
    assert run(document, replace(SAMPLING, min_p=1.0), wanted) == greedy
    assert run(document, SAMPLING, wanted) != greedy


def test_answers_with_everything_set_depend_on_neither_batch_nor_order(document, wanted):
    sampling = replace(
        SAMPLING,
        top_k=20,
        min_p=0.01,
        presence_penalty=0.4,
        frequency_penalty=0.6,
        repetition_penalty=1.1,
        stop=("w1", "w5"),
    )
    alone = run(document, sampling, wanted, batch_size=1)
    assert run(document, sampling, wanted[::-1], batch_size=5, prefill_tokens=20) == alone
    assert not any("w1" in answer.response for answer in alone.values())


def test_penalties_are_applied_to_what_was_generated_and_not_to_the_prompt(document, wanted):
    # no cache, no batch: the definition
    sampling = replace(SAMPLING, presence_penalty=1.5, frequency_penalty=0.7, max_tokens=12)
    model = checkpoints.load_model(document, "cpu")
    tokenizer = checkpoints.load_tokenizer(document)
    found = run(document, sampling, wanted)
    for request in wanted[:4]:
        ids = tokenizer(request.prompt, add_special_tokens=False)["input_ids"]
        new: list[int] = []
        while len(new) < 12 and not (new and new[-1] in (0, 1)):
            with torch.no_grad():
                logits = model(torch.tensor([ids + new])).logits[:, -1]
            for token in set(new):
                logits[0, token] -= 1.5 + 0.7 * new.count(token)
            seed, step = torch.tensor([request.seed]), torch.tensor([len(new)])
            new.append(int(draw_tokens(logits, seed, step, temperature=0.8, top_p=1.0)))
        assert found[request.key].response == tokenizer.decode(new, skip_special_tokens=True)


def test_a_completion_ends_before_a_stop_string(document, wanted):
    free = run(document, SAMPLING, wanted)
    word = next(iter(free.values())).response.split()[2]
    stopped = run(document, replace(SAMPLING, stop=(word,)), wanted)
    changed = 0
    for key, answer in stopped.items():
        text, found, _ = free[key].response.partition(word)
        assert answer.response == text
        if found:
            changed += 1
            assert answer.finish_reason == "stop"
            assert answer.completion_tokens <= free[key].completion_tokens
    assert changed >= 1


def test_the_library_leaves_out_the_same_tokens():
    from transformers.generation.logits_process import MinPLogitsWarper, TopKLogitsWarper

    logits = torch.randn(30, 60, generator=torch.Generator().manual_seed(1)) * 2
    expected = TopKLogitsWarper(7)(None, logits)
    assert torch.equal(leave_out(logits, replace(SAMPLING, top_k=7)), expected)
    sampling = replace(SAMPLING, temperature=1.0, min_p=0.05)
    kept = leave_out(logits, sampling) > -math.inf
    assert torch.equal(kept, MinPLogitsWarper(0.05)(None, logits) > -math.inf)
