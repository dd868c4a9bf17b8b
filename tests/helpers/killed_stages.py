"""Runs stages in forked processes and kills them; jobs come as JSON lines on standard input.

A job names a stage, its arguments and null, or [n, seconds]: the stage is killed that long after
its n-th completion, and pauses by itself a few completions later, so that a late signal costs no
more than one in time. The answer is a JSON line: the exit status and how many completions the
engine gave. Libraries are loaded once, so that a job costs its own work only.
"""

import functools
import json
import os
import signal
import sys
import time
import warnings

import torch
import transformers.models.qwen2.modeling_qwen2  # noqa: F401

from orion import completions, provenance
from orion.engines import transformers as engine
from orion.stages import reflect, sample

FLUSH_EVERY = 8
# a model this small would take less
SECONDS_PER_COMPLETION = 0.003
# completions that may come after the one at which a kill is due
BEYOND = 6
STAGES = {"sample": sample, "reflect": reflect}


def run_stage(job: dict, count: int) -> None:
    """Run the job in this process and write one byte per completion to the descriptor ``count``."""
    generate = engine.TransformersEngine.generate
    last = job["kill"][0] + BEYOND if job["kill"] is not None else None

    def count_completions(self, requests):
        for number, completion in enumerate(generate(self, requests)):
            while number == last:
                signal.pause()
            time.sleep(SECONDS_PER_COMPLETION)
            os.write(count, b".")
            yield completion

    engine.TransformersEngine.generate = count_completions
    completions.complete = functools.partial(completions.complete, flush_every=FLUSH_EVERY)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    STAGES[job["stage"]].main(job["argv"])


def run_job(job: dict) -> dict:
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        status = 1
        try:
            run_stage(job, writer)
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    generated = 0
    if job["kill"] is not None:
        after, seconds = job["kill"]
        while generated < after and os.read(reader, 1):
            generated += 1
        time.sleep(seconds)
        os.kill(process, signal.SIGKILL)
    while block := os.read(reader, 4096):
        generated += len(block)
    os.close(reader)
    _, status = os.waitpid(process, 0)
    return {"status": os.waitstatus_to_exitcode(status), "generated": generated}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    for stage in STAGES:
        # before any job, since sources may change during a long run of tests
        provenance.source_digest(f"orion.stages.{stage}")
    for line in sys.stdin:
        print(json.dumps(run_job(json.loads(line))), flush=True)
