"""Adapter folders as models (B14), and adapters beside a checkpoint's own weights (A15)."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model

from orion.errors import InputError
from orion.models import adapters, checkpoints, preflight_checks, registration
from orion.models.preflight import Uses
from tests.helpers.chat_models import edit_json, save_checkpoint


@pytest.fixture
def base(tmp_path):
    return save_checkpoint(tmp_path / "base")


@pytest.fixture
def adapter(base, tmp_path):
    """An adapter as peft saves it, with random weights in both of its halves."""
    document = checkpoints.checkpoint_document(base, name="base", dtype="float32")
    settings = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights=False)
    torch.manual_seed(1)
    model = get_peft_model(checkpoints.load_model(document, "cpu"), settings)
    model.save_pretrained(tmp_path / "adapter")
    edit_json(tmp_path / "adapter/adapter_config.json", base_model_name_or_path=str(base))
    return tmp_path / "adapter"


def register(folder, base=None, **changes):
    source = {"kind": "path", "path": str(folder), "base": base}
    entry = registration.Entry(source, dtype="float32", trust_remote_code=False, **changes)
    return registration.make_document("student", entry)


def logits(document):
    row = torch.arange(60, 90)[None]
    with torch.no_grad():
        return checkpoints.load_model(document, "cpu")(row).logits


def test_an_adapter_is_a_student_with_its_base(adapter, base, tmp_path):
    document = register(adapter)
    whole = register(base)
    assert document.name == "student" and Path(document.path) == base
    assert Path(document.adapter.path) == adapter and document.adapter.rank == 4
    assert document.digest != whole.digest and document.parameters > whole.parameters
    assert (logits(document) - logits(whole)).abs().max() > 0.1
    passed = preflight_checks.run_preflight(document, Uses(is_trained=True), tmp_path)
    assert passed.digest == document.digest and len(passed.checks) == 14


def test_merged_is_unmerged(adapter, base):
    document = register(adapter)
    model = adapters.merge_adapter(checkpoints.load_model(register(base), "cpu"), document)
    row = torch.arange(60, 90)[None]
    with torch.no_grad():
        torch.testing.assert_close(model(row).logits, logits(document), rtol=1e-4, atol=1e-4)
    assert not [name for name, _ in model.named_parameters() if "lora" in name]


def test_an_adapter_in_bfloat16_keeps_the_frequencies_of_the_positions(adapter):
    document = replace(register(adapter), dtype="bfloat16")
    model = checkpoints.load_model(document, "cpu")
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert {b.dtype for b in model.buffers()} == {torch.float32}


def test_the_base_is_configured_or_a_folder_that_the_adapter_names(adapter, base, tmp_path):
    shutil.copytree(base, tmp_path / "moved")
    named = register(adapter)
    moved = register(adapter, {"kind": "path", "path": str(tmp_path / "moved")})
    assert Path(moved.path) == tmp_path / "moved" and moved.digest == named.digest
    for name in ("org/base", ""):
        edit_json(adapter / "adapter_config.json", base_model_name_or_path=name)
        what = "names org/base, which is no folder here" if name else "names none"
        with pytest.raises(
            InputError,
            match=rf"adapter is an adapter, and its adapter_config\.json {what}; give the base "
            r"beside `path:` of the model, as base: \{kind: path, path: \.\.\.\} or base: \{kind: "
            r"huggingface",
        ):
            register(adapter)


def test_an_adapter_of_another_kind_is_refused(adapter):
    edit_json(adapter / "adapter_config.json", peft_type="IA3")
    with pytest.raises(InputError, match=r"an adapter of the kind IA3; .*merge it into its base"):
        register(adapter)
    (adapter / "adapter_config.json").write_text("{}")
    with pytest.raises(InputError, match="not the settings of a LoRA adapter"):
        register(adapter)


def test_an_adapter_with_a_template_of_its_own_is_refused(adapter, base, tmp_path):
    template = (base / "chat_template.jinja").read_text()
    (adapter / "chat_template.jinja").write_text(template)
    register(adapter)
    other = template.replace("<|im_end|>\n", "<|im_end|>")
    (adapter / "chat_template.jinja").write_text(other)
    with pytest.raises(
        InputError, match=r"brings a chat template that is not its base's; set .*`chat_template:`"
    ):
        register(adapter)
    assert register(adapter, chat_template=adapter / "chat_template.jinja").chat_template == other
    (adapter / "chat_template.jinja").unlink()
    (adapter / "tokenizer_config.json").write_text(json.dumps({"chat_template": other}))
    with pytest.raises(InputError, match="brings a chat template"):
        register(adapter)


def test_an_adapter_beside_a_checkpoint_is_refused(adapter, base):
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copy(adapter / name, base / name)
    with pytest.raises(
        InputError,
        match=r"base/adapter_config\.json: an adapter beside a checkpoint's own weights, which the "
        r"transformers library would apply in silence\. Move both adapter files to a folder of "
        r"their own and give that as `path:` with this checkpoint as `base:`, or delete",
    ):
        register(base)
    (base / "adapter_config.json").unlink()
    assert register(base).parameters == 23_936


def test_an_adapter_kept_on_an_adapter_is_refused(adapter, tmp_path):
    from orion.models.lora_targets import LoraUse

    uses = Uses(
        is_trained=True,
        lora=(LoraUse("arms.a.train.lora.target_modules", "all-linear", merge_adapter=False),),
    )
    with pytest.raises(
        InputError,
        match=r"\[lora_targets\] arms\.a\.train\.lora\.merge_adapter: false would keep an adapter "
        r"on a base that is an adapter itself; set it to true",
    ):
        preflight_checks.run_preflight(register(adapter), uses, tmp_path)


def test_a_checkpoint_folder_is_no_adapter(base, adapter):
    assert adapters.is_adapter_folder(adapter) and not adapters.is_adapter_folder(base)
