"""Preflight with weights: the model in the packed path against the library's own, once.

A probe is the checkpoint in float32 on the CPU; of a large one only the first layers, as many as
hold every kind of layer, since what is compared is the code of a family. Windows are cut to
PROBE_WINDOW tokens for both sides, so that the short documents are longer than them.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from orion_kernels import Packing
from orion_kernels.transformers_integration import causal_lm_loss, register_attention

from orion.errors import InputError
from orion.models import adapters, checkpoints, training_checkpoints
from orion.models.document import ModelDocument
from orion.models.lora_targets import name_modules, smaller_sides

# a larger checkpoint is cut to its first layers
WHOLE_PARAMETERS = 500_000_000
FIRST_LAYERS = 2
PROBE_TOKENS = 32  # of one document
PROBE_DOCUMENTS = 3
PROBE_WINDOW = 16
# of a token's loss. What the packed path leaves out moves one by 1e-3 and more; rounding in float32
# by up to 2e-5 in the 30 layers of SmolLM2-135M, so float64 decides there
TOLERANCE = 1e-5
NOT_COMPUTED = (
    "the packed path does not compute this model, so it cannot be trained; docs/models.md lists "
    "the families that can"
)


@contextmanager
def quiet_library() -> Iterator[None]:
    """No progress bars and no reports on layers that are left out."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    if not sys.stderr.isatty():
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.set_verbosity(before)


class Skeleton:
    """The whole model without numbers: what it is made of, and whether the files have all of it."""

    def __init__(self, document: ModelDocument):
        from transformers import AutoModelForCausalLM

        folder = checkpoints.document_folder(document)
        with quiet_library():
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                folder,
                device_map="meta",
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                use_safetensors=True,
                trust_remote_code=document.trust_remote_code,
                local_files_only=True,
            )
        model, found = loaded
        self.missing: list[str] = sorted(map(str, found["missing_keys"]))
        self.unused: list[str] = sorted(map(str, found["unexpected_keys"]))
        self.mismatched: list[str] = sorted(str(each[0]) for each in found["mismatched_keys"])
        self.modules, self.tied = name_modules(model)
        self.sides = smaller_sides(model)

    def check_tensors(self) -> str:
        """The number of tensors that the files do not use; raises InputError where some lack."""
        lost = self.missing + self.mismatched
        if lost:
            raise InputError(
                f"{len(self.missing)} tensors are missing and {len(self.mismatched)} have another "
                f"shape ({lost[0]}, ...), and the transformers library would fill them at random; "
                "repeat the download, or take a checkpoint with a head"
            )
        unused = f", {len(self.unused)} tensors unused ({self.unused[0]})" if self.unused else ""
        return f"all tensors are there{unused}"


def load_probe(document: ModelDocument) -> tuple[Any, str]:
    """The probe with eager attention, an adapter merged into it, and in words how much it is."""
    from transformers import AutoConfig, AutoModelForCausalLM

    # its files have just been digested
    folder = checkpoints.document_folder(document)
    options = {"trust_remote_code": document.trust_remote_code, "local_files_only": True}
    with quiet_library():
        config = AutoConfig.from_pretrained(folder, **options)
        whole = (document.parameters or 0) <= WHOLE_PARAMETERS
        part = "all layers" if whole else _keep_first_layers(config)
        if getattr(config, "sliding_window", None):
            config.sliding_window = min(config.sliding_window, PROBE_WINDOW)
        model: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            attn_implementation="eager",
            use_safetensors=True,
            **options,
        )
        _check_one_head(model)
        if document.adapter is not None:
            model = adapters.merge_adapter(model, document)
    return model.eval(), part


def _check_one_head(model: Any) -> None:
    """Raise InputError where the configuration ties the head to the embedding and the files do not.

    The transformers library then keeps both, another engine may tie them: two models in one folder.
    """
    text = model.config.get_text_config()
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    if text.tie_word_embeddings and head.weight is not embedding.weight:
        raise InputError(
            "config.json says tie_word_embeddings, and the files hold a head (lm_head.weight) with "
            "other values than the embedding, so that engines would read different models; set "
            "tie_word_embeddings to false in config.json, or remove lm_head.weight from the files"
        )


def _keep_first_layers(config: Any) -> str:
    """Cut a configuration to the first layers, so many that each kind is among them."""
    total = config.num_hidden_layers
    lists = {
        key: value
        for key, value in config.to_dict().items()
        if isinstance(value, list) and len(value) == total
    }
    kinds = [tuple(str(value[i]) for value in lists.values()) for i in range(total)]
    dense = getattr(config, "first_k_dense_replace", 0) or 0
    count = max(FIRST_LAYERS, dense + 1, *(kinds.index(kind) + 1 for kind in kinds))
    count = min(count, total)
    for key, value in lists.items():
        setattr(config, key, value[:count])
    config.num_hidden_layers = count
    return f"{count} of {total} layers"


