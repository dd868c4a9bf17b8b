"""Fetch a file by its address and the digest of its bytes → the file under its digest.

The bytes decide: a file from the cache, from a mirror or from a resumed transfer is the same file.
Run: ``python -m orion.stages.fetch --config JSON --url ADDRESS --output O``.
"""

from dataclasses import dataclass

from orion.data import download
from orion.stages import command


@dataclass(frozen=True)
class FetchConfig:
    """The configuration keys of the stage; ``sha256``: the digest of the file's bytes."""

    sha256: str


def main(argv: list[str] | None = None) -> None:
    args = command.make_parser(__doc__, "url", "output").parse_args(argv)
    config = command.read_config(FetchConfig, args.config)
    download.fetch(args.url, config.sha256, args.output)


if __name__ == "__main__":
    command.run(main)
