"""The engine vllm as a process that bench/generation.py gives turns.

Input: the settings as JSON on the command line, a line on standard input for each turn. Output: a
line for each turn on standard output, with tokens and seconds as JSON. It runs in vLLM's own
environment (envs/README.md).
"""

import json
import os
import sys
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
import torch

from orion.engines import Request, RuntimeOptions, Sampling, open_engine
from orion.models.document import ModelDocument


def main() -> None:
    settings = json.loads(sys.argv[1])
    # what vLLM prints must not stand among the answers
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    document = ModelDocument(**settings["document"])
    sampling = Sampling(**settings["sampling"])
    engine = open_engine("vllm", document, sampling, RuntimeOptions(settings["batch_size"]))
    torch.set_num_threads(1)
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        requests = [Request(str(i), text, 1000 + i) for i, text in enumerate(json.loads(line))]
        # no turn profits from what earlier turns have read
        engine.engine.reset_prefix_cache()
        start = time.process_time()
        done = list(engine.generate(requests))
        seconds = time.process_time() - start
        tokens = sum(answer.completion_tokens for answer in done)
        print(json.dumps({"tokens": tokens, "seconds": seconds}), file=answers, flush=True)


if __name__ == "__main__":
    main()
