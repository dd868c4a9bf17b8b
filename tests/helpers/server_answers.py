"""Answers in the shapes of servers of the OpenAI protocol: their fields, with texts of our own.

The fields are those of answers that these servers gave: DeepSeek, Mistral and OpenRouter as
recorded by pydantic/pydantic-ai (tests/models/cassettes), OpenAI and Azure with finish_reason null
as in openai/openai-openapi#20 and MicrosoftDocs/azure-docs#109589, Claude's end_turn behind
OpenRouter as in vercel/modelfusion#343, eos_token and "" of TGI and SGLang as in dstackai/dstack
pull request 2229, Ollama as in ollama/ollama#5312, "null" as in Ai00-X/ai00_server#90. vLLM's are
those of its server 0.32.0 on this project's tiny checkpoint; llama.cpp, LM Studio and Gemini follow
their documentation.
"""

from collections.abc import Callable
from typing import Any

TEXT, THOUGHT = "It is 2 : \\boxed{ 2 }", "1 and 1 is 2"
THOUGHT_FIRST = f"<think>\n{THOUGHT}\n</think>\n\n{TEXT}"

Shape = dict[str, Any]


def _body(message: Shape, usage: Shape | None, choice: Shape | None = None, **more: Any) -> Shape:
    first = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop"}
    body = {"id": "x", "object": "chat.completion", "created": 1, "model": "m", **more}
    return {**body, "choices": [{**first, **(choice or {})}], "usage": usage}


def _usage(prompt: int = 12, completion: int = 9, **more: Any) -> Shape:
    total = {"total_tokens": prompt + completion}
    return {"prompt_tokens": prompt, "completion_tokens": completion, **total, **more}


# name → (body, the whole text of its answer)
SHAPES: dict[str, tuple[Shape, str]] = {
    "vllm": (
        _body(
            {
                "content": TEXT,
                "reasoning": THOUGHT,
                "refusal": None,
                "annotations": None,
                "audio": None,
                "function_call": None,
            },
            _usage(prompt_tokens_details=None, completion_tokens_details=None),
            {"logprobs": None, "stop_reason": None, "token_ids": None, "routed_experts": None},
            service_tier=None,
            system_fingerprint="vllm-0.32.0",
            prompt_logprobs=None,
            prompt_token_ids=None,
            prompt_text=None,
            kv_transfer_params=None,
            ec_transfer_params=None,
            metrics=None,
        ),
        THOUGHT_FIRST,
    ),
    "sglang": (
        _body(
            {"content": TEXT, "reasoning_content": None, "tool_calls": None},
            _usage(prompt_tokens_details=None, reasoning_tokens=0),
            {"finish_reason": "", "matched_stop": 2, "logprobs": None},
            metadata={"weight_version": "default"},
        ),
        TEXT,
    ),
    "llama.cpp": (
        _body(
            {"content": TEXT, "reasoning_content": THOUGHT},
            _usage(),
            system_fingerprint="b1",
            timings={"prompt_n": 12, "predicted_n": 9, "predicted_per_second": 7.5},
        ),
        THOUGHT_FIRST,
    ),
    "ollama": (
        _body({"content": TEXT, "reasoning": THOUGHT}, _usage(), system_fingerprint="fp_ollama"),
        THOUGHT_FIRST,
    ),
    "lm studio": (
        _body({"content": TEXT, "tool_calls": []}, None, {"finish_reason": None}, stats={}),
        TEXT,
    ),
    "deepseek": (
        _body(
            {"content": TEXT, "reasoning_content": THOUGHT},
            _usage(
                prompt_cache_hit_tokens=0,
                prompt_cache_miss_tokens=12,
                prompt_tokens_details={"cached_tokens": 0},
                completion_tokens_details={"reasoning_tokens": 4},
            ),
            {"logprobs": None},
        ),
        THOUGHT_FIRST,
    ),
    "mistral": (
        _body(
            {
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": THOUGHT}]},
                    {"type": "text", "text": TEXT},
                ],
                "tool_calls": None,
            },
            _usage(),
            {"finish_reason": "model_length"},
        ),
        THOUGHT_FIRST,
    ),
    "openrouter": (
        _body(
            {
                "content": TEXT,
                "reasoning": THOUGHT,
                "refusal": None,
                "reasoning_details": [
                    {"type": "reasoning.text", "text": THOUGHT, "index": 0, "format": "unknown"}
                ],
            },
            _usage(cost=0.0001, is_byok=False),
            {"finish_reason": "end_turn", "native_finish_reason": "end_turn", "logprobs": None},
            provider="Anthropic",
        ),
        THOUGHT_FIRST,
    ),
    "openai": (
        _body(
            {"content": TEXT, "refusal": None, "annotations": []},
            _usage(
                prompt_tokens_details={"cached_tokens": 0, "audio_tokens": 0},
                completion_tokens_details={"reasoning_tokens": 0, "rejected_prediction_tokens": 0},
            ),
            {"finish_reason": None, "logprobs": None},
            service_tier="default",
        ),
        TEXT,
    ),
    "azure": (
        _body(
            {"content": TEXT},
            _usage(),
            {"content_filter_results": {"hate": {"filtered": False, "severity": "safe"}}},
            prompt_filter_results=[{"prompt_index": 0, "content_filter_results": {}}],
        ),
        TEXT,
    ),
    "tgi": (
        _body({"content": TEXT}, _usage(), {"finish_reason": "eos_token", "logprobs": None}),
        TEXT,
    ),
    "gemini": (
        _body(
            {"content": TEXT}, {"prompt_tokens": 12, "total_tokens": 21}, {"finish_reason": "STOP"}
        ),
        TEXT,
    ),
}

