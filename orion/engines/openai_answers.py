"""Reading what a server of the OpenAI protocol answers; servers differ in nearly every field.

Input: a response's bytes. Output: an ``Answer``, or the ``ServerError`` that the body holds. An
answer that was paid for is read as far as it can be: unusual finish reasons, missing counts,
content in parts and reasoning in a field of its own are no faults. Part of the engine's revision.
"""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

# far more than any completion with its reasoning; a longer body is malformed
MAX_BYTES = 32 * 2**20
REASONING_FIELDS = ("reasoning", "reasoning_content", "reasoning_details", "thinking")
REASONING_PARTS = ("thinking", "reasoning", "reasoning_text", "reasoning.text", "reasoning.summary")
# parts of a part that hold text, in this order
TEXT_FIELDS = ("text", "thinking", "reasoning", "summary", "content", "value", "refusal")
MAX_DEPTH = 4  # of parts within parts
FINISH_REASONS = {
    **dict.fromkeys(
        ("stop", "eos", "eos_token", "end_turn", "stop_sequence", "stop_token", "completed"), "stop"
    ),
    **dict.fromkeys(
        ("length", "max_tokens", "max_length", "max_output_tokens", "model_length"), "length"
    ),
    "error": "error",
    # these two name something else in our tables
    "prompt_too_long": "unknown",
    "context_full": "unknown",
}
FINISH_WORD = re.compile(r"[a-z][a-z0-9_-]{0,31}")
CONTEXT_LENGTH_ERROR = re.compile(
    r"context_length_exceeded|exceed_context_size|context (length|size|window)|max_model_len"
    r"|maximum model length",
    re.IGNORECASE,
)
# what the code, type or status of an error in a body means as an HTTP status
ERROR_WORDS = (
    (re.compile(r"insufficient_quota|rate.?limit|too.?many|resource_exhausted|throttl"), 429),
    (re.compile(r"overload|unavailable|capacity|insufficient_system_resource"), 503),
    (re.compile(r"timeout|timed.?out|deadline"), 504),
    (re.compile(r"authentication|invalid_api_key|unauthori[sz]ed"), 401),
    (re.compile(r"payment|billing|credit"), 402),
    (re.compile(r"permission|forbidden"), 403),
    (re.compile(r"not_?found"), 404),
    (re.compile(r"context_length|invalid_request|bad_?request|content_policy"), 400),
)


class MalformedResponseError(Exception):
    """A response that holds neither an answer nor an error; the message says why."""


@dataclass(frozen=True)
class Answer:
    """A completion as the server gave it.

    ``finish_reason``: stop, length, error, another word of the server's, or unknown.
    ``prompt_tokens``, ``completion_tokens``: None where the server does not count them. ``ids``:
    token ids, None where it gave text only.
    """

    text: str
    finish_reason: str
    prompt_tokens: int | None
    completion_tokens: int | None
    ids: list[int] | None = None


@dataclass(frozen=True)
class ServerError:
    """An error in the body of a response with HTTP status 200; ``status``: the one it means."""

    status: int
    message: str


def read_answer(content: bytes, max_tokens: int) -> Answer | ServerError:
    """The completion, or the error, in the body of a response with HTTP status 200.

    Raises MalformedResponseError where the body holds neither. ``max_tokens``: of the request.
    """
    body = _read_object(content)
    choices = body.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    error = _find_error(body, choice)
    if error:
        return ServerError(find_status(error), describe_error(error))
    if not isinstance(choice, dict):
        raise MalformedResponseError("no choices in the answer")
    prompt_tokens, completion_tokens = read_usage(body.get("usage"))
    reason = read_finish_reason(choice.get("finish_reason"))
    if reason == "unknown" and completion_tokens is not None and completion_tokens >= max_tokens:
        reason = "length"
    text, reason = _read_choice(choice, reason)
    return Answer(
        replace_surrogates(text),
        reason,
        prompt_tokens,
        completion_tokens,
        ids=_read_ids(choice.get("token_ids")),
    )


