"""The stage train in two processes at once, several trainings one after another."""

import json
import os
import subprocess
import sys
from pathlib import Path

from torch.distributed import TCPStore

# each job is a command line of the stage, and which process gets a signal in which step
WORKER = """
import json, os, signal, sys
from datetime import timedelta
from accelerate.state import AcceleratorState, GradientState
from orion.errors import InputError
from orion.stages import train
from orion.training import trainer

real_step = trainer.PackedTrainer.training_step
train.processes.TIMEOUT = timedelta(minutes=2)
for number_of_job, job in enumerate(json.loads(sys.argv[1])):
    sent = []
    os.environ["TORCHELASTIC_RESTART_COUNT"] = str(number_of_job)

    def training_step(self, *args, **kwargs):
        rank, step, number = job.get("signal", [-1, -1, 0])
        here = rank == self.args.process_index and self.state.global_step == step - 1
        if here and not sent:
            sent.append(step)
            os.kill(os.getpid(), number)
        return real_step(self, *args, **kwargs)

    trainer.PackedTrainer.training_step = training_step
    end = 0
    try:
        exec(job.get("before", ""))
        train.main(job["words"])
    except InputError as error:
        end = str(error)
    except SystemExit as error:
        end = error.code
    train.processes.leave()
    AcceleratorState._reset_state(True)
    GradientState._reset_state()
    print(json.dumps(end), flush=True)
"""


def run_together(jobs: list[dict], count: int = 2) -> list[list]:
    """How each job ended in each process: 0, an exit status, or the message of an InputError."""
    # as torchrun's: its own store, which counts the starts
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    shared = {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port)}
    shared["TORCHELASTIC_USE_AGENT_STORE"] = "True"
    workers = []
    for rank in range(count):
        environment = {**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}
        command = [sys.executable, "-c", WORKER, json.dumps(jobs)]
        workers.append(
            subprocess.Popen(
                command,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                cwd=Path(__file__).parents[2],
            )
        )
    ends, said = [], []
    for worker in workers:
        out, err = worker.communicate(timeout=600)
        ends.append([json.loads(line) for line in out.splitlines() if line])
        said.append(err)
        assert worker.returncode == 0, err[-3000:]
    return [list(pair) for pair in zip(*ends, strict=True)], said
