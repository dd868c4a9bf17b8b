"""A tiny GGUF file of a transformers model, written by the gguf package's own writer."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from orion.models.gguf_files import BLOCK_TENSORS, CONTROL, TENSORS, USER_DEFINED
from tests.helpers.mechanisms import conversation

TEMPLATE = conversation("{{ '<|im_start|>assistant\\n' + m.content + '<|im_end|>\\n' }}")
CONTROLS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
USER_TOKENS = ["<think>"]
TEXTS = ["the answer is 6 * 7 = 42, so it is the answer", "12 apples and 30 pears"] * 8


def train_tokenizer() -> Tokenizer:
    """A byte-level BPE with a few merges, its control tokens in front."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=CONTROLS, initial_alphabet=alphabet, show_progress=False
    )
    core.train_from_iterator(TEXTS, trainer)
    core.add_tokens(USER_TOKENS)
    return core


def permute(values: np.ndarray, heads: int) -> np.ndarray:
    """As llama.cpp's converter orders the rows of query and key matrices."""
    halves = values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:])
    return halves.swapaxes(1, 2).reshape(values.shape)


def write_gguf(
    path: Path,
    model: Any,
    *,
    extra: dict[str, Any] | None = None,
    tensors: dict[str, np.ndarray] | None = None,
    left_out: tuple[str, ...] = (),
    quantised: str | None = None,
    architecture: str | None = None,
    pre: str = "gpt-2",
    kind: str = "gpt2",
    ends: tuple[str, ...] = ("eos",),
) -> None:
    """Write ``model``; the further arguments spoil the file in one way each."""
    import gguf

    config, core = model.config, train_tokenizer()
    name = architecture or config.model_type
    writer = gguf.GGUFWriter(path, name)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    for key, value in (extra or {}).items():
        add = writer.add_string if isinstance(value, str) else writer.add_uint32
        add(f"{name}.{key}", value)
    write_tokenizer(writer, core, pre=pre, kind=kind, ends=ends)
    for each, values in {**rename(model), **(tensors or {})}.items():
        if each in left_out:
            continue
        # norms and biases stay in float32, as in the files that are published
        if quantised and values.ndim > 1:
            form = gguf.GGMLQuantizationType[quantised]
            writer.add_tensor(each, gguf.quantize(values, form), raw_dtype=form)
        else:
            writer.add_tensor(each, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_tokenizer(writer: Any, core: Tokenizer, *, pre: str, kind: str, ends: tuple) -> None:
    vocabulary = core.get_vocab(with_added_tokens=True)
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    special = {**dict.fromkeys(CONTROLS, CONTROL), **dict.fromkeys(USER_TOKENS, USER_DEFINED)}
    merges = json.loads(core.to_str())["model"]["merges"]
    writer.add_tokenizer_model(kind)
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([special.get(token, 1) for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_bos_token_id(1)
    writer.add_pad_token_id(0)
    if "eos" in ends:
        writer.add_eos_token_id(2)
    if "eot" in ends:
        writer.add_eot_token_id(0)
    writer.add_chat_template(TEMPLATE)


def rename(model: Any) -> dict[str, np.ndarray]:
    """The weights by their names in GGUF files."""
    config, found = model.config, {}
    back = {value: key for key, value in {**TENSORS, **BLOCK_TENSORS}.items()}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        stem, _, kind = name.rpartition(".")
        block = ""
        if stem.startswith("model.layers."):
            number, _, stem = stem.removeprefix("model.layers.").partition(".")
            block = f"blk.{number}."
        values = tensor.numpy()
        if config.model_type == "llama" and back[stem] in ("attn_q", "attn_k"):
            heads = config.num_attention_heads
            values = permute(
                values, heads if back[stem] == "attn_q" else config.num_key_value_heads
            )
        found[f"{block}{back[stem]}.{kind}"] = values
    return found
