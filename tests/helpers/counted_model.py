"""A model's document with the embedded student's tokenizer, for stages that count tokens only."""

from orion import tables
from orion.demo.tokenizer import build_tokenizer
from orion.models.document import ModelDocument


def write_model(folder):
    """A document whose tokenizer is that of the embedded student."""
    tokenizer = build_tokenizer()
    tokenizer.save_pretrained(folder / "tokenizer")
    document = ModelDocument(
        name="m",
        digest="d",
        context_length=512,
        path=str(folder / "tokenizer"),
        dtype="float32",
        chat_template=tokenizer.chat_template,
        vocab_size=len(tokenizer),
        parameters=1,
    )
    tables.write_json(document.as_json(), folder / "model.json", {})
    return folder / "model.json"
