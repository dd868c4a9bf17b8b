"""GGUF files made into ordinary checkpoints: weights dequantised, tokenizer, template, end tokens.

Input: one GGUF file of an architecture in ARCHITECTURES with a byte-level BPE. Output: a folder of
safetensors, tokenizer.json and configuration. Every tensor and every setting of the architecture
must be one that is understood here; anything else is refused by name, since a setting that is
passed over (scaled positions, a window) would give another model. Importing this module imports
neither torch nor gguf.
"""

import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orion.errors import InputError

# the architecture's name in GGUF files, where it equals the model_type of transformers
ARCHITECTURES = ("llama", "qwen2", "qwen3")
# key behind the architecture's name → key of config.json
SETTINGS = {
    "context_length": "max_position_embeddings",
    "block_count": "num_hidden_layers",
    "feed_forward_length": "intermediate_size",
    "embedding_length": "hidden_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "rope.freq_base": "rope_theta",
}
# widths of a head, which must all be one
HEAD_WIDTHS = ("rope.dimension_count", "attention.key_length", "attention.value_length")
TENSORS = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
}
BLOCK_TENSORS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{numbers}"
    r"| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# tokenizer.ggml.pre → how text is split before the merges: a pattern, or digits one by one
SPLITS = {
    "default": None,
    "gpt-2": None,
    "smollm": "digits",
    "llama-bpe": WORDS.format(numbers=r"\p{N}{1,3}"),
    "qwen2": WORDS.format(numbers=r"\p{N}"),
}
NORMALISED = ("qwen2",)
CONTROL, USER_DEFINED = 3, 4  # values of tokenizer.ggml.token_type
END_TOKENS = ("eos_token_id", "eot_token_id", "eom_token_id")


def convert(path: str | Path, folder: str | Path, *, dtype: str) -> None:
    """Write the checkpoint of a GGUF file into ``folder``, its weights in ``dtype``.

    Raises InputError for a file that is damaged, or of which something is not understood.
    """
    import torch
    import transformers

    library: Any = transformers
    if not sys.stderr.isatty():
        library.utils.logging.disable_progress_bar()
    source = GgufFile(Path(path))
    config = source.read_config()
    kind = getattr(torch, dtype)
    model = library.AutoModelForCausalLM.from_config(config, dtype=kind)
    state = {name: torch.from_numpy(values).to(kind) for name, values in source.read_tensors()}
    wanted = model.state_dict()
    tied = {"lm_head.weight"} if config.tie_word_embeddings else set()
    absent = sorted(wanted.keys() - state.keys() - tied)
    surplus = sorted(state.keys() - wanted.keys())
    if absent or surplus:
        what = f"has no {absent[0]}" if absent else f"has {surplus[0]}, which the model has not"
        raise InputError(f"{path}: {what}; the file is of another architecture or incomplete")
    try:
        model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise InputError(f"{path}: {' '.join(str(error).split())}") from None
    model.tie_weights()
    ends = source.end_ids()
    model.generation_config = library.GenerationConfig(
        bos_token_id=config.bos_token_id, eos_token_id=ends, pad_token_id=config.pad_token_id
    )
    tokenizer = source.read_tokenizer()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


