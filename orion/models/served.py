"""Served models: models without weights or tokenizer here, sampled from a server by name.

The prompt of a served model is the canonical JSON of its messages, since the server applies the
chat template.
"""

from typing import Any, NoReturn

from orion.errors import InputError
from orion.models.document import SERVED, ModelDocument
from orion.provenance import canonical_json, digest_text


def served_document(
    name: str, model: str, revision: str | None, *, context_length: int
) -> ModelDocument:
    """The document of a served model; ``model`` is its name on the server.

    The digest covers that name and the revision, since nothing else is known of the model. The
    server's address and key are not part of the document; a thinking switch is part of each prompt.
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
    """Replaces the tokenizer in ``templates.render``: messages become canonical JSON."""

    def __init__(self, document: ModelDocument):
        self.model = document.name

    def apply_chat_template(
        self,
        messages: list[dict[str, str]],
        *,
        tokenize: bool = False,
        add_generation_prompt: bool = True,
        strftime_now: Any = None,
        **switches: Any,
    ) -> str:
        """The messages and ``switches`` (enable_thinking), all part of a completion's key.

        The server knows its own date, so ``strftime_now`` is not used.
        """
        if tokenize or not add_generation_prompt:
            raise self._missing_tokenizer()
        return canonical_json(
            {"messages": messages, **({"chat_template_kwargs": switches} if switches else {})}
        )

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise self._missing_tokenizer()

    def _missing_tokenizer(self) -> InputError:
        return InputError(
            f"models.{self.model}.source: a model of the kind server has no tokenizer here, "
            "so it cannot be trained"
        )
