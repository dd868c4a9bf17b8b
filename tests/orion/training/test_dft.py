"""The loss of DFT: each target weighted by the model's own probability of it, which is constant."""

from functools import partial

import pytest
import torch
from transformers import AutoModelForCausalLM

from orion.errors import InputError
from orion.training.arguments import training_arguments
from orion.training.loading import load_trainable_model
from orion.training.packed_rows import collate_packed
from orion.training.settings import LoraConfig, check_loss
from orion.training.trainer import PackedTrainer
from tests.helpers.packing import stored_rows
from tests.orion.training.test_switches import check_step, document_losses, make_config


def make_trainer(student, work, **changes):
    document, packed = student
    config = make_config(**changes)
    return PackedTrainer(
        model=load_trainable_model(document, config),
        args=training_arguments(config, str(work), 1, packed.height),
        train_dataset=stored_rows(packed, work),
        eval_dataset=stored_rows(packed, work / "held"),
        data_collator=partial(
            collate_packed,
            loss_average=config.loss_average,
            key_step_weight=config.key_step_weight,
        ),
        noise_alpha=config.neftune_noise_alpha,
        loss=config.loss,
    )


@pytest.mark.parametrize("average", ["token", "document"])
def test_loss_and_gradient_are_those_of_single_documents(student, tmp_path, average):
    document, packed = student
    rows = packed.head(4).to_dicts()
    plain = AutoModelForCausalLM.from_pretrained(document.path)
    losses = document_losses(plain, rows)
    weighted = [(-each).exp().detach() * each for each in losses]
    want = (
        torch.cat(weighted).mean()
        if average == "token"
        else torch.stack([each.mean() for each in weighted]).mean()
    )

    trainer = make_trainer(student, tmp_path, loss="dft", loss_average=average)
    trainer.model.train()
    check_step(trainer, rows, plain, want)
    # the two losses differ by far
    assert want < 0.5 * torch.cat(losses).mean()


def draw(trainer, batch):
    """The weights of a micro-batch, and the state of the generator behind the loss."""
    torch.manual_seed(3)
    weights = trainer._weigh_by_probability(trainer.model, batch)["token_weights"]
    return weights, torch.rand(1)


def test_the_weights_have_the_dropout_and_the_noise_of_the_loss(student, tmp_path):
    adapter = LoraConfig(r=4, alpha=64, dropout=0.5, target_modules="all-linear")
    changes = {"method": "lora", "lora": adapter, "neftune_noise_alpha": 8.0}
    trainer = make_trainer(student, tmp_path, loss="dft", **changes)
    trainer.model.train()
    with torch.no_grad():
        # so that the dropout of the adapters matters
        for name, weight in trainer.model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.1)
    batch = trainer.data_collator(student[1].head(2).to_dicts())
    weights, after = draw(trainer, batch)
    torch.manual_seed(3)
    assert torch.equal(after, torch.rand(1))
    torch.manual_seed(3)
    with torch.no_grad():
        _, metrics = trainer._forward(trainer.model, batch, 1.0)
    targets = batch["labels"][0, 1:] != -100
    assert torch.equal(weights[0, 1:][targets], metrics.logprob.exp()[:-1][targets])
    other = trainer._weigh_by_probability(trainer.model, batch)["token_weights"]
    assert not torch.equal(other, weights)


def test_a_run_takes_the_loss_and_logs_it_and_validates_by_cross_entropy(student, tmp_path):
    found = {}
    for loss in ("cross_entropy", "dft"):
        trainer = make_trainer(student, tmp_path / loss, loss=loss, learning_rate=1e-9)
        trainer.train()
        history = trainer.state.log_history
        found[loss] = [entry["loss"] for entry in history if "loss" in entry]
        assert len(found[loss]) == 3
        found[loss, "validation"] = trainer._validation_loss()
    assert all(a < 0.5 * b for a, b in zip(found["dft"], found["cross_entropy"], strict=True))
    assert found["dft", "validation"] == pytest.approx(found["cross_entropy", "validation"])


def test_an_unknown_loss_is_refused():
    check_loss("dft")
    with pytest.raises(
        InputError, match=r"train\.loss = focal: choose one of cross_entropy, dft, c"
    ):
        check_loss("focal")
