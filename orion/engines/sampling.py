"""Draw one token a row from logits, with noise that is a hash of (row seed, step, vocabulary index).

Input: logits (rows, vocabulary). Output: token ids (rows,). A draw is a pure function of the row's logits, seed and step, on
every device, whatever else is in the batch.
"""

import torch

# SplitMix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014; finaliser: Stafford's Mix13.
# Written as signed numbers, since torch has no unsigned 64-bit arithmetic; products wrap modulo 2**64 either way.
GOLDEN = 0x9E3779B97F4A7C15 - 2**64
FIRST = 0xBF58476D1CE4E5B9 - 2**64
SECOND = 0x94D049BB133111EB - 2**64


def _shift(x: torch.Tensor, bits: int) -> torch.Tensor:
    # torch shifts int64 arithmetically: clear the copies of the sign bit
    return (x >> bits) & (2 ** (64 - bits) - 1)


def mix(x: torch.Tensor) -> torch.Tensor:
    """SplitMix64's finaliser, a bijection on 64-bit integers, elementwise on int64."""
    x = (x ^ _shift(x, 30)) * FIRST
    x = (x ^ _shift(x, 27)) * SECOND
    return x ^ _shift(x, 31)


def gumbel(seed: torch.Tensor, step: torch.Tensor, vocabulary: int) -> torch.Tensor:
    """Standard Gumbel noise (rows, vocabulary) in float64 from seed and step (rows,) in int64.

    Each (seed, step) starts a SplitMix64 stream of its own, whose n-th number belongs to vocabulary index n.
    """
    start = mix(mix(seed + GOLDEN) + GOLDEN * (step + 1))
    index = torch.arange(1, vocabulary + 1, device=seed.device) * GOLDEN
    bits = _shift(mix(start[:, None] + index), 12)
    # 52 bits and a half: strictly between 0 and 1 in float64
    uniform = (bits.double() + 0.5) * 2.0**-52
    return uniform.log_().neg_().log_().neg_()


def penalise(logits: torch.Tensor, seen: torch.Tensor, penalty: float) -> torch.Tensor:
    """Divide positive and multiply negative logits of tokens seen so far, (rows, vocabulary) bool, by the penalty.

    Keskar et al., "CTRL", 2019, section 4.1, as in transformers' RepetitionPenaltyLogitsProcessor.
    """
    return torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)


def nucleus(scores: torch.Tensor, top_p: float) -> torch.Tensor:
    """Scores with -inf outside the smallest set of most probable tokens whose probabilities sum to at least top_p.

    Holtzman et al., "The curious case of neural text degeneration", 2020. Among equal scores the lower index goes first.
    """
    ordered, index = scores.sort(dim=-1, descending=True, stable=True)
    probabilities = ordered.softmax(dim=-1)
    before = probabilities.cumsum(dim=-1) - probabilities
    return scores.scatter(-1, index, ordered.masked_fill(before >= top_p, -torch.inf))


def draw(
    logits: torch.Tensor,
    seed: torch.Tensor,
    step: torch.Tensor,
    *,
    temperature: float,
    top_p: float,
) -> torch.Tensor:
    """Token ids (rows,) from logits (rows, vocabulary) float32; seed, step: (rows,) int64.

    Sampling from the softmax is the argmax of scores plus independent Gumbel noise (Gumbel 1954; Maddison et al. 2014).
    Temperature 0 is the argmax of the logits.
    """
    if temperature == 0:
        return logits.argmax(dim=-1)
    scores = logits.double() / temperature
    if top_p < 1:
        scores = nucleus(scores, top_p)
    return (scores + gumbel(seed, step, logits.shape[-1])).argmax(dim=-1)
