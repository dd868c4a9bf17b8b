"""Families with windows, softcaps, sinks, routers and scaled heads against their own eager loss."""

import copy

import pytest
import torch
import transformers
from orion_kernels import Packing, transformers_head
from orion_kernels.transformers_attention import HARMLESS_KEYWORDS, WindowMask, make_mask
from orion_kernels.transformers_integration import causal_lm_loss, packed_attention_forward
from peft import LoraConfig, get_peft_model
from torch import nn

from tests.helpers.kernels.families import (
    FAMILIES,
    build_family,
    relative_error,
    run_eager_alone,
)
from tests.helpers.kernels.models import SMALL, VOCAB, build_model, copy_gradients, make_batch

pytestmark = pytest.mark.filterwarnings("ignore")
NEAR = 1e-5  # relative, float32


@pytest.fixture
def batch(randn):
    return make_batch(randn)


def assert_same(model, batch, **kwargs):
    """The packed loss, every token's and all gradients are those of eager attention, unpacked."""
    want_loss, want_logprob, want = run_eager_alone(model, batch)
    loss, metrics = causal_lm_loss(model, **batch, **kwargs)
    loss.backward()
    got = copy_gradients(model)
    assert loss.item() == pytest.approx(want_loss.item(), rel=NEAR)
    torch.testing.assert_close(metrics.logprob, want_logprob, rtol=NEAR, atol=NEAR)
    assert got.keys() == want.keys()
    for name, gradient in want.items():
        assert relative_error(got[name], gradient) <= NEAR, name


@pytest.mark.parametrize("family", FAMILIES)
def test_packed_equals_the_models_own_eager_loss(batch, family):
    assert_same(build_family(family), batch)


@pytest.mark.parametrize("family", ["Gemma2", "GptOss", "Mistral", "DeepseekV3"])
def test_the_reference_does_so_too(batch, family):
    assert_same(build_family(family), batch, impl="reference", attention_impl="reference")


def test_a_compiled_model_does_so_too(batch):
    torch._dynamo.reset()
    plain = build_family("Gemma2")
    want, _ = causal_lm_loss(plain, **batch)
    want.backward()
    compiled = copy.deepcopy(plain)
    compiled.model = torch.compile(compiled.model, backend="aot_eager")
    got, _ = causal_lm_loss(compiled, **batch)
    got.backward()
    torch.testing.assert_close(got, want, rtol=NEAR, atol=0)
    grads = copy_gradients(plain)
    for name, gradient in copy_gradients(compiled).items():
        assert relative_error(gradient, grads[name.replace("._orig_mod", "")]) <= NEAR, name


@pytest.mark.parametrize("family", ["Gemma2", "GptOss", "Mixtral"])
@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing(batch, family, reentrant):
    model = build_family(family).train()
    want, _ = causal_lm_loss(model, **batch)
    want.backward()
    grads = copy_gradients(model)
    model.zero_grad()
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    if reentrant and family != "Gemma2":
        # the library would drop the gradient of the router's loss without a word
        with pytest.raises(ValueError, match=r"carries no gradient; .*use_reentrant.*False"):
            causal_lm_loss(model, **batch)
        return
    got, _ = causal_lm_loss(model, **batch)
    got.backward()
    torch.testing.assert_close(got, want, rtol=NEAR, atol=0)
    for name, gradient in copy_gradients(model).items():
        assert relative_error(gradient, grads[name]) <= NEAR, name


@pytest.mark.parametrize(
    ("family", "key", "other"),
    [
        ("Gemma2", "attn_logit_softcapping", None),
        ("Gemma2", "final_logit_softcapping", None),
        ("Mistral", "sliding_window", 11),
        ("Granite", "logits_scaling", 1.0),
        ("Cohere2", "logit_scale", 1.0),
        ("Mixtral", "router_aux_loss_coef", 0.1),
        ("Mixtral", "output_router_logits", False),
        ("Qwen2Moe", "sliding_window", 9),
    ],
)
def test_each_option_counts(batch, family, key, other):
    """A configuration without the option has another loss: the comparisons above can fail."""
    with torch.no_grad():
        losses = [
            causal_lm_loss(build_family(family, **changes), **batch)[0].item()
            for changes in ({}, {key: other})
        ]
    assert losses[0] != pytest.approx(losses[1], rel=1e-4)


