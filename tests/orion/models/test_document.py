"""ModelDocument: what is read from a ``model.json``, and errors where a file is none."""

import dataclasses
import json

import pytest

from orion import tables
from orion.errors import InputError
from orion.models.document import (
    SERVED,
    AdapterDocument,
    ModelDocument,
    add_step,
    from_json,
    read_document,
)

CHECKPOINT = ModelDocument(
    name="tiny",
    digest="0" * 64,
    context_length=64,
    path="models/tiny",
    files={"model.safetensors": "1" * 64},
    dtype="float32",
    chat_template="{{ messages }}",
    vocab_size=16,
    parameters=68,
)
ADAPTED = dataclasses.replace(
    CHECKPOINT,
    name="tiny/adapted",
    adapter=AdapterDocument("models/adapter", {"adapter_model.safetensors": "2" * 64}, rank=4),
)
TEACHER = ModelDocument(
    name="teacher", digest="3" * 64, context_length=4096, kind=SERVED, served_name="org/teacher"
)


TWICE = add_step(
    dataclasses.replace(CHECKPOINT, name="second"),
    *("maths", "warm", "orion"),
    seed=1,
    trained=add_step(CHECKPOINT, "drills", "tiny", "sft_answer", seed=7, trained=CHECKPOINT),
)


def test_a_lineage_lists_the_trainings_earliest_first():
    first, last = TWICE.lineage
    assert (first.dataset, first.model, first.arm, first.seed) == (
        "drills",
        "tiny",
        "sft_answer",
        7,
    )
    assert (last.dataset, last.model, last.arm, last.seed) == ("maths", "warm", "orion", 1)
    assert CHECKPOINT.lineage == ()


@pytest.mark.parametrize("document", [CHECKPOINT, ADAPTED, TEACHER, TWICE], ids=lambda d: d.name)
def test_a_document_is_read_as_it_was_written(tmp_path, document):
    path = tmp_path / "model.json"
    tables.write_json(document.as_json(), path, {"module": "orion.stages.model"})
    assert read_document(path) == document
    assert from_json(json.loads(json.dumps(document.as_json()))) == document
    assert document.is_served == (document is TEACHER)


def test_absent_keys_have_their_defaults(tmp_path):
    path = tmp_path / "model.json"
    path.write_text('{"name": "a", "digest": "0", "context_length": 1}')
    assert read_document(path) == ModelDocument(name="a", digest="0", context_length=1)


def test_a_document_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        CHECKPOINT.digest = "4" * 64


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "Expecting property name"),
        ("[]", "must be an object, not a list"),
        ("{}", "missing .* required positional arguments: 'name', 'digest'"),
        ('{"name": "a", "digest": "0", "context": 1}', "unexpected keyword argument 'context'"),
        (
            '{"name": "a", "digest": "0", "context_length": 1, "adapter": {"path": "b"}}',
            "missing 2 required positional arguments: 'files' and 'rank'",
        ),
    ],
    ids=["no JSON", "no object", "missing key", "unknown key", "adapter"],
)
def test_a_damaged_document_is_an_error(tmp_path, text, message):
    (tmp_path / "model.json").write_text(text)
    pattern = rf"model\.json: not a readable model\.json \(.*{message}.*\); delete it and run again"
    with pytest.raises(InputError, match=pattern):
        read_document(tmp_path / "model.json")


def test_an_absent_document_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"absent\.json: .*No such file.*run again"):
        read_document(tmp_path / "absent.json")
