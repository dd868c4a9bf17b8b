"""The OpenAI protocol: the bodies of requests.

Input: requests. Output: JSON bodies. This module sends nothing; ``orion.engines.retries`` does, and
``orion.engines.openai_answers`` reads what comes back. It decides what a request asks for, and so
is part of the engine's revision.
"""

import json
from typing import Any

from orion.engines.protocol import Request, RequestMapping, Sampling

# parameters that a server reads from the checkpoint's generation_config.json where a request leaves
# them out, and their neutral values
NEUTRAL_VALUES = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}


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


def apply_mapping(body: dict[str, Any], mapping: RequestMapping | None) -> dict[str, Any]:
    """The body as this model's server wants it: parameters dropped, renamed and added."""
    if mapping is None:
        return body
    kept = {
        mapping.rename.get(name, name): value
        for name, value in body.items()
        if name not in mapping.drop
    }
    return {**kept, **mapping.add}