def test_the_routers_loss_is_the_models_own(batch):
    """On one packed row, in the library's own forward, whose mask knows the documents."""
    model = build_family("Mixtral")
    got, _ = causal_lm_loss(model, **batch)
    model.set_attn_implementation("eager")
    labels = batch["labels"].masked_fill(batch["position_ids"] == 0, -100)
    row = {key: batch[key] for key in ("input_ids", "position_ids")}
    want = model(**row, labels=labels, use_cache=False).loss
    torch.testing.assert_close(got, want, rtol=NEAR, atol=0)


@pytest.mark.parametrize("family", ["FalconH1", "Gemma4"])
def test_heads_of_models_that_are_not_packed(batch, family):
    """A multiplier of the head, and a softcap in the configuration of the text model alone."""
    torch.manual_seed(0)
    if family == "FalconH1":
        mamba = {"mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_state": 8}
        config = transformers.FalconH1Config(**SMALL, lm_head_multiplier=0.25, **mamba)
        model = transformers.FalconH1ForCausalLM(config).eval()
    else:
        text = {**SMALL, "final_logit_softcapping": 0.5, "vocab_size_per_layer_input": VOCAB}
        config = transformers.Gemma4Config(text_config=text, vision_config=None, audio_config=None)
        assert not hasattr(config, "final_logit_softcapping")
        model = transformers.Gemma4ForConditionalGeneration(config).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    rows = {key: batch[key].view(2, 12) for key in ("input_ids", "labels")}
    want = model(**rows).loss
    got, _ = causal_lm_loss(model, rows["input_ids"], None, rows["labels"], None)
    torch.testing.assert_close(got, want, rtol=NEAR, atol=0)


def test_layers_that_carry_a_state_are_refused(batch):
    model = build_model()
    model.config.layer_types = ["linear_attention", "full_attention"]
    with pytest.raises(ValueError, match=r"layers of type linear_attention.* without packing"):
        causal_lm_loss(model, **batch)


class _Doubled(nn.Linear):
    def forward(self, hidden):
        return 2 * super().forward(hidden)


def test_a_head_that_is_not_reproduced_is_refused(batch):
    for family, key in (
        ("Granite", "logits_scaling"),
        ("Cohere2", "logit_scale"),
        ("Gemma2", "final_logit_softcapping"),
    ):
        model = build_family(family)
        if family == "Cohere2":
            model.logit_scale = 0.3
        else:
            # the model reads one value, the loss another
            model.forward = _with_config(model, key, 2.5)
        with pytest.raises(ValueError, match=r"does not compute its logits from .* not supported"):
            causal_lm_loss(model, **batch)
    model = build_model(tie_word_embeddings=False)
    model.lm_head = _Doubled(32, VOCAB, bias=False)
    with pytest.raises(ValueError, match=r"plain torch.nn.Linear, but is _Doubled"):
        causal_lm_loss(model, **batch)


def _with_config(model, key, value):
    forward = model.forward

    def call(*args, logits_to_keep=0, **kwargs):
        before = getattr(model.config, key)
        setattr(model.config, key, value)
        try:
            return forward(*args, logits_to_keep=logits_to_keep, **kwargs)
        finally:
            setattr(model.config, key, before)

    return call


def test_the_head_is_compared_once_per_model_and_rule(batch, monkeypatch):
    model, seen = build_family("Granite"), []
    compare = transformers_head._compare
    monkeypatch.setattr(transformers_head, "_compare", lambda *a: seen.append(1) or compare(*a))
    for _ in range(3):
        causal_lm_loss(model, **batch)
    assert len(seen) == 1
    causal_lm_loss(copy.deepcopy(model), **batch)
    assert len(seen) == 2
    model.config.logits_scaling = 4.0
    causal_lm_loss(model, **batch)
    assert len(seen) == 3


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", ["Gemma2", "Granite"])
def test_half_precision_is_no_other_head(batch, family, dtype):
    model = build_family(family).to(dtype)
    causal_lm_loss(model, **batch)
    model = build_family(family)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        causal_lm_loss(model, **batch)
    # a wrapper such as accelerate's widens the logits again
    model = build_family(family)
    forward = model.forward

    def widened(*args, logits_to_keep=0, **kwargs):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = forward(*args, logits_to_keep=logits_to_keep, **kwargs)
        output.logits = output.logits.float()
        return output

    model.forward = widened
    causal_lm_loss(model, **batch)


