"""Runs stages in forked processes and kills them: ``python killed_stages.py`` reads jobs as JSON lines on standard input.

A job names a stage, its arguments and null, or [n, seconds]: it is killed so long after its n-th completion, and stops by
itself a few completions later, so that a late signal costs no more than one in time. The answer is a JSON
line: the exit status and how many completions the engine gave. Libraries are loaded once, so that a job costs its own work only.
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

FLUSH = 8
# on a model this small, what a larger one costs
SECONDS_A_CELL = 0.003
# completions that may come after the one at which a kill is due
BEYOND = 6
STAGES = {"sample": sample, "reflect": reflect}


def child(job: dict, count: int) -> None:
    generate = engine.TransformersEngine.generate

    last = None if job["kill"] is None else job["kill"][0] + BEYOND

    def counted(self, requests):
        for number, completion in enumerate(generate(self, requests)):
            while number == last:
                signal.pause()
            time.sleep(SECONDS_A_CELL)
            os.write(count, b".")
            yield completion

    engine.TransformersEngine.generate = counted
    completions.complete = functools.partial(completions.complete, flush_every=FLUSH)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    STAGES[job["stage"]].main(job["argv"])


def run(job: dict) -> dict:
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        status = 1
        try:
            child(job, writer)
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
        # now, since sources may change under a long run of tests
        provenance.source_digest(f"orion.{stage}")
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)
