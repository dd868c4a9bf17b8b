"""Preflight of whole checkpoints: what is computed, what is refused, and the file it writes."""

import json
import re
import shutil
from dataclasses import replace

import pytest
import torch
from orion_kernels import transformers_attention
from safetensors.torch import load_file, save_file
from transformers import (
    Cohere2Config,
    Cohere2ForCausalLM,
    FalconH1Config,
    FalconH1ForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GptOssConfig,
    GptOssForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
)

from orion.errors import InputError
from orion.models import checkpoints, preflight_checks, preflight_weights
from orion.models.lora_targets import LoraUse, check_targets
from orion.models.preflight import Check, Preflight, Uses, require_passed
from tests.helpers.chat_models import SMALL, edit_json, save_checkpoint

TRAINED = Uses(is_trained=True)
NAMES = [
    "context",
    "files",
    "end_token",
    "family",
    "positions",
    "documents",
    "generation_config",
    "tensors",
    "lora_targets",
    "finite",
    "weights",
    "packed",
    "loss",
    "save_and_load",
]
WINDOW = {"sliding_window": 20, "head_dim": 8}
FAMILIES = {
    "gemma2": (
        Gemma2ForCausalLM,
        lambda: Gemma2Config(
            **SMALL, **WINDOW, attn_logit_softcapping=5.0, final_logit_softcapping=3.0
        ),
    ),
    "gpt_oss": (
        GptOssForCausalLM,
        lambda: GptOssConfig(
            **SMALL,
            **WINDOW,
            num_local_experts=4,
            num_experts_per_tok=2,
            rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        ),
    ),
    "mixtral": (
        MixtralForCausalLM,
        lambda: MixtralConfig(**SMALL, num_local_experts=4, output_router_logits=True),
    ),
    "granite": (GraniteForCausalLM, lambda: GraniteConfig(**SMALL, logits_scaling=4.0)),
    "cohere2": (Cohere2ForCausalLM, lambda: Cohere2Config(**SMALL, **WINDOW, logit_scale=0.25)),
    "mistral": (MistralForCausalLM, lambda: MistralConfig(**SMALL, **WINDOW)),
    "phi3": (Phi3ForCausalLM, lambda: Phi3Config(**SMALL, sliding_window=20)),
    "gemma3_text": (Gemma3ForCausalLM, lambda: Gemma3TextConfig(**SMALL, **WINDOW)),
}


@pytest.fixture
def folder(tmp_path):
    return save_checkpoint(tmp_path / "student")


def run(folder, uses=TRAINED, **changes) -> Preflight:
    settings = {"name": "student", "dtype": "float32", **changes}
    document = checkpoints.checkpoint_document(folder, **settings)
    return preflight_checks.run_preflight(document, uses, folder.parent / "work")


def figures(passed: Preflight) -> dict[str, str]:
    return {check.name: check.figure for check in passed.checks}


def test_a_sound_checkpoint_passes_everything_and_leaves_nothing_behind(folder):
    passed = run(folder)
    assert [check.name for check in passed.checks] == NAMES
    assert all(check.passed and check.figure and not check.cure for check in passed.checks)
    found = figures(passed)
    assert found["files"].endswith("23,936 parameters, 259 of 259 tokens in the tokenizer")
    assert found["documents"].endswith("the template knows no thinking")
    assert found["weights"] == "all layers in float32"
    assert found["lora_targets"].startswith("all-linear: down_proj, gate_proj, k_proj")
    assert list((folder.parent / "work").iterdir()) == []
    assert run(folder) == passed


@pytest.mark.parametrize(
    ("template", "enable_thinking", "words"),
    [
        ("qwen3", None, "rows with thinking are trained"),
        ("qwen3", False, "rows with thinking are rejected (thinking_off)"),
        ("qwen2_5", None, "the template knows no thinking"),
    ],
)
@pytest.mark.data
def test_what_becomes_of_thinking_is_stated(folder, data, template, enable_thinking, words):
    path = data / f"chat_templates/{template}.jinja"
    uses = replace(TRAINED, enable_thinking=enable_thinking)
    found = figures(run(folder, uses, chat_template_file=path))
    assert found["documents"].endswith(words)


def test_a_model_that_is_not_trained_is_not_loaded(folder, monkeypatch):
    monkeypatch.setattr(preflight_weights, "load_probe", None)
    monkeypatch.setattr(preflight_weights, "Skeleton", None)
    edit_json(folder / "config.json", model_type="mamba2")
    assert list(figures(run(folder, Uses()))) == ["context", "files", "end_token"]


