"""Checkpoint folders that exist are checked with the configuration, before any work."""

import subprocess
import sys

import pytest
import yaml

from orion import config
from orion.cli.main import main
from orion.errors import InputError
from tests.helpers.chat_models import edit_json, save_checkpoint
from tests.helpers.configurations import read_one_student


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture
def raw(root, checkpoint):
    found = read_one_student(root)
    found["runs"] |= {"arms": ["base", "sft_own", "orion"], "seeds": [1]}
    found["comparisons"] = []
    found["prompts"] = "chat"
    found["models"]["tiny"] = {
        "source": {"kind": "path", "path": str(checkpoint)},
        "dtype": "float32",
    }
    return found


def set_lora(raw, **changes):
    raw["train"] |= {"method": "lora", "lora": changes}


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (["embed_tokens", "q_proj"], "embed_tokens is the embedding.*tied.*leave it out"),
        (["lm_head"], "lm_head matches no layer"),
        (["nope"], "nope matches no layer of the model; name some of down_proj, .*q_proj"),
        (["input_layernorm"], "input_layernorm is no linear layer"),
        (["q_proj", "down_proj"], None),
        ("all-linear", None),
        (r"model\.layers\.0\..*_proj", None),
    ],
)
def test_lora_targets_are_checked_by_the_names_of_the_tensors(raw, targets, message):
    set_lora(raw, target_modules=targets)
    if message is None:
        config.validate(raw)
        return
    with pytest.raises(
        InputError,
        match=rf"mine is not valid: models\.tiny: train\.lora\.target_modules: {message}",
    ):
        config.validate(raw, "mine")


def test_an_arms_own_targets_are_named(raw):
    raw["arms"]["orion"]["train"] = {"method": "lora", "lora": {"target_modules": ["nope"]}}
    with pytest.raises(InputError, match=r"arms\.orion\.train\.lora\.target_modules: nope"):
        config.validate(raw)
    # an arm that is not run is not looked at
    raw["runs"]["arms"] = ["base", "sft_own"]
    config.validate(raw)


def test_the_head_is_refused_by_its_name(raw, tmp_path):
    folder = save_checkpoint(tmp_path / "own-head", tie_word_embeddings=False)
    raw["models"]["tiny"]["source"]["path"] = str(folder)
    set_lora(raw, target_modules=["lm_head"])
    with pytest.raises(InputError, match=r"lm_head is the head, .*train\.method: full"):
        config.validate(raw)
    set_lora(raw, target_modules=["embed_tokens", "q_proj"])
    config.validate(raw)


def test_an_adapter_beside_the_weights_is_refused(raw, tmp_path):
    folder = save_checkpoint(tmp_path / "both")
    (folder / "adapter_config.json").write_text("{}")
    raw["models"]["tiny"]["source"]["path"] = str(folder)
    with pytest.raises(InputError, match=r"models\.tiny: .*adapter beside a checkpoint's own"):
        config.validate(raw)


def test_an_adapter_without_its_base_is_refused(raw, tmp_path, checkpoint):
    edit_json(tmp_path / "adapter_config.json", peft_type="LORA", r=4)
    raw["models"]["tiny"]["source"]["path"] = str(tmp_path)
    with pytest.raises(InputError, match=r"models\.tiny: .* is an adapter, .*give the base"):
        config.validate(raw)
    raw["models"]["tiny"]["source"]["base"] = {"kind": "path", "path": str(checkpoint)}
    valid = config.validate(raw)
    files = config.checkpoint_files(valid.models["tiny"])
    assert f"{tmp_path}/adapter_config.json" in files
    assert f"{checkpoint}/model.safetensors" in files
    set_lora(raw, merge_adapter=False)
    with pytest.raises(InputError, match=r"train\.lora\.merge_adapter: false would keep"):
        config.validate(raw)


def test_the_context_of_an_adapter_is_its_bases(raw, tmp_path, checkpoint):
    edit_json(tmp_path / "adapter_config.json", peft_type="LORA", r=4)
    base = {"kind": "path", "path": str(checkpoint)}
    raw["models"]["tiny"]["source"] |= {"path": str(tmp_path), "base": base}
    raw["pack"]["max_length"] = 1025
    with pytest.raises(InputError, match=r"models\.tiny has a context of 1024 tokens: pack\.max"):
        config.validate(raw)


def test_what_the_rule_reads_follows_what_the_run_does(raw):
    valid = config.validate(raw)
    keys = config.stage_config(valid, "model", model="tiny")
    assert keys["is_trained"] is True and keys["prompts"] == "chat"
    raw["runs"]["arms"] = ["base"]
    assert not config.stage_config(config.validate(raw), "model", model="tiny")["is_trained"]


def test_the_command_runs_what_needs_no_weights(raw, tmp_path, capsys, monkeypatch):
    folder = save_checkpoint(tmp_path / "student")
    raw["models"]["tiny"]["source"]["path"] = str(folder)
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(raw))
    main(["config", "check", str(path)])
    found = capsys.readouterr()
    assert found.out == f"ok: {path}\n"
    assert "models.tiny: passed all checks that need no weights" in found.err
    edit_json(folder / "config.json", model_type="mamba2")
    # Snakemake's start does not import the library for it
    config.load(path)
    with pytest.raises(SystemExit) as stopped:
        main(["config", "check", str(path)])
    assert stopped.value.code == 2
    assert "models.tiny fails 1 of its checks: [family] models of the type mamba2 cannot" in (
        capsys.readouterr().err
    )


def test_loading_a_configuration_imports_neither_torch_nor_transformers(raw, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(raw))
    code = (
        "import sys\nfrom orion import config\nconfig.load(sys.argv[1])\n"
        "sys.exit(bool({'torch', 'transformers', 'polars', 'peft'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)]).returncode == 0
