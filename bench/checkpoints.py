"""Checkpoints for the benches: the embedded student, a model from a GGUF file, a large vocabulary.

Inputs: a folder to write to, a GGUF file. Outputs: checkpoint folders that the project reads.
"""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from orion.demo import student, tokenizer
from orion.models import checkpoints
from orion.models.document import ModelDocument


def random_student(folder: Path, *, vocabulary: int | None = None) -> ModelDocument:
    """The embedded student with random weights, if wanted with more entries.

    It draws the end token about every hundred tokens, so that rows end at different times.
    """
    torch.manual_seed(0)
    words = tokenizer.build_tokenizer()
    model = student.build_student(words, student.DEFAULTS)
    if vocabulary is not None:
        _add_entries(model, vocabulary)
    return _save(model, words, folder, "random student", "float32")


def random_shape(folder: Path, sizes: dict[str, int]) -> ModelDocument:
    """A Qwen2 of these sizes with random weights and the embedded student's tokenizer."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "qwen2", **sizes, max_position_embeddings=8192, tie_word_embeddings=True
    )
    words = tokenizer.build_tokenizer()
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        setattr(config, name, getattr(words, name))
    model: Any = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    return _save(model, words, folder, "random shape")


def from_gguf(
    file: Path, folder: Path, *, dtype: str, vocabulary: int | None = None
) -> ModelDocument:
    """A checkpoint with the weights of a GGUF file, dequantised.

    ``vocabulary``: entries of the embedding, as in models that pad it.
    """
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, dtype=torch.float32
    )
    words: Any = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    # a plain configuration: the library does not save what it read from a GGUF file
    values = loaded.config.to_dict()
    values.pop("quantization_config", None)
    config = AutoConfig.for_model(values.pop("model_type"), **values)
    model: Any = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.load_state_dict(loaded.state_dict())
    model.tie_weights()
    if vocabulary is not None:
        _add_entries(model, vocabulary)
    return _save(model, words, folder, file.stem, dtype)


def _add_entries(model: Any, vocabulary: int) -> None:
    # zero rows: their logits are 0; they cost what real ones cost
    old = model.config.vocab_size
    model.resize_token_embeddings(vocabulary, mean_resizing=False)
    model.get_input_embeddings().weight.data[old:] = 0
    model.get_output_embeddings().weight.data[old:] = 0


def _save(model: Any, words: Any, folder: Path, name: str, dtype: str = "float32") -> ModelDocument:
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    words.save_pretrained(folder)
    return checkpoints.checkpoint_document(folder, name=name, dtype=dtype)
