"""The engine vllm: vLLM's offline engine, for GPUs and, slowly, for CPUs.

Input: a ModelDocument, sampling parameters, requests. Output: completions, each as soon as it is
finished. Prompts and completions are token ids of our own tokenizer, so vLLM's tokenizer and chat
template are not used. An adapter is served beside its base, unmerged. vLLM has its own environment:
envs/README.md.
"""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from orion.engines.protocol import Completion, Request, RuntimeOptions, Sampling
from orion.engines.stop_strings import StopStrings
from orion.engines.tokens import encode_prompts, max_prompt_tokens
from orion.errors import InputError
from orion.models import adapters, checkpoints
from orion.models.document import ModelDocument
from orion.progress import log

# the adapter ranks that vLLM supports
LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
# requests given to vLLM, as a multiple of its batch size, so that it never waits for the next one
QUEUE_FACTOR = 2
DEFAULT_BATCH_SIZE = 256  # sequences
# tokens read at once on a CPU, where a prompt must be read whole: see _start_vllm
CPU_PREFILL_TOKENS = 65536
# words of vLLM's errors when it lacks memory
MEMORY_ERRORS = ("memory", "KV cache", "gpu_memory_utilization", "OOM")

_Row = tuple[Request, list[int]]


class VllmEngine:
    """See ``protocol.Engine``; docs/engines.md says what a seed guarantees with vLLM.

    ``options.batch_size``: sequences per batch, vLLM's max_num_seqs.
    ``options.tensor_parallel_size``: GPUs that share the weights.
    ``options.gpu_memory_utilization``: the fraction of a GPU's memory that vLLM uses.
    ``options.batch_invariant``: slower kernels whose result for a row does not depend on the other
    rows (VLLM_BATCH_INVARIANT=1). They need compute capability 8.0, and vLLM reads the setting when
    it is first imported.
    """

    def __init__(self, document: ModelDocument, sampling: Sampling, options: RuntimeOptions):
        if not 0 < options.gpu_memory_utilization <= 1:
            raise InputError(
                f"--gpu-memory-percent {100 * options.gpu_memory_utilization:g}: give more than 0 "
                "and at most 100 percent of a GPU's memory"
            )
        batch_size = options.batch_size or DEFAULT_BATCH_SIZE
        self.sampling = sampling
        self.max_prompt_tokens = max_prompt_tokens(document, sampling)
        self.max_queued, self.is_stopped = QUEUE_FACTOR * batch_size, options.is_stopped
        self.tokenizer = checkpoints.load_tokenizer(document)
        self.eos = sorted(checkpoints.eos_ids(document, self.tokenizer))
        self.stop = StopStrings(sampling.stop, self.tokenizer)
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
                "max_lora_rank": _lora_rank(adapter.rank),
            }
        self.engine = _start_vllm(arguments, options.batch_invariant)
        self.lora = None
        if adapter is not None:
            from vllm.lora.request import LoRARequest

            self.lora = LoRARequest("adapter", 1, str(adapter_folder.absolute()))

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """One completion per request; raises InputError for a prompt without any token.

        Runs vLLM's step loop with a bounded queue, rather than ``LLM.generate`` on chunks. So
        completions are returned as they finish, the batch stays full at the end of a chunk, and a
        refused request costs only itself. Equal prompts are neighbours, so that the cache still
        holds a prompt when its next sample is generated.
        """
        fitting: list[_Row] = []
        for request, ids in encode_prompts(self.tokenizer, requests):
            if len(ids) > self.max_prompt_tokens:
                yield Completion(request.key, "", "prompt_too_long", len(ids), 0)
            else:
                fitting.append((request, ids))
        queue = deque(sorted(fitting, key=lambda row: (row[1], row[0].key)))
        running: dict[str, _Row] = {}
        # the tokens so far, where stop strings are looked for
        new: dict[str, list[int]] = {}
        try:
            while queue or running:
                if queue and self.is_stopped():
                    queue.clear()
                while queue and len(running) < self.max_queued:
                    row = queue.popleft()
                    if self._add(row):
                        running[row[0].key] = row
                    else:
                        yield _error_completion(row)
                if running and not self.engine.has_unfinished_requests():
                    raise RuntimeError(f"vLLM lost {len(running)} requests")
                for output in self.engine.step() if running else ():
                    key, part = output.request_id, output.outputs[0]
                    if key not in running:
                        continue
                    tokens = new.setdefault(key, [])
                    is_cut = self._extend(tokens, part.token_ids)
                    if is_cut and not output.finished:
                        self.engine.abort_request([key])
                    if is_cut or output.finished:
                        reason = "stop" if is_cut else part.finish_reason
                        yield self._make_completion(running.pop(key), new.pop(key), reason)
        finally:
            if running:
                self.engine.abort_request(list(running))

    def _extend(self, tokens: list[int], more: Iterable[int]) -> bool:
        """Add new tokens up to the one that completes a stop string; returns whether one does."""
        for token in more:
            tokens.append(token)
            if token not in self.eos and self.stop.is_reached(tokens):
                return True
        return False

    def _add(self, row: _Row) -> bool:
        from vllm import SamplingParams
        from vllm.exceptions import VLLMClientError
        from vllm.sampling_params import RequestOutputKind

        request, ids = row
        params = SamplingParams(
            temperature=self.sampling.temperature,
            top_p=self.sampling.top_p,
            top_k=self.sampling.top_k or 0,
            min_p=self.sampling.min_p or 0.0,
            repetition_penalty=self.sampling.repetition_penalty,
            presence_penalty=self.sampling.presence_penalty or 0.0,
            frequency_penalty=self.sampling.frequency_penalty or 0.0,
            max_tokens=self.sampling.max_tokens,
            # vLLM takes -2**63 to 2**63 - 1, with -1 for none; ours are 0 to 2**63 - 1
            seed=request.seed if self.sampling.temperature > 0 else None,
            stop_token_ids=self.eos,
            detokenize=False,
            # vLLM's own search for stop strings would need its own tokenizer
            output_kind=RequestOutputKind.DELTA if self.stop else RequestOutputKind.FINAL_ONLY,
        )
        try:
            prompt = self.engine.renderer.render_cmpl([{"prompt_token_ids": ids}])[0]
            self.engine.add_request(request.key, prompt, params, lora_request=self.lora)
        except (VLLMClientError, ValueError, TypeError) as error:
            log(f"vllm: a request is refused: {error}")
            return False
        return True

    def _make_completion(self, row: _Row, new: list[int], reason: str | None) -> Completion:
        request, ids = row
        if reason not in ("stop", "length"):
            log(f"vllm: a request ended as {reason}")
            return _error_completion(row)
        text = self.stop.cut(self.stop.decode(new))
        # the tokens include the end token
        return Completion(request.key, text, reason, len(ids), len(new))


