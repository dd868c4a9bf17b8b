"""Packed rows under a model, without training: the surprise and rank of each trained token."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from orion_kernels import Packing
from orion_kernels.transformers_head import find_head
from orion_kernels.transformers_integration import causal_lm_loss

from orion.experiment.surprise import MAX_RANK
from orion.training.packed_rows import COLUMNS, IGNORED, Row, collate_packed

# positions whose logits are in memory at a time: 256 of a vocabulary of 150,000 are 150 MB
CHUNK = 256
# tokens of the documents that are read together; a longer document is read alone
ROW_TOKENS = 2048

Document = tuple[list[int], list[int]]


@torch.no_grad()
def score_row(model: Any, row: Row) -> Iterator[dict[str, Any]]:
    """The documents of one packed row that have a trained token, in order.

    ``document`` counts the row's documents from 0; ``surprise`` and ``rank`` as in
    `orion.experiment.surprise`. The model has packed attention and is in evaluation mode; what it
    adds to its loss is left out.
    """
    batch = collate_packed([row])
    place = next(model.parameters()).device
    labels = batch["labels"].to(place)  # (1, tokens)
    packing = Packing.from_seq_lengths(batch["seq_lengths"], device=place)
    language_model = model.get_base_model() if hasattr(model, "get_base_model") else model
    seen: list[torch.Tensor] = []
    handle = language_model.base_model.register_forward_hook(
        lambda _module, _args, output: seen.append(output[0])
    )
    try:
        _, metrics = causal_lm_loss(
            model, batch["input_ids"].to(place), batch["position_ids"].to(place), labels, packing
        )
    finally:
        handle.remove()
    positions = batch["valid_index"].to(place)  # (targets,), of the token before each target
    targets = packing.shifted_labels(labels)[positions]
    hidden = seen[0].flatten(0, 1)[positions]  # (targets, hidden)
    ranks = rank_targets(language_model, hidden, targets).cpu()
    surprise = -metrics.logprob[positions].double().cpu()
    owners = packing.document_ids[positions].cpu()
    for document in owners.unique().tolist():
        mine = owners == document
        yield {
            "document": document,
            "tokens": int(mine.sum()),
            "surprise": float(surprise[mine].mean()),
            "rank": float(ranks[mine].double().mean()),
        }


def rank_targets(language_model: Any, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The rank of each target, ``(targets,)``: 1 and the tokens that are likelier, to MAX_RANK.

    ``hidden``: ``(targets, hidden)``. A softcap keeps the order, so it is left out.
    """
    head = find_head(language_model)
    weight = head.weight.float()
    bias = head.scaled_bias()
    ranks = []
    for states, wanted in zip(hidden.split(CHUNK), targets.split(CHUNK), strict=True):
        logits = torch.nn.functional.linear(
            head.scale_hidden(states).float(), weight, None if bias is None else bias.float()
        )  # (chunk, vocabulary)
        own = logits.gather(1, wanted[:, None])
        ranks.append((logits > own).sum(1).clamp(max=MAX_RANK - 1) + 1)
    return torch.cat(ranks) if ranks else targets.new_empty(0)


def score_documents(model: Any, documents: Iterable[Document]) -> Iterator[dict[str, Any] | None]:
    """For each document, ids and labels, what `score_row` says of it; None without a trained token.

    The documents are read in their order, several in one row. The model is as for `score_row`.
    """
    waiting: list[Document] = []
    tokens = 0
    for each in documents:
        if waiting and tokens + len(each[0]) > ROW_TOKENS:
            yield from _score_together(model, waiting)
            waiting, tokens = [], 0
        waiting.append(each)
        tokens += len(each[0])
    if waiting:
        yield from _score_together(model, waiting)


def _score_together(model: Any, documents: list[Document]) -> Iterator[dict[str, Any] | None]:
    lengths = [len(ids) for ids, _ in documents]
    columns = (
        [token for ids, _ in documents for token in ids],
        # no document predicts its first token
        [label for _, labels in documents for label in (IGNORED, *labels[1:])],
        [place for length in lengths for place in range(length)],
        lengths,
    )
    row: Row = dict(zip(COLUMNS, (np.array(c, np.int32) for c in columns), strict=True))
    scored = {each["document"]: each for each in score_row(model, row)}
    yield from (scored.get(number) for number in range(len(documents)))
