"""Run jobs with the engine vllm, in the environment that has it: JSON from standard input, completions to a JSON file.

``python vllm_jobs.py OUTPUT < JOBS``; a job is {doc, sampling, speed, requests}, perhaps with close_after (completions taken
before the iterator is closed and all is asked again) and environment.
"""

import dataclasses
import json
import os
import sys

from orion.engines import Request, Sampling, open_engine
from orion.errors import InputError


def answers(job: dict) -> list[dict] | str:
    """Completions as dictionaries, or the message of what was refused."""
    before = dict(os.environ)
    os.environ.update(job.get("environment", {}))
    try:
        engine = open_engine("vllm", job["doc"], Sampling(**job["sampling"]), **job["speed"])
        found = engine.generate([Request(*request) for request in job["requests"]])
        if job.get("close_after"):
            taken = [next(found) for _ in range(job["close_after"])]
            found.close()
            found = [*taken, *engine.generate([Request(*request) for request in job["requests"]])]
        return [dataclasses.asdict(completion) for completion in found]
    except InputError as error:
        return str(error)
    finally:
        os.environ.clear()
        os.environ.update(before)


if __name__ == "__main__":
    done = [answers(job) for job in json.load(sys.stdin)]
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        json.dump(done, file)
