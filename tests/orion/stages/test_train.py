import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

from orion import tables
from orion.demo.tokenizer import build_tokenizer
from orion.errors import InputError
from orion.models import adapters, checkpoints
from orion.models.document import read_document
from orion.models.training_documents import DocumentEncoder
from orion.stages import train
from orion.stages.command import read_config
from orion.training import trainer
from tests.helpers.packing import pack_documents

CONFIG = {
    "method": "full",
    "lora": {"r": 4, "alpha": 8, "dropout": 0.0, "target_modules": "all-linear"},
    "learning_rate": 1e-2,
    "betas": [0.9, 0.98],
    "weight_decay": 0.0,
    "epochs": 3.0,
    "max_steps": 6,
    "batch_sequences": 2,
    "warmup_fraction": 0.1,
    "schedule": "linear",
    "max_grad_norm": 1.0,
    "dtype": "float32",
    "gradient_checkpointing": False,
    "seed": 1,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A random two-layer student on disk with its document, and five packed sequences."""
    folder = tmp_path_factory.mktemp("train")
    tokenizer = build_tokenizer()
    torch.manual_seed(0)
    sizes = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    }
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        intermediate_size=64,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        **sizes,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder / "student")
    tokenizer.save_pretrained(folder / "student")
    document = checkpoints.checkpoint_document(
        folder / "student", name="student", dtype="float32", trust_remote_code=False
    )
    tables.write_json(document.as_json(), folder / "model.json", {})
    pairs = [
        (f"Question: Sam has {n} pens", f"{n} + {n} = {2 * n} ; \\boxed{{ {2 * n} }}")
        for n in range(10, 40)
    ]
    encoder = DocumentEncoder(tokenizer, eos={tokenizer.eos_token_id}, enable_thinking=None)
    documents = [encoder.encode(*pair) for pair in pairs]
    packed = pack_documents(documents, 160, folder)
    tables.write(packed, folder / "packed", tables.PACKED, {})
    return folder


def arguments(folder, out, config, micro_batch=1):
    paths = {
        "name": "t",
        "packed": folder / "packed",
        "model": folder / "model.json",
        "work": out / "work",
    }
    paths |= {
        "output-dir": out / "model",
        "output-model": out / "model.json",
        "log": out / "log.jsonl",
    }
    words = [word for name, path in paths.items() for word in (f"--{name}", str(path))]
    return ["--config", json.dumps(config), *words, "--micro-batch", str(micro_batch)]


def run(folder, out, micro_batch=1, **changes):
    train.main(arguments(folder, out, {**CONFIG, **changes}, micro_batch))
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return log, AutoModelForCausalLM.from_pretrained(out / "model")


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.fixture(scope="module")
def reference(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("reference")
    return out, *run(folder, out)


def test_the_loss_falls_and_the_log_counts(reference, folder):
    _, log, _ = reference
    assert [entry["step"] for entry in log] == [1, 2, 3, 4, 5, 6]
    assert log[-1]["loss"] < 0.8 * log[0]["loss"]
    trained = [entry["trained_tokens"] for entry in log]
    assert trained == sorted(trained) and 0 <= log[0]["accuracy"] <= 1 and log[0]["entropy"] > 0
    packed = tables.read(folder / "packed", tables.PACKED)
    longest = max(map(len, packed["input_ids"]))
    assert log[0]["tokens"] <= 2 * longest and log[-1]["tokens"] > 5 * longest


def test_the_first_loss_is_that_of_the_unpacked_documents(reference, folder):
    """Packed and one by one give the same loss; the first step's is taken before any update."""
    _, log, _ = reference
    model = AutoModelForCausalLM.from_pretrained(folder / "student")
    packed = tables.read(folder / "packed", tables.PACKED)
    rows = {}
    for row in packed.iter_rows(named=True):
        start, total, count = 0, 0.0, 0
        for length in row["seq_lengths"]:
            ids = torch.tensor([row["input_ids"][start : start + length]])
            labels = torch.tensor([row["labels"][start : start + length]])
            logits = model(ids).logits[:, :-1].float()
            targets = labels[:, 1:]
            total += torch.nn.functional.cross_entropy(
                logits[0], targets[0], ignore_index=-100, reduction="sum"
            ).item()
            count += int((targets != -100).sum())
            start += length
        rows[row["row"]] = (total, count)
    # the batch of the first step: two of the sequences, their target tokens weighted equally
    pairs = [
        (rows[i][0] + rows[j][0]) / (rows[i][1] + rows[j][1]) for i in rows for j in rows if i < j
    ]
    # the log rounds to four or more digits
    assert min(abs(log[0]["loss"] - pair) for pair in pairs) < 1e-3


def test_same_seed_same_bytes_other_seed_other_weights(reference, folder, tmp_path):
    out, log, _ = reference
    again, _ = run(folder, tmp_path / "again")
    assert again == log
    name = "model.safetensors"
    assert (out / "model" / name).read_bytes() == (tmp_path / "again" / "model" / name).read_bytes()
    _, other = run(folder, tmp_path / "other", seed=2)
    assert not torch.equal(
        weights(other), weights(AutoModelForCausalLM.from_pretrained(out / "model"))
    )


def test_the_micro_batch_changes_rounding_only(reference, folder, tmp_path):
    _, log, model = reference
    other_log, other = run(folder, tmp_path, micro_batch=2)
    assert [entry["trained_tokens"] for entry in other_log] == [
        entry["trained_tokens"] for entry in log
    ]
    torch.testing.assert_close(weights(other), weights(model), rtol=1e-3, atol=1e-4)


def test_the_triton_kernels_change_rounding_only(folder, tmp_path):
    """Two steps of a student with heads of 64: Triton's interpreter against torch."""
    tokenizer = AutoTokenizer.from_pretrained(folder / "student")
    torch.manual_seed(0)
    sizes = {
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 64,
    }
    config = Qwen2Config(
        vocab_size=len(tokenizer), intermediate_size=32, tie_word_embeddings=True, **sizes
    )
    Qwen2ForCausalLM(config).save_pretrained(tmp_path / "student")
    tokenizer.save_pretrained(tmp_path / "student")
    document = checkpoints.checkpoint_document(
        tmp_path / "student", name="student", dtype="float32", trust_remote_code=False
    )
    tables.write_json(document.as_json(), tmp_path / "model.json", {})
    shutil.copy(folder / "packed", tmp_path / "packed")
    logs = {}
    for kernels in ("torch", "triton", "triton-lean"):
        out = tmp_path / kernels
        out.mkdir()
        command = arguments(tmp_path, out, {**CONFIG, "max_steps": 2, "batch_sequences": 1})
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "TRITON_INTERPRET": "1"}
        done = subprocess.run(
            [sys.executable, "-m", "orion.stages.train", *command, "--kernels", kernels],
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        logs[kernels] = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    for kernels in ("triton", "triton-lean"):
        for got, want in zip(logs[kernels], logs["torch"], strict=True):
            assert got == pytest.approx(want, rel=1e-4)


@pytest.mark.parametrize("kernels", ["auto", "torch", "triton", "triton-lean"])
def test_the_kernels_asked_for_are_the_ones_called(folder, tmp_path, monkeypatch, kernels):
    class CalledError(Exception):
        pass

    def loss(_model, **kwargs):
        raise CalledError({key: kwargs.get(key) for key in ("impl", "memory", "attention_impl")})

    monkeypatch.setattr(trainer, "causal_lm_loss", loss)
    # this student's heads are too small for them
    monkeypatch.setattr(train, "check_kernels", lambda *_: None)
    with pytest.raises(CalledError) as called:
        train.main([*arguments(folder, tmp_path, CONFIG), "--kernels", kernels])
    name = kernels.partition("-")[0]
    impl = None if name == "auto" else name
    memory = {"triton": "fast", "triton-lean": "lean"}.get(kernels)
    assert called.value.args[0] == {"impl": impl, "memory": memory, "attention_impl": impl}


def test_kernels_that_cannot_train_here_are_refused(folder, tmp_path, monkeypatch):
    words = [*arguments(folder, tmp_path, CONFIG), "--kernels", "triton"]
    if not torch.cuda.is_available():
        monkeypatch.delenv("TRITON_INTERPRET", raising=False)
        with pytest.raises(InputError, match="no CUDA device for --kernels triton"):
            train.main(words)
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    with pytest.raises(
        InputError, match=r"heads of 8 dimensions, but only \[64, 96, 128\] with --kernels triton"
    ):
        train.main(words)
    assert not (tmp_path / "log.jsonl").exists()


def test_the_checkpoint_is_an_ordinary_one(reference):
    out, _, _ = reference
    document = read_document(out / "model.json")
    assert set(document.files) >= {"config.json", "model.safetensors", "tokenizer.json"}
    tokenizer = AutoTokenizer.from_pretrained(out / "model")
    assert tokenizer.apply_chat_template([{"role": "user", "content": "Sam"}], tokenize=False)
    assert AutoModelForCausalLM.from_pretrained(out / "model").config.use_cache
    assert not (out / "work").exists() or not any((out / "work").iterdir())


def test_lora_trains_and_is_merged(folder, tmp_path):
    log, model = run(folder, tmp_path, method="lora")
    assert log[-1]["loss"] < log[0]["loss"]
    base = AutoModelForCausalLM.from_pretrained(folder / "student")
    assert {name for name, _ in model.named_parameters()} == {
        name for name, _ in base.named_parameters()
    }
    assert not torch.equal(weights(model), weights(base))
    # embeddings and norms are frozen under LoRA
    assert torch.equal(model.model.embed_tokens.weight, base.model.embed_tokens.weight)


def test_an_adapter_is_kept_beside_its_base(folder, tmp_path):
    """The same run with ``merge_adapter: false``: the adapter alone gives the merged logits."""
    lora = {**CONFIG["lora"], "merge_adapter": False}
    _, merged = run(folder, tmp_path / "merged", method="lora")
    for out in (tmp_path / "kept", tmp_path / "again"):
        train.main(arguments(folder, out, {**CONFIG, "method": "lora", "lora": lora}))
    kept = tmp_path / "kept" / "model"
    assert sorted(path.name for path in kept.iterdir()) == [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    assert str(tmp_path) not in (kept / "adapter_config.json").read_text()
    assert str(folder) not in (kept / "adapter_config.json").read_text()
    for path in kept.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / "model" / path.name).read_bytes()

    base = read_document(folder / "model.json")
    document = read_document(tmp_path / "kept" / "model.json")
    assert document.path == base.path and document.served_name is None
    assert document.adapter is not None and document.adapter.rank == 4
    assert document.parameters > base.parameters and document.chat_template == base.chat_template
    assert document.digest not in (
        base.digest,
        read_document(tmp_path / "merged" / "model.json").digest,
    )
    other = replace(base, digest="0" * 64, served_name="student")
    elsewhere = adapters.adapter_document(kept, other, name="t")
    assert elsewhere.digest != document.digest and elsewhere.served_name is None

    ids = torch.tensor([checkpoints.load_tokenizer(document)("Sam has 12 pens")["input_ids"]])
    loaded = checkpoints.load_model(document, "cpu")
    assert type(loaded) is type(merged) and any(
        "lora_" in name for name, _ in loaded.named_parameters()
    )
    with torch.no_grad():
        torch.testing.assert_close(loaded(ids).logits, merged(ids).logits, rtol=1e-3, atol=1e-4)
    assert {
        p.dtype
        for p in checkpoints.load_model(replace(document, dtype="bfloat16"), "cpu").parameters()
    } == {torch.bfloat16}
    further = train.load_trainable_model(document, read_config(train.TrainConfig, CONFIG))
    further.set_attn_implementation("sdpa")
    assert all(p.requires_grad for p in further.parameters())
    with torch.no_grad():
        torch.testing.assert_close(further(ids).logits, merged(ids).logits, rtol=1e-3, atol=1e-4)
    weights_file = kept / "adapter_model.safetensors"
    weights_file.write_bytes(weights_file.read_bytes()[:-1] + b"x")
    with pytest.raises(InputError, match=r"not the file that model\.json describes; train again"):
        checkpoints.load_model(document, "cpu")
    with pytest.raises(InputError, match=r"no adapter_config\.json"):
        adapters.adapter_document(folder, base, name="t")


def test_the_micro_batch_must_divide_the_batch(folder, tmp_path):
    with pytest.raises(
        InputError, match=r"micro_batch = 2 does not divide train\.batch_sequences = 3"
    ):
        run(folder, tmp_path, micro_batch=2, batch_sequences=3)


# the stage, which stops after its first checkpoint (step 100): it cannot end before it is killed
HELD = """
import sys, time
from orion.stages import train

step = train.PackedTrainer.training_step

def held(self, *args, **kwargs):
    while self.state.global_step == 150:
        time.sleep(1)
    return step(self, *args, **kwargs)

train.PackedTrainer.training_step = held
train.main(sys.argv[1:])
"""


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_result(folder, tmp_path):
    """SIGKILL after a checkpoint, then the same command: weights and log of the whole run."""
    config = {**CONFIG, "max_steps": 240, "learning_rate": 1e-3}
    whole, _ = run(folder, tmp_path / "whole", **config)
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "orion.stages.train", *arguments(folder, out, config)]
    process = subprocess.Popen(
        [sys.executable, "-c", HELD, *command[3:]],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    give_up = time.monotonic() + 1800
    while (
        not list((out / "work").glob("*/checkpoint-*/trainer_state.json"))
        and process.poll() is None
        and time.monotonic() < give_up
    ):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "model.json").exists(), "the run ended before it could be killed"
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and "resuming from" in done.stderr, done.stderr
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert log == whole
    name = "model/model.safetensors"
    assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    shutil.rmtree(out)
