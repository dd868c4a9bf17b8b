"""Sampling: draw one token per row from the softmax, with uniforms hashed from (row seed, step).

Input: logits (rows, vocabulary). Output: token ids (rows,). A drawn token is a pure function of the
row's logits, seed and step. It does not depend on the rest of the batch.

A draw steps through cumulative weights: first through the most probable tokens, the head, in their
order; where it falls behind them, through blocks of the other tokens; then through one block. One
walk through the whole vocabulary would be simpler. But its partial sums shift with the last bits of
every logit, and those depend on the batch: a shift larger than the weight of a rare token gives
another token. Short walks over few weights hardly move (LOG.md).
"""

import torch

# SplitMix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014;
# finaliser: Stafford's Mix13. Written as signed numbers, since torch has no unsigned 64-bit
# arithmetic; products wrap modulo 2**64 either way.
GOLDEN_GAMMA = 0x9E3779B97F4A7C15 - 2**64
MULTIPLIER_1 = 0xBF58476D1CE4E5B9 - 2**64
MULTIPLIER_2 = 0x94D049BB133111EB - 2**64
# most probable tokens that a draw looks at first; a nucleus that is larger gets 16 times as many
HEAD = 32
NUCLEUS_HEAD = 128
BLOCK = 128  # tokens summed together
# logits that a CPU reads at a time: larger buffers leave its cache and are mapped anew each time
CPU_ENTRIES = 2**20


def _shift_right(x: torch.Tensor, bits: int) -> torch.Tensor:
    # torch shifts int64 arithmetically: clear the copies of the sign bit
    return torch.bitwise_and(x >> bits, 2 ** (64 - bits) - 1)


def mix_bits(x: torch.Tensor) -> torch.Tensor:
    """SplitMix64's finaliser, a bijection on 64-bit integers, elementwise on int64."""
    x = (x ^ _shift_right(x, 30)) * MULTIPLIER_1
    x = (x ^ _shift_right(x, 27)) * MULTIPLIER_2
    return x ^ _shift_right(x, 31)


def uniforms(seed: torch.Tensor, step: torch.Tensor, count: int) -> torch.Tensor:
    """Numbers strictly between 0 and 1, (rows, count) float64, from seed and step (rows,) int64.

    Each (seed, step) starts its own SplitMix64 stream; these are its first ``count`` numbers.
    """
    start = mix_bits(mix_bits(seed + GOLDEN_GAMMA) + GOLDEN_GAMMA * (step + 1))
    index = torch.arange(1, count + 1, device=seed.device) * GOLDEN_GAMMA
    bits = _shift_right(mix_bits(start[:, None] + index), 13)
    # 51 bits plus one half: at most 1 - 2**-52, whose product with any sum is below that sum
    return (bits.double() + 0.5) * 2.0**-51


def penalise_repetition(logits: torch.Tensor, seen: torch.Tensor, penalty: float) -> torch.Tensor:
    """Divide positive and multiply negative logits of seen tokens by the penalty.

    ``seen``: (rows, vocabulary) bool. Keskar et al., "CTRL", 2019, section 4.1, as in
    transformers' RepetitionPenaltyLogitsProcessor.
    """
    return torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)


