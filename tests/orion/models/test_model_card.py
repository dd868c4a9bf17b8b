"""The model card: what a training says of itself, and that no digest or rerun depends on it."""

import json
from dataclasses import replace

import pytest
import yaml

import orion
from orion import provenance
from orion.models import adapters, checkpoints, model_card
from orion.models.document import read_document
from orion.models.model_card import TrainingFacts
from tests.helpers.training_runs import CONFIG, run, write_inputs

NAMES = ("--lineage", "chains", "tiny", "orion")


@pytest.fixture(scope="module")
def trained(document, tmp_path_factory):
    folder = tmp_path_factory.mktemp("card")
    write_inputs(folder, document.path)
    run(folder, folder / "out", *NAMES)
    return folder


def read_rows(card: str) -> dict[str, str]:
    rows = [line.strip("| ").split(" | ") for line in card.splitlines() if line.startswith("| ")]
    return {row[0]: row[1] for row in rows if len(row) == 2}


def test_it_says_what_the_checkpoint_was_made_from(trained):
    card = (trained / "out/model/README.md").read_text()
    record = json.loads((trained / "out/model.json").read_text())["provenance"]
    base, made = read_document(trained / "model.json"), read_document(trained / "out/model.json")
    rows = read_rows(card)
    assert "# tiny/orion/1\n" in card
    assert rows["Base"] == "tiny (folder student)" and rows["Digest of the base"] == base.digest
    assert (rows["Dataset"], rows["Arm"], rows["Seed"]) == ("chains", "orion", "1")
    assert rows["Digest of this model"] == made.digest
    assert rows["Digest of the packed rows"] == provenance.digest_file(trained / "packed")
    # five sequences of two documents, 16 tokens of which 8 are trained on, less a first one each
    assert rows["documents"] == "10" and rows["packed sequences"] == "5"
    assert rows["tokens in one pass"] == "80" and rows["optimiser steps"] == "8"
    last = json.loads((trained / "out/log.jsonl").read_text().splitlines()[-1])
    assert rows["tokens read in all steps"] == str(last["tokens"])
    assert rows["tokens trained in all steps"] == str(last["trained_tokens"])
    config = json.loads(card.split("```json\n")[1].split("```")[0])
    assert config == {key: value for key, value in CONFIG.items() if value is not None}
    assert rows["orion"] == orion.__version__
    assert all(rows[name] == version for name, version in record["packages"].items())


def test_it_names_neither_this_machine_nor_a_date(trained, tmp_path):
    again = run(trained, tmp_path / "again", *NAMES)
    card = (trained / "out/model/README.md").read_bytes()
    assert again["README.md"] == card
    assert str(trained).encode() not in card and str(tmp_path).encode() not in card


def test_no_digest_depends_on_it(trained, tmp_path):
    made = read_document(trained / "out/model.json")
    assert "README.md" not in made.files
    card = trained / "out/model/README.md"
    card.write_text("# my own words\n")
    checkpoints.verify_folder(made)
    found = checkpoints.checkpoint_document(trained / "out/model", name=made.name, dtype=made.dtype)
    assert found.digest == made.digest


def test_the_card_of_an_adapter(trained, tmp_path):
    lora = {**CONFIG["lora"], "merge_adapter": False}
    run(trained, tmp_path / "kept", method="lora", lora=lora)
    kept = tmp_path / "kept/model"
    made = read_document(tmp_path / "kept/model.json")
    card = (kept / "README.md").read_text()
    assert yaml.safe_load(card.split("---")[1]) == {"library_name": "peft", "tags": ["orion"]}
    assert "A LoRA adapter, to be used with its base" in card
    # the command line named none
    assert "Dataset" not in read_rows(card) and "Arm" not in read_rows(card)
    assert adapters.is_adapter_folder(kept)
    adapters.verify_adapter_folder(made.adapter)
    base = read_document(trained / "model.json")
    assert adapters.adapter_document(kept, base, name=made.name).digest == made.digest


def test_a_base_on_the_hub_is_named_in_the_header(document):
    base = replace(document, path=None, repo="org/small", revision="0" * 40)
    record = {"inputs": {"packed": "1" * 64}, "code": "2" * 64, "packages": {"torch": "2.0"}}
    facts = TrainingFacts("a|b", None, {"seed": 3}, {"documents": 1_234_567}, record)
    card = model_card.render_card(document, base, facts)
    assert yaml.safe_load(card.split("---")[1]) == {
        "library_name": "transformers",
        "base_model": "org/small",
        "tags": ["orion"],
    }
    assert f"| Base | tiny (org/small at {'0' * 40}) |" in card
    assert "| documents | 1,234,567 |" in card and r"| Dataset | a\|b |" in card
