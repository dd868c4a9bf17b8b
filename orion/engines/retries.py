"""An HTTP client that retries: each POST until it is answered, fails for good, or the run must end.

Input: JSON bodies. Output: answers read by ``orion.engines.openai_answers``. Failures that may be
temporary are retried with exponential backoff and full jitter (Brooker, "Exponential backoff and
jitter", 2015), never sooner than a server's Retry-After says.
"""

import asyncio
import email.utils
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import httpx2

from orion.engines import openai_answers
from orion.engines.budget import TokenBudget
from orion.engines.openai_answers import Answer, MalformedResponseError, ServerError
from orion.errors import InputError
from orion.progress import log

RETRY_STATUSES = {408, 409, 425}
# the server or its gateway answers no request for now: an outage
UNAVAILABLE_STATUSES = {429, 502, 503, 504}
FATAL_STATUSES = {
    401: "the key is refused",
    402: "the account cannot pay",
    403: "the key has no access",
    404: "there is no such address or model",
    405: "endpoint not supported",
}
# the longest backoff, and the longest Retry-After of a server that is followed
MAX_WAIT_S, MAX_RETRY_AFTER_S = 60.0, 900.0
# the longest wait between two attempts to connect
RECONNECT_INTERVAL_S = 10.0
# this many failures before any success mean a wrong configuration
MAX_INITIAL_FAILURES = 8
LOG_INTERVAL_S = 10.0


class RequestFailedError(Exception):
    """One request failed for good; the message says why."""


class ContextLengthExceededError(Exception):
    """One prompt does not fit into the server's context; the message is the server's."""


class TokenBudgetExceededError(Exception):
    """The token budget is used up: no further request may be sent."""


@dataclass(frozen=True)
class RetryPolicy:
    """``tries`` per request, each of at most ``timeout_s``; waits grow from ``backoff_s``.

    An outage costs no tries. It is an outage if the server cannot be reached or answers HTTP 429,
    502, 503 or 504. The client waits ``outage_s`` since the server's last answer, but only
    ``start_s`` for the first connection. A 502, 503 or 504 does cost a try if other requests were
    answered meanwhile, because then this request is its cause.
    """

    tries: int = 8
    timeout_s: float = 1800.0
    backoff_s: float = 1.0
    outage_s: float = 600.0
    start_s: float = 30.0


@dataclass(frozen=True)
class _Failure:
    """A try that failed and may be repeated.

    ``unavailable``: no request is answered for now. ``gateway``: HTTP 502, 503 or 504.
    ``retry_after_s``: the server's wish.
    """

    reason: str
    unavailable: bool = False
    connected: bool = True
    gateway: bool = False
    retry_after_s: float = 0.0


