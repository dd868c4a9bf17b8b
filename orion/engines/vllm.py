"""The offline engine of vLLM, for GPUs (and, slowly, for CPUs): continuous batching and a paged cache in this process.

Input: a model.json document, sampling parameters, requests. Output: completions, each as soon as it ends. Prompts go in and
completions come out as token ids of our own tokenizer, so vLLM's idea of the tokenizer and its template do not matter. An
adapter is served beside its base, unmerged. vLLM lives in an environment of its own: envs/README.md.
"""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from orion.engines import Completion, Request, RuntimeOptions, Sampling
from orion.engines.tokens import encoded, max_prompt_tokens
from orion.errors import InputError
from orion.models import adapters, checkpoints
from orion.models.document import ModelDocument
from orion.progress import log

# ranks that vLLM has room for
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
# requests given to vLLM, as a multiple of those it works on at once: enough that none of its places ever waits for us
AHEAD = 2
DEFAULT_BATCH_SIZE = 256  # sequences
# tokens read at once on a CPU, where a prompt must be read whole: a row's generator cannot be set back there
CPU_PREFILL = 65536
MEMORY_WORDS = ("memory", "KV cache", "gpu_memory_utilization", "OOM")

_Row = tuple[Request, list[int]]


class VllmEngine:
    """See ``orion.engines.Engine``. What vLLM promises for a seed is in envs/README.md.

    ``batch_size``: sequences that vLLM works on at once (its max_num_seqs). ``tensor_parallel_size``: GPUs that share the
    weights. ``gpu_memory_utilization``: the part of a GPU's memory that vLLM takes. ``batch_invariant``: kernels whose result
    for a row does not depend on the rows beside it (VLLM_BATCH_INVARIANT=1), slower, compute capability 8.0 or newer; it is
    read when vLLM is first imported.
    """

    def __init__(
        self,
        document: ModelDocument,
        sampling: Sampling,
        options: RuntimeOptions,
    ):
        if not 0 < options.gpu_memory_utilization <= 1:
            raise InputError(
                f"--gpu-memory-percent {100 * options.gpu_memory_utilization:g}: give more than 0 "
                "and at most 100 percent of a GPU's memory"
            )
        batch_size = options.batch_size or DEFAULT_BATCH_SIZE
        self.sampling = sampling
        self.max_prompt_tokens = max_prompt_tokens(document, sampling)
        self.ahead = AHEAD * batch_size
        self.tokenizer = checkpoints.load_tokenizer(document)
        self.eos = sorted(checkpoints.eos_ids(document, self.tokenizer))
        arguments = {
            "model": str(checkpoints.verify_folder(document)),
            "skip_tokenizer_init": True,
            "trust_remote_code": document.trust_remote_code,
            "dtype": document.dtype,
            "max_model_len": document.context_length,
            "max_num_seqs": batch_size,
            "tensor_parallel_size": options.tensor_parallel_size,
            "gpu_memory_utilization": options.gpu_memory_utilization,
            "enable_prefix_caching": True,
            "disable_log_stats": True,
            "seed": 0,
        }
        adapter = document.adapter
        if adapter is not None:
            adapter_folder = adapters.verify_adapter_folder(adapter)
            arguments |= {
                "enable_lora": True,
                "max_loras": 1,
                "max_lora_rank": _rank(adapter.rank),
            }
        self.engine = _start_vllm(arguments, options.batch_invariant)
        self.lora = None
        if adapter is not None:
            from vllm.lora.request import LoRARequest

            self.lora = LoRARequest("adapter", 1, str(adapter_folder.absolute()))

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """One completion a request; raises InputError for a prompt without any token.

        vLLM's own step loop with a bounded number of requests ahead, rather than ``LLM.generate`` on chunks: completions come
        out as they end, no place idles at the end of a chunk, and one refused request is one error. Equal prompts stand
        together, so that the cache still holds a prompt when its next sample comes.
        """
        fitting: list[_Row] = []
        for request, ids in encoded(self.tokenizer, requests):
            if len(ids) > self.max_prompt_tokens:
                yield Completion(request.key, "", "prompt_too_long", len(ids), 0)
            else:
                fitting.append((request, ids))
        queue = deque(sorted(fitting, key=lambda row: (row[1], row[0].key)))
        running: dict[str, _Row] = {}
        try:
            while queue or running:
                while queue and len(running) < self.ahead:
                    row = queue.popleft()
                    if self._add(row):
                        running[row[0].key] = row
                    else:
                        yield _failed(row)
                if running and not self.engine.has_unfinished_requests():
                    raise RuntimeError(f"vLLM lost {len(running)} requests")
                for output in self.engine.step() if running else ():
                    if output.finished:
                        yield self._completion(running.pop(output.request_id), output.outputs[0])
        finally:
            if running:
                self.engine.abort_request(list(running))

    def _add(self, row: _Row) -> bool:
        from vllm import SamplingParams
        from vllm.exceptions import VLLMClientError
        from vllm.sampling_params import RequestOutputKind

        request, ids = row
        params = SamplingParams(
            temperature=self.sampling.temperature,
            top_p=self.sampling.top_p,
            repetition_penalty=self.sampling.repetition_penalty,
            max_tokens=self.sampling.max_tokens,
            # vLLM takes -2**63 to 2**63 - 1 and means "none" by -1; ours are 0 to 2**63 - 1, unchanged. Greedy needs none
            seed=request.seed if self.sampling.temperature > 0 else None,
            stop_token_ids=self.eos,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        try:
            prompt = self.engine.renderer.render_cmpl([{"prompt_token_ids": ids}])[0]
            self.engine.add_request(request.key, prompt, params, lora_request=self.lora)
        except (VLLMClientError, ValueError, TypeError) as error:
            log(f"vllm: a request is refused: {error}")
            return False
        return True

    def _completion(self, row: _Row, output: Any) -> Completion:
        request, ids = row
        if output.finish_reason not in ("stop", "length"):
            log(f"vllm: a request ended as {output.finish_reason}")
            return _failed(row)
        text = self.tokenizer.decode(
            output.token_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        # the token that ended it is among the ids
        return Completion(request.key, text, output.finish_reason, len(ids), len(output.token_ids))


def _failed(row: _Row) -> Completion:
    return Completion(row[0].key, "", "error", len(row[1]), 0)


def _rank(rank: int) -> int:
    found = next((r for r in RANKS if r >= rank), None)
    if found is None:
        raise InputError(
            f"train.lora.r = {rank}: vLLM serves adapters of rank {RANKS[-1]} at most; set train.lora.merge"
        )
    return found


def _start_vllm(arguments: dict[str, Any], batch_invariant: bool) -> Any:
    """vLLM's engine; raises InputError where it is not installed, or does not fit into memory."""
    if batch_invariant:
        os.environ["VLLM_BATCH_INVARIANT"] = "1"
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    # a stage's log is standard error
    os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")
    try:
        from vllm import EngineArgs, LLMEngine
        from vllm.platforms import current_platform
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "vllm":
            raise
        raise InputError(
            "engine vllm: this environment has no vLLM; make setup-vllm builds .venv-vllm from envs/vllm.lock, whose "
            "Python must run the stage (envs/README.md)"
        ) from None
    if current_platform.is_cpu():
        if batch_invariant:
            raise InputError("--batch-invariant: vLLM has no such mode on CPUs; leave it out")
        # a second process costs half a minute and buys nothing; chunked prefill sets generators back, which CPU ones cannot
        os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
        arguments = {
            **arguments,
            "enforce_eager": True,
            "enable_chunked_prefill": False,
            "max_num_batched_tokens": max(CPU_PREFILL, arguments["max_model_len"]),
        }
    try:
        return LLMEngine.from_engine_args(EngineArgs(**arguments))
    except (RuntimeError, ValueError, MemoryError) as error:
        said = " ".join(str(error).split())
        # with an engine process of its own the cause stands in vLLM's lines above, and the exception does not know it
        if "core initialization failed" in said or any(word in said for word in MEMORY_WORDS):
            raise InputError(_out_of_memory(arguments, said)) from error
        if isinstance(error, ValueError):
            raise InputError(f"engine vllm: it does not start: {said[:500]}") from error
        raise


def _out_of_memory(arguments: dict[str, Any], said: str) -> str:
    return (
        f"engine vllm: it does not start ({said[:300]}). If memory is what it lacks (its own lines above say so): lower "
        f"--batch-size (now {arguments['max_num_seqs']}) or the model's context_length (now {arguments['max_model_len']}), "
        f"or raise --tensor-parallel-size (now {arguments['tensor_parallel_size']}); lower --gpu-memory-percent (now "
        f"{100 * arguments['gpu_memory_utilization']:g}) where another process holds a part of the GPU, raise it where the cache "
        "has too little room"
    )
