"""Students in the package: added, unpacked with the same weights, refused where damaged."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from orion import config
from orion.demo import recipes, shipped
from orion.demo.student import pretrain
from orion.demo.tokenizer import build_tokenizer
from orion.errors import InputError
from orion.provenance import digest_file
from tests.helpers.configurations import read_one_student
from tests.orion.demo.test_student import TINY

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("student") / "checkpoint"
    pretrain(folder, **TINY)
    return folder


@pytest.fixture
def package(monkeypatch, tmp_path, checkpoint):
    """A package folder with the student `small`."""
    monkeypatch.setattr(recipes, "FOLDER", tmp_path / "students")
    shipped.ship(checkpoint, "small", TINY, {"right": 1})
    return tmp_path / "students"


def test_unpacked_student_is_the_shipped_one_in_bfloat16(package, checkpoint, tmp_path):
    assert recipes.list_students() == ["small"]
    shipped.main(["--config", '{"student": "small"}', "--output", str(tmp_path / "made")])
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []
    made = AutoModelForCausalLM.from_pretrained(tmp_path / "made")
    first = AutoModelForCausalLM.from_pretrained(checkpoint)
    for (name, a), (_, b) in zip(made.named_parameters(), first.named_parameters(), strict=True):
        assert a.dtype == torch.float32
        assert torch.equal(a, b.to(torch.bfloat16).float()), name
    assert made.lm_head.weight is made.model.embed_tokens.weight
    assert made.generation_config.to_dict() == first.generation_config.to_dict()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "made")
    text = "Question: Sam has 47 pens"
    assert tokenizer(text)["input_ids"] == build_tokenizer()(text)["input_ids"]
    # again over an earlier one: the same bytes
    before = {p.name: p.read_bytes() for p in (tmp_path / "made").iterdir()}
    shipped.unpack("small", tmp_path / "made")
    assert {p.name: p.read_bytes() for p in (tmp_path / "made").iterdir()} == before


def test_other_weights_and_unknown_names_are_refused(package, tmp_path, capsys):
    with pytest.raises(InputError, match="no student large; the package has: small"):
        shipped.unpack("large", tmp_path / "made")
    weights = package / "small" / recipes.WEIGHTS
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(SystemExit):
        shipped.main(["--config", '{"student": "small"}', "--output", str(tmp_path / "made")])
    assert "not the weights that recipe.json names" in capsys.readouterr().err
    assert not (tmp_path / "made").exists()


def test_weights_without_a_layer_are_refused(package, tmp_path):
    weights, path = package / "small" / recipes.WEIGHTS, package / "small" / recipes.RECIPE
    tensors = load_file(weights)
    del tensors["model.norm.weight"]
    save_file(tensors, weights)
    path.write_text(json.dumps(recipes.read_recipe("small") | {"sha256": digest_file(weights)}))
    with pytest.raises(InputError, match=r"not the weights of the options.*model\.norm\.weight"):
        shipped.unpack("small", tmp_path / "made")


def test_too_large_a_student_is_not_added(package, checkpoint, monkeypatch):
    monkeypatch.setattr(shipped, "LARGEST_BYTES", 1000)
    with pytest.raises(ValueError, match="more than 1000"):
        shipped.ship(checkpoint, "large", TINY, {})
    assert recipes.list_students() == ["small"]


def with_student(student):
    """A configuration of one student, which is one of the package."""
    raw = read_one_student(ROOT)
    source = {"kind": "embedded", "student": student}
    return raw | {"models": {"tiny": {"source": source, "dtype": "float32"}}}


def test_configuration_names_a_student_by_its_weights(package):
    made = config.validate(with_student("small"))
    digest = json.loads((package / "small" / recipes.RECIPE).read_text())["sha256"]
    found = config.stage_config(made, "unpack_student", model="tiny")
    assert found == {"student": "small", "sha256": digest}
    with pytest.raises(InputError, match=r"no such student; the package has: small"):
        config.validate(with_student("other"))