# a server's word → what is stored where it is no sign that max_tokens was reached
REASONS = {
    "stop": "stop",
    "STOP": "stop",
    "eos": "stop",
    "eos_token": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "max_tokens": "length",
    "MAX_TOKENS": "length",
    "model_length": "length",
    "content_filter": "content_filter",
    "SAFETY": "safety",
    "tool_calls": "tool_calls",
    "insufficient_system_resource": "insufficient_system_resource",
    "repetition_truncation": "repetition_truncation",
    "": "unknown",
    "null": "unknown",
    None: "unknown",
    5: "unknown",
    "prompt_too_long": "unknown",
    "context_full": "unknown",
    "Ärger": "unknown",
    "a b": "unknown",
    "x" * 300: "unknown",
}
USAGES: list[Any] = [
    _usage(),
    None,
    {},
    [],
    "none",
    {"prompt_tokens": 12},
    {"completion_tokens": 9},
    {"input_tokens": 12, "output_tokens": 9},
    {"prompt_tokens": 12, "total_tokens": 21},
    {"prompt_tokens": -1, "completion_tokens": True},
    {"prompt_tokens": 10**30, "completion_tokens": 1.5},
    {"prompt_tokens": 12.0, "completion_tokens": "9"},
]


def as_parts(text: str) -> list[Any]:
    """A text as parts that a content may have, with one that holds no text."""
    half = len(text) // 2
    image = {"type": "image_url", "image_url": {"url": "data:"}}
    return [{"type": "text", "text": text[:half]}, image, text[half:]]


CONTENTS: list[Callable[[str], Any]] = [
    lambda text: text,
    as_parts,
    lambda text: [text],
    lambda text: [{"type": "output_text", "text": text, "annotations": []}],
    lambda text: [{"type": "text", "text": {"value": text}}],
    lambda text: {"type": "text", "text": text},
]
# keys that nobody expects, beside the ones that are read
ADDITIONS: list[Shape] = [{}, {"error": None}, {"warning": "slow"}, {"code": 0}, {"detail": None}]
