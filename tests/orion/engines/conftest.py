"""A random student of 40,000 parameters with a word tokenizer and a chat template."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from orion import adapters, checkpoints

from .server import ScriptedServer

torch.set_num_threads(1)

PAD, EOS, USER, ASSISTANT = range(4)
TEMPLATE = (
    "{%- for message in messages -%}<user> {{ message['content'] }} {% endfor -%}"
    "{%- if add_generation_prompt -%}<assistant>{%- endif -%}"
)


def save(folder, model) -> None:
    words = [
        "<pad>",
        "<end>",
        "<user>",
        "<assistant>",
        *(f"w{i}" for i in range(model.config.vocab_size - 4)),
    ]
    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<pad>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    extra = {"additional_special_tokens": ["<user>", "<assistant>"], "chat_template": TEMPLATE}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", eos_token="<end>", **extra
    )
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


@pytest.fixture(scope="session")
def llama_doc(tmp_path_factory) -> dict:
    """As ``model_doc``, of a kind and with heads of a width that vLLM takes."""
    folder = tmp_path_factory.mktemp("llama")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=110,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=64,
        max_position_embeddings=96,
        bos_token_id=None,
        eos_token_id=EOS,
        pad_token_id=PAD,
        initializer_range=0.3,
    )
    save(folder, LlamaForCausalLM(config))
    return checkpoints.describe(folder, name="llama", dtype="float32")


@pytest.fixture(scope="session")
def adapter_doc(llama_doc, tmp_path_factory) -> dict:
    """An adapter on ``llama_doc`` with random weights in both of its halves."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(1)
    settings = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights=False)
    folder = tmp_path_factory.mktemp("adapter")
    adapters.save(get_peft_model(checkpoints.load_model(llama_doc, "cpu"), settings), folder)
    return adapters.describe(folder, llama_doc, name="llama/adapted")


@pytest.fixture
def server():
    made = ScriptedServer()
    yield made
    made.close()
