"""Engines: one protocol for everything that turns prompts into completions.

Input: requests, each with its own seed. Output: completions, streamed, in any order. Importing this package imports no
engine's libraries; ``open_engine`` does.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from orion.errors import InputError

# part of every cell's key: raised when an engine's answer to the same request and seed changes
REVISIONS = {"transformers": 1, "vllm": 1, "openai": 1}


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn. ``temperature`` 0 is greedy; ``max_tokens`` bounds a completion, its end token included."""

    temperature: float
    top_p: float
    max_tokens: int
    repetition_penalty: float


@dataclass(frozen=True)
class Request:
    """One completion wanted: ``prompt`` is rendered text, ``seed`` (0 <= seed < 2**63) decides the noise of its sampling."""

    key: str
    prompt: str
    seed: int


@dataclass(frozen=True)
class Completion:
    """One request's answer. ``finish_reason``: stop, length, prompt_too_long (empty response) or error.

    ``completion_tokens`` counts the tokens generated, the end token included, which ``response`` does not show.
    """

    key: str
    response: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int


class Engine(Protocol):
    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """One completion a request, in any order, each as soon as it is there.

        A prompt that leaves no room for ``max_tokens`` within the context is answered with prompt_too_long, a failed
        request with error; neither raises.
        """
        ...


def open_engine(
    kind: str, model_doc: dict, sampling: Sampling, *, proven: bool = False, **speed
) -> Engine:
    """The engine of a kind, loaded with a model.json document; ``speed`` (batch_size and the engine's own options, see its
    class) cannot change an answer. ``proven``: nearly all of what is wanted was answered in other runs; a server that refuses
    the rest is no sign of a wrong configuration.
    """
    if kind == "transformers":
        from orion.engines.transformers import TransformersEngine

        return TransformersEngine(model_doc, sampling, **speed)
    if kind == "vllm":
        from orion.engines.vllm import VllmEngine

        return VllmEngine(model_doc, sampling, **speed)
    if kind == "openai":
        from orion.engines.openai import OpenAIEngine

        return OpenAIEngine(model_doc, sampling, proven=proven, **speed)
    raise InputError(f"engine: {kind} is unknown; one of {', '.join(sorted(REVISIONS))}")
