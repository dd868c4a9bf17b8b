"""Start a training on several processes: torchrun, on one node or on those of a Slurm job.

torchrun starts the processes of its node and ends all of them when one has ended. SIGTERM and
SIGUSR1 are passed on to them once, and torchrun then waits until they have saved. It exits as its
first process that failed: 143 or 138 after a signal, 2 after bad input.
"""

import ctypes
import os
import signal
import socket
import sys
from types import FrameType
from typing import NoReturn

from orion.errors import InputError
from orion.training.callbacks import STOPPING

# host:port of the first node, for the torchruns that srun starts
RENDEZVOUS = "ORION_RENDEZVOUS"
# seconds that torchrun waits after a signal; a scheduler's own limit comes before
PATIENCE_S = 3600
SET_PARENT_DEATH_SIGNAL = 1


def launch(module: str, argv: list[str], processes: int, nodes: int) -> NoReturn:
    """Run ``python -m module argv`` in that many processes on each node, and exit as they do.

    Raises InputError where several nodes are asked for outside of a Slurm job.
    """
    if nodes > 1 and RENDEZVOUS not in os.environ:
        _start_on_nodes(module, argv, nodes)
    words = ["--nproc-per-node", str(processes), "--nnodes", str(nodes)]
    if nodes == 1:
        words.append("--standalone")
    else:
        job = os.environ.get("SLURM_JOB_ID", "orion")
        words += ["--rdzv-backend", "c10d", "--rdzv-id", job]
        words += ["--rdzv-endpoint", os.environ[RENDEZVOUS]]
    # this module handles the other signals; torch would be interrupted by a second one
    words += ["--signals-to-handle", "SIGINT,SIGHUP,SIGQUIT"]
    words += ["--shutdown-timeout", str(PATIENCE_S), "--module", module]
    # the threads of the job, not of each process
    threads = int(os.environ.get("OMP_NUM_THREADS") or 1)
    os.environ["OMP_NUM_THREADS"] = str(max(1, threads // processes))
    # else DDP warns in each process that all weights are reached
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    raise SystemExit(_run_torchrun(words, argv))


def _run_torchrun(words: list[str], argv: list[str]) -> int:
    """torchrun's work in this process; the exit status of its first process that failed."""
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    seen: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        seen.append(number)
        if len(seen) == 1:
            raise SignalException("", sigval=signal.Signals(number))

    for number in STOPPING:
        signal.signal(number, stop)
    try:
        options = run.parse_args(words)
        # not parsed with the others: torchrun would take --log for one of its own
        options.training_script_args = argv
        run.run(options)
    except SignalException as error:
        return 128 + error.sigval
    except ChildFailedError as error:
        _, failure = error.get_first_failure()
        return failure.exitcode if failure.exitcode > 0 else 128 - failure.exitcode
    return 0


def _start_on_nodes(module: str, argv: list[str], nodes: int) -> NoReturn:
    """Become srun, which starts this command once on each node of the job."""
    if "SLURM_JOB_ID" not in os.environ:
        raise InputError(
            f"nodes = {nodes} (a resource of the rule train) needs a Slurm job of as many nodes; "
            "elsewhere start torchrun on each node yourself (docs/clusters.md)"
        )
    with socket.socket() as probe:
        probe.bind(("", 0))
        port = probe.getsockname()[1]
    os.environ[RENDEZVOUS] = f"{socket.gethostname()}:{port}"
    each = ["--nodes", str(nodes), "--ntasks", str(nodes), "--ntasks-per-node", "1"]
    # --overlap: the job's own step, which runs this process, holds the same processors
    command = ["srun", *each, "--overlap", "--kill-on-bad-exit=1"]
    try:
        os.execvp("srun", [*command, sys.executable, "-m", module, *argv])
    except FileNotFoundError:
        raise InputError(f"nodes = {nodes} needs srun, which is not on PATH") from None


def end_with_parent() -> None:
    """Let the kernel kill this process when torchrun is killed, which cannot end it then.

    Else it would go on, and a second training would work in the same folder. Linux only.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
