"""A model from a GGUF file in the workflow: its keys, its rules, what reruns it."""

import pytest
import yaml

from orion import config
from orion.errors import InputError
from tests.helpers.configurations import read_one_student
from tests.helpers.snakemake import run_snakemake

SOURCE = {"kind": "gguf", "path": "m.gguf", "sha256": "0" * 64}


@pytest.fixture
def raw(root):
    found = read_one_student(root)
    found["models"] = {"file": {"source": SOURCE, "dtype": "float32"}}
    found["runs"]["models"] = ["file"]
    return found


def test_the_rule_tracks_the_file_its_digest_and_the_dtype(raw):
    found = config.stage_config(config.validate(raw), "dequantise", model="file")
    assert found == {"path": "m.gguf", "sha256": "0" * 64, "dtype": "float32"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sha256": "0" * 63}, r"source\.gguf\.sha256: String should match"),
        ({"sha256": None}, r"source\.gguf\.sha256: Input should be"),
        ({"repo": "org/model"}, r"source\.gguf\.repo: unknown key"),
    ],
)
def test_a_source_without_a_whole_digest_is_an_error(raw, change, message):
    raw["models"]["file"]["source"] = {**SOURCE, **change}
    with pytest.raises(InputError, match=message):
        config.validate(raw)


def test_the_file_is_converted_before_the_model_is_registered(raw, root, tmp_path):
    (tmp_path / "config").mkdir()
    (tmp_path / "config/config.yaml").write_text(yaml.safe_dump(raw))
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    wanted = ["-n", "--quiet", "rules", "--", "results/models/file/model.json"]
    status, out = run_snakemake(tmp_path, root, *wanted)
    assert status == 0, out
    counts = dict(line.split() for line in out.splitlines() if len(line.split()) == 2)
    assert counts["dequantise"] == counts["register_gguf_model"] == "1"
    assert "register_model" not in counts and "student" not in counts
