"""The engine for servers: any server of the OpenAI protocol, asked for many completions at once.

Input: a model.json document, a server's address, sampling parameters, requests. Output: completions. A checkpoint's
prompts go to ``/completions`` as token ids of the rendered text, those of a model that is only served to
``/chat/completions`` as messages. The client is httpx2, which huggingface_hub brings along anyway: the openai package would
be one dependency more, with retries and a response model of its own in the way of ours.
"""

import asyncio
import contextlib
import os
import queue
import string
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import httpx2

from orion.engines import Completion, Request, RuntimeOptions, Sampling, openai_protocol
from orion.engines.retries import (
    MAX_INITIAL_FAILURES,
    Client,
    ContextLengthExceededError,
    RequestFailedError,
    RetryPolicy,
    TokenBudgetExceededError,
)
from orion.engines.tokens import encoded, max_prompt_tokens
from orion.errors import InputError
from orion.models import checkpoints
from orion.models.document import ModelDocument
from orion.progress import log

DEFAULT_BATCH_SIZE = 64  # requests under way at once


class OpenAIEngine:
    """See ``orion.engines.Engine``; nothing here but ``document`` and ``sampling`` can change an answer.

    ``base_url``: the server's address, in which $NAME is taken from the environment; ``api_key_env``: the variable that holds
    its key. ``batch_size``: requests under way at once. ``token_budget``: tokens, of prompts and completions as the server
    counts them and over all calls of ``generate``, after which nothing more is asked; what is under way still ends, so the
    last ones may exceed it. Then InputError: the finished completions are kept, and a run with a higher budget asks for the
    missing ones only. ``proven``: nearly all of a table was answered in other runs, so that requests refused now are no sign of a
    wrong configuration. ``retry_policy``: see there.
    A request that fails for good is an error; a server that is not there, or refuses the key or the model, is InputError.
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
        self.place = f"models.{document.name}.server"
        if not options.base_url:
            raise InputError(
                f"{self.place}.base_url: the engine openai needs the address of a server of this "
                "model; set it"
            )
        batch_size = options.batch_size or DEFAULT_BATCH_SIZE
        self.sampling, self.batch_size = sampling, batch_size
        # one for all calls of generate: the budget is for all, and what was answered once counts in the next
        self.client = Client(
            address(options.base_url, self.place),
            api_key(options.api_key_env, self.place),
            place=self.place,
            retry_policy=retry_policy,
            connections=batch_size,
            budget=options.token_budget,
            proven=proven,
        )
        self.model = document.served_name or document.repo or document.path
        self.max_prompt_tokens = max_prompt_tokens(document, sampling)
        self.overflows = 0
        self.tokenizer = None
        if not document.is_served:
            self.tokenizer = checkpoints.load_tokenizer(document)
            self.generation_config = checkpoints.read_checkpoint_json(
                document, "generation_config.json"
            )

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Completions while the server works on others; closing the iterator cancels what is under way."""
        rows: list[tuple[Request, list[int]]] = []
        for request, ids in encoded(self.tokenizer, requests):
            if len(ids) > self.max_prompt_tokens:
                yield Completion(request.key, "", "prompt_too_long", len(ids), 0)
            else:
                rows.append((request, ids))
        if not rows:
            return
        run = _Run(self, rows)
        run.start()
        try:
            yield from run.results()
        finally:
            run.stop()

    def body(self, request: Request, ids: list[int]) -> tuple[str, dict[str, Any]]:
        """Path and JSON body of one request."""
        if self.tokenizer is None:
            return "/chat/completions", openai_protocol.chat_body(
                self.model, request, self.sampling
            )
        return "/completions", openai_protocol.completion_body(
            self.model, ids, request, self.sampling, self.generation_config
        )

    def completion(self, request: Request, answer: openai_protocol.Answer) -> Completion:
        """An answer as a completion; the response is decoded by our own tokenizer where the server gave ids.

        How long a served model's prompt is, only the server can say, and it may answer one that leaves no room for
        ``max_tokens`` in the configured context. That answer is paid for and is stored as what it is; the table that it is
        for shows the row as too long (``orion.completions``). One that the server cut for want of room is no answer for any table.
        """
        counts = (answer.prompt_tokens, answer.completion_tokens)
        cut = (
            answer.finish_reason == "length" and answer.completion_tokens < self.sampling.max_tokens
        )
        if answer.prompt_tokens > self.max_prompt_tokens and cut:
            return Completion(request.key, "", "prompt_too_long", answer.prompt_tokens, 0)
        if answer.finish_reason == "error":
            return Completion(request.key, "", "error", *counts)
        text = answer.text
        if self.tokenizer is not None and answer.ids is not None:
            text = self.tokenizer.decode(
                answer.ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
        return Completion(request.key, text, answer.finish_reason, *counts)

    def judge_overflow(self, request: Request, complaint: str) -> None:
        """Raises InputError where the server's context, not the prompt, is what is too short.

        A checkpoint's prompts are measured before they are asked. Those of a served model are surely short enough if they have
        no more bytes than there is room for tokens; several of them before the first answer are no accident. Longer ones may
        be what they are called, and only they are left where a run goes on after the others are answered.
        """
        if self.tokenizer is None:
            self.overflows += (
                len(request.prompt.encode("utf-8", "surrogatepass")) <= self.max_prompt_tokens
            )
            if self.client.successes or self.overflows < MAX_INITIAL_FAILURES:
                return
        raise InputError(
            f"{self.place}: {self.client.url} has a shorter context than the {self.max_prompt_tokens + self.sampling.max_tokens:,} tokens of "
            f"models.{self.place.split('.')[1]}.context_length ({complaint}): start it with a longer one or configure a shorter"
        )


class _Run:
    """One call of ``generate``: an event loop in a thread, whose completions come out of a queue."""

    def __init__(self, engine: OpenAIEngine, rows: list[tuple[Request, list[int]]]):
        self.engine, self.rows = engine, rows
        self.todo = iter(rows)
        self.asked = 0
        self.out: queue.SimpleQueue[Completion | BaseException | None] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._work, name="openai", daemon=True)
        self.stopped = threading.Event()
        self.task: asyncio.Task | None = None
        self.loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        self.thread.start()

    def results(self) -> Iterator[Completion]:
        while (item := self.out.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item

    def stop(self) -> None:
        """Cancel what is under way and wait until the thread has ended; nothing happens where it ended by itself."""
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
            self.out.put(error)
        finally:
            self.out.put(None)

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
            # the first says what is wrong; the others were cancelled for it or say the same
            raise group_error.exceptions[0] from None
        finally:
            await client.close()
            self._summary(client)
        left = len(self.rows) - self.asked
        if left:
            raise InputError(
                f"the token budget of {client.budget:,} is used up ({client.tokens:,} counted); {left} of "
                f"{len(self.rows)} completions are missing. Those there are kept: raise the budget and run again"
            )

    async def _worker(self, client: Client) -> None:
        for request, ids in self.todo:
            path, body = self.engine.body(request, ids)
            try:
                answer = await client.ask(path, body)
            except TokenBudgetExceededError:
                return
            except ContextLengthExceededError as overflow:
                self.engine.judge_overflow(request, str(overflow))
                self.out.put(Completion(request.key, "", "prompt_too_long", len(ids), 0))
            except RequestFailedError:
                self.out.put(Completion(request.key, "", "error", len(ids), 0))
            else:
                self.out.put(self.engine.completion(request, answer))
            self.asked += 1

    def _summary(self, client: Client) -> None:
        given_up = ", ".join(f"{reason} ({n})" for reason, n in client.failures.most_common(5))
        log(
            f"openai: {client.tokens:,} tokens counted by the server, {client.retries} tries repeated, "
            f"{client.failures.total()} requests given up{': ' if given_up else ''}{given_up}"
        )


def address(base_url: str, place: str) -> str:
    """The server's address with ``$NAME`` taken from the environment; raises InputError for what is none."""
    try:
        text = string.Template(base_url).substitute(os.environ).rstrip("/")
        url = httpx2.URL(text)
    except KeyError as error:
        raise InputError(
            f"{place}.base_url: the environment has no {error.args[0]}; set it to the address"
        ) from None
    except (ValueError, httpx2.InvalidURL):
        raise InputError(
            f"{place}.base_url: this is no address; give http(s)://host:port/v1"
        ) from None
    if (
        url.scheme not in ("http", "https")
        or not url.host
        or url.userinfo
        or url.query
        or url.fragment
    ):
        raise InputError(
            f"{place}.base_url: give http(s)://host:port/v1, without a user, a query or a key in it (api_key_env)"
        )
    return text


def api_key(variable: str | None, place: str) -> str | None:
    """The key from the environment; raises InputError, without the key, where it is unset or no key."""
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise InputError(
            f"{place}.api_key_env: the environment has no {variable}; export it where the stage runs"
        )
    if not key.isascii() or not key.isprintable():
        raise InputError(f"{place}.api_key_env: {variable} holds characters that no key has")
    return key
