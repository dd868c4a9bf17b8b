"""Train a model fully sharded (FSDP2) on one process; compare gradients with plain training.

Run: python -m tests.helpers.kernels.train_sharded MEETING_FILE tied|untied
"""

import sys

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from tests.helpers.kernels.training import build_model, loss_by_torch, make_batches
from tests.helpers.kernels.triton_interpreter import CUDA, DEVICE


def main(meeting_file: str, embeddings: str) -> None:
    backend = "nccl" if CUDA else "gloo"
    dist.init_process_group(backend, init_method=f"file://{meeting_file}", rank=0, world_size=1)
    batch = make_batches(torch.Generator().manual_seed(0))[0]
    plain, sharded = (build_model(tie_word_embeddings=embeddings == "tied") for _ in range(2))
    mesh = init_device_mesh(DEVICE, (1,))
    for layer in sharded.model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(sharded, mesh=mesh)
    for _ in range(2):
        losses = [loss_by_torch(model, batch) for model in (plain, sharded)]
        for loss in losses:
            loss.backward()
        assert torch.equal(*losses), losses
    found = dict(sharded.named_parameters())
    for name, parameter in plain.named_parameters():
        grad = found[name].grad
        assert isinstance(grad, DTensor), name
        torch.testing.assert_close(
            grad.full_tensor(), parameter.grad, msg=lambda m, name=name: f"{name}: {m}"
        )
    dist.destroy_process_group()
    print("same")


if __name__ == "__main__":
    main(*sys.argv[1:])
