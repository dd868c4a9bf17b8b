"""Trainings at the run's ceiling on hours or money: refused, or stopped with a checkpoint.

Inputs: the ceiling, the results folder. Outputs: an error before the work, a signal during it.
A training asks for no completion, so ceilings on completions and tokens do not concern it.
"""

import os
import signal
from dataclasses import replace
from pathlib import Path

from orion.errors import InputError
from orion.progress import log
from orion.spending.account import Account
from orion.spending.ceiling import Ceiling
from orion.spending.usage import LOOK_EVERY_S, Watch

STORE = "completions"
CURE = "raise the ceiling, or remove the key, and run again"


def refuse_training(ceiling: Ceiling | None, results: Path) -> None:
    """Raise InputError where the run has spent its hours or its money."""
    if ceiling is None:
        return
    account = _open_account(ceiling, results)
    reached = account.ceiling.find_reached(account.sum_up(account.read_hours()))
    if reached is not None:
        raise InputError(f"{reached} are spent; this training is left to do: {CURE}")


def watch_training(
    ceiling: Ceiling | None, results: Path, *, is_first: bool = True, every_s: float = LOOK_EVERY_S
) -> Watch:
    """A watch that sends this process SIGTERM when the ceiling is reached, which stops it cleanly.

    ``is_first``: False for a further process of the same training, which only the first one stops.
    """
    if ceiling is None or not ceiling.counts_time or not is_first:
        return Watch(results, is_active=False)
    account = _open_account(ceiling, results)
    is_sent = False

    def look() -> None:
        nonlocal is_sent
        account.refresh()
        reached = account.ceiling.find_reached(account.sum_up(watch.hours))
        if reached is not None and not is_sent:
            is_sent = True
            log(f"error: {reached} are spent; the training stops after this step: {CURE}")
            os.kill(os.getpid(), signal.SIGTERM)

    watch = Watch(results, is_active=True, on_look=look, every_s=every_s)
    return watch


def _open_account(ceiling: Ceiling, results: Path) -> Account:
    return Account(replace(ceiling, completions=None, tokens=None), results / STORE)
