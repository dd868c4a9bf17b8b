"""Families of models: every supported one is trained, sampled and saved; the others are refused."""

import pytest
from transformers import PreTrainedTokenizerFast
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from orion.errors import InputError
from orion.models.families import DEAF, FAMILIES, REFUSED, SLIDING, check_family
from tests.helpers import family_table
from tests.helpers.family_models import SAMPLES, Sample

LONG_ROPE = {"type": "longrope", "short_factor": [1.0] * 48, "long_factor": [2.0] * 48}
TYPES = [sample.model_type for sample in SAMPLES]


@pytest.mark.slow
@pytest.mark.parametrize("model_type", TYPES)
def test_a_family_passes(model_type):
    outcome = family_table.try_family(model_type)
    assert all(outcome.passes.values()), outcome


@pytest.mark.slow
def test_the_page_shows_what_was_tried():
    page = family_table.PAGE.read_text(encoding="utf-8")
    assert family_table.write_page(page) == page, "run: python -m tests.helpers.family_table"


def test_every_supported_family_is_tried():
    assert sorted(TYPES) == sorted(FAMILIES)
    assert not FAMILIES.keys() & REFUSED.keys()


@pytest.mark.parametrize("model_type", sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.keys() - FAMILIES))
def test_a_type_of_the_library_that_is_not_in_the_table_is_refused(model_type):
    with pytest.raises(InputError, match=f"models of the type {model_type} cannot be trained: "):
        check_family({"model_type": model_type})


@pytest.mark.parametrize("model_type", sorted(FAMILIES))
def test_defaults_are_those_of_the_library(model_type):
    config = CONFIG_MAPPING[model_type]()
    # nothing but the type and the settings that real files have: the rest comes from the library
    assert check_family({"model_type": model_type, "attention_dropout": 0.0}) == check_family(
        {**config.to_dict(), "attention_dropout": 0.0}
    )


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"model_type": "mistral"}, {"layers": (SLIDING,), "window": 4096}),
        ({"model_type": "mistral", "sliding_window": None}, {"window": None}),
        ({"model_type": "qwen2", "sliding_window": 64}, {"window": None}),
        (
            {"model_type": "qwen2", "sliding_window": 64, "use_sliding_window": True}
            | {"max_window_layers": 2},
            {"layers": ("full_attention", SLIDING), "window": 64},
        ),
        ({"model_type": "gemma2"}, {"softcap": 50.0, "final_softcap": 30.0, "window": 4096}),
        ({"model_type": "gpt_oss"}, {"sinks": True, "window": 128, "aux_loss": 0.0}),
        ({"model_type": "granite", "logits_scaling": 8.0}, {"head_scale": 0.125}),
        ({"model_type": "cohere2", "logit_scale": 0.25}, {"head_scale": 0.25}),
        (
            {"model_type": "mixtral", "output_router_logits": True, "router_aux_loss_coef": 0.5},
            {"aux_loss": 0.5},
        ),
        (
            {"model_type": "phi3", "max_position_embeddings": 131072, "rope_scaling": LONG_ROPE}
            | {"original_max_position_embeddings": 4096},
            {"uniform_positions": 4096},
        ),
        (
            {"model_type": "llama", "rope_scaling": {"rope_type": "dynamic", "factor": 2.0}},
            {"uniform_positions": 2048},
        ),
        ({"model_type": "llama"}, {"uniform_positions": None, "layers": ("full_attention",)}),
    ],
)
def test_what_a_configuration_computes(config, expected):
    family = check_family(config)
    assert {key: getattr(family, key) for key in expected} == expected


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "names no model_type"),
        ({"model_type": ["llama"]}, "names no model_type"),
        ({"model_type": "falcon_h1"}, "layers that carry a state along the row"),
        ({"model_type": "t5"}, "an encoder with a decoder"),
        ({"model_type": "gemma3", "vision_config": {}}, "reads images"),
        ({"model_type": "brand_new"}, "its family has not been tried"),
        ({"model_type": "llama", "is_encoder_decoder": True}, "an encoder with a decoder"),
        ({"model_type": "qwen2", "vision_config": {"depth": 2}}, "reads images"),
        (
            {"model_type": "qwen3", "num_hidden_layers": 2}
            | {"layer_types": ["linear_attention", "full_attention"]},
            "layers of the kind linear_attention",
        ),
        ({"model_type": "llama", "layer_types": ["ssm"] * 32}, "not valid|of the kind ssm"),
        (
            {"model_type": "gemma2", "sliding_window": None},
            "sliding layers with sliding_window None",
        ),
        ({"model_type": "cohere", "logit_scale": 0.0}, r"logits multiplied by 0\.0"),
        ({"model_type": "granite", "logits_scaling": 0.0}, "logits multiplied by inf"),
        ({"model_type": "llama", "hidden_size": "wide"}, "is not valid"),
        ({"model_type": "granite", "attention_dropout": 0.1}, r"attention_dropout 0\.1"),
        ({"model_type": "gemma3_text", "use_bidirectional_attention": True}, "bidirectional"),
        ({"model_type": "gpt_oss", "quantization_config": {"quant_method": "mxfp4"}}, "quantised"),
    ],
)
def test_what_cannot_be_computed_is_refused_with_its_reason(config, message):
    with pytest.raises(InputError, match=message):
        check_family(config)


@pytest.mark.parametrize("model_type", [name for name, why in REFUSED.items() if why == DEAF])
def test_a_family_whose_layers_drop_the_packing_cannot_be_packed(model_type, tmp_path, monkeypatch):
    monkeypatch.delitem(REFUSED, model_type)
    monkeypatch.setitem(FAMILIES, model_type, FAMILIES["llama"])
    trial = family_table.Trial(Sample(model_type), tmp_path)
    with pytest.raises(ValueError, match=r"needs model\(\.\.\., packing=Packing\)"):
        family_table.try_training(trial)


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("model_type", ["llama", "gemma2", "gpt_oss"])
def test_a_real_vocabulary_passes_too(model_type, data, tmp_path):
    sample = next(each for each in SAMPLES if each.model_type == model_type)
    real = PreTrainedTokenizerFast(tokenizer_file=str(data / "smollm2-tokenizer/tokenizer.json"))
    trial = family_table.Trial(sample, tmp_path, base=real)
    assert len(trial.tokenizer) > 49152
    difference, trained = family_table.try_training(trial)
    assert difference <= family_table.TOLERANCE
    assert family_table.try_sampling(trial) and family_table.try_documents(trial)
    assert family_table.reload(trial, trained, adapter=False)
