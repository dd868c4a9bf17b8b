"""The engine protocol: sampling and runtime records, requests, completions, engine revisions.

It imports no engine, so that every engine can import it.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

# part of every completion's key; raised when an engine may answer the same request and seed
# differently
REVISIONS = {"transformers": 2, "vllm": 1, "openai": 1}


@dataclass(frozen=True)
class RequestMapping:
    """How one server's requests differ: parameters that are renamed, left out or added."""

    rename: dict[str, str] = field(default_factory=dict)
    drop: list[str] = field(default_factory=list)
    add: dict[str, Any] = field(default_factory=dict)

    @property
    def deciding(self) -> dict[str, Any] | None:
        """What of it can change an answer, for the completion's key; None: nothing.

        A parameter under another name means the same.
        """
        found = {"drop": sorted(self.drop), "add": self.add}
        return {name: value for name, value in found.items() if value} or None


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn; ``temperature`` 0 is greedy.

    ``max_tokens`` bounds a completion, its end token included. None means off: ``top_k`` keeps the
    most probable tokens, ``min_p`` those with at least this fraction of the largest probability.
    ``presence_penalty`` is subtracted from the logits of generated tokens, ``frequency_penalty``
    once per occurrence. ``stop``: a completion ends before the first of these texts. A key without
    a value is left out of the keys of completions. ``request``: openai only.
    """

    temperature: float
    top_p: float
    max_tokens: int
    repetition_penalty: float
    request: RequestMapping | None = None
    top_k: int | None = None
    min_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    stop: tuple[str, ...] | None = None


@dataclass(frozen=True)
class GenerationConfig:
    """A generating stage's block of the configuration; ``num_samples``: completions per prompt.

    ``request``: what the model's server changes, for the engine openai.
    """

    num_samples: int
    temperature: float
    top_p: float
    repetition_penalty: float
    max_tokens: int
    seed: int
    engine: str
    request: RequestMapping | None = None
    top_k: int | None = None
    min_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    stop: list[str] | None = None

    @property
    def sampling(self) -> Sampling:
        """The part that an engine needs."""
        return Sampling(
            temperature=float(self.temperature),
            top_p=float(self.top_p),
            max_tokens=int(self.max_tokens),
            repetition_penalty=float(self.repetition_penalty),
            request=self.request,
            top_k=self.top_k,
            min_p=_read_float(self.min_p),
            presence_penalty=_read_float(self.presence_penalty),
            frequency_penalty=_read_float(self.frequency_penalty),
            stop=tuple(self.stop) if self.stop else None,
        )


def _read_float(value: float | None) -> float | None:
    return None if value is None else float(value)


@dataclass(frozen=True)
class RuntimeOptions:
    """Speed, place and cost of an engine; no option changes an answer, none is part of a key.

    An engine reads the options that it has. ``batch_size``: sequences or requests under way at a
    time (None: the engine's own default). transformers: ``prefill_tokens``, padded prompt tokens
    read together, and ``device`` (default: the first GPU, else the CPU). vllm:
    ``tensor_parallel_size``, ``gpu_memory_utilization`` (0 to 1), ``batch_invariant``. openai:
    ``token_budget`` (None: no limit) over all tries, whose counts are in ``budget_folder`` (None:
    this process only), ``base_url``, ``api_key_env``, ``headers``, ``query``. ``is_stopped``: asked
    before a request is begun; where it says True, the engine ends with those under way.
    """

    batch_size: int | None = None
    prefill_tokens: int = 16384
    device: str | None = None
    tensor_parallel_size: int = 1
    gpu_memory_utilization: float = 0.9
    batch_invariant: bool = False
    token_budget: int | None = None
    budget_folder: Path | None = None
    base_url: str | None = None
    api_key_env: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    query: dict[str, str] = field(default_factory=dict)
    is_stopped: Callable[[], bool] = lambda: False


@dataclass(frozen=True)
class Request:
    """One completion to generate.

    ``prompt``: rendered text. ``seed``: 0 <= seed < 2**63, decides the noise of the sampling.
    """

    key: str
    prompt: str
    seed: int


@dataclass(frozen=True)
class Completion:
    """One request's answer.

    ``finish_reason``: stop, length, prompt_too_long (empty response), error, or what a server says
    (``orion.tables.is_finish_reason``).
    ``completion_tokens`` counts the generated tokens with the end token, which is not part of
    ``response``.
    """

    key: str
    response: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int


class Engine(Protocol):
    """Everything that turns prompts into completions."""

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """One completion per request, in any order, each as soon as it is finished.

        A prompt that leaves no room for ``max_tokens`` within the context is answered with
        prompt_too_long and a failed request with error; neither raises. Where
        ``RuntimeOptions.is_stopped`` says so, no further request is begun or answered.
        """
        ...
