"""The stage train in several processes at once, many trainings one after another.

One process imports the stage and forks those of each training, since importing takes longer than
training does.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

DRIVER = '''
import json, os, random, signal, socket, sys, time, traceback
from pathlib import Path
from orion.errors import InputError
from orion.stages import train
from orion.training import trainer

# imported by the first training otherwise, in each process anew
import peft
from transformers import Qwen2ForCausalLM


def signal_in_step(rank, step, number):
    real, sent = trainer.PackedTrainer.training_step, []

    def training_step(self, *args, **kwargs):
        here = rank == self.args.process_index and self.state.global_step == step - 1
        if here and not sent:
            sent.append(step)
            os.kill(os.getpid(), number)
        return real(self, *args, **kwargs)

    trainer.PackedTrainer.training_step = training_step


def train_here(job, said):
    os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT), 2)
    os.dup2(2, 1)
    if "signal" in job:
        signal_in_step(*job["signal"])
    exec(job.get("before", ""), globals())
    try:
        train.command.run(lambda: train.main(job["words"]))
    except SystemExit as error:
        return error.code
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def free_port():
    # below the ports that the system gives away, so that no server of another test gets it first
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


def start(job, number, folder):
    count, pids = job.get("processes", 2), []
    port = free_port()
    for rank in range(count):
        pid = os.fork()
        if pid:
            pids.append(pid)
            continue
        if count > 1:
            os.environ |= {
                "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count),
                "LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
            }
        os._exit(train_here(job, f"{folder}/said-{number}-{rank}"))
    return pids


def kill_later(pids, work, seconds):
    """SIGKILL to all, some time after the next checkpoint."""
    def newest():
        found = Path(work).glob("*/checkpoint-*/trainer_state.json")
        return max((int(path.parent.name.split("-")[1]) for path in found), default=0)

    before = newest()
    give_up = time.monotonic() + 300
    while newest() <= before and time.monotonic() < give_up:
        time.sleep(0.002)
    time.sleep(seconds)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    return newest()


jobs, folder = json.loads(sys.argv[1]), sys.argv[2]
for number, job in enumerate(jobs):
    pids = start(job, number, folder)
    reached = kill_later(pids, job["work"], job["kill"]) if "kill" in job else None
    ends = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    said = [Path(f"{folder}/said-{number}-{rank}").read_text() for rank in range(len(pids))]
    print(json.dumps({"ends": ends, "said": said, "reached": reached}), flush=True)
'''


def run_together(jobs: list[dict], folder: Path) -> list[dict]:
    """What became of each job: the exit status of each process, and its standard error.

    A job has ``words``, the command line of the stage; ``processes`` (2); ``before``, code to run
    in each process; ``signal``, a process, step and number; ``kill``, seconds after the next
    checkpoint in ``work``, when all get SIGKILL; then ``reached`` is the last step saved.
    """
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, json.dumps(jobs), str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        # as the launcher sets it
        env={**os.environ, "TORCH_CPP_LOG_LEVEL": "ERROR"},
        timeout=1800,
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == len(jobs), f"{len(found)} of {len(jobs)} jobs ended"
    return found
