"""Engines: one protocol for everything that turns prompts into completions.

Completions are streamed, in any order. Importing this package imports no engine's libraries;
``open_engine`` does. ``protocol`` defines the records that are passed to and from an engine.
"""

from orion.engines.protocol import (
    REVISIONS,
    Completion,
    Engine,
    GenerationConfig,
    Request,
    RequestMapping,
    RuntimeOptions,
    Sampling,
)
from orion.errors import InputError
from orion.models.document import ModelDocument

__all__ = [
    "REVISIONS",
    "Completion",
    "Engine",
    "GenerationConfig",
    "Request",
    "RequestMapping",
    "RuntimeOptions",
    "Sampling",
    "open_engine",
]


def open_engine(
    kind: str,
    document: ModelDocument,
    sampling: Sampling,
    options: RuntimeOptions | None = None,
    *,
    proven: bool = False,
) -> Engine:
    """The engine of a kind, with the model loaded; raises InputError for an unknown kind.

    ``proven``: earlier runs already got nearly all of the completions, so a server that refuses
    the rest does not mean a wrong configuration.
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
