"""The engine openai: sends many requests at once to any server of the OpenAI protocol.

Input: a ModelDocument, a server's address, sampling parameters, requests. Output: completions. The
prompts of a checkpoint go to ``/completions`` as token ids of the rendered text. Those of a served
model go to ``/chat/completions`` as messages. The HTTP client is httpx2, on which huggingface_hub
depends anyway. The openai package would be one more dependency, and its retries and response types
would compete with ours.
"""

import asyncio
import contextlib
import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Any

from orion.engines import openai_protocol, stop_strings
from orion.engines.budget import TokenBudget
from orion.engines.openai_address import read_api_key, read_base_url, read_headers
from orion.engines.openai_answers import Answer
from orion.engines.protocol import Completion, Request, RuntimeOptions, Sampling
from orion.engines.retries import (
    MAX_INITIAL_FAILURES,
    Client,
    ContextLengthExceededError,
    RequestFailedError,
    RetryPolicy,
    TokenBudgetExceededError,
    estimate_tokens,
)
from orion.engines.tokens import encode_prompts, max_prompt_tokens
from orion.errors import InputError
from orion.models import checkpoints
from orion.models.document import ModelDocument
from orion.progress import log

DEFAULT_BATCH_SIZE = 64  # requests under way at once
CONTEXT_FULL = "context_full"


