"""Checkpoints of a training: those that it resumes from, and the result that is published.

A checkpoint is good once the step behind it had a finite loss and a finite gradient norm. Until
then the one before it is kept too. It is complete while it holds STATE, which is written last and
removed first. Importing this module imports neither torch nor transformers.
"""

import contextlib
import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orion.errors import InputError
from orion.models import adapters, checkpoints
from orion.models.document import ModelDocument
from orion.paths import AtomicFile, partial_path
from orion.progress import log

STATE = "trainer_state.json"
# in the work folder: the trained weights with the lowest validation loss
BEST = "best.safetensors"
# in a checkpoint: what several processes have saved of weights and optimiser, each its part
SHARDS = "shards"
# in the messages of torch's writers, which say RuntimeError where a disk is full
TORCH_WRITERS = ("PytorchStreamWriter", "inline_container", "iostream error")
# what the transformers library refuses to save beside greedy decoding
SAMPLING_KEYS = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "top_h",
    "typical_p",
    "epsilon_cutoff",
    "eta_cutoff",
)


class FailedWriteError(InputError):
    """A disk that is full, or does not take a checkpoint for another reason."""


def complete_checkpoints(work: Path) -> dict[int, Path]:
    """Step → folder of the complete checkpoints, in the order of the steps."""
    found: dict[int, Path] = {}
    for folder in work.glob("checkpoint-*"):
        # another process may be writing those that are incomplete
        with contextlib.suppress(OSError, ValueError, KeyError):
            state = json.loads((folder / STATE).read_text(encoding="utf-8"))
            found[state["global_step"]] = folder
    return dict(sorted(found.items()))


def newest_checkpoint(work: Path) -> Path | None:
    """The last complete checkpoint of a killed run."""
    return next(reversed(complete_checkpoints(work).values()), None)


def check_sharding(work: Path, *, is_sharded: bool) -> None:
    """Raise InputError where a stopped run has saved whole weights and shards are asked for.

    Or the other way round.
    """
    newest = newest_checkpoint(work)
    if newest is None or (newest / SHARDS).is_dir() == is_sharded:
        return
    now, before = ("full", "none") if is_sharded else ("none", "full")
    raise InputError(
        f"{newest} was saved with sharding = {before} (the resource of the rule train), and cannot "
        f"go on with {now}; set {before}, or remove {work} to begin anew"
    )


def remove_cut_checkpoints(work: Path) -> None:
    """Remove what no run goes on from: what a killed run left incomplete, or a power cut cut off.

    Before a training begins, while no process writes here.
    """
    complete = complete_checkpoints(work)
    for folder in set(work.glob("checkpoint-*")) - set(complete.values()):
        shutil.rmtree(folder)
    for folder in complete.values():
        cut = next((path.name for path in sorted(folder.iterdir()) if _is_cut(path)), None)
        if cut is not None:
            log(f"{folder} is not used: its {cut} is cut off")
            remove_checkpoint(folder)


def _is_cut(path: Path) -> bool:
    """Whether a file of weights or of torch's own format does not reach its end."""
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="numpy"):
                return False
        except SafetensorError:
            return True
    if path.name == SHARDS:
        return _lacks_shards(path)
    # torch's files are zip archives, whose directory is at the end
    return path.suffix in (".pt", ".pth") and not zipfile.is_zipfile(path)


def _lacks_shards(folder: Path) -> bool:
    """Whether a file is shorter than the list of the shards says, or the list is cut off itself."""
    from torch.distributed.checkpoint import FileSystemReader

    try:
        shards = FileSystemReader(folder).read_metadata().storage_data.values()
        return any(
            (folder / each.relative_path).stat().st_size < each.offset + each.length
            for each in shards
        )
    except (OSError, EOFError, pickle.UnpicklingError):
        return True


def keep_newest_checkpoints(work: Path, count: int = 1) -> None:
    """Remove all checkpoints but the newest ones; one alone where it has turned out to be good."""
    for folder in [*complete_checkpoints(work).values()][:-count]:
        remove_checkpoint(folder)


