"""What the processes of one training share: sums, errors, decisions of the first one.

A training is one process, or several that torch.distributed joins (``orion.training.launch``). All
functions here are called by every process at the same place; with one process they do nothing.
"""

import os
import sys
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NoReturn, TypeVar

import torch
from torch import distributed

from orion.errors import InputError
from orion.progress import log

Result = TypeVar("Result")

# what join() made. torch's gloo group waits, in the end of its last holder, for a thread that may
# wait for this one's interpreter lock; so that end is never reached
_groups: list[Any] = []

# one process may publish or read for long while the others wait
TIMEOUT = timedelta(hours=2)


def world_size() -> int:
    """How many processes this training has, by the variables that torchrun sets."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this process is the one that logs, saves and publishes."""
    return int(os.environ.get("RANK", "0")) == 0 or world_size() == 1


def join() -> None:
    """Join the processes. Raises InputError where this machine has fewer GPUs than processes."""
    if torch.cuda.is_available():
        here, gpus = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), torch.cuda.device_count()
        if here > gpus:
            raise InputError(
                f"processes = {here} (a resource of the rule train), but this machine shows {gpus} "
                "GPUs; give each process one (resource gpu), or lower processes"
            )
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    distributed.init_process_group(backend, timeout=TIMEOUT)
    _groups.append(distributed.group.WORLD)


def leave() -> None:
    """Leave the others; what follows is the first process's alone."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def run_and_exit(action: Callable[[], None]) -> NoReturn:
    """Run what one of several processes does, and end it without the end of torch's objects."""
    status = 1
    try:
        action()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else status
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def say(message: str) -> None:
    """Log a line once, however many processes there are."""
    if is_first():
        log(message)


def raise_once(error: InputError) -> None:
    """Raise an error that every process has: the first one raises it, the others end with 2."""
    if is_first():
        raise error
    # the launcher ends all when one has ended, and the first one has to say why
    time.sleep(1)
    raise SystemExit(2)


def agree(action: Callable[[], Result]) -> Result:
    """Do something that may fail in one process only; then it fails in all.

    No process is behind this before all are here. Raises the InputError of the first process that
    has one, in the way of ``raise_once``.
    """
    if not distributed.is_initialized():
        return action()
    error: InputError | None = None
    try:
        result = action()
    except InputError as caught:
        error = caught
    errors = gather(error)
    found = next((each for each in errors if each is not None), None)
    if found is not None:
        raise_once(found)
    return result


def gather(value: Any) -> list[Any]:
    """The values of all processes, in their order."""
    if not distributed.is_initialized():
        return [value]
    values: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(values, value)
    return values


def wait() -> None:
    """Wait until all processes are here."""
    gather(None)


def sum_up(values: list[float], device: torch.device) -> list[float]:
    """The sums of the values over the processes, in float64; the same bits in each process."""
    if not distributed.is_initialized():
        return values
    sums = torch.tensor(values, dtype=torch.float64, device=device)
    distributed.all_reduce(sums)
    return [float(value) for value in sums.tolist()]
