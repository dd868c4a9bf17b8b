"""Random checkpoints of 40,000 parameters, one adapter, and a scripted server."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from orion.models import adapters, checkpoints
from orion.models.document import ModelDocument
from orion.training.order_of_sums import fix_order_of_sums
from tests.helpers.openai_server import ScriptedServer
from tests.helpers.tiny_models import EOS, PAD, save

torch.set_num_threads(1)
# before the first product: a training in this process is compared with one in a process of its own
fix_order_of_sums()


@pytest.fixture(scope="session")
def document(tmp_path_factory) -> ModelDocument:
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
    return checkpoints.checkpoint_document(folder, name="tiny", dtype="float32")


@pytest.fixture(scope="session")
def llama_document(tmp_path_factory) -> ModelDocument:
    """As ``document``, of a kind and with heads of a width that vLLM takes."""
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
    return checkpoints.checkpoint_document(folder, name="llama", dtype="float32")


@pytest.fixture(scope="session")
def adapter_document(llama_document, tmp_path_factory) -> ModelDocument:
    """An adapter on ``llama_document`` with random weights in both of its halves."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(1)
    settings = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights=False)
    folder = tmp_path_factory.mktemp("adapter")
    adapters.save_adapter(
        get_peft_model(checkpoints.load_model(llama_document, "cpu"), settings), folder
    )
    return adapters.adapter_document(folder, llama_document, name="llama/adapted")


@pytest.fixture
def server():
    made = ScriptedServer()
    yield made
    made.close()