def remove_checkpoint(folder: Path) -> None:
    """Remove a checkpoint; a process that is killed meanwhile leaves an incomplete one."""
    # each process of a training on several GPUs may come here
    (folder / STATE).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def remove_work(work: Path) -> None:
    """Remove the work folder of a training that is published."""
    for folder in complete_checkpoints(work).values():
        remove_checkpoint(folder)
    shutil.rmtree(work, ignore_errors=True)


@contextlib.contextmanager
def explain_failed_write(folder: Path, work: Path, *, shared: bool = False) -> Iterator[None]:
    """Writing a checkpoint to ``folder``: where the disk refuses it, no part of it is left.

    ``shared``: other processes write there now, and the caller removes it when they have ended.
    Raises FailedWriteError with the folder, the reason, and the last complete checkpoint.
    """
    try:
        yield
    except Exception as error:
        if not _is_failed_write(error):
            raise
        there = next(parent for parent in folder.parents if parent.exists())
        free = shutil.disk_usage(there).free / 1e6
        if not shared:
            shutil.rmtree(folder, ignore_errors=True)
        newest = newest_checkpoint(work)
        then = f"from {newest}, which is complete" if newest else "from the first step"
        # torch says little about the disk, and appends the places in its own sources
        reason = str(error).strip().split("\n")[0]
        raise FailedWriteError(
            f"{folder}: the checkpoint cannot be written ({reason}; {free:,.1f} MB are free). "
            f"Make room on that disk; the same command then goes on {then}"
        ) from None


def _is_failed_write(error: Exception) -> bool:
    """Whether the operating system refused to write; only Python's own writers say OSError."""
    own = type(error).__name__ == "SafetensorError" or (
        isinstance(error, RuntimeError) and any(name in str(error) for name in TORCH_WRITERS)
    )
    return own or (isinstance(error, OSError) and not isinstance(error, FileNotFoundError))


def last_good_checkpoint(work: Path, bad: int) -> Path | None:
    """The newest checkpoint of a step before ``bad``; those from there on are removed."""
    good = None
    for step, folder in complete_checkpoints(work).items():
        if step < bad:
            good = folder
        else:
            remove_checkpoint(folder)
    return good


def is_best(work: Path, loss: float) -> bool:
    """Whether the kept weights, if there are any, have a higher validation loss."""
    kept = read_best(work)
    return kept is None or kept[1] > loss


def keep_best(weights: dict[str, Any], work: Path, step: int, loss: float) -> None:
    """Write the trained weights to ``work``.

    One file, which names its step and loss: a resumed run compares with what is there. Raises
    FailedWriteError where the disk refuses it.
    """
    from safetensors.torch import save_file

    with explain_failed_write(work / BEST, work), AtomicFile(work / BEST) as partial:
        save_file(weights, partial, metadata={"step": str(step), "loss": repr(loss)})


def read_best(work: Path) -> tuple[int, float] | None:
    """Step and validation loss of the kept weights; None if there are none."""
    from safetensors import safe_open

    if not (work / BEST).is_file():
        return None
    with safe_open(work / BEST, "pt") as file:
        found = file.metadata()
    return int(found["step"]), float(found["loss"])


def load_best(model: Any, work: Path) -> None:
    """Give the model the kept weights, or this process's shards of them."""
    from safetensors import safe_open
    from torch.distributed.tensor import DTensor, distribute_tensor

    with safe_open(work / BEST, "pt") as kept:
        names = set(kept.keys())
        for name, parameter in model.named_parameters():
            if name not in names:
                continue
            weight, here = kept.get_tensor(name), parameter.data
            if isinstance(here, DTensor):
                # each process reads the whole weight itself
                weight = distribute_tensor(
                    weight.to(here.device), here.device_mesh, here.placements, src_data_rank=None
                )
            here.copy_(weight)


