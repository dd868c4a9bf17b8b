"""The loss of pairs: against plain DPO on single documents, its reference, its stops."""

import signal
from functools import partial

import numpy as np
import pytest
import torch
from torch.nn.functional import logsigmoid
from transformers import AutoModelForCausalLM

from orion import tables
from orion.errors import InputError
from orion.stages import train
from orion.training import reference as reference_module
from orion.training.arguments import training_arguments
from orion.training.loading import load_trainable_model
from orion.training.packed_rows import PADDING, collate_packed
from orion.training.reference import read_reference
from orion.training.settings import LoraConfig
from orion.training.trainer import PackedTrainer
from tests.helpers.packing import stored_rows
from tests.helpers.training_processes import run_together
from tests.helpers.training_runs import (
    arguments,
    check_same_training,
    list_checkpoints,
    read_result,
    run,
    write_inputs,
)
from tests.orion.training.test_switches import document_losses, make_config

BETA, NLL = 0.3, 0.7
LORA = LoraConfig(r=4, alpha=64, dropout=0.0, target_modules="all-linear")


def keep_pairs(packed, folder):
    """The rows without the last document of an odd number of them."""
    rows = []
    for row in packed.to_dicts():
        lengths = row["seq_lengths"][: len(row["seq_lengths"]) // 2 * 2]
        tokens = sum(lengths)
        cut = {key: row[key][:tokens] for key in ("input_ids", "labels", "position_ids")}
        rows.append({**row, **cut, "seq_lengths": lengths})
    return tables.from_rows(rows, tables.PACKED)


def make_trainer(student, work, **changes):
    document, packed = student
    keys = {"loss": "dpo", "dpo_beta": BETA, "dpo_nll_weight": NLL, **changes}
    config = make_config(**keys)
    paired = keep_pairs(packed, work)
    trainer = PackedTrainer(
        model=load_trainable_model(document, config),
        args=training_arguments(config, str(work), 1, paired.height),
        train_dataset=stored_rows(paired, work),
        data_collator=partial(collate_packed, loss_average=config.average),
        noise_alpha=config.neftune_noise_alpha,
        loss=config.loss,
        preference=config.preference,
    )
    return trainer, paired.to_dicts()


def spoil(trainer):
    """Weights other than those of the start, so that the margins are not 0."""
    torch.manual_seed(5)
    with torch.no_grad():
        for weight in trainer.model.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn_like(weight) * 0.02)


def plain_dpo(model, start, rows):
    """The mean loss of the pairs: each text is read alone, and autograd makes the gradient."""
    losses = []
    with torch.no_grad():
        fixed = [-each.sum() for each in document_losses(start, rows)]
    free = document_losses(model, rows)
    sums = [-each.sum() for each in free]
    for n in range(0, len(sums), 2):
        z = BETA * ((sums[n] - fixed[n]) - (sums[n + 1] - fixed[n + 1]))
        losses.append(-logsigmoid(z) + NLL * free[n].mean())
    return torch.stack(losses).mean()


