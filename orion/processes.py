"""Child processes: shards of a job, their GPUs, and how they end when the parent ends.

Also whether a process keeps the memory that it frees.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from orion.errors import InputError
from orion.progress import log

_PR_SET_PDEATHSIG = 1  # prctl(2)
# mallopt(3)
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


@contextmanager
def sigterm_raises_system_exit() -> Iterator[None]:
    """Turn SIGTERM into SystemExit so that cleanup code runs.

    Slurm sends SIGTERM on scancel and at a time limit. A handler that is already set stays.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def stop(number, frame):
        # a second signal must not interrupt the cleanup
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def keep_freed_memory() -> bool:
    """Keep what malloc frees in this process for its next allocations; returns whether it does.

    By default glibc returns blocks above 32 MB to the system, and each step of a training on the
    CPU pays for the same pages once more: a million page faults per step of 4,000 tokens with
    SmolLM2-135M, 1.2 to 1.3 times the time (LOG.md, 2026-11-29). Nothing is changed where the
    environment has settings of malloc's own (MALLOC_*, GLIBC_TUNABLES) or another allocator, or
    where the C library is not glibc.
    """
    named = [name for name in os.environ if name.startswith("MALLOC_")]
    if named or {"GLIBC_TUNABLES", "LD_PRELOAD"} & os.environ.keys():
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = {_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: 2**31 - 1, _M_TOP_PAD: 64 << 20}
    return all([mallopt(name, value) for name, value in settings.items()])


def run_shards(module: str, argv: Sequence[str], n: int) -> None:
    """Run ``python -m module *argv --shard i/n`` for each i of n at once and wait for all.

    The visible GPUs are divided among the processes. Raises InputError where a shard fails.
    """
    devices = split_devices(n)
    log(f"{n} processes" + (f", GPUs {' | '.join(devices)}" if devices else ""))
    running: list[subprocess.Popen] = []
    with sigterm_raises_system_exit():
        try:
            for i in range(n):
                env = {**os.environ, **({"CUDA_VISIBLE_DEVICES": devices[i]} if devices else {})}
                command = [sys.executable, "-m", module, *argv, "--shard", f"{i}/{n}"]
                running.append(
                    subprocess.Popen(command, env=env, preexec_fn=_make_die_with_parent())
                )
            codes = [process.wait() for process in running]
        finally:
            for process in running:
                process.terminate()
            # each shard stores what it has; the GPUs are free when this process ends
            for process in running:
                process.wait()
    failed = [str(i) for i, code in enumerate(codes) if code]
    if failed:
        raise InputError(
            f"shard {', '.join(failed)} of {n} failed, see above; completions that the shards "
            "stored are kept: run again, or with fewer shards"
        )


def _make_die_with_parent() -> Callable[[], None] | None:
    """A function for a new process: the kernel sends it SIGTERM when its parent dies (Linux only).

    Otherwise a shard would continue to generate after its parent was killed with SIGKILL.
    """
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def split_devices(n: int) -> list[str]:
    """CUDA_VISIBLE_DEVICES for each of n processes.

    Empty where there are fewer than n GPUs: the processes then share them.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    devices = (
        list(filter(None, visible.split(",")))
        if visible is not None
        else [str(i) for i in range(len(list(Path("/dev").glob("nvidia[0-9]*"))))]
    )
    each = len(devices) // n
    return [",".join(devices[i * each : (i + 1) * each]) for i in range(n)] if each else []
