"""A byte-level tokenizer with a chat template, and tiny random checkpoints that have it."""

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
VOCABULARY = 256 + len(SPECIAL)
TEMPLATE = (
    "{%- for message in messages -%}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
    "<|im_end|>\n{% endfor -%}{%- if add_generation_prompt -%}<|im_start|>assistant\n{%- endif -%}"
)
SMALL = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "eos_token_id": 258,
    "pad_token_id": 256,
    "bos_token_id": None,
    "initializer_range": 0.2,
}


def build_tokenizer() -> PreTrainedTokenizerFast:
    """One token per byte, and the control tokens of ChatML."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE({letter: i for i, letter in enumerate(alphabet)}, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=SPECIAL[0],
        eos_token=SPECIAL[2],
        additional_special_tokens=SPECIAL[1:2],
        chat_template=TEMPLATE,
    )


def save_checkpoint(folder: Path, config=None, kind=Qwen2ForCausalLM, **changes) -> Path:
    """A random checkpoint with that tokenizer; by default a Qwen2 whose head is tied."""
    torch.manual_seed(0)
    settings = config or Qwen2Config(**{**SMALL, "tie_word_embeddings": True, **changes})
    model = kind(settings)
    model.generation_config = GenerationConfig(eos_token_id=258, pad_token_id=256)
    model.save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)
    return folder


def edit_json(path: Path, **changes) -> None:
    """Change keys of a JSON file; None removes one."""
    found = json.loads(path.read_text()) if path.exists() else {}
    merged = {key: value for key, value in {**found, **changes}.items() if value is not None}
    path.write_text(json.dumps(merged))