def read_finish_reason(value: Any) -> str:
    """stop, length or error where a server's word means that; else its word, or unknown."""
    word = value.strip().lower() if isinstance(value, str) else ""
    if word in FINISH_REASONS:
        return FINISH_REASONS[word]
    return word if FINISH_WORD.fullmatch(word) and word not in ("null", "none") else "unknown"


def read_usage(usage: Any) -> tuple[int | None, int | None]:
    """Tokens of the prompt and of the completion; None for a count that is missing or invalid."""
    counts = usage if isinstance(usage, dict) else {}
    prompt = _read_count(counts, "prompt_tokens", "input_tokens")
    completion = _read_count(counts, "completion_tokens", "output_tokens")
    total = _read_count(counts, "total_tokens")
    if completion is None and prompt is not None and total is not None and total >= prompt:
        completion = total - prompt
    return prompt, completion


def count_billed_tokens(content: bytes, otherwise: int) -> int:
    """The tokens to count for a response that is no answer: its usage, else ``otherwise``."""
    try:
        prompt, completion = read_usage(_read_object(content).get("usage"))
    except MalformedResponseError:
        return otherwise
    return (prompt or 0) + (otherwise if completion is None else completion)


def _read_object(content: bytes) -> dict[str, Any]:
    try:
        if content.lstrip()[:5] == b"data:":
            return _join_stream(content)
        body = json.loads(content)
    except (ValueError, RecursionError):
        raise MalformedResponseError(
            f"not JSON: {clean_text(content[:80].decode('utf-8', 'replace'))}"
        ) from None
    if not isinstance(body, dict):
        raise MalformedResponseError("JSON, but no object")
    return body


def _join_stream(content: bytes) -> dict[str, Any]:
    """The whole answer from the chunks of a stream, which some gateways send without being asked.

    Raises ValueError for a chunk that is not JSON.
    """
    texts: dict[str, list[str]] = {}
    reason = usage = None
    for line in content.splitlines():
        if not line.startswith(b"data:") or line[5:].strip() == b"[DONE]":
            continue
        chunk = json.loads(line[5:])
        if not isinstance(chunk, dict) or chunk.get("error"):
            return chunk if isinstance(chunk, dict) else {}
        usage = chunk.get("usage") or usage
        choices = chunk.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if isinstance(choice, dict):
            reason = choice.get("finish_reason") or reason
            delta = choice.get("delta") or choice
            for name in ("content", "text", "refusal", *REASONING_FIELDS):
                if isinstance(delta, dict) and isinstance(delta.get(name), str):
                    texts.setdefault(name, []).append(delta[name])
    message = {name: "".join(parts) for name, parts in texts.items()}
    message.setdefault("content", message.pop("text", ""))
    return {"choices": [{"message": message, "finish_reason": reason}], "usage": usage}


def _read_count(counts: dict[str, Any], *names: str) -> int | None:
    for name in names:
        value = counts.get(name)
        if isinstance(value, float) and math.isfinite(value) and value == int(value):
            value = int(value)
        if isinstance(value, int) and _is_count(value):
            return value
    return None


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31


def _read_ids(value: Any) -> list[int] | None:
    """Token ids; None where they are missing or invalid, since the text is there too."""
    return value if isinstance(value, list) and all(map(_is_count, value)) else None


def _read_choice(choice: dict[str, Any], reason: str) -> tuple[str, str]:
    """Text and finish reason of a choice.

    Reasoning that the server moved to a field or to parts of its own is put back where the model
    wrote it. A refusal is the model's text. An answer without any text (a tool call, or nothing) is
    an empty one: asking again would be paid for again and give the same.
    """
    message = choice.get("message")
    if not isinstance(message, dict):
        text = choice.get("text")
        if text is None and ("text" in choice or "message" in choice):
            text = ""
        if not isinstance(text, str):
            raise MalformedResponseError("no text in the answer")
        return text, reason
    value = message.get("content")
    if isinstance(value, int | float):
        raise MalformedResponseError("no text in the answer")
    content = "".join(_read_parts(value, reasoning=False))
    texts = [_read_parts(value, reasoning=True)]
    texts += [_read_parts(message.get(name)) for name in REASONING_FIELDS]
    reasoning = next(filter(None, map("".join, texts)), "")
    refusal = message.get("refusal")
    if not content and isinstance(refusal, str) and refusal:
        content, reason = refusal, "refusal"
    if not reasoning:
        return content, reason
    thinking = f"<think>\n{reasoning.strip(chr(10))}\n"
    # the completion ended while thinking, so the model never wrote the end mark
    if not content and reason == "length":
        return thinking, reason
    return f"{thinking}</think>\n\n{content.lstrip(chr(10))}", reason


