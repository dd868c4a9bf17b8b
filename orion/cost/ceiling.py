"""Whether a ceiling is below what a run has spent already, before its first job.

Inputs: the ceiling as ``orion.config`` writes it, a results folder and the ``logs/`` beside it.
Outputs: an error message and status 2 where it is. Nothing is written. A run stops a little above
its tokens, hours or money, since what is under way is kept; its next start with the same ceiling
makes what costs nothing more, so that so little is no error.
Run: ``python -m orion.cost.ceiling --ceiling JSON --results RESULTS``. The workflow does when it
starts; each job that pays asks for itself whether there is still room.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from orion.errors import InputError
from orion.spending import ceiling
from orion.spending.account import Account
from orion.spending.ceiling import Ceiling, Spent
from orion.spending.stop import CURE, STORE
from orion.stages import command

# a run may have spent so many times its tokens, hours or money when it stops
OVERSHOOT = 1.1


def read_spent(limits: Ceiling, results: Path) -> Spent:
    """What a run has spent so far, as far as its ceiling counts it."""
    account = Account(limits, results / STORE)
    return account.sum_up(account.read_hours())


def check_ceiling(limits: Ceiling, results: Path) -> None:
    """Raise InputError where a limit is below what is spent."""
    spent = read_spent(limits, results)
    most = replace(
        spent, **{name: getattr(spent, name) / OVERSHOOT for name in ("tokens", "hours", "money")}
    )
    exceeded = limits.find_exceeded(spent) if limits.find_exceeded(most) is not None else None
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
