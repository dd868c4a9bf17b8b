"""Whether a ceiling is below what a run has spent already, before its first job.

Inputs: the ceiling as ``orion.config`` writes it, a results folder and the ``logs/`` beside it.
Outputs: an error message and status 2 where it is. Nothing is written.
Run: ``python -m orion.cost.ceiling --ceiling JSON --results RESULTS``. The workflow does when it
starts; each job that pays asks for itself whether there is still room.
"""

import argparse
from pathlib import Path

from orion.errors import InputError
from orion.spending import ceiling
from orion.spending.account import Account
from orion.spending.ceiling import Ceiling, Spent
from orion.spending.stop import CURE, STORE
from orion.stages import command


def read_spent(limits: Ceiling, results: Path) -> Spent:
    """What a run has spent so far, as far as its ceiling counts it."""
    account = Account(limits, results / STORE)
    return account.sum_up(account.read_hours())


def check_ceiling(limits: Ceiling, results: Path) -> None:
    """Raise InputError where a limit is below what is spent."""
    exceeded = limits.find_exceeded(read_spent(limits, results))
    if exceeded is not None:
        raise InputError(f"{exceeded} in {results} so far; {CURE}")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ceiling.add_option(parser)
    parser.add_argument("--results", type=Path, required=True, metavar="RESULTS")
    args = parser.parse_args(argv)
    if args.ceiling is not None:
        check_ceiling(args.ceiling, args.results)


if __name__ == "__main__":
    command.run(main)
