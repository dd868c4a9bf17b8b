"""The stage that registers a model: model.json and preflight.json, or neither."""

import json
import shutil
import subprocess
import sys

import pytest
import torch
from peft import LoraConfig, get_peft_model

from orion import tables
from orion.errors import InputError
from orion.models import checkpoints
from orion.models.document import read_document
from orion.models.preflight import read_preflight, require_passed
from orion.models.training_documents import DocumentEncoder
from orion.stages import model, pack, train
from tests.helpers.chat_models import edit_json, save_checkpoint
from tests.helpers.packing import pack_documents

BLOCK = {"dtype": "float32", "trust_remote_code": False, "is_trained": True, "prompts": "chat"}
LORA = {"r": 4, "alpha": 8, "dropout": 0.0, "target_modules": "all-linear"}
TRAIN = {
    "method": "full",
    "lora": LORA,
    "learning_rate": 1e-3,
    "betas": [0.9, 0.98],
    "weight_decay": 0.0,
    "epochs": 1.0,
    "max_steps": 2,
    "batch_sequences": 1,
    "warmup_fraction": 0.1,
    "schedule": "linear",
    "max_grad_norm": 1.0,
    "dtype": "float32",
    "gradient_checkpointing": False,
    "seed": 1,
}


def register(folder, *words, source, **changes):
    config = {**BLOCK, **changes, "source": source}
    output = folder / "models/model.json"
    argv = ["--config", json.dumps(config), "--name", "student", "--output", str(output)]
    model.main([*argv, *words])
    return read_document(output)


def path_source(folder, **more):
    return {"kind": "path", "path": str(folder), **more}


@pytest.fixture
def student(tmp_path):
    return save_checkpoint(tmp_path / "student")


@pytest.fixture
def adapter(student, tmp_path):
    document = checkpoints.checkpoint_document(student, name="base", dtype="float32")
    settings = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights=False)
    torch.manual_seed(1)
    made = get_peft_model(checkpoints.load_model(document, "cpu"), settings)
    made.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def test_both_files_are_written_with_provenance(tmp_path, student, capsys):
    document = register(tmp_path, source=path_source(student))
    path = tmp_path / "models/preflight.json"
    require_passed(path, document)
    assert read_preflight(path).model == "student"
    found = tables.read_json(path)
    assert found["provenance"]["module"] == "orion.stages.model"
    assert found["checks"][0] == {
        "name": "context",
        "passed": True,
        "figure": "1024 tokens",
        "cure": "",
    }
    assert "student: passed 14 checks" in capsys.readouterr().err
    before = path.read_bytes()
    register(
        tmp_path,
        *("--output-preflight", str(tmp_path / "other.json")),
        *("--token-limits", "sample.max_tokens=9"),
        *("--lora", '{"train.lora.target_modules": {"targets": ["q_proj"]}}'),
        source=path_source(student),
    )
    assert (tmp_path / "other.json").read_bytes() == before == path.read_bytes()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--token-limits", "sample.max_tokens=1024"),
            r"models\.student fails .*\[context\] models\.student has a context of 1024 tokens: "
            r"sample\.max_tokens = 1024 leaves no room for a prompt; lower it",
        ),
        (
            ("--lora", '{"arms.a.train.lora.target_modules": {"targets": ["lm_head"]}}'),
            r"models\.student fails .*\[lora_targets\] arms\.a\.train\.lora\.target_modules: lm_he",
        ),
        (("--lora", '{"a": 1}'), "--lora .*give a JSON object of key"),
        (("--lora", "{"), "--lora .*give a JSON object of key"),
    ],
)
def test_a_failed_check_writes_neither_file(tmp_path, student, words, message):
    with pytest.raises(InputError, match=message):
        register(tmp_path, *words, source=path_source(student))
    assert not (tmp_path / "models").exists() or not list((tmp_path / "models").iterdir())