def _error_completion(row: _Row) -> Completion:
    return Completion(row[0].key, "", "error", len(row[1]), 0)


def _lora_rank(rank: int) -> int:
    """The smallest rank that vLLM supports and that has room for the adapter's."""
    supported = next((r for r in LORA_RANKS if r >= rank), None)
    if supported is None:
        raise InputError(
            f"train.lora.r = {rank}: vLLM serves adapters of rank {LORA_RANKS[-1]} at most; set "
            "train.lora.merge_adapter: true"
        )
    return supported


def _start_vllm(arguments: dict[str, Any], batch_invariant: bool) -> Any:
    """Start vLLM; raises InputError where it is not installed or lacks memory."""
    if batch_invariant:
        os.environ["VLLM_BATCH_INVARIANT"] = "1"
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    # standard error is the log of a stage
    os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")
    try:
        from vllm import EngineArgs, LLMEngine
        from vllm.platforms import current_platform
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "vllm":
            raise
        raise InputError(
            "engine vllm: this environment has no vLLM; make setup-vllm builds .venv-vllm from "
            "envs/vllm.lock, whose Python must run the stage (envs/README.md)"
        ) from None
    if current_platform.is_cpu():
        if batch_invariant:
            raise InputError("--batch-invariant: vLLM has no such mode on CPUs; leave it out")
        # a second process takes half a minute to start and gains nothing; chunked prefill would
        # rewind a row's random generator, which CPU generators cannot do
        os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
        arguments = {
            **arguments,
            "enforce_eager": True,
            "enable_chunked_prefill": False,
            "max_num_batched_tokens": max(CPU_PREFILL_TOKENS, arguments["max_model_len"]),
        }
    try:
        return LLMEngine.from_engine_args(EngineArgs(**arguments))
    except (RuntimeError, ValueError, MemoryError) as error:
        message = " ".join(str(error).split())
        # where vLLM runs in a second process, only its own log lines name the cause
        is_hidden = "core initialization failed" in message
        if is_hidden or any(words in message for words in MEMORY_ERRORS):
            raise InputError(_memory_message(arguments, message)) from error
        if isinstance(error, ValueError):
            raise InputError(f"engine vllm: it does not start: {message[:500]}") from error
        raise


def _memory_message(arguments: dict[str, Any], message: str) -> str:
    percent = 100 * arguments["gpu_memory_utilization"]
    return (
        f"engine vllm: it does not start ({message[:300]}). If it lacks memory (see its own lines "
        f"above): lower --batch-size (now {arguments['max_num_seqs']}) or the model's "
        f"context_length (now {arguments['max_model_len']}), or raise --tensor-parallel-size (now "
        f"{arguments['tensor_parallel_size']}). Lower --gpu-memory-percent (now {percent:g}) where "
        "another process uses a part of the GPU; raise it where the cache has too little room"
    )