@pytest.mark.parametrize("method", ["full", "lora"])
def test_loss_and_gradient_are_those_of_plain_dpo(student, tmp_path, method):
    changes = {"method": "lora", "lora": LORA} if method == "lora" else {}
    trainer, rows = make_trainer(student, tmp_path, **changes)
    read_reference(trainer)
    spoil(trainer)
    trainer.model.train()
    data = trainer.train_dataset
    assert len(rows) > 2 and max(len(row["seq_lengths"]) for row in rows) >= 4
    batches = [trainer.data_collator([data[0], data[1]]), trainer.data_collator([data[2]])]
    count = trainer._get_num_items_in_batch(batches, torch.device("cpu"))
    assert int(count) == sum(len(row["seq_lengths"]) for row in rows[:3]) // 2
    got = sum(
        trainer.compute_loss(trainer.model, batch, num_items_in_batch=count) for batch in batches
    )
    got.backward()
    trained = {n: p for n, p in trainer.model.named_parameters() if p.requires_grad}
    ours = {name: weight.grad.clone() for name, weight in trained.items()}

    start = AutoModelForCausalLM.from_pretrained(student[0].path)
    plain = trainer.model
    language_model = plain.get_base_model() if method == "lora" else plain
    language_model.set_attn_implementation("eager")
    plain.zero_grad()
    want = plain_dpo(plain, start, rows[:3])
    want.backward()
    torch.testing.assert_close(got, want, rtol=2e-6, atol=0)
    assert len(ours) > 3
    for name, weight in trained.items():
        torch.testing.assert_close(ours[name], weight.grad, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_loss_starts_at_that_of_an_undecided_model_and_falls(student, tmp_path, dtype):
    """Without steps z is 0 for each pair, so that the loss is log 2 and the likelihood's.

    In bfloat16 too, since the reference is read with the rounding of the training.
    """
    trainer, _ = make_trainer(student, tmp_path, dpo_nll_weight=0.0, max_steps=12, dtype=dtype)
    read_reference(trainer)
    trainer.train()
    history = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert history[0]["loss"] == pytest.approx(np.log(2), rel=1e-6)
    assert history[-1]["loss"] < 0.5 * history[0]["loss"]
    assert history[0]["preferred"] <= 0.5 and history[-1]["preferred"] == 1.0
    assert all(entry["trained_tokens"] > 0 for entry in history)


def test_padding_is_no_pair(student, tmp_path):
    trainer, _ = make_trainer(student, tmp_path)
    read_reference(trainer)
    trainer.model.train()
    batch = trainer.data_collator([PADDING])
    loss = trainer.compute_loss(trainer.model, batch, num_items_in_batch=torch.tensor(2))
    assert float(loss.detach()) == 0
    assert int(trainer._get_num_items_in_batch([batch], torch.device("cpu"))) == 0


def test_the_reference_has_no_dropout_and_no_noise(student, tmp_path):
    adapter = LoraConfig(r=4, alpha=64, dropout=0.5, target_modules="all-linear")
    changes = {"method": "lora", "lora": adapter, "neftune_noise_alpha": 8.0}
    trainer, rows = make_trainer(student, tmp_path, **changes)
    trainer.model.train()
    read_reference(trainer)
    assert trainer.model.training
    start = AutoModelForCausalLM.from_pretrained(student[0].path)
    with torch.no_grad():
        want = [-float(each.sum()) for each in document_losses(start, rows)]
    np.testing.assert_allclose(trainer.train_dataset.reference, want, rtol=1e-5)


def test_a_kept_reference_is_read_and_a_damaged_one_made_anew(student, tmp_path):
    trainer, _ = make_trainer(student, tmp_path)
    read_reference(trainer)
    first = trainer.train_dataset.reference
    spoil(trainer)
    read_reference(trainer)
    assert np.array_equal(trainer.train_dataset.reference, first)
    kept = tmp_path / reference_module.FILE
    kept.write_bytes(kept.read_bytes()[:100])
    read_reference(trainer)
    assert not np.allclose(trainer.train_dataset.reference, first)


def test_rows_that_are_no_pairs_are_refused(student, tmp_path):
    trainer, _ = make_trainer(student, tmp_path)
    trainer.train_dataset.index["documents"][0] += 1
    with pytest.raises(InputError, match="an odd number of documents"):
        read_reference(trainer)
    trainer.train_dataset.index["documents"][0] -= 1
    trainer.eval_dataset = trainer.train_dataset
    with pytest.raises(InputError, match="rows are held out"):
        read_reference(trainer)


# the stage; of the five rows each is one pair, and the last step of a pass has one alone
KEYS = {"loss": "dpo", "dpo_beta": 0.5, "learning_rate": 3e-3}


@pytest.fixture(scope="module")
def folder(document, tmp_path_factory):
    folder = tmp_path_factory.mktemp("dpo")
    write_inputs(folder, document.path)
    packed = tables.read(folder / "packed", tables.PACKED)
    tables.write(packed, folder / "packed", tables.PACKED, {"config": {"pairs": True}})
    return folder


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_stopped_run_resumes_to_the_same_bytes(folder, tmp_path, monkeypatch, method):
    """Stopped once before the first checkpoint is behind it, and once in a later step."""
    keys = {**KEYS, "method": method, "neftune_noise_alpha": 1.0}
    whole = run(folder, tmp_path / "whole", **keys)
    assert '"preferred"' in whole["log.jsonl"].decode()
    real = PackedTrainer.training_step
    for step in (1, 5):

        def stop(self, *args, step=step, **kwargs):
            if self.state.global_step == step:
                signal.raise_signal(signal.SIGTERM)
            return real(self, *args, **kwargs)

        with monkeypatch.context() as patched:
            patched.setattr(PackedTrainer, "training_step", stop)
            with pytest.raises(SystemExit):
                run(folder, tmp_path / "cut", **keys)
        assert list_checkpoints(tmp_path / "cut")
        assert [*(tmp_path / "cut").glob(f"work/*/{reference_module.FILE}")]
    assert run(folder, tmp_path / "cut", **keys) == whole
    assert read_result(tmp_path / "cut") == whole


@pytest.mark.slow
def test_two_processes_give_what_one_gives(folder, tmp_path):
    run(folder, tmp_path / "one", **KEYS)
    words = arguments(folder, tmp_path / "two", "--processes", "2", **KEYS)
    sharded = arguments(
        folder, tmp_path / "shards", "--processes", "2", "--sharding", "full", **KEYS
    )
    ended = run_together([{"words": words}, {"words": sharded}], tmp_path)
    for name, found in zip(("two", "shards"), ended, strict=True):
        assert found["ends"] == [0, 0], found["said"]
        check_same_training(tmp_path / "one", tmp_path / name, 8, 2e-3)


@pytest.mark.parametrize("paired", [True, False])
def test_the_loss_and_the_rows_have_to_fit(folder, tmp_path, paired):
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    (inputs / "model.json").write_bytes((folder / "model.json").read_bytes())
    packed = tables.read(folder / "packed", tables.PACKED)
    record = {"config": {"pairs": True}} if paired else {}
    tables.write(packed, inputs / "packed", tables.PACKED, record)
    loss = "cross_entropy" if paired else "dpo"
    held = "pairs of" if paired else "no pairs"
    with pytest.raises(InputError, match=rf"holds {held}.*train\.loss is {loss}"):
        train.main(arguments(inputs, tmp_path / "out", loss=loss))
