"""What goes over the wire to an OpenAI-compatible server: request bodies, and answers read with suspicion.

Input: requests, or a response's bytes. Output: JSON bodies, or texts with their token counts. Nothing is sent from here.
What stands here decides what is asked and how an answer is read; ``orion.engines.openai`` sends and repeats.
"""

import json
import re
from dataclasses import dataclass
from typing import Any, TypeGuard

from orion.engines import Request, Sampling

# no completion, its reasoning included, comes near this many bytes; what does is no answer
MAX_BYTES = 32 * 2**20
REASONING = ("reasoning", "reasoning_content")
REASONS = {
    "stop": "stop",
    "length": "length",
    "content_filter": "error",
    "tool_calls": "error",
    "error": "error",
}
OVERFLOW = re.compile(
    r"context_length_exceeded|exceed_context_size|context (length|size|window)|max_model_len|maximum model length",
    re.IGNORECASE,
)
# what a server would take from the checkpoint's generation_config.json where a request is silent, and its neutral value
DEFAULTS = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}


class MalformedResponseError(Exception):
    """An answer that is none: the message says what is wrong with it."""


@dataclass(frozen=True)
class Answer:
    """A completion as the server gave it; ``finish_reason``: stop, length or error. ``ids``: None where it gave text only."""

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    ids: list[int] | None = None


def server_seed(seed: int) -> int:
    """A request's seed for the wire, 0 <= seed < 2**31.

    Servers differ in what they take: 32 bits unsigned with a special largest value, 32 bits signed, 64 bits; and proxies that
    read JSON numbers as floats round above 2**53. The lowest 31 bits mean the same to all.
    """
    return seed % 2**31


def _sampling(sampling: Sampling, seed: int) -> dict[str, Any]:
    body: dict[str, Any] = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_tokens,
        "seed": server_seed(seed),
    }
    if sampling.repetition_penalty != 1:
        body["repetition_penalty"] = sampling.repetition_penalty
    return body


def completion_body(
    model: str, ids: list[int], request: Request, sampling: Sampling, generation_config: dict
) -> dict[str, Any]:
    """POST /completions for rendered text as token ids, so that the server adds no second start token.

    ``return_token_ids`` is an extension (vLLM) that others ignore: decoded by our own tokenizer, an answer is the same text
    whichever engine it comes from. ``repetition_penalty`` is one too (vLLM, SGLang) and sent only where it is not 1. Servers
    apply the checkpoint's own ``generation_config`` to whatever a request leaves out: what that file sets is sent with its
    neutral value.
    """
    silent = {
        key: neutral for key, neutral in DEFAULTS.items() if generation_config.get(key) is not None
    }
    return {
        "model": model,
        "prompt": ids,
        "return_token_ids": True,
        **silent,
        **_sampling(sampling, request.seed),
    }


def chat_body(model: str, request: Request, sampling: Sampling) -> dict[str, Any]:
    """POST /chat/completions for a prompt that is the JSON of ``orion.models.served``: messages, perhaps chat_template_kwargs."""
    return {"model": model, **json.loads(request.prompt), **_sampling(sampling, request.seed)}


def read(content: bytes) -> Answer:
    """The one completion of a response's body; raises MalformedResponseError for anything that is not a whole, sane answer."""
    document = _document(content)
    choices = document.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise MalformedResponseError("no choices in the answer")
    choice = choices[0]
    reason = choice.get("finish_reason")
    if not isinstance(reason, str) or reason not in REASONS:
        raise MalformedResponseError(f"finish_reason is {plain(json.dumps(reason))}")
    message = choice.get("message")
    text = _chat_text(message, reason) if isinstance(message, dict) else choice.get("text")
    if isinstance(message, dict) and not any(
        message.get(name) is not None for name in ("content", *REASONING)
    ):
        # a refusal or a call of a tool: the same question gets the same answer
        text, reason = "", "error"
    if not isinstance(text, str):
        raise MalformedResponseError("no text in the answer")
    usage = document.get("usage")
    counts = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    return Answer(storable(text), REASONS[reason], *counts, ids=_ids(choice.get("token_ids")))


def billed(content: bytes, max_tokens: int) -> int:
    """Tokens to count for an answer that cannot be read: those it names, or the most that its completion may have."""
    try:
        usage = _document(content).get("usage")
    except MalformedResponseError:
        return max_tokens
    named = usage if isinstance(usage, dict) else {}
    prompt, completion = named.get("prompt_tokens"), named.get("completion_tokens")
    return (prompt if _is_count(prompt) else 0) + (
        completion if _is_count(completion) else max_tokens
    )


def _document(content: bytes) -> dict:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        raise MalformedResponseError(
            f"not JSON: {plain(content[:80].decode('utf-8', 'replace'))}"
        ) from None
    if not isinstance(document, dict):
        raise MalformedResponseError("JSON, but no object")
    return document


def _count(usage: Any, name: str) -> int:
    value = usage.get(name) if isinstance(usage, dict) else None
    if not _is_count(value):
        raise MalformedResponseError(f"usage.{name} is missing or no count")
    return value


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31


def _ids(value: Any) -> list[int] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(map(_is_count, value)):
        raise MalformedResponseError("token_ids are no token ids")
    return value


def _chat_text(message: dict, reason: str) -> str | None:
    """The assistant's words; reasoning that the server took out of them is put back as the model wrote it."""
    content = message.get("content")
    thought = next((message[name] for name in REASONING if message.get(name)), None)
    if thought is None:
        return content
    if not isinstance(thought, str) or not isinstance(content, str | None):
        return None
    opened = f"<think>\n{thought.strip(chr(10))}\n"
    # cut off while thinking: the mark that ends it was never written
    if not content and reason == "length":
        return opened
    return f"{opened}</think>\n\n{(content or '').lstrip(chr(10))}"


def storable(text: str) -> str:
    """The text without halves of surrogate pairs, which JSON can hold and no table can."""
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")


def is_overflow(status: int, content: bytes) -> bool:
    """Whether a refusal means that the prompt and max_tokens do not fit into the context."""
    return status in (400, 413, 422) and bool(
        OVERFLOW.search(content[:4096].decode("utf-8", "replace"))
    )


def complaint(content: bytes) -> str:
    """What an error's body says, short and printable."""
    text = content[:4096].decode("utf-8", "replace")
    try:
        document: Any = json.loads(content)
    except (ValueError, RecursionError):
        return plain(text)
    for key in ("error", "message", "detail"):
        if isinstance(document, dict) and key in document:
            document = document[key]
    return plain(document if isinstance(document, str) else text)


def plain(text: str) -> str:
    """A server's words for a log: one line without control characters, at most 200 characters."""
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= 200 else text[:197] + "..."
