"""The average of the loss, the noise on the embeddings and the choice of the optimiser."""

import importlib.util
import json
from functools import partial

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM
from transformers.optimization import Adafactor

from orion.errors import InputError
from orion.stages import model as model_stage
from orion.stages import train
from orion.training import loading
from orion.training.arguments import training_arguments
from orion.training.loading import load_trainable_model
from orion.training.noise import embedding_noise
from orion.training.packed_rows import collate_packed
from orion.training.settings import LoraConfig, TrainConfig
from orion.training.trainer import PackedTrainer
from tests.helpers.packing import stored_rows


def make_config(**changes):
    keys = {
        "method": "full",
        "learning_rate": 1e-2,
        "betas": [0.9, 0.95],
        "weight_decay": 0.0,
        "epochs": 1.0,
        "batch_sequences": 4,
        "warmup_fraction": 0.0,
        "schedule": "linear",
        "max_grad_norm": 1.0,
        "dtype": "float32",
        "gradient_checkpointing": False,
        "seed": 1,
        "max_steps": 3,
    }
    return TrainConfig(**{**keys, **changes})


def make_trainer(student, work, micro_batch=1, **changes):
    document, packed = student
    config = make_config(**changes)
    return PackedTrainer(
        model=load_trainable_model(document, config),
        args=training_arguments(config, str(work), micro_batch, packed.height),
        train_dataset=stored_rows(packed, work),
        data_collator=partial(collate_packed, loss_average=config.loss_average),
        optimizer=config.optimizer,
        noise_alpha=config.neftune_noise_alpha,
        targets=config.lora.target_modules if config.lora else None,
    )


def train_losses(trainer):
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def document_losses(model, rows):
    """The losses of the targets of each document, one document at a time."""
    losses = []
    for row in rows:
        start = 0
        for length in row["seq_lengths"]:
            ids = torch.tensor([row["input_ids"][start : start + length]])
            labels = torch.tensor(row["labels"][start : start + length])
            logits = model(ids).logits[0, :-1]
            each = cross_entropy(logits, labels[1:], reduction="none", ignore_index=-100)
            losses.append(each[labels[1:] != -100])
            start += length
    return losses


def check_step(trainer, rows, plain, want):
    """A step over four rows, in two micro-batches, has the loss ``want`` and its gradient.

    ``plain``: the model that ``want`` was computed with; it has its gradient. Returns the divisor.
    """
    want.backward()
    batches = [trainer.data_collator(rows[:3]), trainer.data_collator(rows[3:])]
    count = trainer._get_num_items_in_batch(batches, torch.device("cpu"))
    got = sum(
        trainer.compute_loss(trainer.model, batch, num_items_in_batch=count) for batch in batches
    )
    got.backward()
    torch.testing.assert_close(got, want, rtol=1e-5, atol=0)
    for (name, ours), (_, theirs) in zip(
        trainer.model.named_parameters(), plain.named_parameters(), strict=True
    ):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-6, msg=name)
    return int(count)


@pytest.mark.parametrize("average", ["token", "document"])
def test_the_average_is_that_of_single_documents(student, tmp_path, average):
    """Loss and gradient of a step, with a document that has no target, against plain ones."""
    document, packed = student
    rows = packed.head(4).to_dicts()
    first = rows[1]["seq_lengths"][0]
    rows[1]["labels"] = [-100] * first + rows[1]["labels"][first:]
    plain = AutoModelForCausalLM.from_pretrained(document.path)
    losses = [each for each in document_losses(plain, rows) if len(each)]
    assert len(losses) == sum(len(row["seq_lengths"]) for row in rows) - 1
    assert len({len(each) for each in losses}) > 1
    want = (
        torch.cat(losses).mean()
        if average == "token"
        else torch.stack([each.mean() for each in losses]).mean()
    )

    trainer = make_trainer(student, tmp_path, loss_average=average)
    count = check_step(trainer, rows, plain, want)
    assert count == (len(torch.cat(losses)) if average == "token" else len(losses))


def test_the_logged_loss_is_the_average_over_documents(student, tmp_path):
    document, packed = student
    changes = {"batch_sequences": packed.height, "loss_average": "document"}
    losses = train_losses(make_trainer(student, tmp_path, **changes))
    rows = packed.to_dicts()
    with torch.no_grad():
        plain = document_losses(AutoModelForCausalLM.from_pretrained(document.path), rows)
    want = torch.stack([each.mean() for each in plain]).mean().item()
    assert abs(losses[0] - want) < 0.1 * abs(torch.cat(plain).mean().item() - want)


