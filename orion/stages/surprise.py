"""Surprise of the training texts to the untrained student: packed + model → surprise.parquet.

Each packed row is read once by the student as it was before the arm's training, with the forward of
the training. Of each document the mean surprise (negative log-likelihood, nats) and the mean rank
of its trained tokens are kept. Rows held out for validation are left out, as they are of the
training.
Run: ``python -m orion.stages.surprise --config JSON --packed P --model M --output O
[--preflight F]``.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from orion import provenance, tables
from orion.errors import InputError
from orion.experiment.surprise import DECIMALS, SURPRISE
from orion.models import checkpoints, preflight
from orion.models.document import read_document
from orion.progress import Progress
from orion.stages import command
from orion.training.packed_rows import COLUMNS
from orion.training.table_slices import read_slices

# packed rows that are in memory at a time
SLICE_ROWS = 64


@dataclass(frozen=True)
class SurpriseConfig:
    """The stage has no keys of its own: the rows and the student decide everything."""


def read_rows(packed: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The number and the columns of each packed row that is trained on."""
    for frame in read_slices(
        packed, tables.PACKED, ["row", *COLUMNS, "validation"], rows=SLICE_ROWS
    ):
        for row in frame.iter_rows(named=True):
            if not row["validation"]:
                yield row["row"], {name: np.array(row[name], np.int32) for name in COLUMNS}


def main(argv: list[str] | None = None) -> None:
    parser = command.make_parser(__doc__, "packed", "model", "output")
    preflight.add_option(parser)
    args = parser.parse_args(argv)
    command.read_config(SurpriseConfig, args.config)
    document = read_document(args.model)
    inputs = {"packed": args.packed, "model": args.model}
    inputs |= preflight.required_inputs(args, document)
    record = provenance.record("orion.stages.surprise", args.config, inputs)
    total, _ = tables.size(args.packed, tables.PACKED)

    from orion_kernels.transformers_integration import register_attention

    from orion.training.scoring import score_row

    model = checkpoints.load_model(document)
    model.set_attn_implementation(register_attention())
    progress = Progress(total, "packed rows")
    found: list[dict[str, Any]] = []
    for number, row in read_rows(args.packed):
        found += [{"row": number, **scored} for scored in score_row(model, row)]
        progress.add(1)
    progress.close()
    for each in found:
        for name in ("surprise", "rank"):
            if not np.isfinite(each[name]):
                raise InputError(
                    f"{args.packed}, row {each['row']}: the {name} of document "
                    f"{each['document']} is {each[name]} under {args.model}; the model spoils it"
                )
            each[name] = round(each[name], DECIMALS)
    tables.write(tables.from_rows(found, SURPRISE), args.output, SURPRISE, record)


if __name__ == "__main__":
    command.run(main)
