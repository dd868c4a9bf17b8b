"""Weights, gradients and optimiser states in shards, one for each process (FSDP2).

``torch.distributed.fsdp.fully_shard`` gathers the weights of one layer at a time. Embeddings, final
norm and head stay whole from the begin of a forward pass to the end of its backward pass, since the
fused loss reads the head's weight behind the last layer; the loss is part of that forward pass.
"""

from pathlib import Path
from typing import Any

import torch
from orion_kernels.transformers_integration import causal_lm_loss
from torch import distributed, nn
from torch.distributed import checkpoint
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict, set_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from orion.errors import InputError
from orion.models.training_checkpoints import SHARDS
from orion.training import processes

# without the base of adapters, which is loaded as it was before; so its weights are missing
OPTIONS = StateDictOptions(ignore_frozen_params=True, strict=False)


class ShardedLoss(nn.Module):
    """``causal_lm_loss`` of a model as one forward pass, in which its head is whole."""

    def __init__(self, model: Any):
        super().__init__()
        self.model = model

    def forward(self, **inputs: Any) -> Any:
        return causal_lm_loss(self.model, **inputs)

    def reshard(self) -> None:
        """Give all whole weights free: without a backward pass those of the root stay."""
        for module in self.modules():
            if isinstance(module, FSDPModule):
                module.reshard()


def shard(model: Any) -> ShardedLoss:
    """Replace the model's weights by this process's shards, on its GPU where there is one.

    Raises InputError for a model that does not name its layers.
    """
    mesh = init_device_mesh(
        "cuda" if torch.cuda.is_available() else "cpu", (distributed.get_world_size(),)
    )
    layers = find_layers(model)
    for layer in layers:
        fully_shard(layer, mesh=mesh)
    root = ShardedLoss(model)
    sharded: Any = fully_shard(root, mesh=mesh)
    # a process's rows may reach other experts than another's
    sharded.set_reduce_scatter_unused_params(True)
    return root


def find_layers(model: Any) -> list[nn.Module]:
    """The modules that the model does not want split, inner ones first.

    What holds the weight of the embeddings or of the head is left to the root.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    tables = (base.get_input_embeddings(), base.get_output_embeddings())
    apart = {id(module.weight) for module in tables if module is not None}
    kinds = set(base._no_split_modules or ())
    found = [
        module
        for module in base.modules()
        if type(module).__name__ in kinds
        and apart.isdisjoint(id(each) for each in module.parameters())
    ]
    if not found:
        raise InputError(
            f"sharding = full (the resource of the rule train), but {type(base).__name__} does not "
            "name its layers (_no_split_modules); set sharding = none"
        )
    return found[::-1]


def save(model: Any, optimizer: Any, folder: Path) -> None:
    """Save what is trained and the optimiser's state, each process its shards.

    Raises what made one of the processes fail, in all of them.
    """
    weights, states = get_state_dict(model, optimizer, options=OPTIONS)
    try:
        checkpoint.save({"model": weights, "optimizer": states}, checkpoint_id=folder / SHARDS)
    except CheckpointException as error:
        cause, _ = next(iter(error.failures.values()))
        raise cause from None


def load(model: Any, optimizer: Any, folder: Path) -> None:
    """Load what ``save`` has saved, each process its shards."""
    weights, states = get_state_dict(model, optimizer, options=OPTIONS)
    state: dict[str, Any] = {"model": weights, "optimizer": states}
    checkpoint.load(state, checkpoint_id=folder / SHARDS)
    set_state_dict(
        model,
        optimizer,
        model_state_dict=state["model"],
        optim_state_dict=state["optimizer"],
        options=OPTIONS,
    )


def gather_trained(model: Any) -> dict[str, torch.Tensor]:
    """The whole trained weights in the first process, in its host memory; nothing in the others.

    Every process calls it.
    """
    found = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        whole = parameter.detach()
        if isinstance(whole, DTensor):
            whole = whole.full_tensor()
        if processes.is_first():
            found[name] = whole.cpu().contiguous()
    return found
