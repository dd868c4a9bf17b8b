"""Changes to logits before a token is drawn: penalties of generated tokens, top-k and min-p.

Input: logits (rows, vocabulary). Output: logits of the same shape, float32 where they change. Each
row is changed by its own tokens and logits alone. The order is vLLM's: penalties, then what is left
out.
"""

import math

import torch

from orion.engines.protocol import Sampling


def counts_tokens(sampling: Sampling) -> bool:
    """Whether the penalties need the number of times that each token was generated."""
    return bool(sampling.presence_penalty or sampling.frequency_penalty)


def penalise_generated(
    logits: torch.Tensor, counts: torch.Tensor, sampling: Sampling
) -> torch.Tensor:
    """Subtract the presence penalty once, the frequency penalty per occurrence.

    ``counts``: (rows, vocabulary), how often each token was generated; the prompt does not count.
    The definition is that of the OpenAI API.
    """
    presence, frequency = sampling.presence_penalty or 0.0, sampling.frequency_penalty or 0.0
    logits = logits.float()
    return logits - frequency * counts.to(logits.dtype) - presence * (counts > 0).to(logits.dtype)


def leave_out(logits: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Logits with -inf for tokens that min-p and top-k leave out; nothing at temperature 0.

    A token stays if it has at least ``min_p`` times the largest probability at the temperature of
    ``sampling`` (Nguyen et al., "Turning up the heat", 2024), and if it is one of the ``top_k``
    most probable or as probable as the last of them.
    """
    cuts = sampling.top_k is not None and sampling.top_k < logits.shape[-1]
    if sampling.temperature == 0 or not (sampling.min_p or cuts):
        return logits
    logits = logits.float()
    if sampling.min_p:
        lowest = logits.amax(dim=-1, keepdim=True) + sampling.temperature * math.log(sampling.min_p)
        logits = logits.masked_fill(logits < lowest, -torch.inf)
    if sampling.top_k is not None and cuts:
        lowest = logits.topk(sampling.top_k, dim=-1).values[..., -1:]
        logits = logits.masked_fill(logits < lowest, -torch.inf)
    return logits
