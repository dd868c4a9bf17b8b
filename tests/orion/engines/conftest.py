"""A random student of 40,000 parameters with a word tokenizer and a chat template."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from orion import checkpoints

torch.set_num_threads(1)

PAD, EOS, USER, ASSISTANT = range(4)
TEMPLATE = (
    "{%- for message in messages -%}<user> {{ message['content'] }} {% endfor -%}"
    "{%- if add_generation_prompt -%}<assistant>{%- endif -%}"
)


def save(folder, model) -> None:
    words = ["<pad>", "<end>", "<user>", "<assistant>", *(f"w{i}" for i in range(model.config.vocab_size - 4))]
    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<pad>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    extra = {"additional_special_tokens": ["<user>", "<assistant>"], "chat_template": TEMPLATE}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", eos_token="<end>", **extra)
    model.generation_config = GenerationConfig(eos_token_id=[EOS, PAD], pad_token_id=PAD)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@pytest.fixture(scope="session")
def model_doc(tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("student")
    torch.manual_seed(0)
    # large weights, so that logits differ between tokens as a trained model's do
    config = Qwen2Config(
        vocab_size=110,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=64,
        max_position_embeddings=96,
        tie_word_embeddings=True,
        initializer_range=0.3,
    )
    save(folder, Qwen2ForCausalLM(config))
    return checkpoints.describe(folder, name="tiny", dtype="float32")
