"""Sampling: the hash against published numbers, the frequencies against the softmax."""

import pytest
import torch

from orion.engines.sampling import (
    BLOCK,
    GOLDEN_GAMMA,
    HEAD,
    _find_head,
    _Weights,
    draw_tokens,
    gumbel_noise,
    mix_bits,
    penalise_repetition,
    start_streams,
)

# 99.9 % quantiles of chi-square, by degrees of freedom
CHI_SQUARE = {4: 18.47, 9: 27.88, 12: 32.91, 19: 43.82}


def chi_square(counts: torch.Tensor, probabilities: torch.Tensor) -> float:
    expected = probabilities * counts.sum()
    return float(((counts - expected) ** 2 / expected).sum())


def draw_rows(
    logits: torch.Tensor, seeds: torch.Tensor, steps: torch.Tensor, temperature=1.0, top_p=1.0
) -> torch.Tensor:
    rows = logits.expand(len(seeds), -1)
    return draw_tokens(rows, seeds, steps, temperature=temperature, top_p=top_p)


def support(logits: list[float] | torch.Tensor, n: int = 4000, top_p=1.0) -> list[int]:
    """The tokens that occur among n draws."""
    seeds = torch.arange(n)
    return draw_rows(torch.as_tensor(logits), seeds, seeds, top_p=top_p).unique().tolist()