@pytest.mark.parametrize("name", FAMILIES)
def test_what_a_family_computes_is_computed(tmp_path, name):
    kind, config = FAMILIES[name]
    save_checkpoint(tmp_path / "student", config(), kind)
    assert figures(run(tmp_path / "student"))["family"].startswith(f"{name}: ")


@pytest.mark.parametrize(
    ("name", "argument"),
    [("gemma2", "softcap"), ("gpt_oss", "sinks"), ("mistral", "window"), ("phi3", "window")],
)
def test_what_the_packed_path_drops_is_refused(tmp_path, monkeypatch, name, argument):
    """A8, A9, A10, should the packed path ever lose an argument of the attention."""
    kind, config = FAMILIES[name]
    save_checkpoint(tmp_path / "student", config(), kind)
    whole = transformers_attention.packed_attention

    def dropping(*args, **kwargs):
        return whole(*args, **{**kwargs, argument: None})

    monkeypatch.setattr(transformers_attention, "packed_attention", dropping)
    with pytest.raises(
        InputError,
        match=r"models\.student fails \d of its checks: \[packed\] packed, the mean loss is "
        r".*, the library's own .*, and one token's differs by .*; the packed "
        r"path does not compute this model, so it cannot be trained; docs/models\.md lists",
    ):
        run(tmp_path / "student")


def test_a_loss_without_the_routers_part_is_refused(tmp_path, monkeypatch):
    """A8b: Mixtral's auxiliary loss."""
    kind, config = FAMILIES["mixtral"]
    save_checkpoint(tmp_path / "student", config(), kind)
    whole = preflight_weights.causal_lm_loss

    def dropping(model, *args):
        model.config.output_router_logits = False
        try:
            return whole(model, *args)
        finally:
            model.config.output_router_logits = True

    monkeypatch.setattr(preflight_weights, "causal_lm_loss", dropping)
    with pytest.raises(
        InputError, match=r"\[loss\] the loss is \d\.\d+, the model's own \d\.\d+: its head scales"
    ):
        run(tmp_path / "student")


def test_layers_that_carry_a_state_are_refused_before_weights_are_read(tmp_path, monkeypatch):
    """A8b: FalconH1, hybrid."""
    config = FalconH1Config(
        **SMALL,
        lm_head_multiplier=2.0,
        mamba_d_ssm=32,
        mamba_n_heads=4,
        mamba_d_head=8,
        mamba_d_state=16,
    )
    save_checkpoint(tmp_path / "student", config, FalconH1ForCausalLM)
    monkeypatch.setattr(preflight_weights, "load_probe", None)
    with pytest.raises(
        InputError,
        match=r"models\.student fails 1 of its checks: \[family\] models of the type falcon_h1 "
        r"cannot be trained: it has layers that carry a state",
    ):
        run(tmp_path / "student")


def lora(*targets, merge_adapter=True) -> Uses:
    value = targets[0] if targets[0] == "all-linear" or "." in targets[0] else list(targets)
    return Uses(is_trained=True, lora=(LoraUse("train.lora.target_modules", value, merge_adapter),))


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (
            ("embed_tokens", "q_proj"),
            r"embed_tokens is the embedding, and its weights are the head's too \(tied\).*leave it "
            r"out \(name some of .*q_proj.*, or write all-linear\), or set train\.method: full",
        ),
        (("lm_head",), r"lm_head is the head, and the loss does not compute an adapter on it"),
        (("nope",), r"nope matches no layer of the model; name some of down_proj, .*all-linear"),
        (("q_proj", "nope"), "nope matches no layer"),
        ((r"model\.layers\.7\..*",), "matches no layer"),
        ((r"model\.(",), "is not a regular expression"),
        (("mlp",), "mlp is no linear layer, and peft cannot adapt it; name some of"),
    ],
    ids=["tied", "head", "nothing", "one of two", "expression", "no expression", "container"],
)
def test_lora_targets_that_cannot_be_trained_are_refused(folder, targets, message):
    """A1 and A11."""
    with pytest.raises(
        InputError,
        match=rf"models\.student fails 1 .*\[lora_targets\] train\.lora\.target_modules.*{message}",
    ):
        run(folder, lora(*targets))


def test_a_rank_that_no_layer_can_have_is_refused_before_the_weights_are_read(folder, monkeypatch):
    monkeypatch.setattr(preflight_weights, "load_probe", None)
    [use] = lora("all-linear").lora
    use = replace(use, key="arms.a.train.lora.target_modules", rank=5000)
    with pytest.raises(
        InputError,
        match=r"\[lora_targets\] arms\.a\.train\.lora\.r = 5000: the smaller side of .* has \d+",
    ):
        run(folder, Uses(is_trained=True, lora=(use,)))