@torch.no_grad()
def compare_packed(model: Any, documents: list[list[int]]) -> str:
    """The losses of the documents' tokens, packed against alone with eager attention.

    Raises InputError where one differs by more than TOLERANCE, and where one is not finite.
    """
    cut = [ids[:PROBE_TOKENS] for ids in documents[:PROBE_DOCUMENTS]]
    worst, got, wanted = _largest_difference(model, cut)
    if not bool(wanted.isfinite().all()):
        raise InputError(
            "the model's own loss is not finite, and its weights are; take another checkpoint"
        )
    kind = "float32"
    if not worst <= TOLERANCE:
        # in a deep model the library's own float32 is that far from its float64
        worst, got, wanted = _compare_in_float64(model, cut)
        kind = "float64"
    if not worst <= TOLERANCE:
        raise InputError(
            f"packed, the mean loss is {got.mean():.6f}, the library's own {wanted.mean():.6f}, "
            f"and one token's differs by {worst:.1e} of it; {NOT_COMPUTED}"
        )
    return f"{wanted.numel()} tokens, the loss of each within {TOLERANCE:.0e} in {kind}"


def _compare_in_float64(
    model: Any, documents: list[list[int]]
) -> tuple[float, torch.Tensor, torch.Tensor]:
    """As ``_largest_difference``; the model is in float32 again afterwards."""
    if model._can_set_experts_implementation():
        # the library's grouped product of experts has no float64
        model.set_experts_implementation("eager")
    try:
        return _largest_difference(model.double(), documents)
    finally:
        model.float()


def _largest_difference(
    model: Any, documents: list[list[int]]
) -> tuple[float, torch.Tensor, torch.Tensor]:
    """The largest relative difference, and both losses (targets,): packed and the library's."""
    model.set_attn_implementation("eager")
    wanted = torch.cat([_eager_losses(model, ids) for ids in documents])
    got = _packed_losses(model, documents)
    return ((got - wanted).abs() / wanted.abs().clamp(min=1)).max().item(), got, wanted


def _eager_losses(model: Any, ids: list[int]) -> torch.Tensor:
    row = torch.tensor([ids])
    logits = model(input_ids=row, use_cache=False).logits[0, :-1]
    return torch.nn.functional.cross_entropy(logits, row[0, 1:], reduction="none")


def _packed_losses(model: Any, documents: list[list[int]]) -> torch.Tensor:
    model.set_attn_implementation(register_attention())
    packing = Packing.from_seq_lengths([len(ids) for ids in documents])
    row = torch.tensor([[token for ids in documents for token in ids]])
    _, metrics = causal_lm_loss(model, row, packing.position_ids[None], row, packing)
    return -metrics.logprob[metrics.valid].float()


@torch.no_grad()
def compare_loss(model: Any, ids: list[int]) -> str:
    """The difference of the whole loss from the model's own, everything that it adds included."""
    row = torch.tensor([ids[:PROBE_TOKENS]])
    model.set_attn_implementation("eager")
    wanted = float(model(input_ids=row, labels=row, use_cache=False).loss)
    model.set_attn_implementation(register_attention())
    packing = Packing.from_seq_lengths([row.shape[1]])
    got = float(causal_lm_loss(model, row, packing.position_ids[None], row, packing)[0])
    if not abs(got - wanted) <= TOLERANCE * max(1.0, abs(wanted)):
        raise InputError(
            f"the loss is {got:.6f}, the model's own {wanted:.6f}: its head scales its logits, or "
            f"it adds a loss of its own; {NOT_COMPUTED}"
        )
    return f"within {TOLERANCE:.0e} of the model's own"


def save_and_load(model: Any, document: ModelDocument, work: Path, words: list[str]) -> str:
    """The probe as a trained checkpoint is written, read again: same tensors, same tokens."""
    training_checkpoints.make_generation_config_savable(model)
    tokenizer = checkpoints.load_tokenizer(document)
    folder = work / "checkpoint"
    with quiet_library():
        training_checkpoints.publish(model, tokenizer, document, folder, adapter=False)
        saved = training_checkpoints.trained_document(
            folder, document.name, document, adapter=False, with_digests=False
        )
        again = checkpoints.load_model(saved, "cpu")
    before, after = model.state_dict(), again.state_dict()
    changed = [name for name in before if not _is_same(before[name], after.get(name))]
    if changed or before.keys() != after.keys():
        name = (changed or sorted(before.keys() ^ after.keys()))[0]
        raise InputError(f"saved and loaded, {name} is another tensor; {NOT_COMPUTED}")
    read = checkpoints.load_tokenizer(saved)
    if read(words)["input_ids"] != tokenizer(words)["input_ids"]:
        raise InputError(
            "saved and loaded, the tokenizer gives other tokens; put the tokenizer.json of the "
            "same model into the folder"
        )
    return f"{len(before)} tensors, the tokenizer and its template"


def _is_same(tensor: torch.Tensor, other: torch.Tensor | None) -> bool:
    return other is not None and tensor.dtype == other.dtype and torch.equal(tensor, other)