class Client:
    """Sends requests and counts tokens and failures over all of them.

    ``config_key`` names the server's block of the configuration in messages. ``max_tokens``: of
    every request. ``secrets``: what must not be shown, beside ``key``. Connections belong to an
    event loop and live from ``open`` to ``close``. Counts live as long as the client, because the
    completion store asks failed requests once more.
    """

    def __init__(
        self,
        url: str,
        key: str | None,
        *,
        config_key: str,
        retry_policy: RetryPolicy,
        connections: int,
        budget: TokenBudget,
        max_tokens: int,
        headers: dict[str, str],
        query: dict[str, str],
        secrets: Sequence[str] = (),
        proven: bool = False,
    ):
        self.url, self.config_key = url, config_key
        self.retry_policy, self.budget, self.max_tokens = retry_policy, budget, max_tokens
        authorization = {"Authorization": f"Bearer {key}"} if key else {}
        self._headers, self._query = {**authorization, **headers}, query
        # the longest first, where one is part of another
        self._secrets = sorted({*secrets, *([key] if key else [])}, key=len, reverse=True)
        self.failures: Counter[str] = Counter()
        self.retries = self.successes = 0
        self._answered, self._proven, self._estimates = False, proven, False
        self._last_answer = self._last_log = -float("inf")
        self._connections = connections
        self._http: httpx2.AsyncClient

    def open(self) -> None:
        """Open the connections, in the running event loop."""
        self._http = httpx2.AsyncClient(
            headers=self._headers,
            params=self._query,
            timeout=httpx2.Timeout(None, connect=10.0),
            limits=httpx2.Limits(
                max_connections=self._connections, max_keepalive_connections=self._connections
            ),
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def ask(self, path: str, body: dict[str, Any]) -> Answer:
        """The answer to one body.

        Raises RequestFailedError, ContextLengthExceededError, TokenBudgetExceededError, and
        InputError where no request can succeed.
        """
        tries = waits = 0
        outage_start: float | None = None
        successes = self.successes
        while True:
            if self.budget.is_spent:
                raise TokenBudgetExceededError
            outcome = await self._try(path, body)
            if isinstance(outcome, Answer):
                return outcome
            # a gateway that fails on this request while others succeed fails because of it
            if outcome.unavailable and not (outcome.gateway and self.successes > successes):
                outage_start = outage_start or time.monotonic()
                self._check_outage(outage_start, outcome)
            else:
                outage_start, tries, successes = None, tries + 1, self.successes
                if tries >= self.retry_policy.tries:
                    self._give_up(f"{outcome.reason}, {tries} times")
            self._log_retry(outcome.reason)
            longest = MAX_WAIT_S if outcome.connected else RECONNECT_INTERVAL_S
            wait = random.uniform(
                0, min(longest, self.retry_policy.backoff_s * 2 ** min(waits, 16))
            )
            await asyncio.sleep(wait + outcome.retry_after_s)
            waits += 1

    async def _try(self, path: str, body: dict[str, Any]) -> Answer | _Failure:
        try:
            async with asyncio.timeout(self.retry_policy.timeout_s):
                status, headers, content = await self._post(path, body)
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            text = openai_answers.clean_text(str(error)) or type(error).__name__
            return _Failure(f"cannot connect ({text})", unavailable=True, connected=False)
        except TimeoutError:
            return _Failure(f"no answer within {self.retry_policy.timeout_s:g} s")
        except httpx2.RequestError as error:
            text = openai_answers.clean_text(str(error))
            return _Failure(f"the connection broke ({type(error).__name__} {text})")
        except MalformedResponseError as error:
            self.budget.add(self.max_tokens)
            return _Failure(str(error))
        if status == 200:
            return self._read_answer(headers, content, body)
        return self._read_error(status, headers, content)

    async def _post(self, path: str, body: dict[str, Any]) -> tuple[int, Any, bytes]:
        content = bytearray()
        async with self._http.stream("POST", self.url + path, json=body) as response:
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > openai_answers.MAX_BYTES:
                    raise MalformedResponseError(
                        f"the answer is longer than {openai_answers.MAX_BYTES >> 20} MiB"
                    )
        # a server may repeat the key, which must not reach a log or a table
        whole = bytes(content)
        for secret in self._secrets:
            whole = whole.replace(secret.encode(), b"***")
        return response.status_code, response.headers, whole

    def _read_answer(self, headers: Any, content: bytes, body: dict[str, Any]) -> Answer | _Failure:
        try:
            answer = openai_answers.read_answer(content, self.max_tokens)
        except MalformedResponseError as error:
            # the server bills also for an answer that cannot be read
            self.budget.add(openai_answers.count_billed_tokens(content, self.max_tokens))
            return _Failure(f"not an answer: {error}")
        if isinstance(answer, ServerError):
            self.budget.add(openai_answers.count_billed_tokens(content, 0))
            return self._read_error(answer.status, headers, content, answer)
        self._count(answer, body)
        self._answered = True
        self.successes += 1
        self._last_answer = time.monotonic()
        return answer

    def _count(self, answer: Answer, body: dict[str, Any]) -> None:
        """Count an answer's tokens; estimates where the server gives none."""
        prompt, completion = answer.prompt_tokens, answer.completion_tokens
        if prompt is None or completion is None:
            if not self._estimates:
                log("openai: the server counts no tokens; they are counted here or estimated")
            self._estimates = True
            ids = body.get("prompt")
            asked = len(ids) if isinstance(ids, list) else estimate_tokens(str(body["messages"]))
            prompt = asked if prompt is None else prompt
            completion = estimate_tokens(answer.text) if completion is None else completion
        self.budget.add(prompt + completion)

    def _read_error(
        self, status: int, headers: Any, content: bytes, embedded: ServerError | None = None
    ) -> _Failure:
        """An error by its status; ``embedded``: it came in the body of a response with 200."""
        if openai_answers.is_context_length_error(status, content):
            self._answered = True
            raise ContextLengthExceededError(openai_answers.error_message(content))
        if embedded is None:
            reason = f"HTTP {status}: {openai_answers.error_message(content)}"
        else:
            reason = f"HTTP 200 with an error ({status}): {embedded.message}"
        no_quota = status == 429 and b"insufficient_quota" in content
        # after a success a 403 is caused by this prompt, not by the key
        is_fatal = status in FATAL_STATUSES and not (status == 403 and self._answered)
        if no_quota or is_fatal or 300 <= status < 400:
            cause = FATAL_STATUSES.get(
                402 if no_quota else status, "it moved: give its final address"
            )
            raise InputError(
                f"{self.config_key}: {self.url} answers {reason} ({cause}); see base_url, "
                "api_key_env, served_model"
            )
        if status not in RETRY_STATUSES | UNAVAILABLE_STATUSES and status < 500:
            self._give_up(reason)
        gateway = status in UNAVAILABLE_STATUSES and status != 429
        return _Failure(
            reason,
            unavailable=status in UNAVAILABLE_STATUSES,
            gateway=gateway,
            retry_after_s=read_retry_after(headers.get("retry-after")),
        )

    def _give_up(self, reason: str) -> NoReturn:
        self.failures[reason] += 1
        if self.failures[reason] == 1:
            log(f"openai: a request is given up: {reason}")
        if not (self._answered or self._proven) and self.failures.total() >= MAX_INITIAL_FAILURES:
            raise InputError(
                f"{self.config_key}: {self.url} answered none of {MAX_INITIAL_FAILURES} requests; "
                f"the last: {reason} (a parameter that the server refuses: see "
                f"{self.config_key}.request)"
            )
        raise RequestFailedError(reason)

    def _check_outage(self, start: float, failure: _Failure) -> None:
        """Raises InputError where the outage lasts too long."""
        limit = (
            self.retry_policy.outage_s
            if self._answered or failure.connected
            else self.retry_policy.start_s
        )
        # while other requests are answered, the server is there
        if time.monotonic() - max(start, self._last_answer) <= limit:
            return
        if failure.connected:
            raise InputError(
                f"{self.config_key}: {self.url} answered nothing for {limit:g} s: "
                f"{failure.reason}; run again when it answers (finished completions are kept)"
            )
        raise InputError(
            f"{self.config_key}.base_url: {self.url} was not there for {limit:g} s: "
            f"{failure.reason}; start the server or correct the address, then run again "
            "(finished completions are kept)"
        )

    def _log_retry(self, reason: str) -> None:
        self.retries += 1
        now = time.monotonic()
        if now - self._last_log >= LOG_INTERVAL_S:
            self._last_log = now
            log(f"openai: {reason}; trying again ({self.retries} failures so far)")


def estimate_tokens(text: str) -> int:
    """About how many tokens a text has: a quarter of its bytes."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // 4)


def read_retry_after(value: str | None) -> float:
    """Seconds from a Retry-After header, a number or a date; 0 where it is absent or invalid."""
    if value is None:
        return 0.0
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return 0.0
    # a comparison with nan is false
    return min(seconds, MAX_RETRY_AFTER_S) if seconds > 0 else 0.0
