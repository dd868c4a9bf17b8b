"""Models that are only served: no weights and no tokenizer here, a name and a server instead.

Input: a model's source block. Output: its model.json document, and what stands in for its tokenizer: the prompt
of such a model is the canonical JSON of what is asked, since the server applies the chat template.
"""

from typing import Any

from orion.errors import InputError
from orion.provenance import canonical_json, digest_text

KIND = "server"


def is_served(model_doc: dict) -> bool:
    """Whether a model.json document describes a model that is only served."""
    return model_doc.get("kind") == KIND


def describe(name: str, source: dict, *, context_length: int) -> dict:
    """The model.json document of a served model, without provenance; its keys are those of a checkpoint's and two more.

    ``digest`` names what a completion depends on as far as it can be known: the model's name and revision. The server's
    address and key stand nowhere in the document; a thinking switch is part of each prompt.
    """
    identity = {"kind": KIND, "model": source["model"], "revision": source.get("revision")}
    nothing_here = dict.fromkeys(
        ("path", "repo", "dtype", "chat_template", "vocab_size", "parameters")
    )
    return {
        **nothing_here,
        "model": name,
        "kind": KIND,
        "revision": source.get("revision"),
        "files": {},
        "trust_remote_code": False,
        "digest": digest_text(canonical_json(identity)),
        "context_length": context_length,
        "served_model": source["model"],
    }


class ServedTokenizer:
    """In a tokenizer's place for ``checkpoints.render``: messages become the canonical JSON of the request for them."""

    def __init__(self, model_doc: dict):
        self.model = model_doc["model"]

    def apply_chat_template(
        self,
        messages: list[dict],
        *,
        tokenize: bool = False,
        add_generation_prompt: bool = True,
        **switches: Any,
    ) -> str:
        """``switches`` (enable_thinking) stand in the text, so that they are part of what names a completion."""
        if tokenize or not add_generation_prompt:
            raise self._refusal()
        return canonical_json(
            {"messages": messages, **({"chat_template_kwargs": switches} if switches else {})}
        )

    def __call__(self, *args: Any, **kwargs: Any):
        raise self._refusal()

    def _refusal(self) -> InputError:
        return InputError(
            f"models.{self.model}.source: a model of the kind server has no tokenizer here, so it cannot be trained"
        )
