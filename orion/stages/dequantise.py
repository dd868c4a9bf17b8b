"""Make a GGUF file into an ordinary checkpoint: one file with its sha256 → checkpoint folder.

Run: ``python -m orion.stages.dequantise --config JSON --output DIR``. The file is checked before it
is read. Weights, tokenizer, chat template, end tokens and context are the file's own.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from orion.errors import InputError
from orion.models import gguf_files
from orion.paths import partial_path
from orion.progress import log
from orion.provenance import digest_file
from orion.stages import command


@dataclass(frozen=True)
class DequantiseConfig:
    """The configuration keys of the stage: the file, its digest, the dtype of the weights."""

    path: str
    sha256: str
    dtype: str


def check_file(path: Path, sha256: str) -> None:
    """Raise InputError where the file is not the one that the configuration names."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; `source.path` of the model names a GGUF file")
    found = digest_file(path)
    if found != sha256:
        raise InputError(
            f"{path}: its sha256 is {found}, but the configuration has {sha256}; fetch the file "
            "again, or correct `source.sha256`"
        )


def main(argv: list[str] | None = None) -> None:
    args = command.make_parser(__doc__, "output").parse_args(argv)
    config = command.read_config(DequantiseConfig, args.config)
    path, output = Path(config.path), Path(args.output)
    check_file(path, config.sha256)
    partial = partial_path(output)
    shutil.rmtree(partial, ignore_errors=True)
    try:
        gguf_files.convert(path, partial, dtype=config.dtype)
        shutil.rmtree(output, ignore_errors=True)
        os.replace(partial, output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    log(f"{path.name}: written to {output} in {config.dtype}")


if __name__ == "__main__":
    command.run(main)
