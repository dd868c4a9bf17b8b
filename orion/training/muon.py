"""Muon for the matrices of the hidden layers, AdamW for all other weights, as one optimiser.

Muon (Jordan et al., 2024, https://kellerjordan.github.io/posts/muon/; ``torch.optim.Muon``) moves a
matrix along the orthogonalised momentum of its gradient. Its steps have the size of AdamW's (0.2
times the root of the longer side: Liu et al., 2025, arXiv 2502.16982), so that both have the same
learning rate and weight decay.
"""

from collections.abc import Callable
from typing import Any, overload

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

MOMENTUM = 0.95
# kept in each group of weights, and so in the checkpoints
PART = "part"


def split_weights(model: Any) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The trained weights for Muon, and those for AdamW, each in the model's order.

    Muon has the matrices of linear layers. Weights of an embedding or of the head, tied or not, are
    not among them, nor is what a layer of another type holds (norms, routers, stacked experts).
    """
    head = model.get_output_embeddings()
    tables = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    apart = {id(module.weight) for module in (head, *tables) if module is not None}
    matrices = {
        id(module.weight)
        for module in model.modules()
        if isinstance(module, nn.Linear | Conv1D) and module.weight.ndim == 2
    }
    trained = [each for each in model.parameters() if each.requires_grad]
    muon = [each for each in trained if id(each) in matrices - apart]
    return muon, [each for each in trained if id(each) not in matrices - apart]


class MuonWithAdamW(torch.optim.Optimizer):
    """``torch.optim.Muon`` and ``torch.optim.AdamW`` over the groups of weights of one optimiser.

    ``decay``: names of the weights that have weight decay. ``adamw``: keywords of AdamW; its
    learning rate is Muon's too.
    """

    def __init__(self, model: Any, *, decay: set[str], weight_decay: float, **adamw: Any):
        matrices, others = split_weights(model)
        decayed = {id(each) for name, each in model.named_parameters() if name in decay}
        first: list[Any] = [each for each in others if id(each) in decayed]
        second: list[Any] = [each for each in others if id(each) not in decayed]
        muon = torch.optim.Muon(
            matrices,
            lr=adamw["lr"],
            weight_decay=weight_decay,
            momentum=MOMENTUM,
            adjust_lr_fn="match_rms_adamw",
        )
        groups = [
            {"params": part, "weight_decay": each}
            for part, each in ((first, weight_decay), (second, 0.0))
            if part
        ]
        self._parts = {"muon": muon, "adamw": torch.optim.AdamW(groups, **adamw)}
        super().__init__(
            [
                {**group, PART: name}
                for name, part in self._parts.items()
                for group in part.param_groups
            ],
            {},
        )

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step of both."""
        loss = None if closure is None else closure()
        for name, part in self._parts.items():
            # loading a state puts other objects in their places
            part.param_groups = [group for group in self.param_groups if group[PART] == name]
            part.state = self.state
            part.step()
        return loss