def test_the_gates_of_experts_do_not_limit_the_rank_of_all_layers():
    modules = {"mlp.up_proj": "linear", "mlp.shared_expert_gate": "linear"}
    sides = {"mlp.up_proj": 64, "mlp.shared_expert_gate": 1}
    use = LoraUse("train.lora.target_modules", "all-linear", rank=16)
    assert "up_proj" in check_targets(use, modules, tied=False, sides=sides)
    named = replace(use, targets=["shared_expert_gate"])
    with pytest.raises(InputError, match=r"train\.lora\.r = 16: .*shared_expert_gate has 1"):
        check_targets(named, modules, tied=False, sides=sides)


@pytest.mark.parametrize(
    "targets", [("all-linear",), ("q_proj", "v_proj"), (r"model\.layers\.\d+\.mlp\..*_proj",)]
)
def test_the_file_does_not_depend_on_the_targets_and_the_limits(folder, targets):
    uses = replace(lora(*targets), token_limits={"pack.max_length": 512})
    assert run(folder, uses) == run(folder)


def test_an_adapter_on_an_embedding_of_its_own_is_allowed(tmp_path):
    folder = save_checkpoint(tmp_path / "student", tie_word_embeddings=False)
    run(folder, lora("embed_tokens", "q_proj"))


@pytest.mark.parametrize(
    ("generation", "message"),
    [
        # A7
        ({"temperature": 0.6, "do_sample": None}, None),
        (
            {"early_stopping": True},
            r"\[generation_config\] .*generation_config\.json: a trained checkpoint could not be "
            r"saved with it .*early_stopping.*; correct the file or delete it",
        ),
        (
            {"num_return_sequences": 2, "do_sample": False},
            r"\[generation_config\] .*`num_return_sequences`.*; correct generation_config\.json or "
            r"delete it",
        ),
    ],
)
def test_a_generation_config_is_saved_or_refused(folder, generation, message):
    edit_json(folder / "generation_config.json", **generation)
    if message is None:
        assert figures(run(folder))["generation_config"] == "can be saved"
    else:
        with pytest.raises(InputError, match=message):
            run(folder)


def test_a_checkpoint_without_an_end_token_is_refused(folder):
    """A14."""
    (folder / "generation_config.json").unlink()
    edit_json(folder / "config.json", eos_token_id=None)
    edit_json(folder / "tokenizer_config.json", eos_token=None)
    with pytest.raises(
        InputError, match=r"\[end_token\] the checkpoint names no end token .*eos_token_id"
    ):
        run(folder)


def test_an_end_token_beyond_the_vocabulary_is_refused(folder):
    edit_json(folder / "generation_config.json", eos_token_id=[258, 4000])
    with pytest.raises(
        InputError, match=r"\[end_token\] the end token 4000 is not among the model's 259 tokens"
    ):
        run(folder)


def test_weights_that_lie_there_twice_are_counted_once(folder):
    """A16."""
    before = run(folder)
    shutil.copy(folder / "model.safetensors", folder / "consolidated.safetensors")
    assert "23,936 parameters" in figures(run(folder))["files"]
    assert figures(run(folder))["tensors"] == figures(before)["tensors"]


def change_tensors(folder, change) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda tensors: tensors.pop("model.layers.1.mlp.up_proj.weight"),
            r"\[tensors\] 1 tensors are missing and 0 have another shape "
            r"\(model\.layers\.1\.mlp\.up_proj\.weight, \.\.\.\), and the transformers library "
            r"would fill them at random; repeat the download",
        ),
        (
            lambda tensors: tensors.update({"model.norm.weight": torch.ones(5)}),
            r"\[tensors\] 0 tensors are missing and 1 have another shape \(model\.norm\.weight",
        ),
        (
            lambda tensors: tensors["model.norm.weight"].fill_(float("nan")),
            r"\[finite\] .*model\.safetensors: model\.norm\.weight holds 32 numbers",
        ),
        (
            lambda tensors: tensors["model.embed_tokens.weight"][17, 3].fill_(float("nan")),
            r"model\.embed_tokens\.weight holds 1 numbers that are not finite",
        ),
    ],
    ids=["missing", "shape", "not finite", "not finite in a rare word"],
)
def test_weights_that_are_not_those_of_the_model_are_refused(folder, change, message):
    change_tensors(folder, change)
    with pytest.raises(InputError, match=message):
        run(folder)


def test_a_head_beside_an_embedding_that_is_said_to_be_it_is_refused(folder):
    edit_json(folder / "config.json", tie_word_embeddings=True)
    change_tensors(
        folder,
        lambda tensors: tensors.update(
            {"lm_head.weight": tensors["model.embed_tokens.weight"] + 1.0}
        ),
    )
    with pytest.raises(InputError, match=r"\[weights\] config\.json says tie_word_embeddings"):
        run(folder)