def test_a_model_that_diverged_is_not_called_unsupported(batch):
    model = build_model()
    with torch.no_grad():
        model.model.norm.weight.fill_(float("nan"))
    assert causal_lm_loss(model, **batch)[0].isnan()


@pytest.mark.parametrize("tied", [False, True])
def test_an_adapter_on_the_head_is_refused_with_a_cure(batch, tied):
    base = build_model(tie_word_embeddings=tied)
    adapted = get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj", "lm_head"]))
    with pytest.raises(ValueError, match='leave "lm_head" out of target_modules'):
        causal_lm_loss(adapted, **batch)
    # the cure works
    cured = LoraConfig(r=2, target_modules=["q_proj"])
    causal_lm_loss(get_peft_model(build_model(tie_word_embeddings=tied), cured), **batch)


def test_an_adapter_on_an_embedding_that_is_the_head_too_is_refused(batch):
    settings = {"r": 2, "target_modules": ["embed_tokens", "q_proj"]}
    adapted = get_peft_model(build_model(tie_word_embeddings=True), LoraConfig(**settings))
    with pytest.raises(ValueError, match='leave "embed_tokens" out of target_modules'):
        causal_lm_loss(adapted, **batch)
    whole = LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["embed_tokens"])
    with pytest.raises(ValueError, match=r'"(embed_tokens|lm_head)"'):
        causal_lm_loss(get_peft_model(build_model(tie_word_embeddings=True), whole), **batch)
    apart = get_peft_model(build_model(tie_word_embeddings=False), LoraConfig(**settings))
    loss, _ = causal_lm_loss(apart, **batch)
    loss.backward()
    assert any("lora_embedding_B" in name for name in copy_gradients(apart))


def call_attention(module=None, mask=None, **kwargs):
    heads = torch.ones(1, 2, 3, 8)
    packing = Packing.from_seq_lengths([3])
    module = nn.Identity() if module is None else module
    return packed_attention_forward(module, heads, heads, heads, mask, packing=packing, **kwargs)


@pytest.mark.parametrize("keyword", ["position_bias", "indices", "block_indices", "head_mask"])
def test_an_unknown_keyword_is_refused_by_name(keyword):
    with pytest.raises(ValueError, match=f"Identity passes {keyword} to its attention"):
        call_attention(**{keyword: torch.ones(1)})
    call_attention(**{keyword: None})


def test_known_keywords_are_harmless_and_causality_is_not():
    call_attention(**dict.fromkeys(HARMLESS_KEYWORDS, 1), is_causal=True, output_attentions=False)
    with pytest.raises(ValueError, match="attends in both directions"):
        call_attention(is_causal=False)
    both = nn.Identity()
    both.is_causal = False
    with pytest.raises(ValueError, match="attends in both directions"):
        call_attention(both)
    with pytest.raises(ValueError, match="returns no attention weights"):
        call_attention(output_attentions=True)


def test_the_mask_is_its_window():
    assert make_mask() is None
    with pytest.raises(ValueError, match="is causal, but the model looks ahead"):
        make_mask(allow_is_bidirectional_skip=False)
    assert make_mask(local_size=4) == WindowMask(4)
    with pytest.raises(ValueError, match="asks for a sliding window of 5, but its mask has 4"):
        call_attention(mask=WindowMask(4), sliding_window=5)
    with pytest.raises(ValueError, match="does not compute the mask that this model adds"):
        make_mask(use_vmap=True)
    chunked = transformers.PreTrainedConfig()
    chunked.attention_chunk_size = 4
    with pytest.raises(ValueError, match="within chunks of 4 tokens"):
        make_mask(local_size=4, config=chunked)
