"""Direct preference optimisation over pairs of documents, as weights of tokens (arXiv 2305.18290).

Documents 2n and 2n + 1 of a packed row are a pair: the text to prefer, and the one to reject. With
the sums lc, lr of their log-probabilities under the model, and rc, rr under the reference, the loss
of a pair is -log sigmoid(z), z = beta ((lc - rc) - (lr - rr)), and nll_weight times the mean
negative log-likelihood of the preferred text's tokens. Its gradient is that of a cross-entropy
whose weights are constant: beta sigmoid(-z) + nll_weight / tokens for each token of the preferred
text, -beta sigmoid(-z) for each of the rejected one.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn.functional import logsigmoid

from orion.training.document_file import IGNORED
from orion.training.settings import Preference


class WeighedPairs(NamedTuple):
    """``token_weights``: (1, tokens) float32, aligned with the labels. ``margins``: z, (pairs,).

    ``missing``: (), what the weighted cross-entropy lacks of the loss; both are sums over pairs.
    """

    token_weights: torch.Tensor
    margins: torch.Tensor
    missing: torch.Tensor


def mark_pairs(rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """What the loss needs of the rows of a micro-batch.

    ``reference``: (documents,) float64. ``trained_documents``: a label for each pair, by which the
    pairs of an optimiser step are counted; padding has one that is IGNORED.
    """
    found = [row["reference"] for row in rows if "reference" in row]
    reference = np.concatenate([np.empty(0), *found])
    pairs = torch.zeros(len(reference) // 2, dtype=torch.int64)
    marks = pairs if len(pairs) else torch.tensor([IGNORED])
    return {"reference": torch.from_numpy(reference), "trained_documents": marks}


def sum_documents(logprob: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
    """The log-probabilities of the documents, (documents,) float64.

    ``logprob``: (tokens,), aligned with the tokens that are predicted; 0 where none is trained.
    """
    return torch.stack([part.double().sum() for part in logprob.split(list(lengths))])


def weigh_pairs(
    logprob: torch.Tensor, batch: dict[str, Any], preference: Preference
) -> WeighedPairs:
    """The weights of a micro-batch's tokens, constants.

    ``logprob``: as for ``sum_documents``. ``batch``: with labels (1, tokens), seq_lengths and what
    ``mark_pairs`` has added.
    """
    lengths, labels = list(batch["seq_lengths"]), batch["labels"]
    reference = batch["reference"].to(labels.device)
    if not len(reference):
        nothing = logprob.new_zeros((), dtype=torch.float64)
        return WeighedPairs(
            torch.zeros_like(labels, dtype=torch.float32), nothing[None][:0], nothing
        )
    sums = sum_documents(logprob, lengths)
    trained = labels[0].ne(IGNORED).split(lengths)
    chosen_tokens = torch.stack([part.sum() for part in trained[::2]]).double()
    ratios = sums - reference
    margins = preference.beta * (ratios[::2] - ratios[1::2])
    push = preference.beta * torch.sigmoid(-margins)
    likelihood = preference.nll_weight / chosen_tokens
    factors = torch.stack([push + likelihood, -push], 1).flatten()  # (documents,)
    losses = -logsigmoid(margins) - likelihood * sums[::2]
    weights = factors.float().repeat_interleave(torch.tensor(lengths, device=labels.device))
    return WeighedPairs(weights[None], margins, losses.sum() + (factors * sums).sum())
