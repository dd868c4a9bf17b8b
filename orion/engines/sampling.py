"""Sampling: draw one token per row, with noise hashed from (row seed, step, number of a choice).

Input: logits (rows, vocabulary). Output: token ids (rows,). A drawn token is a pure function of the
row's logits, seed and step. It does not depend on the rest of the batch.

Noise for every entry of a large vocabulary costs more than the model's own step. So a draw first
chooses among the most probable tokens, the head, and all others together; then, if it must, a block
of the others and a token in it. A walk through the cumulative softmax with one number would be as
fast. But its partial sums, and the order of nearly equal tokens, move with the last bits of the
logits, which depend on the batch: then other rows give another token (LOG.md).
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


def start_streams(seed: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
    """Where the SplitMix64 stream of each (seed, step) starts; all (rows,) int64."""
    return mix_bits(mix_bits(seed + GOLDEN_GAMMA) + GOLDEN_GAMMA * (step + 1))


def gumbel_noise(start: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """Standard Gumbel noise (rows, n) in float64: of each row's stream the numbers that are asked.

    ``start``: (rows,). ``numbers``: (rows, n) or (n,), counted from 0.
    """
    bits = _shift_right(mix_bits(start[:, None] + (numbers + 1) * GOLDEN_GAMMA), 12)
    # 52 bits plus one half: strictly between 0 and 1 in float64
    uniform = (bits.double() + 0.5) * 2.0**-52
    return uniform.log_().neg_().log_().neg_()


def penalise_repetition(logits: torch.Tensor, seen: torch.Tensor, penalty: float) -> torch.Tensor:
    """Divide positive and multiply negative logits of seen tokens by the penalty.

    ``seen``: (rows, vocabulary) bool. Keskar et al., "CTRL", 2019, section 4.1, as in
    transformers' RepetitionPenaltyLogitsProcessor.
    """
    logits = logits.float()
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
    start = start_streams(seed, step)
    rows = max(1, CPU_ENTRIES // logits.shape[-1]) if logits.is_cpu else len(logits)
    parts = [
        _draw(part, streams, temperature, top_p)
        for part, streams in zip(torch.split(logits, rows), torch.split(start, rows), strict=True)
    ]
    return torch.cat(parts)


def _draw(
    logits: torch.Tensor, start: torch.Tensor, temperature: float, top_p: float
) -> torch.Tensor:
    weights = (logits.float() / temperature).softmax(dim=-1)
    missing = -weights.shape[-1] % BLOCK
    if missing:
        weights = torch.nn.functional.pad(weights, (0, missing))
    if top_p < 1:
        return _draw_from_nucleus(weights, start, top_p)
    if weights.shape[-1] <= 2 * BLOCK:
        return _choose(weights, torch.arange(weights.shape[-1], device=start.device), start)
    return _draw_from_all(weights, start)


def _choose(weights: torch.Tensor, numbers: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    """The place (rows,) of one of the weights (rows, n), drawn in proportion to them.

    It is the argmax of the logarithms plus independent Gumbel noise (Gumbel 1954; Maddison et al.
    2014). ``numbers``: which number of a row's stream belongs to which weight. Each choice keeps
    its number, so that it keeps its noise whatever else can be chosen.
    """
    return (weights.double().log() + gumbel_noise(start, numbers)).argmax(dim=-1)


def _draw_from_all(weights: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    """Draw a token from the weights, which it changes."""
    # the numbers of a stream: tokens, all of the tail, its blocks
    tail_number = weights.shape[-1]
    index, certain = _find_head(weights, HEAD)
    found = weights.gather(1, index)
    # the tail is what is left when the head is taken out
    weights.scatter_(1, index, found.masked_fill(certain, 0))
    blocks = _in_blocks(weights).sum(dim=-1).double()
    choices = torch.cat([found * certain, blocks.sum(dim=-1, keepdim=True)], dim=-1)
    numbers = torch.cat([index, torch.full_like(index[:, :1], tail_number)], dim=-1)
    place = _choose(choices, numbers, start)
    tokens = index.gather(1, place.clamp(max=HEAD - 1)[:, None])[:, 0]
    rows = (place == HEAD).nonzero()[:, 0]
    if len(rows):
        inside = torch.arange(BLOCK, device=start.device)
        numbers = tail_number + 1 + torch.arange(blocks.shape[1], device=start.device)
        block = _choose(blocks[rows], numbers, start[rows])
        members = _in_blocks(weights)[rows, block]
        first = block * BLOCK
        tokens[rows] = first + _choose(members, first[:, None] + inside, start[rows])
    return tokens


def _draw_from_nucleus(weights: torch.Tensor, start: torch.Tensor, top_p: float) -> torch.Tensor:
    """Draw from the nucleus, which the first head nearly always holds."""
    tokens = torch.empty_like(start)
    rows, head = torch.arange(len(start), device=start.device), NUCLEUS_HEAD
    while len(rows):
        left = weights if len(rows) == len(weights) else weights[rows]
        index, certain = _find_head(left, head)
        kept = _keep_nucleus(left.gather(1, index), top_p)
        place = _choose(kept, index, start[rows])
        tokens[rows] = index.gather(1, place[:, None])[:, 0]
        rows = rows[((kept > 0) & ~certain).any(dim=-1)]  # their nucleus is larger
        head *= 16
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