class GgufFile:
    """The metadata and tensors of one file; raises InputError where it cannot be read."""

    def __init__(self, path: Path):
        if importlib.util.find_spec("gguf") is None:
            raise InputError(f"{path}: reading it takes `pip install gguf` in this environment")
        from gguf import GGUFReader

        self.path = path
        try:
            self.reader = GGUFReader(path)
        # the package raises several kinds of exception for damaged files
        except Exception as error:
            raise InputError(f"{path}: not readable as GGUF ({error!r}); fetch it again") from None
        self.architecture = str(self.value("general.architecture"))
        if self.architecture not in ARCHITECTURES:
            raise InputError(
                f"{path}: architecture {self.architecture}; converted are GGUF files of "
                f"{', '.join(ARCHITECTURES)}. For others take the checkpoint in safetensors"
            )

    def value(self, key: str, default: Any = None) -> Any:
        """A metadata value as Python has it."""
        found = self.reader.fields.get(key)
        return default if found is None else found.contents()

    def read_config(self) -> Any:
        """The configuration object of transformers; raises InputError for an unknown setting."""
        prefix = f"{self.architecture}."
        found = {
            key.removeprefix(prefix): self.value(key)
            for key in self.reader.fields
            if key.startswith(prefix)
        }
        vocabulary = len(self.value("tokenizer.ggml.tokens", ()))
        if found.pop("vocab_size", vocabulary) != vocabulary:
            raise InputError(f"{self.path}: vocab_size is not the tokenizer's {vocabulary} tokens")
        widths = {found.pop(key) for key in HEAD_WIDTHS if key in found}
        absent = [key for key in SETTINGS if key not in found]
        unknown = [key for key in found if key not in SETTINGS]
        if absent or unknown:
            what = (
                f"no {prefix}{absent[0]}" if absent else f"{prefix}{unknown[0]} is not understood"
            )
            raise InputError(
                f"{self.path}: {what}, so the converted model could be another one; take the "
                "checkpoint in safetensors"
            )
        if len(widths) > 1:
            raise InputError(f"{self.path}: heads of {sorted(widths)} values; one width is needed")
        from transformers.models.auto.configuration_auto import CONFIG_MAPPING

        settings = {name: shortest(found[key]) for key, name in SETTINGS.items()}
        width = settings["hidden_size"] // settings["num_attention_heads"]
        ids = {name: self.token_id(name) for name in ("bos_token_id", "pad_token_id")}
        config_class: Any = CONFIG_MAPPING[self.architecture]
        return config_class(
            **{**settings, "head_dim": widths.pop() if widths else width},
            **ids,
            eos_token_id=self.token_id("eos_token_id"),
            vocab_size=vocabulary,
            tie_word_embeddings=all(
                tensor.name != "output.weight" for tensor in self.reader.tensors
            ),
            architectures=None,
        )

    def read_tensors(self) -> Iterator[tuple[str, Any]]:
        """Name in transformers and float32 values of each tensor."""
        from gguf import dequantize

        heads = self.value(f"{self.architecture}.attention.head_count")
        kv_heads = self.value(f"{self.architecture}.attention.head_count_kv")
        for tensor in self.reader.tensors:
            name = self.translate(tensor.name)
            values = dequantize(tensor.data, tensor.tensor_type)
            if self.architecture == "llama" and re.search(r"\.attn_[qk]\.", tensor.name):
                values = interleave(values, heads if ".attn_q." in tensor.name else kv_heads)
            # the reader's arrays are views of the file, which cannot be written to
            yield name, values.astype("float32")

    def translate(self, name: str) -> str:
        """The name in transformers of a tensor; raises InputError for an unknown one."""
        block = re.fullmatch(r"blk\.(\d+)\.(\w+)\.(weight|bias)", name)
        if block and block[2] in BLOCK_TENSORS:
            return f"model.layers.{block[1]}.{BLOCK_TENSORS[block[2]]}.{block[3]}"
        stem, _, kind = name.rpartition(".")
        if stem in TENSORS and kind == "weight":
            return f"{TENSORS[stem]}.weight"
        raise InputError(
            f"{self.path}: tensor {name} is not understood, so the converted model could be "
            "another one; take the checkpoint in safetensors"
        )

    def token_id(self, name: str) -> int | None:
        """A special token's id, such as ``eos_token_id``; None where the file names none."""
        key = name.replace("pad_", "padding_").replace("unk_", "unknown_")
        found = self.value(f"tokenizer.ggml.{key}")
        return None if found is None else int(found)

    def end_ids(self) -> list[int]:
        """The tokens that end a completion; raises InputError if there is none."""
        found = [self.token_id(name) for name in END_TOKENS]
        ids = list(dict.fromkeys(i for i in found if i is not None))
        if not ids:
            raise InputError(f"{self.path}: names no end token; completions would never end")
        return ids

    def read_tokenizer(self) -> Any:
        """The tokenizer with the file's chat template; raises InputError for other kinds."""
        kind, split = self.value("tokenizer.ggml.model"), self.value("tokenizer.ggml.pre")
        if kind != "gpt2" or split not in SPLITS:
            raise InputError(
                f"{self.path}: a tokenizer of the kind {kind} that splits text as {split}; "
                f"converted are gpt2 with {', '.join(SPLITS)}. Take the checkpoint in safetensors"
            )
        from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers
        from transformers import PreTrainedTokenizerFast

        tokenizer_class: Any = PreTrainedTokenizerFast
        tokens = self.value("tokenizer.ggml.tokens")
        merges = [tuple(pair.split(" ")) for pair in self.value("tokenizer.ggml.merges")]
        core = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
        core.pre_tokenizer = split_before_merges(SPLITS[split])
        core.normalizer = normalizers.NFC() if split in NORMALISED else None
        core.decoder = decoders.ByteLevel()
        kinds = self.value("tokenizer.ggml.token_type") or [1] * len(tokens)
        for number, special in ((CONTROL, True), (USER_DEFINED, False)):
            core.add_tokens(
                [
                    AddedToken(token, special=special, normalized=False)
                    for token, each in zip(tokens, kinds, strict=True)
                    if each == number
                ]
            )
        names = ("bos", "eos", "unk", "pad")
        special_ids = {name: self.token_id(f"{name}_token_id") for name in names}
        return tokenizer_class(
            tokenizer_object=core,
            chat_template=self.value("tokenizer.chat_template"),
            clean_up_tokenization_spaces=False,
            model_max_length=int(self.value(f"{self.architecture}.context_length")),
            **{f"{name}_token": tokens[i] for name, i in special_ids.items() if i is not None},
        )


def shortest(value: Any) -> Any:
    """A number of single precision as it was written: 1e-05 for 9.999999747378752e-06."""
    import numpy

    return float(str(numpy.float32(value))) if isinstance(value, float) else value


def interleave(values: Any, heads: int) -> Any:
    """Rows of a query or key matrix in the order of transformers.

    llama.cpp keeps the two halves of a rotated pair side by side, transformers half a head apart.
    """
    pairs = values.reshape(heads, values.shape[0] // heads // 2, 2, *values.shape[1:])
    return pairs.swapaxes(1, 2).reshape(values.shape)


def split_before_merges(how: str | None) -> Any:
    """The pre-tokenizer of an entry of SPLITS."""
    from tokenizers import Regex, pre_tokenizers

    plain = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if how is None:
        return plain
    if how == "digits":
        return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), plain])
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(how), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