def test_a_template_that_cannot_carry_a_row_is_refused(folder):
    template = (folder / "chat_template.jinja").read_text()
    (folder / "chat_template.jinja").write_text(
        template.replace("{{ message['content'] }}", "{{ message['content'] | upper }}")
    )
    with pytest.raises(
        InputError,
        match=r"\[documents\] the chat template cannot carry test row 1: template_changes_words "
        r"\(.*\); give a template that can as the model's `chat_template:`",
    ):
        run(folder)


def test_a_tokenizer_that_cannot_write_the_rows_is_refused(folder):
    core = json.loads((folder / "tokenizer.json").read_text())
    core["model"] |= {"vocab": {"a": 0, "<unk>": 1}, "unk_token": "<unk>"}
    (folder / "tokenizer.json").write_text(json.dumps(core))
    with pytest.raises(
        InputError, match=r"\[documents\] test row 1 is read back from its \d+ tokens.* as '"
    ):
        run(folder)


def test_rows_that_are_longer_than_positions_keep_their_meaning_are_refused(tmp_path):
    config = Phi3Config(
        **{**SMALL, "pad_token_id": 256},
        original_max_position_embeddings=64,
        rope_parameters={
            "rope_type": "longrope",
            "rope_theta": 10000.0,
            "short_factor": [1.0] * 4,
            "long_factor": [2.0] * 4,
            "original_max_position_embeddings": 64,
        },
    )
    folder = save_checkpoint(tmp_path / "student", config, Phi3ForCausalLM)
    uses = replace(TRAINED, token_limits={"arms.a.pack.max_length": 65, "sample.max_tokens": 200})
    with pytest.raises(
        InputError,
        match=r"\[positions\] arms\.a\.pack\.max_length = 65: beyond 64 tokens this model "
        r"stretches .*; lower it to 64",
    ):
        run(folder, uses)
    run(folder, replace(TRAINED, token_limits={"pack.max_length": 64}))


def test_a_large_checkpoint_is_cut_to_the_layers_that_have_each_kind(tmp_path, monkeypatch):
    monkeypatch.setattr(preflight_weights, "WHOLE_PARAMETERS", 1000)
    assert figures(run(save_checkpoint(tmp_path / "a", num_hidden_layers=5)))["weights"] == (
        "2 of 5 layers in float32"
    )
    kind, _ = FAMILIES["gemma3_text"]
    layers = ["sliding_attention"] * 3 + ["full_attention", "sliding_attention"]
    config = Gemma3TextConfig(**{**SMALL, "num_hidden_layers": 5}, **WINDOW, layer_types=layers)
    save_checkpoint(tmp_path / "b", config, kind)
    assert figures(run(tmp_path / "b"))["weights"] == "4 of 5 layers in float32"


@pytest.mark.parametrize(
    "wrong",
    [
        {"digest": "0" * 64},
        {"model": "other"},
        {"checks": ()},
        {"checks": (Check("packed", False, "differs", "take another model"),)},
    ],
    ids=["digest", "model", "empty", "failed"],
)
def test_a_file_of_another_model_does_not_count(folder, tmp_path, wrong):
    document = checkpoints.checkpoint_document(folder, name="student", dtype="float32")
    passed = Preflight("student", document.digest, (Check("context", True, "1024 tokens"),))
    path = tmp_path / "preflight.json"
    path.write_text(json.dumps({**passed.as_json(), "provenance": {}}))
    require_passed(path, document)
    trained = replace(document, name="student/orion/seed-1", digest="1" * 64)
    require_passed(path, trained)
    path.write_text(json.dumps(replace(passed, **wrong).as_json()))
    with pytest.raises(InputError, match=r"holds no passed checks|fails 1 of its checks"):
        require_passed(path, document)
    path.write_text("{")
    with pytest.raises(InputError, match=r"not a readable preflight\.json .*run again"):
        require_passed(path, document)


def test_messages_are_one_line_and_hold_figure_and_cure(folder):
    edit_json(folder / "generation_config.json", early_stopping=True)
    uses = replace(lora("nope"), token_limits={"sample.max_tokens": 1024})
    with pytest.raises(InputError) as error:
        run(folder, uses)
    assert "\n" not in str(error.value)
    found = re.findall(r"\[(\w+)\] [^\[]+; \w", str(error.value))
    assert found == ["context", "generation_config"]


def test_the_page_has_the_checks_in_their_order(root):
    text = (root / "docs/preflight.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", text, re.M) == NAMES
