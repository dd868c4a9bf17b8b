"""PackedTrainer whose weights, gradients and optimiser states are shards (``sharding``).

accelerate shards on GPUs only, and the fused loss reads a weight outside the model's own forward
pass, so that torch's ``fully_shard`` is called here. The library is told that the model places its
weights and reduces its gradients itself.
"""

from pathlib import Path
from typing import Any

import torch
from accelerate.utils import AutocastKwargs
from torch.distributed.tensor import DTensor

from orion.training import sharding
from orion.training.trainer import PackedTrainer

SCHEDULER = "scheduler.pt"


class ShardedTrainer(PackedTrainer):
    """As PackedTrainer, with the numbers of the same training without shards but for rounding."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._root = sharding.shard(self.model)
        # not before: where the library shards itself, it refuses to save what a run resumes from
        self.is_distributed_loading_by_transformers = True

    def _move_model_to_device(self, model: Any, device: torch.device) -> None:
        """Each layer is moved when it is sharded."""

    def _build_accelerator_args(self, **kwargs: Any) -> dict[str, Any]:
        """The cache of autocast would keep a whole copy of the weights in bfloat16."""
        args = super()._build_accelerator_args(**kwargs)
        args["kwargs_handlers"].append(AutocastKwargs(cache_enabled=False))
        return args

    def _call_loss(self, model: Any, **inputs: Any) -> Any:
        found = self._root(**inputs)
        if not torch.is_grad_enabled():
            self._root.reshard()
        return found

    def _clip_grad_norm(self, model: Any) -> Any:
        norm = super()._clip_grad_norm(model)  # type: ignore[no-untyped-call]
        return norm.full_tensor() if isinstance(norm, DTensor) else norm

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Nothing: the weights are saved beside the optimiser's state."""

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        sharding.save(self.model, self._bare_optimizer(), Path(output_dir))
        if self.args.should_save:
            assert self.lr_scheduler is not None
            torch.save(self.lr_scheduler.state_dict(), Path(output_dir) / SCHEDULER)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Nothing: the weights are loaded beside the optimiser's state."""

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            assert self.lr_scheduler is not None
            sharding.load(self.model, self._bare_optimizer(), Path(checkpoint))
            state = torch.load(Path(checkpoint) / SCHEDULER, weights_only=True)
            self.lr_scheduler.load_state_dict(state)

    def _bare_optimizer(self) -> Any:
        """torch's optimiser behind accelerate's."""
        return getattr(self.optimizer, "optimizer", self.optimizer)