def first_non_finite_weight(model: Any) -> str | None:
    """The name of a trained tensor with a NaN or an infinity; None if there is none.

    Of a tensor in shards, this process's one is looked at.
    """
    from torch.distributed.tensor import DTensor

    for name, parameter in model.named_parameters():
        weight = parameter.detach()
        weight = weight.to_local() if isinstance(weight, DTensor) else weight
        if parameter.requires_grad and not bool(weight.isfinite().all()):
            return str(name)
    return None


def make_generation_config_savable(model: Any) -> None:
    """Change the model's generation_config so that the transformers library will save it.

    The library reads a file with a temperature and without ``do_sample``, but refuses to write it.
    Such a file means sampling. Beside ``do_sample: false`` a temperature has no effect and is
    dropped. Raises InputError for a file that cannot be saved for another reason.
    """
    settings = getattr(model, "generation_config", None)
    if settings is None or _refusal(settings) is None:
        return
    if settings.do_sample is False:
        defaults = type(settings)()
        for key in SAMPLING_KEYS:
            if hasattr(settings, key):
                setattr(settings, key, getattr(defaults, key, None))
    else:
        settings.do_sample = True
    refusal = _refusal(settings)
    if refusal is not None:
        folder = Path(model.config.name_or_path)
        raise InputError(
            f"{folder / 'generation_config.json'}: a trained checkpoint could not be saved with "
            f"it ({refusal}); correct the file or delete it, and delete model.json"
        )


def _refusal(settings: Any) -> str | None:
    """Why the transformers library would not save these settings; None if it would."""
    try:
        settings.validate(strict=True)
    except ValueError as error:
        return " ".join(str(error).split())
    return None


def publish(
    model: Any, tokenizer: Any, document: ModelDocument, output_dir: Path, *, adapter: bool
) -> None:
    """Write the trained checkpoint, or the adapter alone, and rename it to ``output_dir``.

    ``document``: of the model before training.
    """
    import torch

    if hasattr(model, "merge_and_unload") and not adapter:
        model = model.merge_and_unload()
    assert document.dtype is not None, "a served model cannot be trained"
    model.to(getattr(torch, document.dtype))
    _remove_left_parts(output_dir)
    partial = partial_path(output_dir)
    try:
        if adapter:
            adapters.save_adapter(model, partial)
        else:
            model.config.use_cache = True
            _reset_attention(model)
            _name_end_tokens(model, checkpoints.eos_ids(document, tokenizer))
            model.save_pretrained(partial)
            tokenizer.save_pretrained(partial)
        shutil.rmtree(output_dir, ignore_errors=True)
        os.replace(partial, output_dir)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _remove_left_parts(output_dir: Path) -> None:
    """Remove what killed processes left of the same output; it may be gigabytes."""
    for left in output_dir.parent.glob(f".{output_dir.name}.*.partial"):
        number = left.name.split(".")[-2]
        try:
            os.kill(int(number), 0)
        except (ProcessLookupError, ValueError):
            shutil.rmtree(left, ignore_errors=True)
        except PermissionError:
            # a living process of another user
            continue


def _name_end_tokens(model: Any, eos: set[int]) -> None:
    """Let generation_config.json name the tokens that end a completion here, for other engines."""
    named = model.generation_config.eos_token_id
    if {*(named if isinstance(named, list) else [named])} != eos:
        model.generation_config.eos_token_id = sorted(eos)


def _reset_attention(model: Any) -> None:
    """The attention of an ordinary checkpoint; some models (gpt-oss) have none in torch's sdpa."""
    try:
        model.set_attn_implementation("sdpa")
    except ValueError:
        model.set_attn_implementation("eager")


def trained_document(
    folder: Path, name: str, base: ModelDocument, *, adapter: bool, with_digests: bool = True
) -> ModelDocument:
    """The document of the published checkpoint or adapter."""
    if adapter:
        return adapters.adapter_document(folder, base, name=name)
    assert base.dtype is not None, "a served model cannot be trained"
    return checkpoints.checkpoint_document(
        folder,
        name=name,
        dtype=base.dtype,
        trust_remote_code=base.trust_remote_code,
        context_length=base.context_length,
        prompt_date=base.prompt_date,
        with_digests=with_digests,
    )