def sorted_softmax(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities (float64) in falling order, equal ones by index, and their tokens."""
    return logits.double().softmax(0).sort(descending=True, stable=True)


def test_the_hash_is_splitmix64():
    # the first numbers with seed 1234567, as published with the reference implementation
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    states = torch.tensor([1234567]) + GOLDEN_GAMMA * torch.arange(1, 5)
    assert [value % 2**64 for value in mix_bits(states).tolist()] == published


def test_noise_depends_on_seed_step_and_number_only():
    start = start_streams(torch.tensor([5, 2**63 - 1, 5]), torch.tensor([0, 3, 1]))
    noise = gumbel_noise(start, torch.arange(50))
    assert noise.isfinite().all()
    assert torch.equal(noise[1], gumbel_noise(start[1:2], torch.arange(50))[0])
    places = torch.tensor([[7, 3], [49, 0], [7, 7]])
    assert torch.equal(noise.gather(1, places), gumbel_noise(start, places))
    assert len(set(noise.flatten().tolist())) == 150


@pytest.mark.parametrize("vary", ["seed", "step"])
@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_frequencies_follow_the_softmax(vary, temperature):
    logits = torch.linspace(-2, 1, 20)
    n, counter = 40_000, torch.arange(40_000)
    fixed = torch.full((n,), 77)
    drawn = draw_rows(
        logits, *((counter, fixed) if vary == "seed" else (fixed, counter)), temperature=temperature
    )
    assert (
        chi_square(drawn.bincount(minlength=20), (logits / temperature).softmax(0)) < CHI_SQUARE[19]
    )


def test_frequencies_of_head_blocks_and_rest():
    # a size that is no multiple of a block; half of the mass behind the head
    torch.manual_seed(3)
    logits = torch.randn(5 * BLOCK + 37) * 1.5
    probabilities, order = sorted_softmax(logits)
    assert 0.3 < probabilities[:HEAD].sum() < 0.7
    # ten groups of tokens, by place in the order and by index
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order))
    group = 5 * (rank >= HEAD) + torch.where(
        rank < HEAD, rank * 5 // HEAD, torch.arange(len(order)) * 5 // len(order)
    )
    expected = torch.zeros(10, dtype=torch.float64)
    expected.index_add_(0, group[order], probabilities)
    seeds = torch.arange(40_000)
    drawn = draw_rows(logits, seeds, seeds * 0)
    assert chi_square(group[drawn].bincount(minlength=10), expected) < CHI_SQUARE[9]


def test_frequencies_of_equal_logits():
    # every token shares the smallest logit of the head, so no token is certain to belong to it
    seeds = torch.arange(30_000)
    drawn = draw_rows(torch.zeros(20 * BLOCK), seeds, seeds * 0) // BLOCK
    assert chi_square(drawn.bincount(minlength=20), torch.full((20,), 1 / 20)) < CHI_SQUARE[19]


def test_successive_steps_are_independent():
    logits, seeds = torch.zeros(5), torch.arange(30_000)
    first, second = (draw_rows(logits, seeds, torch.full_like(seeds, step)) for step in (0, 1))
    same = ((second - first) % 5).bincount(minlength=5)
    assert chi_square(same, torch.full((5,), 0.2)) < CHI_SQUARE[4]


@pytest.mark.parametrize("top_p", [1.0, 0.97])
def test_a_row_is_drawn_alike_in_every_batch(top_p):
    torch.manual_seed(4)
    logits, seeds, steps = torch.randn(9, 5003) * 3, torch.arange(9), torch.arange(9) * 7
    logits[4] /= 4  # one row whose nucleus is larger than the head
    draw = {"temperature": 0.9, "top_p": top_p}
    together = draw_tokens(logits, seeds, steps, **draw)
    alone = [
        draw_tokens(logits[i : i + 1], seeds[i : i + 1], steps[i : i + 1], **draw) for i in range(9)
    ]
    assert together.tolist() == torch.cat(alone).tolist()


# a walk through the whole vocabulary gives another token in 61 of these 2,048 draws, and one
# through the sorted nucleus in 13; these give none
@pytest.mark.parametrize("top_p", [1.0, 0.95])
def test_the_last_bits_of_the_logits_hardly_matter(top_p):
    torch.manual_seed(5)
    seeds, differ = torch.arange(128), 0
    for turn in range(16):
        logits = torch.randn(128, 20_000) * 3
        steps = torch.full_like(seeds, turn)
        pair = (logits, logits + torch.randn_like(logits) * 1e-4)
        first, second = (draw_rows(x, seeds, steps, top_p=top_p) for x in pair)
        differ += int((first != second).sum())
    assert differ <= 3


def test_tokens_without_probability_are_never_drawn():
    logits = torch.full((3 * BLOCK,), -torch.inf)
    logits[[5, 200, 300]] = torch.tensor([0.0, -1.0, -104.0])
    assert support(logits) == [5, 200]
    logits[:] = -torch.inf
    logits[BLOCK : BLOCK + HEAD + 9] = 1.0  # more equal ones than the head holds
    assert support(logits, 9000) == list(range(BLOCK, BLOCK + HEAD + 9))


def test_the_nucleus_is_the_smallest_set_that_reaches_top_p():
    logits = torch.tensor([0.1, 0.5, 0.15, 0.25]).log()
    assert support(logits, top_p=0.7) == [1, 3]
    assert support(logits, top_p=0.4) == [1]
    assert support(torch.zeros(4), top_p=0.7) == [0, 1, 2]
    assert support(torch.zeros(4), top_p=0.4) == [0, 1]
    assert support(torch.zeros(4), top_p=1e-9) == [0]


# a nucleus within the first head, and one of several times its size
@pytest.mark.parametrize(("scale", "top_p"), [(3.0, 0.6), (0.3, 0.9)])
@pytest.mark.parametrize("ties", [False, True])
def test_the_nucleus_is_what_a_sort_keeps(scale, top_p, ties):
    torch.manual_seed(6)
    logits = torch.randn(700) * scale
    if ties:
        logits = (logits * 4).round() / 4
    probabilities, order = sorted_softmax(logits)
    kept = probabilities.cumsum(0) - probabilities < top_p
    drawn = set(support(logits, 6000, top_p=top_p))
    assert drawn <= set(order[kept].tolist())
    # all that are likely to occur at least once
    likely = probabilities[kept] / top_p > 12 / 6000
    assert set(order[kept][likely].tolist()) <= drawn


def test_what_was_left_out_before_stays_out():
    # logits of -inf, as top_k and min_p leave them
    logits = torch.full((3 * BLOCK,), -torch.inf)
    logits[5:300:7] = torch.linspace(0, 2, 43)[: len(range(5, 300, 7))]
    for top_p in (1.0, 0.9999, 0.3):
        drawn = support(logits, top_p=top_p)
        assert set(drawn) <= set(range(5, 300, 7))
        assert (len(drawn) == 43) == (top_p > 0.9)


@pytest.mark.parametrize("size", [HEAD * BLOCK // 2, HEAD * BLOCK * 8])
@pytest.mark.parametrize("levels", [None, 9000, 40, 1])
def test_what_is_certain_of_the_head_is_what_a_sort_finds_first(size, levels):
    # the larger size looks into a part of the blocks only; few levels mean many equal weights
    torch.manual_seed(7)
    logits = torch.rand(6, size)
    logits[2, 3 * BLOCK : 4 * BLOCK] += 1  # a whole block of the head
    if levels is not None:
        logits = (logits * levels).round() / levels
    read = _Weights(logits, temperature=0.5)
    index, _, certain, *_ = _find_head(read, read.rows, HEAD)
    weights = read.of(read.rows, read.blocks)
    torch.testing.assert_close(weights / weights.sum(-1, True), (logits / 0.5).softmax(-1))
    expected = weights.sort(dim=-1, descending=True, stable=True)
    for row in range(6):
        n = int(certain[row].sum())
        assert certain[row, :n].all()
        assert index[row, :n].tolist() == expected.indices[row, :n].tolist()
        # the others are those equal to the last
        last = expected.values[row, HEAD - 1]
        assert n == int((weights[row] > last).sum())
        assert (weights[row, index[row, n:]] == last).all()


def test_frequencies_under_top_p():
    logits = torch.linspace(-2, 1, 20)
    probabilities, order = sorted_softmax(logits)
    kept = torch.zeros(20, dtype=torch.bool)
    kept[order[probabilities.cumsum(0) - probabilities < 0.9]] = True
    seeds = torch.arange(40_000)
    counts = draw_rows(logits, seeds, seeds * 0, top_p=0.9).bincount(minlength=20)
    assert counts[~kept].sum() == 0 and kept.sum() == 13
    assert chi_square(counts[kept], logits[kept].softmax(0)) < CHI_SQUARE[12]


def test_greedy_is_the_argmax_whatever_the_seed():
    logits = torch.randn(64, 110, generator=torch.Generator().manual_seed(0))
    seeds = torch.arange(64)
    assert torch.equal(
        draw_tokens(logits, seeds, seeds, temperature=0, top_p=0.5), logits.argmax(-1)
    )


def test_a_penalty_lowers_positive_and_negative_logits():
    logits, seen = torch.tensor([[2.0, -2.0, 2.0]]), torch.tensor([[True, True, False]])
    assert penalise_repetition(logits, seen, 2.0).tolist() == [[1.0, -4.0, 2.0]]
