"""The OpenAI protocol: request bodies, and strict reading of a server's answers.

Input: requests, or a response's bytes. Output: JSON bodies, or texts with their token counts. This
module sends nothing; ``orion.engines.retries`` does. It decides what a request asks for and how an
answer is read, and so is part of the engine's revision.
"""

import json
import re
from dataclasses import dataclass
from typing import Any, TypeGuard

from orion.engines.protocol import Request, Sampling

# far more than any completion with its reasoning; a longer body is malformed
MAX_BYTES = 32 * 2**20
REASONING_FIELDS = ("reasoning", "reasoning_content")
FINISH_REASONS = {
    "stop": "stop",
    "length": "length",
    "content_filter": "error",
    "tool_calls": "error",
    "error": "error",
}
CONTEXT_LENGTH_ERROR = re.compile(
    r"context_length_exceeded|exceed_context_size|context (length|size|window)|max_model_len"
    r"|maximum model length",
    re.IGNORECASE,
)
# parameters that a server reads from the checkpoint's generation_config.json where a request leaves
# them out, and their neutral values
NEUTRAL_VALUES = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}


class MalformedResponseError(Exception):
    """A response that is no valid answer; the message says why."""


@dataclass(frozen=True)
class Answer:
    """A completion as the server gave it.

    ``finish_reason``: stop, length or error. ``ids``: token ids, None where it gave text only.
    """

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    ids: list[int] | None = None


def server_seed(seed: int) -> int:
    """The seed that is sent to a server, 0 <= seed < 2**31.

    Servers accept different ranges: 32 bits unsigned with a special largest value, 32 bits signed,
    or 64 bits. Proxies that read JSON numbers as floats round above 2**53. All of them read the
    lowest 31 bits alike.
    """
    return seed % 2**31


def _sampling_parameters(sampling: Sampling, seed: int) -> dict[str, Any]:
    body: dict[str, Any] = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_tokens,
        "seed": server_seed(seed),
    }
    if sampling.repetition_penalty != 1:
        body["repetition_penalty"] = sampling.repetition_penalty
    # top_k and min_p are extensions too; the rest is of the protocol itself
    for name in ("top_k", "min_p", "presence_penalty", "frequency_penalty"):
        value = getattr(sampling, name)
        if value is not None:
            body[name] = value
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    return body


def completion_body(
    model: str,
    ids: list[int],
    request: Request,
    sampling: Sampling,
    generation_config: dict[str, Any],
) -> dict[str, Any]:
    """The body of POST /completions, with the rendered text as token ids.

    Ids, because the server would add a second start token to text. ``return_token_ids`` is an
    extension of vLLM that other servers ignore. Ids are decoded by our own tokenizer, so that an
    answer is the same text whichever engine it comes from. ``repetition_penalty`` is an extension
    of vLLM and SGLang and sent only where it is not 1; the others are sent where they are set.
    Servers apply the checkpoint's ``generation_config`` to every parameter that a request leaves
    out; each parameter which that file sets is therefore sent with its neutral value.
    """
    neutral = {
        key: value
        for key, value in NEUTRAL_VALUES.items()
        if generation_config.get(key) is not None
    }
    return {
        "model": model,
        "prompt": ids,
        "return_token_ids": True,
        **neutral,
        **_sampling_parameters(sampling, request.seed),
    }


def chat_body(model: str, request: Request, sampling: Sampling) -> dict[str, Any]:
    """The body of POST /chat/completions.

    The prompt is JSON, written by ``orion.models.served``: messages, and perhaps
    chat_template_kwargs.
    """
    return {
        "model": model,
        **json.loads(request.prompt),
        **_sampling_parameters(sampling, request.seed),
    }


