"""Models that are only served: no weights and no tokenizer here, a name and a server instead.

Input: a model's source block. Output: its model.json document, and what stands in for its tokenizer: the prompt
of such a model is the canonical JSON of what is asked, since the server applies the chat template.
"""

from typing import Any

from orion.errors import InputError
from orion.models.document import SERVED, ModelDocument
from orion.provenance import canonical_json, digest_text


def served_document(
    name: str, model: str, revision: str | None, *, context_length: int
) -> ModelDocument:
    """The document of a model that is only served, by the name ``model`` and perhaps a revision.

    The digest covers that name and revision, which is all that can be known. The server's address
    and key are not part of the document; a thinking switch is part of each prompt.
    """
    identity = {"kind": SERVED, "model": model, "revision": revision}
    return ModelDocument(
        name=name,
        digest=digest_text(canonical_json(identity)),
        context_length=context_length,
        kind=SERVED,
        revision=revision,
        served_name=model,
    )


class ServedTokenizer:
    """In a tokenizer's place for ``templates.render``: messages become the canonical JSON of the request for them."""

    def __init__(self, document: ModelDocument):
        self.model = document.name

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