def test_a_served_model_has_the_checks_that_make_sense(tmp_path):
    source = {"kind": "server", "model": "org/teacher"}
    document = register(tmp_path, source=source, context_length=4096)
    passed = read_preflight(tmp_path / "models/preflight.json")
    assert [(check.name, check.figure) for check in passed.checks] == [("context", "4096 tokens")]
    require_passed(tmp_path / "models/preflight.json", document)


def test_a_model_that_is_only_sampled_may_be_of_any_family(tmp_path, student):
    edit_json(student / "config.json", model_type="mamba2")
    with pytest.raises(InputError, match=r"\[family\] models of the type mamba2 cannot be trained"):
        register(tmp_path, source=path_source(student))
    register(tmp_path, source=path_source(student), is_trained=False)


def test_a_served_models_registration_imports_no_torch(tmp_path):
    code = (
        "import sys\nfrom orion.stages import model\nmodel.main(sys.argv[1:])\n"
        "sys.exit('torch' in sys.modules)"
    )
    config = {**BLOCK, "source": {"kind": "server", "model": "a"}, "context_length": 9}
    words = ["--config", json.dumps(config), "--name", "a", "--output", str(tmp_path / "a.json")]
    assert subprocess.run([sys.executable, "-c", code, *words]).returncode == 0


def test_a_hub_adapter_is_refused_with_its_cure(tmp_path, adapter, monkeypatch):
    monkeypatch.setattr(checkpoints, "_find_snapshot", lambda repo, revision: adapter)
    source = {"kind": "huggingface", "repo": "org/adapter", "revision": "0" * 40}
    with pytest.raises(
        InputError,
        match=r"models\.student\.source: org/adapter is an adapter; download it into a folder",
    ):
        register(tmp_path, source=source)


def run_training(tmp_path, document_path, **changes):
    document = read_document(document_path)
    tokenizer = checkpoints.load_tokenizer(document)
    eos = checkpoints.eos_ids(document, tokenizer)
    encoder = DocumentEncoder(tokenizer, eos=eos, enable_thinking=None)
    rows = [encoder.encode(f"{n} + {n}?", f"{n} + {n} = {2 * n}") for n in range(5)]
    tables.write(pack_documents(rows, 300, tmp_path), tmp_path / "packed", tables.PACKED, {})
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
    paths = {
        "packed": tmp_path / "packed",
        "model": document_path,
        "preflight": document_path.with_name("preflight.json"),
        "work": tmp_path / "work",
        "output-dir": tmp_path / "out/model",
        "output-model": tmp_path / "out/model.json",
        "log": tmp_path / "out/log.jsonl",
    }
    words = [word for name, path in paths.items() for word in (f"--{name}", str(path))]
    name = f"{document.name}/arm/seed-1"
    train.main(["--config", json.dumps({**TRAIN, **changes}), "--name", name, *words])
    return read_document(tmp_path / "out/model.json")


@pytest.mark.parametrize("method", ["full", "lora"])
def test_an_adapter_student_is_trained_with_its_adapter(tmp_path, adapter, student, method):
    """B14: the trained checkpoint is base and adapter, changed by two small steps."""
    source = path_source(adapter, base=path_source(student))
    before = register(tmp_path, source=source)
    trained = run_training(tmp_path, tmp_path / "models/model.json", method=method)
    assert trained.adapter is None and trained.digest != before.digest
    row = torch.arange(60, 100)[None]
    with torch.no_grad():
        base, start, end = (
            checkpoints.load_model(document, "cpu")(row).logits.log_softmax(-1)
            for document in (
                checkpoints.checkpoint_document(student, name="base", dtype="float32"),
                before,
                trained,
            )
        )
    assert (end - start).abs().mean() < 0.2 * (end - base).abs().mean()
    record = tables.read_json(tmp_path / "out/model.json")["provenance"]
    assert set(record["inputs"]) == {"model", "packed", "preflight"}


def test_an_adapter_student_keeps_no_second_adapter(tmp_path, adapter, student):
    register(tmp_path, source=path_source(adapter, base=path_source(student)))
    with pytest.raises(InputError, match=r"merge_adapter: false would keep another one on it"):
        run_training(
            tmp_path,
            tmp_path / "models/model.json",
            method="lora",
            lora={**LORA, "merge_adapter": False},
        )