class OpenAIEngine:
    """See ``protocol.Engine``; only ``document`` and ``sampling`` can change an answer.

    ``options.base_url``: the server's address, in which $NAME is looked up in the environment, as
    in ``options.headers`` and ``options.query``. ``options.api_key_env``: the variable that holds
    its key. ``options.batch_size``: requests under way at once. ``options.token_budget``: tokens of
    prompts and completions, as the server counts them, over all calls of ``generate`` and, in
    ``options.budget_folder``, over all tries. When it is used up, no further request is sent and
    ``generate`` raises InputError; requests under way still end and may exceed it. Finished
    completions are kept, and a run with a higher budget asks for the missing ones only.

    ``proven``: see `orion.engines.open_engine`. A request that fails for good is a completion with
    the finish reason error. A server that cannot be reached, or refuses the key or the model,
    raises InputError.
    """

    def __init__(
        self,
        document: ModelDocument,
        sampling: Sampling,
        options: RuntimeOptions,
        *,
        proven: bool = False,
        retry_policy: RetryPolicy = RetryPolicy(),  # noqa: B008 (frozen)
    ):
        self.config_key = f"models.{document.name}.server"
        if not options.base_url:
            raise InputError(
                f"{self.config_key}.base_url: the engine openai needs the address of a server of "
                "this model; set it"
            )
        batch_size = options.batch_size or DEFAULT_BATCH_SIZE
        self.sampling, self.batch_size = sampling, batch_size
        self.is_stopped = options.is_stopped
        headers, secrets = read_headers(options.headers, self.config_key)
        query, more_secrets = read_headers(options.query, self.config_key, "query")
        # one client for all calls of generate, which share the budget and the counts
        self.client = Client(
            read_base_url(options.base_url, self.config_key),
            read_api_key(options.api_key_env, self.config_key),
            config_key=self.config_key,
            retry_policy=retry_policy,
            connections=batch_size,
            budget=TokenBudget(options.token_budget, options.budget_folder),
            max_tokens=sampling.max_tokens,
            headers=headers,
            query=query,
            secrets=[*secrets, *more_secrets],
            proven=proven,
        )
        model = document.served_name or document.repo or document.path
        assert model is not None, "a document has one of these"
        self.model = model
        self.max_prompt_tokens = max_prompt_tokens(document, sampling)
        self.context_length_errors = 0
        self.tokenizer = None
        if not document.is_served:
            self.tokenizer = checkpoints.load_tokenizer(document)
            self.generation_config = checkpoints.read_checkpoint_json(
                document, "generation_config.json"
            )

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Completions, each as soon as it is finished; closing the iterator cancels the rest."""
        rows: list[tuple[Request, list[int]]] = []
        for request, ids in encode_prompts(self.tokenizer, requests):
            if len(ids) > self.max_prompt_tokens:
                yield Completion(request.key, "", "prompt_too_long", len(ids), 0)
            else:
                rows.append((request, ids))
        if not rows:
            return
        run = _Run(self, rows)
        run.start()
        try:
            yield from run.read_results()
        finally:
            run.stop()

    def make_body(self, request: Request, ids: list[int]) -> tuple[str, dict[str, Any]]:
        """Path and JSON body of one request."""
        if self.tokenizer is None:
            path = "/chat/completions"
            body = openai_protocol.chat_body(self.model, request, self.sampling)
        else:
            path = "/completions"
            body = openai_protocol.completion_body(
                self.model, ids, request, self.sampling, self.generation_config
            )
        return path, openai_protocol.apply_mapping(body, self.sampling.request)

    def make_completion(self, request: Request, ids: list[int], answer: Answer) -> Completion:
        """An answer as a completion, decoded by our own tokenizer where the server gave ids.

        Only the server knows how long a served model's prompt is. It may answer a prompt that
        leaves no room for ``max_tokens`` in the configured context. Such an answer is stored like
        any other, and ``orion.completions`` marks its row as too long. An answer that the server
        cut because its context was full has the finish reason context_full: it was paid for and is
        kept, but is valid for no table.
        """
        prompt_tokens, completion_tokens = self.count_tokens(request, ids, answer)
        is_cut = answer.finish_reason == "length" and completion_tokens < self.sampling.max_tokens
        reason = answer.finish_reason
        if prompt_tokens > self.max_prompt_tokens and is_cut:
            reason = CONTEXT_FULL
        if reason == "error":
            return Completion(request.key, "", "error", prompt_tokens, completion_tokens)
        text = answer.text
        if self.tokenizer is not None and answer.ids is not None:
            text = self.tokenizer.decode(
                answer.ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
        # the ids of a server hold the stop string's, its own text does not
        text = stop_strings.cut(text, self.sampling.stop)
        return Completion(request.key, text, reason, prompt_tokens, completion_tokens)

    def count_tokens(self, request: Request, ids: list[int], answer: Answer) -> tuple[int, int]:
        """Tokens of prompt and completion: as the server counts, else by our tokenizer.

        A served model has no tokenizer here; a quarter of the bytes is an estimate.
        """
        prompt, completion = answer.prompt_tokens, answer.completion_tokens
        if self.tokenizer is None:
            prompt = estimate_tokens(request.prompt) if prompt is None else prompt
            return prompt, estimate_tokens(answer.text) if completion is None else completion
        if completion is None:
            given = answer.ids
            text_ids = given if given is not None else self.tokenizer.encode(answer.text)
            completion = len(text_ids)
        return len(ids) if prompt is None else prompt, completion

    def check_context_length(self, request: Request, message: str) -> None:
        """Raises InputError where the server's context is shorter than the configured one.

        The server has just refused this prompt as too long, with this ``message``. A checkpoint's
        prompts are measured before they are sent, so its server's context is too short. A served
        model's prompt is certainly short enough if it has no more bytes than there is room for
        tokens; several such refusals before the first answer mean a short context. Longer prompts
        may really be too long, and a continued run may have nothing but those left.
        """
        if self.tokenizer is None:
            self.context_length_errors += (
                len(request.prompt.encode("utf-8", "surrogatepass")) <= self.max_prompt_tokens
            )
            if self.client.successes or self.context_length_errors < MAX_INITIAL_FAILURES:
                return
        configured = self.max_prompt_tokens + self.sampling.max_tokens
        raise InputError(
            f"{self.config_key}: {self.client.url} has a shorter context than the {configured:,} "
            f"tokens of models.{self.config_key.split('.')[1]}.context_length ({message}): start "
            "it with a longer one or configure a shorter"
        )


class _Run:
    """One call of ``generate``: an event loop in a thread that puts completions into a queue."""

    def __init__(self, engine: OpenAIEngine, rows: list[tuple[Request, list[int]]]):
        self.engine, self.rows = engine, rows
        self.todo = iter(rows)
        self.finished, self.is_cut = 0, False
        self.results: queue.SimpleQueue[Completion | BaseException | None] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._work, name="openai", daemon=True)
        self.stopped = threading.Event()
        self.task: asyncio.Task[Any] | None = None
        self.loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        self.thread.start()

    def read_results(self) -> Iterator[Completion]:
        while (item := self.results.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item

    def stop(self) -> None:
        """Cancel the requests under way and wait until the thread has ended."""
        self.stopped.set()
        if self.loop is not None and self.task is not None and self.thread.is_alive():
            # the loop may close meanwhile
            with contextlib.suppress(RuntimeError):
                self.loop.call_soon_threadsafe(self.task.cancel)
        self.thread.join()

    def _work(self) -> None:
        try:
            with contextlib.suppress(asyncio.CancelledError):
                asyncio.run(self._main())
        except BaseException as error:
            self.results.put(error)
        finally:
            self.results.put(None)

    async def _main(self) -> None:
        self.loop, self.task = asyncio.get_running_loop(), asyncio.current_task()
        if self.stopped.is_set():
            return
        client = self.engine.client
        client.open()
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self.engine.batch_size, len(self.rows))):
                    group.create_task(self._worker(client))
        except BaseExceptionGroup as group_error:
            # the other errors were caused by the first or repeat it
            raise group_error.exceptions[0] from None
        finally:
            await client.close()
            self._log_summary(client)
        missing = len(self.rows) - self.finished
        if missing and not self.is_cut:
            budget = client.budget
            before = budget.used_before
            others = f", {before:,} of them by other tries and shards" if before else ""
            raise InputError(
                f"the token budget of {budget.limit:,} is used up ({budget.total:,} counted"
                f"{others}); {missing} of {len(self.rows)} completions are missing. Finished ones "
                "are kept: raise the budget (resource token_budget) and run again"
            )

    async def _worker(self, client: Client) -> None:
        for request, ids in self.todo:
            if self.engine.is_stopped():
                self.is_cut = True
                return
            path, body = self.engine.make_body(request, ids)
            try:
                answer = await client.ask(path, body)
            except TokenBudgetExceededError:
                return
            except ContextLengthExceededError as error:
                self.engine.check_context_length(request, str(error))
                self.results.put(Completion(request.key, "", "prompt_too_long", len(ids), 0))
            except RequestFailedError:
                self.results.put(Completion(request.key, "", "error", len(ids), 0))
            else:
                self.results.put(self.engine.make_completion(request, ids, answer))
            self.finished += 1

    def _log_summary(self, client: Client) -> None:
        reasons = ", ".join(f"{reason} ({n})" for reason, n in client.failures.most_common(5))
        log(
            f"openai: {client.budget.used_here:,} tokens counted by the server, "
            f"{client.retries} tries repeated, {client.failures.total()} requests given up"
            f"{': ' if reasons else ''}{reasons}"
        )
