"""Training with the kernels follows plain torch and unpacked documents; compiled, sharded."""

import copy
import subprocess
import sys

import pytest
import torch
from orion_kernels import Packing

from tests.helpers.kernels.training import (
    LENGTHS,
    build_model,
    loss_by_torch,
    loss_by_triton,
    make_batches,
)
from tests.helpers.kernels.triton_interpreter import CUDA, DEVICE

pytestmark = pytest.mark.slow

STEPS = 50


def loss_of_single_documents(model, batch):
    """transformers' own loss and attention, one document after the other."""
    targets = int((batch["packing"].shifted_labels(batch["labels"]) != -100).sum())
    parts = zip(
        batch["input_ids"].split(LENGTHS, 1), batch["labels"].split(LENGTHS, 1), strict=True
    )
    losses = [
        model(ids, labels=labels, num_items_in_batch=targets).loss
        for ids, labels in parts
        if ids.shape[1] > 1
    ]
    return torch.stack(losses).sum()


def train(loss_of, data, *, attention=None, dtype=torch.float32):
    model = build_model()
    if attention:
        model.set_attn_implementation(attention)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for step in range(STEPS):
        optimizer.zero_grad()
        with torch.autocast(DEVICE, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            loss = loss_of(model, data[step % len(data)])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.skipif(CUDA, reason="attention in float32 runs in the interpreter only")
def test_fifty_steps_with_the_kernels_follow_plain_torch_and_single_documents(randn):
    data = make_batches(randn.generator)
    kernels, plain, unpacked = (
        train(loss_by_triton, data),
        train(loss_by_torch, data),
        train(loss_of_single_documents, data, attention="sdpa"),
    )
    assert sum(plain[-3:]) < 0.7 * sum(plain[:3]), "it learns"
    assert kernels == pytest.approx(plain, rel=1e-4)
    assert unpacked == pytest.approx(plain, rel=1e-4)


def test_fifty_steps_in_bfloat16_stay_within_its_precision(randn):
    data = make_batches(randn.generator)
    kernels, plain = (
        train(way, data, dtype=torch.bfloat16) for way in (loss_by_triton, loss_by_torch)
    )
    # two runs that round differently drift apart by a few units of 2**-8 of the loss
    assert kernels == pytest.approx(plain, rel=0.03, abs=0.03)


def test_a_compiled_model_trains_to_the_same_gradients(randn):
    batch = make_batches(randn.generator)[0]
    model = build_model()
    loss_by_torch(model, batch).backward()
    want = {name: p.grad.clone() for name, p in model.named_parameters()}
    compiled = build_model()
    compiled.model = torch.compile(compiled.model, backend="aot_eager")
    loss = loss_by_torch(compiled, batch)
    loss.backward()
    for name, parameter in compiled.named_parameters():
        name = name.replace("_orig_mod.", "")
        torch.testing.assert_close(
            parameter.grad, want[name], rtol=1e-4, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize("embeddings", ["untied", "tied"])
def test_fully_sharded_data_parallel_on_one_process(tmp_path, root, embeddings):
    """FSDP2: the head is in the root group, whose parameters stay whole until backward ends."""
    module = "tests.helpers.kernels.train_sharded"
    command = [sys.executable, "-m", module, str(tmp_path / "meeting"), embeddings]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0 and "same" in done.stdout, done.stderr[-2000:]


def test_a_copy_of_the_batch_on_the_model_is_enough(randn):
    """An equal packing gives the same loss bit by bit, as another object too."""
    batch = make_batches(randn.generator)[0]
    model = build_model()
    other = copy.deepcopy(batch) | {"packing": Packing.from_position_ids(batch["position_ids"])}
    with torch.autocast(DEVICE, dtype=torch.bfloat16, enabled=CUDA):
        assert torch.equal(loss_by_triton(model, batch), loss_by_triton(model, other))