def read_answer(content: bytes) -> Answer:
    """The completion in a response's body; raises MalformedResponseError where it is not valid."""
    body = _read_object(content)
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise MalformedResponseError("no choices in the answer")
    choice = choices[0]
    reason = choice.get("finish_reason")
    if not isinstance(reason, str) or reason not in FINISH_REASONS:
        raise MalformedResponseError(f"finish_reason is {clean_text(json.dumps(reason))}")
    message = choice.get("message")
    text = _read_chat_text(message, reason) if isinstance(message, dict) else choice.get("text")
    if isinstance(message, dict) and not any(
        message.get(name) is not None for name in ("content", *REASONING_FIELDS)
    ):
        # a refusal or a tool call; asking again would give the same answer
        text, reason = "", "error"
    if not isinstance(text, str):
        raise MalformedResponseError("no text in the answer")
    usage = body.get("usage")
    return Answer(
        replace_surrogates(text),
        FINISH_REASONS[reason],
        prompt_tokens=_read_count(usage, "prompt_tokens"),
        completion_tokens=_read_count(usage, "completion_tokens"),
        ids=_read_ids(choice.get("token_ids")),
    )


def count_billed_tokens(content: bytes, max_tokens: int) -> int:
    """The tokens to count for an answer that cannot be read.

    The counts in its usage; where they are missing, the most that its completion may have.
    """
    try:
        usage = _read_object(content).get("usage")
    except MalformedResponseError:
        return max_tokens
    counts = usage if isinstance(usage, dict) else {}
    prompt, completion = counts.get("prompt_tokens"), counts.get("completion_tokens")
    return (prompt if _is_count(prompt) else 0) + (
        completion if _is_count(completion) else max_tokens
    )


def _read_object(content: bytes) -> dict[str, Any]:
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        raise MalformedResponseError(
            f"not JSON: {clean_text(content[:80].decode('utf-8', 'replace'))}"
        ) from None
    if not isinstance(body, dict):
        raise MalformedResponseError("JSON, but no object")
    return body


def _read_count(usage: Any, name: str) -> int:
    value = usage.get(name) if isinstance(usage, dict) else None
    if not _is_count(value):
        raise MalformedResponseError(f"usage.{name} is missing or not a count")
    return value


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31


def _read_ids(value: Any) -> list[int] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(map(_is_count, value)):
        raise MalformedResponseError("token_ids are not token ids")
    return value


def _read_chat_text(message: dict[str, Any], reason: str) -> Any:
    """The text of a chat message, not yet known to be a string.

    Reasoning that the server moved to a field of its own is put back where the model wrote it.
    """
    content = message.get("content")
    reasoning = next((message[name] for name in REASONING_FIELDS if message.get(name)), None)
    if reasoning is None:
        return content
    if not isinstance(reasoning, str) or not isinstance(content, str | None):
        return None
    thinking = f"<think>\n{reasoning.strip(chr(10))}\n"
    # the completion ended while thinking, so the model never wrote the end mark
    if not content and reason == "length":
        return thinking
    return f"{thinking}</think>\n\n{(content or '').lstrip(chr(10))}"


def replace_surrogates(text: str) -> str:
    """The text without halves of surrogate pairs, which JSON can hold and a table cannot."""
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")


def is_context_length_error(status: int, content: bytes) -> bool:
    """Whether an error response means that prompt and max_tokens do not fit into the context."""
    return status in (400, 413, 422) and bool(
        CONTEXT_LENGTH_ERROR.search(content[:4096].decode("utf-8", "replace"))
    )


def error_message(content: bytes) -> str:
    """The message in an error response's body, short and printable."""
    text = content[:4096].decode("utf-8", "replace")
    try:
        body: Any = json.loads(content)
    except (ValueError, RecursionError):
        return clean_text(text)
    for key in ("error", "message", "detail"):
        if isinstance(body, dict) and key in body:
            body = body[key]
    return clean_text(body if isinstance(body, str) else text)


def clean_text(text: str) -> str:
    """A server's text for a log: one line without control characters, at most 200 characters."""
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= 200 else text[:197] + "..."
