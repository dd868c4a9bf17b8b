"""config/datasets.yaml: a word names a block; the files as published give the problems."""

import json
import shutil

import pytest
import yaml

from orion import config, tables
from orion.cli.main import main as orion
from orion.config.catalogue import resolve
from orion.data.files import fetched_path
from orion.errors import InputError
from orion.stages import dataset, fetch, lint
from tests.helpers.configurations import read_one_student

# word → (its file as published, rows, rejected rows)
PUBLISHED = {
    "gsm8k": ("gsm8k_test.jsonl", 1319, 0),
    "gsm8k-train": ("gsm8k_train.jsonl", 7473, 0),
    "gsm8k-r1": ("mip_gsm8k_deepseekR1.json", 582, 0),
    "gsm-hard": ("gsmhardv2.jsonl", 1319, 0),
    "svamp": ("svamp.jsonl", 1000, 0),
    "mawps-addsub": ("mawpsaddsub.jsonl", 395, 0),
    "mawps-multiarith": ("mawpsmultiarith.jsonl", 600, 20),
    "mawps-singleop": ("mawpssingleop.jsonl", 562, 31),
}


@pytest.fixture
def raw(root, monkeypatch):
    monkeypatch.chdir(root)
    return read_one_student(root)


def test_every_block_is_valid_and_names_its_licence(root, raw):
    known = yaml.safe_load((root / "config/datasets.yaml").read_text())
    raw["runs"] |= {"datasets": list(known["datasets"]), "benchmarks": list(known["benchmarks"])}
    loaded = config.validate(raw)
    for block in (*loaded.datasets.values(), *loaded.benchmarks.values()):
        assert block.licence or block.source.kind == "demo"
    assert len(loaded.benchmarks["gsm8k"].suspect_labels) == 18
    assert len(loaded.benchmarks["gsm-hard"].suspect_labels) == 114


def test_a_word_is_changed_by_the_keys_beside_it(raw):
    raw["datasets"]["small"] = {"known": "gsm8k-train", "limit": 5, "fields": {"solution": None}}
    block = resolve(raw)["datasets"]["small"]
    assert block["limit"] == 5 and block["source"]["kind"] == "url"
    assert block["fields"]["problem"] == "question" and block["fields"]["solution"] is None
    own = {"kind": "file", "path": "mine.jsonl"}
    raw["datasets"]["small"] = {"known": "gsm8k-train", "source": own}
    assert resolve(raw)["datasets"]["small"]["source"] == own


def test_a_word_that_is_not_known_is_refused(raw):
    raw["benchmarks"]["b"] = {"known": "gsm9k"}
    with pytest.raises(InputError, match=r"benchmarks\.b\.known: gsm9k is not known; .*gsm8k"):
        config.validate(raw)
    del raw["benchmarks"]["b"]
    raw["runs"]["benchmarks"] = ["gsm9k"]
    with pytest.raises(InputError, match=r"runs\.benchmarks names gsm9k, not defined"):
        config.validate(raw)


def test_what_is_for_the_reader_and_the_address_rerun_nothing(raw):
    raw["runs"]["benchmarks"] = ["gsm8k"]
    before = config.params(config.validate(raw), "benchmark", benchmark="gsm8k")
    raw["benchmarks"]["gsm8k"] = {
        "known": "gsm8k",
        "licence": "another",
        "note": "new",
        "source": {"kind": "url", "url": "https://mirror.example/test.jsonl"},
    }
    assert config.params(config.validate(raw), "benchmark", benchmark="gsm8k") == before
    assert "grade-school" not in before


@pytest.mark.data
@pytest.mark.parametrize("word", PUBLISHED)
def test_the_files_as_published_give_the_problems(root, data, tmp_path, monkeypatch, word):
    name, rows, rejected = PUBLISHED[word]
    original = data / "original" / name
    monkeypatch.setenv("ORION_CACHE", str(tmp_path / "cache"))
    (tmp_path / "config").mkdir()
    shutil.copy(root / "config/datasets.yaml", tmp_path / "config")
    raw = read_one_student(root)
    monkeypatch.chdir(tmp_path)
    kind = "dataset" if word.endswith(("train", "r1")) else "benchmark"
    raw["runs"][f"{kind}s"] = [word]
    loaded = config.validate(raw)
    # the cache is filled by digest, and no network is asked
    orion(["data", "keep", str(original)])
    [source] = [s for n, s in loaded.sources.items() if n.startswith(_digest(original))]
    path = fetched_path(source.model_dump())
    fetch.main(
        ["--config", json.dumps({"sha256": source.sha256}), "--url", source.url, "--output", path]
    )
    params = config.params(loaded, kind, **{kind: word})
    dataset.main(["--config", params, "--output", "problems", "--rejected", "rejected"])
    lint.main(["--config", params, "--problems", "problems", "--output", "lint.json"])
    found = tables.read("problems", tables.PROBLEMS)
    bad = tables.read("rejected", tables.REJECTED)
    assert (found.height + bad.height, bad.height) == (rows, rejected)
    report = tables.read_json("lint.json")
    assert report["unparseable"] == []
    assert len(report["suspect"]) == {"gsm8k": 18, "gsm-hard": 114}.get(word, 0)
    if word == "gsm8k-r1":
        assert found["teacher_trace"].null_count() == 0
    if word.startswith("gsm8k"):
        assert not found["solution"].str.contains("<<|####").any()


def _digest(path):
    from orion.data.download import hash_file

    return hash_file(path)
