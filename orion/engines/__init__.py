"""Engines: one protocol for everything that turns prompts into completions.

Completions are streamed, in any order. Importing this package imports no engine's libraries;
``open_engine`` does.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from orion.errors import InputError
from orion.models.document import ModelDocument

# part of every completion's key: raised when an engine's answer to the same request and seed changes
REVISIONS = {"transformers": 1, "vllm": 1, "openai": 1}


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn. ``temperature`` 0 is greedy; ``max_tokens`` bounds a completion, its end token included."""

    temperature: float
    top_p: float
    max_tokens: int
    repetition_penalty: float


@dataclass(frozen=True)
class GenerationConfig:
    """A generating stage's block of the configuration; ``num_samples``: completions per prompt."""

    num_samples: int
    temperature: float
    max_tokens: int
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    seed: int = 0
    engine: str = "transformers"

    @property
    def sampling(self) -> Sampling:
        """The part that an engine needs."""
        return Sampling(
            temperature=float(self.temperature),
            top_p=float(self.top_p),
            max_tokens=int(self.max_tokens),
            repetition_penalty=float(self.repetition_penalty),
        )


@dataclass(frozen=True)
class RuntimeOptions:
    """Speed, place and cost of an engine; no option changes an answer, none is part of a key.

    An engine reads the options that it has. ``batch_size``: sequences or requests under way at a
    time (None: the engine's own default). transformers: ``prefill_tokens``, padded prompt tokens
    read together, and ``device`` (default: the first GPU, else the CPU). vllm:
    ``tensor_parallel_size``, ``gpu_memory_utilization`` (0 to 1), ``batch_invariant``. openai:
    ``token_budget`` (None: no limit), ``base_url``, ``api_key_env``.
    """

    batch_size: int | None = None
    prefill_tokens: int = 16384
    device: str | None = None
    tensor_parallel_size: int = 1
    gpu_memory_utilization: float = 0.9
    batch_invariant: bool = False
    token_budget: int | None = None
    base_url: str | None = None
    api_key_env: str | None = None


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
    kind: str,
    document: ModelDocument,
    sampling: Sampling,
    options: RuntimeOptions | None = None,
    *,
    proven: bool = False,
) -> Engine:
    """The engine of a kind, with the model loaded; raises InputError for an unknown kind.

    ``proven``: other runs already got nearly all of the wanted completions, so that a server which
    refuses the rest is no sign of a wrong configuration.
    """
    options = options or RuntimeOptions()
    if kind == "transformers":
        from orion.engines.transformers import TransformersEngine

        return TransformersEngine(document, sampling, options)
    if kind == "vllm":
        from orion.engines.vllm import VllmEngine

        return VllmEngine(document, sampling, options)
    if kind == "openai":
        from orion.engines.openai import OpenAIEngine

        return OpenAIEngine(document, sampling, options, proven=proven)
    raise InputError(f"engine: {kind} is unknown; one of {', '.join(sorted(REVISIONS))}")