@pytest.mark.parametrize("changes", [{"loss_average": "document"}, {"neftune_noise_alpha": 5.0}])
def test_the_micro_batch_changes_rounding_only(student, tmp_path, changes):
    """On a CPU the noise of a row is the same wherever it is drawn."""
    one, two = (
        train_losses(make_trainer(student, tmp_path / str(n), n, **changes)) for n in (1, 2)
    )
    assert one == pytest.approx(two, rel=1e-4)
    assert one != pytest.approx(train_losses(make_trainer(student, tmp_path / "0")), rel=1e-4)


@torch.no_grad()
def test_the_noise_depends_on_the_length_of_its_document_only(student):
    model = load_trainable_model(student[0], make_config()).train()
    embedding = model.get_input_embeddings()
    ids, lengths = torch.arange(100)[None], [4, 96]
    exact = embedding(ids)
    with embedding_noise(model, 8.0, lengths):
        noise = (embedding(ids) - exact)[0].abs()
    for part, length in zip(noise.split(lengths), lengths, strict=True):
        limit = 8.0 / (length * exact.shape[-1]) ** 0.5
        assert 0.9 * limit < part.max() <= 1.0001 * limit
        assert part.mean() == pytest.approx(limit / 2, rel=0.2)
    assert torch.equal(embedding(ids), exact)
    with embedding_noise(model.eval(), 8.0, lengths):
        assert torch.equal(embedding(ids), exact)


def test_noise_reaches_adapters_on_a_frozen_bfloat16_base(student, tmp_path):
    adapter = LoraConfig(r=4, alpha=8, dropout=0.0, target_modules="all-linear")
    lora = {"method": "lora", "dtype": "bfloat16", "lora": adapter}
    plain = train_losses(make_trainer(student, tmp_path / "1", **lora))
    noisy = train_losses(make_trainer(student, tmp_path / "2", neftune_noise_alpha=1.0, **lora))
    assert noisy[0] != pytest.approx(plain[0], rel=1e-4) and noisy[-1] < noisy[0]


@pytest.mark.parametrize("targets", [["q_proj", "tower"], "all-linear"])
def test_a_target_that_no_row_reaches_is_refused_in_the_first_step(
    student, tmp_path, monkeypatch, targets
):
    """A layer that the forward pass leaves out, such as one for images."""
    base = loading._load_base

    def load(*args):
        model = base(*args)
        model.model.tower = torch.nn.Linear(8, 8)
        return model

    monkeypatch.setattr(loading, "_load_base", load)
    adapter = LoraConfig(r=4, alpha=8, dropout=0.0, target_modules=targets)
    made = make_trainer(student, tmp_path, method="lora", lora=adapter)
    if targets == "all-linear":
        made.train()
        return
    with pytest.raises(
        InputError, match=r"^train\.lora\.target_modules: no row reaches tower of the model"
    ):
        made.train()
    assert made.state.global_step == 0


def test_adafactor_trains_without_second_moments_of_each_weight(student, tmp_path):
    trainer = make_trainer(student, tmp_path, optimizer="adafactor", max_steps=6)
    losses = train_losses(trainer)
    assert losses[-1] < losses[0]
    optimizer = trainer.optimizer.optimizer
    assert isinstance(optimizer, Adafactor)
    matrix = next(p for p in trainer.model.parameters() if p.dim() == 2)
    assert sum(v.numel() for v in optimizer.state[matrix].values() if torch.is_tensor(v)) < (
        matrix.numel()
    )


def test_an_optimiser_without_its_package_is_refused_before_any_work(tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "bitsandbytes" else find(name)
    )
    config = json.dumps({**vars(make_config(optimizer="adamw_8bit")), "lora": None})
    names = ("name", "packed", "model", "work", "output-dir", "output-model", "log")
    words = [word for name in names for word in (f"--{name}", str(tmp_path / "absent"))]
    message = r"train\.optimizer = adamw_8bit needs the package bitsandbytes, .*set adamw or adafac"
    with pytest.raises(InputError, match=rf"^{message}"):
        train.main(["--config", config, *words])
    words = ["--name", "a", "--output", str(tmp_path / "model.json")]
    words += ["--optimizers", "train.optimizer=adamw", "arms.a.train.optimizer=adamw_8bit"]
    with pytest.raises(InputError, match=rf"^arms\.a\.{message}"):
        model_stage.main(["--config", "{}", *words])
