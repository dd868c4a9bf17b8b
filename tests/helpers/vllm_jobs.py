"""Runs jobs with the engine vllm in its own environment: ``python vllm_jobs.py OUTPUT < JOBS``.

Input: a JSON list of jobs. A job is {document, sampling, options, requests}, perhaps with
close_after (after so many completions the iterator is closed and all requests are asked again) and
environment. Output: a JSON file of completions.
"""

import dataclasses
import json
import os
import sys

from orion.engines import Request, RuntimeOptions, Sampling, open_engine
from orion.errors import InputError
from orion.models.document import from_json


def run_job(job: dict) -> list[dict] | str:
    """Completions as dictionaries, or the message of an InputError."""
    before = dict(os.environ)
    os.environ.update(job.get("environment", {}))
    try:
        document = from_json(job["document"])
        sampling, options = Sampling(**job["sampling"]), RuntimeOptions(**job["options"])
        engine = open_engine("vllm", document, sampling, options)
        requests = [Request(*request) for request in job["requests"]]
        found = engine.generate(requests)
        if job.get("close_after"):
            taken = [next(found) for _ in range(job["close_after"])]
            found.close()
            found = [*taken, *engine.generate(requests)]
        return [dataclasses.asdict(completion) for completion in found]
    except InputError as error:
        return str(error)
    finally:
        os.environ.clear()
        os.environ.update(before)


if __name__ == "__main__":
    done = [run_job(job) for job in json.load(sys.stdin)]
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        json.dump(done, file)
