"""The log-probabilities of paired documents under the student as it is before its first step.

Input: a trainer whose model has taken no step. Output: its rows' ``reference``, kept in the work
folder, where a run that is resumed finds it.
"""

from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch

from orion.errors import InputError
from orion.paths import AtomicFile
from orion.training import processes
from orion.training.packed_rows import PackedRows, collate_packed
from orion.training.preference import sum_documents
from orion.training.trainer import PackedTrainer

# in the work folder: of each document of the rows that are trained on, (documents,) float64
FILE = "reference.npy"
Reference = npt.NDArray[np.float64]


def read_reference(trainer: PackedTrainer) -> None:
    """Give the trainer's rows their reference, from the work folder if it is there.

    Raises InputError where the documents of a row are no pairs, or rows are held out.
    """
    rows = cast(PackedRows, trainer.train_dataset)
    path, first = Path(str(trainer.args.output_dir)) / FILE, trainer.is_world_process_zero()
    if trainer.eval_dataset:
        raise InputError("rows are held out, and pairs have no validation loss; pack without them")
    if (rows.index["documents"] % 2).any():
        raise InputError("a packed row has an odd number of documents, so they are no pairs")
    kept = _load(path, int(rows.index["documents"].sum())) if first else None
    reference = processes.gather(kept)[0]
    if reference is None:
        processes.say("reading the pairs under the student as it is before its first step")
        reference = _score(trainer, rows)
        processes.agree(lambda: _save(reference, path) if first else None)
    rows.reference = reference


@torch.no_grad()
def _score(trainer: PackedTrainer, rows: PackedRows) -> Reference:
    """As the training reads the rows, but without dropout; each process reads its part."""
    model = cast(Any, trainer.model)
    was_training = model.training
    model.eval()
    found = np.zeros(int(rows.index["documents"].sum()))
    for start in range(0, len(rows), trainer.args.world_size):
        # as many times in each process, in the end with padding
        number = start + trainer.args.process_index
        is_row = number < len(rows)
        batch: Any = trainer._prepare_inputs(collate_packed([rows[number if is_row else None]]))
        logprob = trainer.read_ahead(model, batch)
        if is_row:
            sums = sum_documents(logprob, batch["seq_lengths"])
            found[rows.place_documents(number)] = sums.cpu().numpy()
    model.train(was_training)
    return np.array(processes.sum_up(found.tolist(), trainer.args.device))


def _load(path: Path, documents: int) -> Reference | None:
    """What a run before has kept; None where there is none, or not of all documents."""
    try:
        found = np.load(path)
    except (OSError, ValueError, EOFError):
        return None
    return found if found.shape == (documents,) and found.dtype == np.float64 else None


def _save(reference: Reference, path: Path) -> None:
    with AtomicFile(path) as partial, open(partial, "wb") as file:
        np.save(file, reference)