def _read_parts(value: Any, *, reasoning: bool | None = None, depth: int = 0) -> Iterator[str]:
    """The texts of content that is a text, a list of parts, or a part.

    ``reasoning``: only parts of that kind; None: all. What is no text (an image) is left out.
    """
    if depth > MAX_DEPTH:
        return
    if isinstance(value, str):
        if reasoning is not True:
            yield value
    elif isinstance(value, list):
        for part in value:
            yield from _read_parts(part, reasoning=reasoning, depth=depth + 1)
    elif isinstance(value, dict):
        is_reasoning = value.get("type") in REASONING_PARTS
        if reasoning is None or reasoning == is_reasoning:
            inner = next((value[name] for name in TEXT_FIELDS if value.get(name)), None)
            yield from _read_parts(inner, depth=depth + 1)


def replace_surrogates(text: str) -> str:
    """The text without halves of surrogate pairs, which JSON can hold and a table cannot."""
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")


def _find_error(body: dict[str, Any], choice: Any) -> Any:
    """The error of a body without an answer; None where there is none.

    A gateway may put its provider's error into the choice.
    """
    if isinstance(choice, dict):
        if choice.get("error"):
            return choice["error"]
        if choice.get("finish_reason") != "error":
            return None
    for name in ("error", "errors", "detail"):
        if isinstance(body.get(name), str | dict | list) and body[name]:
            return body[name]
    is_error = body.get("object") == "error" or body.get("error") or "code" in body
    return body if is_error and isinstance(body.get("message"), str) else None


def find_status(error: Any) -> int:
    """The HTTP status that an error means: its code, else what its words say, else 500."""
    error = error[0] if isinstance(error, list) and error else error
    fields = error if isinstance(error, dict) else {"message": error}
    words = []
    for name in ("code", "status", "status_code", "type", "message"):
        value = fields.get(name)
        text = str(value).strip() if isinstance(value, str | int) else ""
        if text.isascii() and text.isdecimal() and 400 <= int(text[:9]) < 600:
            return int(text)
        words.append(text.lower())
    if CONTEXT_LENGTH_ERROR.search(words[-1]):
        return 400
    for text in words[:-1] if any(words[:-1]) else words:
        for pattern, status in ERROR_WORDS:
            if text and pattern.search(text[:200]):
                return status
    return 500


def is_context_length_error(status: int, content: bytes) -> bool:
    """Whether an error response means that prompt and max_tokens do not fit into the context."""
    return status in (400, 413, 422) and bool(
        CONTEXT_LENGTH_ERROR.search(content[:4096].decode("utf-8", "replace"))
    )


def error_message(content: bytes) -> str:
    """The message in an error response's body, short and printable."""
    try:
        body: Any = json.loads(content)
    except (ValueError, RecursionError):
        return clean_text(content[:4096].decode("utf-8", "replace"))
    return describe_error(body)


def describe_error(error: Any) -> str:
    """The server's own words in an error: its message, and what a gateway's provider said."""
    said = ""
    found = error = error[0] if isinstance(error, list) and error else error
    for name in ("error", "message", "detail"):
        if isinstance(found, dict) and found.get(name):
            metadata = found.get("metadata")
            if isinstance(metadata, dict) and isinstance(metadata.get("raw"), str):
                said = metadata["raw"][:4096]
            found = found[name]
    text = found if isinstance(found, str) else json.dumps(error, ensure_ascii=False)[:4096]
    return clean_text(f"{text}: {said}" if said else text)


def clean_text(text: str) -> str:
    """A server's text for a log: one line without control characters, at most 200 characters."""
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= 200 else text[:197] + "..."
