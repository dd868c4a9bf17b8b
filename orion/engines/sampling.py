"""Sampling: draw one token per row, with noise hashed from (row seed, step, number of a choice).

Input: logits (rows, vocabulary). Output: token ids (rows,). A drawn token is a pure function of the
row's logits, seed and step. It does not depend on the rest of the batch.

Noise for every entry of a large vocabulary costs more than the model's own step. So a draw first
chooses among the most probable tokens, the head, and all others together; then, if it must, a block
of the others and a token in it. A walk through the cumulative softmax with one number would be as
fast. But its partial sums, and the order of nearly equal tokens, move with the last bits of the
logits, which depend on the batch: then other rows give another token (LOG.md).
"""

from typing import NamedTuple

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
CPU_ENTRIES = 2**18


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
    weights = _Weights(logits, temperature)
    if top_p < 1:
        return _draw_from_nucleus(weights, start, top_p)
    if logits.shape[-1] <= 2 * BLOCK:
        found = weights.of(weights.rows, weights.blocks)
        return _choose(found, _tokens_of(weights.blocks).flatten(), start)
    return _draw_from_all(weights, start)


class _Weights:
    """The softmax of logits (rows, vocabulary) but for a factor of each row: the largest is 1.

    A draw needs no more than proportions, and each pass over a large vocabulary costs as much as a
    layer of a small model. So the weights are not kept. Of each block of tokens there are the
    largest logit and the sum of the weights; the weights of the few blocks that matter are computed
    once more.
    """

    def __init__(self, logits: torch.Tensor, temperature: float):
        missing = -logits.shape[-1] % BLOCK
        if missing:
            logits = torch.nn.functional.pad(logits, (0, missing), value=-torch.inf)
        self.logits, self.scale = _in_blocks(logits), 1 / temperature
        count, width = self.logits.shape[1], logits.shape[-1]
        self.rows = torch.arange(len(logits), device=logits.device)
        self.blocks = torch.arange(count, device=logits.device)
        # rows whose weights are computed at a time
        self.size = max(1, CPU_ENTRIES // width if logits.is_cpu else len(logits))
        shape = min(self.size, len(logits)), count, BLOCK
        buffer = torch.empty(shape, dtype=torch.float32, device=logits.device)
        parts = [self._summarise(part, buffer) for part in torch.split(self.logits, self.size)]
        # both (rows, blocks); logits divided by the temperature, in float32, and sums in float64
        self.maxima, sums = (torch.cat(each) for each in zip(*parts, strict=True))
        self.sums = sums.double()
        self.peak = self.maxima.amax(dim=-1)

    def _summarise(
        self, logits: torch.Tensor, buffer: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The blocks' largest logits and sums of weights; the weights are in the buffer."""
        if len(logits) < len(buffer):
            buffer = buffer[: len(logits)]
        maxima = buffer.copy_(logits).mul_(self.scale).amax(dim=-1)
        peak = maxima.amax(dim=-1, keepdim=True).unsqueeze(2)
        return maxima, buffer.sub_(peak).exp_().sum(dim=-1)

    def of(self, rows: torch.Tensor, blocks: torch.Tensor) -> torch.Tensor:
        """The weights (n, m * BLOCK) of the tokens of blocks (n, m) or (m,) in rows (n,)."""
        scaled = self.logits[rows[:, None], blocks].float() * self.scale
        return scaled.sub_(self.peak[rows, None, None]).exp_().flatten(1)


class _Head(NamedTuple):
    """The largest weights of each row, in falling order, among equal ones the lower token first.

    Where more tokens than fit share the smallest weight, which of them topk gives is open: those
    are not ``certain``. ``members``: the weights of the blocks in which the tokens were looked for,
    ``place``: where among them each was found.
    """

    tokens: torch.Tensor  # (rows, head), as weights, certain and place
    weights: torch.Tensor
    certain: torch.Tensor
    blocks: torch.Tensor  # (rows, blocks)
    members: torch.Tensor  # (rows, blocks * BLOCK)
    place: torch.Tensor


def _find_head(weights: _Weights, rows: torch.Tensor, size: int) -> _Head:
    count = weights.maxima.shape[1]
    if size < count:
        # as many blocks, those with the largest maxima, hold all that is certain
        blocks = weights.maxima[rows].topk(size, dim=-1).indices
    else:
        blocks = weights.blocks.expand(len(rows), count)
    members = weights.of(rows, blocks)
    is_all = size >= members.shape[1]
    place = members.topk(members.shape[1] if is_all else size, dim=-1).indices
    found, order = (blocks.gather(1, place // BLOCK) * BLOCK + place % BLOCK).sort(dim=-1)
    place = place.gather(1, order)
    values, order = members.gather(1, place).sort(dim=-1, descending=True, stable=True)
    found, place = found.gather(1, order), place.gather(1, order)
    certain = torch.ones_like(values, dtype=torch.bool) if is_all else values > values[:, -1:]
    return _Head(found, values, certain, blocks, members, place)


def _draw_from_all(weights: _Weights, start: torch.Tensor) -> torch.Tensor:
    # the numbers of a stream: tokens, all of the tail, its blocks
    count = weights.sums.shape[1]
    tail_number = count * BLOCK
    head = _find_head(weights, weights.rows, HEAD)
    # the tail is what is left when the head is taken out of its blocks
    left = head.members.scatter(1, head.place, head.weights.masked_fill(head.certain, 0))
    blocks = weights.sums.scatter(1, head.blocks, _in_blocks(left).sum(dim=-1).double())
    choices = torch.cat([head.weights * head.certain, blocks.sum(dim=-1, keepdim=True)], dim=-1)
    numbers = torch.cat([head.tokens, torch.full_like(head.tokens[:, :1], tail_number)], dim=-1)
    place = _choose(choices, numbers, start)
    tokens = head.tokens.gather(1, place.clamp(max=HEAD - 1)[:, None])[:, 0]
    rows = (place == HEAD).nonzero()[:, 0]
    if len(rows):
        numbers = tail_number + 1 + weights.blocks
        block = _choose(blocks[rows], numbers, start[rows])
        inside = _tokens_of(block)
        taken = head.tokens[rows].masked_fill(~head.certain[rows], -1)
        is_taken = (inside[:, :, None] == taken[:, None, :]).any(dim=-1)
        members = weights.of(rows, block[:, None]).masked_fill_(is_taken, 0)
        tokens[rows] = block * BLOCK + _choose(members, inside, start[rows])
    return tokens


def _draw_from_nucleus(weights: _Weights, start: torch.Tensor, top_p: float) -> torch.Tensor:
    """Draw from the nucleus, which the first head nearly always holds."""
    total = weights.sums.sum(dim=-1, keepdim=True)
    tokens = torch.empty_like(start)
    rows, size = weights.rows, NUCLEUS_HEAD
    while len(rows):
        larger = []
        # a larger head is looked for in more blocks, of fewer rows at a time
        for part in torch.split(rows, len(rows) if size == NUCLEUS_HEAD else weights.size):
            head = _find_head(weights, part, size)
            kept = _keep_nucleus(head.weights.double() / total[part], top_p)
            place = _choose(kept, head.tokens, start[part])
            tokens[part] = head.tokens.gather(1, place[:, None])[:, 0]
            larger.append(part[((kept > 0) & ~head.certain).any(dim=-1)])
        rows, size = torch.cat(larger), 16 * size
    return tokens


def _keep_nucleus(probabilities: torch.Tensor, top_p: float) -> torch.Tensor:
    """Probabilities (rows, head) in falling order, with 0 once ``top_p`` is reached."""
    before = probabilities.cumsum(dim=-1) - probabilities
    kept = before < top_p
    kept[:, 0] = True
    return probabilities * kept


def _choose(weights: torch.Tensor, numbers: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    """The place (rows,) of one of the weights (rows, n), drawn in proportion to them.

    It is the argmax of the logarithms plus independent Gumbel noise (Gumbel 1954; Maddison et al.
    2014). ``numbers``: which number of a row's stream belongs to which weight. Each choice keeps
    its number, so that it keeps its noise whatever else can be chosen.
    """
    return (weights.double().log() + gumbel_noise(start, numbers)).argmax(dim=-1)


def _in_blocks(entries: torch.Tensor) -> torch.Tensor:
    """(rows, entries) as (rows, blocks, ``BLOCK``)."""
    return entries.view(len(entries), entries.shape[-1] // BLOCK, BLOCK)


def _tokens_of(blocks: torch.Tensor) -> torch.Tensor:
    """The tokens (..., ``BLOCK``) of blocks (...)."""
    return blocks[..., None] * BLOCK + torch.arange(BLOCK, device=blocks.device)