def test_training_asks_for_the_checks_of_its_model(tmp_path, student):
    register(tmp_path, source=path_source(student))
    edit_json(tmp_path / "models/preflight.json", digest="0" * 64)
    with pytest.raises(InputError, match=r"preflight\.json: holds no passed checks of the model"):
        run_training(tmp_path, tmp_path / "models/model.json")


@pytest.mark.parametrize("merge_adapter", [True, False])
def test_what_was_trained_passes_again(tmp_path, student, merge_adapter):
    """A trained checkpoint, and a kept adapter, as the next run's student."""
    register(tmp_path, source=path_source(student))
    run_training(
        tmp_path,
        tmp_path / "models/model.json",
        method="lora",
        lora={**LORA, "merge_adapter": merge_adapter},
    )
    base = None if merge_adapter else path_source(student)
    register(tmp_path, source=path_source(tmp_path / "out/model", base=base))
    assert len(read_preflight(tmp_path / "models/preflight.json").checks) == 14


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (["nope"], "nope matches no layer"),
        (["embed_tokens"], "embed_tokens is the embedding, and its weights are the head's too"),
        (["lm_head"], "lm_head is the head"),
    ],
)
def test_training_refuses_targets_that_came_after_the_checks(tmp_path, student, targets, message):
    register(tmp_path, source=path_source(student))
    with pytest.raises(InputError, match=rf"train\.lora\.target_modules: {message}.*leave|name"):
        run_training(
            tmp_path,
            tmp_path / "models/model.json",
            method="lora",
            lora={**LORA, "target_modules": targets},
        )


ARM = {"kind": "arm", "dataset": "d", "model": "m", "arm": "a", "seed": 3}


@pytest.mark.parametrize("kept", [False, True], ids=["checkpoint", "adapter"])
def test_the_checkpoint_of_an_arm_keeps_its_digest_and_lineage(tmp_path, student, kept):
    """What `train` publishes, registered as a student; a kept adapter finds its base."""
    untrained = register(tmp_path, source=path_source(student))
    lora = {**LORA, "merge_adapter": False}
    settings = {**TRAIN, "max_steps": 1, "method": "lora" if kept else "full", "lora": lora}
    rows = [
        {
            **{"problem_id": f"p{n}", "row": 0, "prompt": f"{n} + 1", "completion": f"{n + 1}"},
            **{"target_kind": "solution", "sample_id": None},
            **{"error_sample_ids": [], "filters_passed": []},
        }
        for n in range(2)
    ]
    tables.write(tables.from_rows(rows, tables.TRAIN), tmp_path / "rows", tables.TRAIN, {})
    given = ["--model", str(tmp_path / "models/model.json")]
    pack.main(
        [
            *("--config", json.dumps({"max_length": 128, "min_rows": 1}), *given),
            *("--train", str(tmp_path / "rows"), "--output", str(tmp_path / "packed")),
            *("--stats", str(tmp_path / "stats.json")),
        ]
    )
    train.main(
        [
            *("--config", json.dumps(settings), "--name", "m/a/seed-1", *given),
            *("--lineage", "d", "m", "a", "--packed", str(tmp_path / "packed")),
            *("--work", str(tmp_path / "work"), "--output-dir", str(tmp_path / "made")),
            *("--output-model", str(tmp_path / "made.json"), "--log", str(tmp_path / "log")),
        ]
    )
    words = ["--checkpoint", str(tmp_path / "made"), "--trained", str(tmp_path / "made.json")]
    found = register(tmp_path, *words, source=ARM)
    trained = read_document(tmp_path / "made.json")
    assert found.digest == trained.digest != untrained.digest
    assert (found.adapter is not None) == kept
    [step] = found.lineage
    assert (step.dataset, step.model, step.arm, step.seed) == ("d", "m", "a", TRAIN["seed"])
    assert step.digest == untrained.digest