def draw_tokens(
    logits: torch.Tensor,
    seed: torch.Tensor,
    step: torch.Tensor,
    *,
    temperature: float,
    top_p: float,
) -> torch.Tensor:
    """Token ids (rows,) from logits (rows, vocabulary); seed, step: (rows,) int64.

    Temperature 0 is the argmax of the logits. ``top_p`` keeps the nucleus, the smallest set of most
    probable tokens whose probabilities sum to at least top_p: Holtzman et al., "The curious case of
    neural text degeneration", 2020. Among equal ones the lower index goes first.
    """
    if temperature == 0:
        return logits.argmax(dim=-1)
    uniform = uniforms(seed, step, 3)
    rows = max(1, CPU_ENTRIES // logits.shape[-1]) if logits.is_cpu else len(logits)
    parts = [
        _draw(part, numbers, temperature, top_p)
        for part, numbers in zip(torch.split(logits, rows), torch.split(uniform, rows), strict=True)
    ]
    return torch.cat(parts)


def _draw(
    logits: torch.Tensor, uniform: torch.Tensor, temperature: float, top_p: float
) -> torch.Tensor:
    weights = (logits.float() / temperature).softmax(dim=-1)
    missing = -weights.shape[-1] % BLOCK
    if missing:
        weights = torch.nn.functional.pad(weights, (0, missing))
    if top_p < 1:
        return _draw_from_nucleus(weights, uniform, top_p)
    if weights.shape[-1] <= 2 * BLOCK:  # a short walk as it is
        return _pick(weights.double(), uniform[:, 0])
    return _walk(weights, *_find_head(weights, HEAD), uniform)


def _walk(
    weights: torch.Tensor, head: torch.Tensor, certain: torch.Tensor, uniform: torch.Tensor
) -> torch.Tensor:
    """Draw from the weights, which it changes; ``head`` and ``certain``: see ``_find_head``."""
    found = weights.gather(1, head)
    # the tail is what is left when the head is taken out
    weights.scatter_(1, head, found.masked_fill(certain, 0))
    blocks = _in_blocks(weights).sum(dim=-1).double()
    first = torch.cat([found.double() * certain, blocks.sum(dim=-1, keepdim=True)], dim=-1)
    place = _pick(first, uniform[:, 0])
    block = _pick(blocks, uniform[:, 1])[:, None]
    members = _in_blocks(weights).take_along_dim(block[:, :, None], 1)[:, 0]
    in_tail = block[:, 0] * BLOCK + _pick(members.double(), uniform[:, 2])
    in_head = head.gather(1, place.clamp(max=head.shape[1] - 1)[:, None])[:, 0]
    return torch.where(place < head.shape[1], in_head, in_tail)


def _draw_from_nucleus(weights: torch.Tensor, uniform: torch.Tensor, top_p: float) -> torch.Tensor:
    """Draw from the nucleus, which the first head nearly always holds."""
    head = NUCLEUS_HEAD
    index, certain = _find_head(weights, head)
    kept = _keep_nucleus(weights.gather(1, index), top_p)
    tokens = index.gather(1, _pick(kept, uniform[:, 0])[:, None])[:, 0]
    rows = ((kept > 0) & ~certain).any(dim=-1).nonzero()[:, 0]  # their nucleus is larger
    while len(rows):
        head *= 16
        index, certain = _find_head(weights[rows], head)
        kept = _keep_nucleus(weights[rows].gather(1, index), top_p)
        nucleus = weights.new_zeros(len(rows), weights.shape[1]).scatter_(1, index, kept.float())
        tokens[rows] = _walk(nucleus, index[:, :HEAD], certain[:, :HEAD], uniform[rows])
        rows = rows[((kept > 0) & ~certain).any(dim=-1)]
    return tokens


def _keep_nucleus(weights: torch.Tensor, top_p: float) -> torch.Tensor:
    """Weights (rows, head) in falling order, as float64, with 0 once ``top_p`` is reached."""
    weights = weights.double()
    before = weights.cumsum(dim=-1) - weights
    kept = before < top_p
    kept[:, 0] = True
    return weights * kept


def _find_head(weights: torch.Tensor, head: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The ``head`` largest weights of each row: indices, and which of them are certain.

    In falling order, among equal ones the lower index first. Where more tokens than fit share the
    smallest weight, which of them topk gives is open: those are not certain.
    """
    if head >= weights.shape[-1]:
        index = weights.sort(dim=-1, descending=True, stable=True).indices
        return index, torch.ones_like(index, dtype=torch.bool)
    if head * BLOCK * 8 <= weights.shape[-1]:
        # as many blocks, those with the largest maxima, hold all that is certain
        blocks = _in_blocks(weights)
        chosen = blocks.amax(dim=-1).topk(head, dim=-1).indices
        members = blocks.take_along_dim(chosen[:, :, None], 1).flatten(1)
        place = members.topk(head, dim=-1).indices
        index = chosen.gather(1, place // BLOCK) * BLOCK + place % BLOCK
    else:
        index = weights.topk(head, dim=-1).indices
    index = index.sort(dim=-1).values
    values, order = weights.gather(1, index).sort(dim=-1, descending=True, stable=True)
    return index.gather(1, order), values > values[:, -1:]


def _in_blocks(weights: torch.Tensor) -> torch.Tensor:
    """(rows, entries) as (rows, blocks, ``BLOCK``)."""
    return weights.view(len(weights), -1, BLOCK)


def _pick(weights: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """The index of each row where the cumulative weight first exceeds ``uniform`` of the total."""
    sums = weights.cumsum(dim=-1)
    passed = sums <= uniform[:, None] * sums[:, -1:]
    # a row without any weight has no such index; its result is not used
    return passed.sum(dim=-1).clamp(max=weights.shape[-1] - 1)
