"""NEFTune (Jain et al., 2023): noise on the embeddings of a packed row while it is trained on."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def embedding_noise(model: Any, alpha: float | None, seq_lengths: list[int]) -> Iterator[None]:
    """Let the embeddings have noise in [-1, 1] * alpha / sqrt(document's tokens * hidden size).

    ``seq_lengths``: of the documents of the packed row. The switch of the transformers library
    takes the tokens of the whole row instead, so that the noise would depend on what else is in
    it. No noise with ``alpha`` None, and none in evaluation mode.
    """
    if alpha is None or not model.training:
        yield
        return

    def add_noise(_module: Any, _args: Any, output: torch.Tensor) -> torch.Tensor:
        lengths = torch.tensor(seq_lengths, device=output.device)
        size = alpha / (lengths * output.shape[-1]).sqrt()  # (documents,)
        size = size.repeat_interleave(lengths)[:, None]  # (tokens, 1)
        noise = torch.empty_like(output, dtype=torch.float32).uniform_(-1, 1)
        return output + (noise * size).to(output.dtype)  # (1, tokens, hidden)

    handle = model.get_input_embeddings().register_forward_hook(add_noise)
    try:
        yield
    finally:
        handle.remove()
