"""The key ``prompt_date`` of a model."""

import json

import pytest

from orion import config
from orion.errors import InputError
from tests.helpers.configurations import list_one_student_files, read_one_student


@pytest.mark.parametrize("written", ["2024-02-03", "'2024-02-03'"])
def test_a_date_may_be_written_as_yaml_reads_it(root, tmp_path, written):
    # YAML reads the first one as a date and not as text
    extra = tmp_path / "extra.yaml"
    extra.write_text(f"models: {{tiny: {{prompt_date: {written}}}}}")
    loaded = config.load(*list_one_student_files(root), extra)
    assert json.loads(config.params(loaded, "model", model="tiny"))["prompt_date"] == "2024-02-03"


@pytest.mark.parametrize("written", ["3 Feb 2024", "2024-02-30", 7])
def test_what_is_no_date_is_refused(root, written):
    raw = read_one_student(root)
    raw["models"]["tiny"]["prompt_date"] = written
    with pytest.raises(InputError, match=r"models\.tiny\.prompt_date"):
        config.validate(raw)


def test_a_served_model_has_its_servers_date(root):
    raw = read_one_student(root)
    raw["models"]["other"] = {
        "source": {"kind": "server", "model": "org/teacher"},
        "context_length": 4096,
        "server": {"base_url": "http://localhost:8000/v1"},
    }
    tracked = json.loads(config.params(config.validate(raw), "model", model="other"))
    assert "prompt_date" not in tracked
    raw["models"]["other"]["prompt_date"] = "2024-02-03"
    with pytest.raises(InputError, match="prompt_date: the server decides this"):
        config.validate(raw)
