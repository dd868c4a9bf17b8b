"""Drawing tokens: the hash against published numbers, the frequencies against the softmax."""

import pytest
import torch

from orion.engines.sampling import GOLDEN, draw, gumbel, mix, nucleus, penalise

# 99.9 % quantiles of chi-square, by degrees of freedom
CHI_SQUARE = {4: 18.47, 12: 32.91, 19: 43.82}


def chi_square(counts: torch.Tensor, probabilities: torch.Tensor) -> float:
    expected = probabilities * counts.sum()
    return float(((counts - expected) ** 2 / expected).sum())


def tokens(
    logits: torch.Tensor, seeds: torch.Tensor, steps: torch.Tensor, temperature=1.0, top_p=1.0
) -> torch.Tensor:
    rows = logits.expand(len(seeds), -1)
    return draw(rows, seeds, steps, temperature=temperature, top_p=top_p)


def test_the_hash_is_splitmix64():
    # the first numbers of the generator with seed 1234567, as published with the reference implementation
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    states = torch.tensor([1234567]) + GOLDEN * torch.arange(1, 5)
    assert [value % 2**64 for value in mix(states).tolist()] == published


def test_noise_depends_on_seed_step_and_index_only():
    seeds, steps = torch.tensor([5, 2**63 - 1, 5]), torch.tensor([0, 3, 1])
    noise = gumbel(seeds, steps, 50)
    assert noise.isfinite().all()
    assert torch.equal(noise[1], gumbel(seeds[1:2], steps[1:2], 50)[0])
    assert torch.equal(noise[:, :20], gumbel(seeds, steps, 20))
    assert len(set(noise.flatten().tolist())) == 150


@pytest.mark.parametrize("vary", ["seed", "step"])
@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_frequencies_follow_the_softmax(vary, temperature):
    logits = torch.linspace(-2, 1, 20)
    n, counter = 40_000, torch.arange(40_000)
    fixed = torch.full((n,), 77)
    drawn = tokens(
        logits, *((counter, fixed) if vary == "seed" else (fixed, counter)), temperature=temperature
    )
    assert (
        chi_square(drawn.bincount(minlength=20), (logits / temperature).softmax(0)) < CHI_SQUARE[19]
    )


def test_successive_steps_are_independent():
    logits, seeds = torch.zeros(5), torch.arange(30_000)
    first, second = (tokens(logits, seeds, torch.full_like(seeds, step)) for step in (0, 1))
    same = ((second - first) % 5).bincount(minlength=5)
    assert chi_square(same, torch.full((5,), 0.2)) < CHI_SQUARE[4]


def test_nucleus_keeps_the_smallest_set_that_reaches_top_p():
    scores = torch.tensor([[0.1, 0.5, 0.15, 0.25], [0.25, 0.25, 0.25, 0.25]]).log()
    assert nucleus(scores, 0.7).isfinite().tolist() == [
        [False, True, False, True],
        [True, True, True, False],
    ]
    assert nucleus(scores, 0.4).isfinite().tolist() == [
        [False, True, False, False],
        [True, True, False, False],
    ]
    assert nucleus(scores, 1e-9).isfinite().sum(-1).tolist() == [1, 1]


def test_frequencies_under_top_p():
    logits = torch.linspace(-2, 1, 20)
    kept = nucleus(logits[None], 0.9)[0].isfinite()
    drawn = tokens(logits, torch.arange(40_000), torch.zeros(40_000, dtype=torch.long), top_p=0.9)
    counts = drawn.bincount(minlength=20)
    assert counts[~kept].sum() == 0 and kept.sum() == 13
    assert chi_square(counts[kept], logits[kept].softmax(0)) < CHI_SQUARE[12]


def test_greedy_is_the_argmax_whatever_the_seed():
    logits = torch.randn(64, 110, generator=torch.Generator().manual_seed(0))
    seeds = torch.arange(64)
    assert torch.equal(draw(logits, seeds, seeds, temperature=0, top_p=0.5), logits.argmax(-1))


def test_a_penalty_lowers_positive_and_negative_logits():
    logits, seen = torch.tensor([[2.0, -2.0, 2.0]]), torch.tensor([[True, True, False]])
    assert penalise(logits, seen, 2.0).tolist() == [[1.0, -4.0, 2.0]]
