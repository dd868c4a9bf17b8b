"""A tiny student and its packed rows."""

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from orion import tables
from orion.demo.tokenizer import build_tokenizer
from orion.models import checkpoints
from orion.models.training_documents import DocumentEncoder
from tests.helpers.packing import pack_documents


@pytest.fixture(scope="session")
def student(tmp_path_factory):
    """The document of a random one-layer student, and its packed rows."""
    folder = tmp_path_factory.mktemp("dtypes")
    tokenizer = build_tokenizer()
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder / "student")
    tokenizer.save_pretrained(folder / "student")
    document = checkpoints.checkpoint_document(
        folder / "student", name="student", dtype="float32", trust_remote_code=False
    )
    encoder = DocumentEncoder(tokenizer, eos={tokenizer.eos_token_id}, enable_thinking=None)
    pairs = [
        (f"Question: Sam has {n} pens", " ; ".join([f"{n} + 1 = {n + 1}"] * (1 + n % 4)))
        for n in range(10, 30)
    ]
    path = folder / "packed"
    documents = [encoder.encode(*pair) for pair in pairs]
    tables.write(pack_documents(documents, 160, folder), path, tables.PACKED, {})
    return document, tables.read(str(path), tables.PACKED)
