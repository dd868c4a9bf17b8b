"""Prompts as token ids, for the engines that send ids.

Input: a tokenizer and requests. Output: requests with their token ids; equal prompts are encoded
once.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from orion.engines.protocol import Request, Sampling
from orion.errors import InputError
from orion.models import templates
from orion.models.document import ModelDocument


def encode_prompts(
    tokenizer: Any, requests: Iterable[Request]
) -> Iterator[tuple[Request, list[int]]]:
    """Each request with its prompt's ids, in the given order; empty ids without a tokenizer.

    Prompts are rendered by ``orion.models.templates``. Raises InputError for a prompt without any
    token.
    """
    requests = list(requests)
    texts = list({request.prompt: None for request in requests})
    if tokenizer is None or not texts:
        yield from ((request, []) for request in requests)
        return
    ids = dict(zip(texts, templates.encode(tokenizer, texts), strict=True))
    if [] in ids.values():
        raise InputError("a prompt has no token: the chat template renders nothing for it")
    yield from ((request, ids[request.prompt]) for request in requests)


def max_prompt_tokens(document: ModelDocument, sampling: Sampling) -> int:
    """The most tokens of a prompt with which ``max_tokens`` more fit into the context."""
    return document.context_length - sampling.max_tokens
