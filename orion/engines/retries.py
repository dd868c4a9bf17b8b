"""Ask an HTTP server patiently: one POST at a time until it is answered, given up, or the run cannot go on.

Input: JSON bodies. Output: answers read by ``orion.engines.openai_protocol``. Failures that may pass are tried again with exponential
backoff and full jitter (Brooker, "Exponential backoff and jitter", 2015), never sooner than a server's Retry-After says.
"""

import asyncio
import email.utils
import random
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import httpx2

from orion.engines import openai_protocol
from orion.errors import InputError
from orion.progress import log

RETRY_STATUSES = {408, 409, 425}
# the server, or what stands before it, answers nobody for now: an outage, however many are asked meanwhile
UNAVAILABLE_STATUSES = {429, 502, 503, 504}
FATAL = {
    401: "the key is refused",
    402: "the account cannot pay",
    403: "the key has no access",
    404: "there is no such address or model",
    405: "this is no such server",
}
# seconds: the longest wait by ourselves, and the longest that a server's Retry-After is believed
MAX_WAIT_S, MAX_RETRY_AFTER_S = 60.0, 900.0
# a server that is away is looked for at least this often
RECONNECT_INTERVAL_S = 10.0
# this many failures before any success are no accident
MAX_INITIAL_FAILURES = 8
LOG_EVERY = 10.0


class RequestFailedError(Exception):
    """One request is not answered; the message says why."""


class ContextLengthExceededError(Exception):
    """One prompt does not fit into the server's context; the message is what the server says."""


class TokenBudgetExceededError(Exception):
    """The token budget is used up: nothing more may be asked."""


@dataclass(frozen=True)
class RetryPolicy:
    """``tries`` a request; ``timeout_s`` a try; waits grow from ``backoff_s``.

    A server that cannot be connected to, or says that it is busy or away (HTTP 429, 502, 503, 504), is waited for, which costs
    no tries: ``outage_s`` since its last answer, but only ``start_s`` for a connection before its first. A 502, 503 or 504 does
    cost a try where others were answered meanwhile: then it is about this request.
    """

    tries: int = 8
    timeout_s: float = 1800.0
    backoff_s: float = 1.0
    outage_s: float = 600.0
    start_s: float = 30.0


@dataclass(frozen=True)
class _Failure:
    reason: str
    away: bool = False
    connected: bool = True
    gateway: bool = False
    at_least: float = 0.0


class Client:
    """Counts tokens and failures over all requests. ``place`` names the configuration's block in messages.

    Connections belong to an event loop and live from ``open`` to ``close``; what is counted and known of the server outlives
    them, since the cell store asks once more for what failed.
    """

    def __init__(
        self,
        url: str,
        key: str | None,
        *,
        place: str,
        retry_policy: RetryPolicy,
        connections: int,
        budget: int | None,
        proven: bool = False,
    ):
        self.url, self.key, self.place, self.retry_policy, self.budget = (
            url,
            key,
            place,
            retry_policy,
            budget,
        )
        self.tokens = 0
        self.failures: Counter[str] = Counter()
        self.retries = self.successes = 0
        self._answered, self._proven = False, proven
        self._last_answer = self._last_log = -float("inf")
        self._connections = connections
        self._http: httpx2.AsyncClient

    def open(self) -> None:
        self._http = httpx2.AsyncClient(
            headers={"Authorization": f"Bearer {self.key}"} if self.key else {},
            timeout=httpx2.Timeout(None, connect=10.0),
            limits=httpx2.Limits(
                max_connections=self._connections, max_keepalive_connections=self._connections
            ),
        )

    async def close(self) -> None:
        await self._http.aclose()

    @property
    def exhausted(self) -> bool:
        return self.budget is not None and self.tokens >= self.budget

    async def ask(self, path: str, body: dict[str, Any]) -> openai_protocol.Answer:
        """The answer to one body; raises RequestFailedError, ContextLengthExceededError, TokenBudgetExceededError, and InputError where no request can succeed."""
        tried = waits = 0
        away_since: float | None = None
        others = self.successes
        while True:
            if self.exhausted:
                raise TokenBudgetExceededError
            outcome = await self._try(path, body)
            if isinstance(outcome, openai_protocol.Answer):
                return outcome
            # a gateway that fails for this request while others get through fails because of it
            if outcome.away and not (outcome.gateway and self.successes > others):
                away_since = away_since or time.monotonic()
                self._judge_outage(away_since, outcome)
            else:
                away_since, tried, others = None, tried + 1, self.successes
                if tried >= self.retry_policy.tries:
                    self._give_up(f"{outcome.reason}, {tried} times")
            self._log_retry(outcome.reason)
            longest = MAX_WAIT_S if outcome.connected else RECONNECT_INTERVAL_S
            wait = random.uniform(
                0, min(longest, self.retry_policy.backoff_s * 2 ** min(waits, 16))
            )
            await asyncio.sleep(wait + outcome.at_least)
            waits += 1

    async def _try(self, path: str, body: dict[str, Any]) -> openai_protocol.Answer | _Failure:
        try:
            async with asyncio.timeout(self.retry_policy.timeout_s):
                status, headers, content = await self._post(path, body)
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            reason = f"cannot connect ({openai_protocol.plain(str(error)) or type(error).__name__})"
            return _Failure(reason, away=True, connected=False)
        except TimeoutError:
            return _Failure(f"no answer within {self.retry_policy.timeout_s:g} s")
        except httpx2.RequestError as error:
            return _Failure(
                f"the connection broke ({type(error).__name__} {openai_protocol.plain(str(error))})"
            )
        except openai_protocol.MalformedResponseError as error:
            self.tokens += body["max_tokens"]
            return _Failure(str(error))
        if status == 200:
            return self._read(content, body["max_tokens"])
        return self._refused(status, headers, content)

    async def _post(self, path: str, body: dict[str, Any]) -> tuple[int, Any, bytes]:
        content = bytearray()
        async with self._http.stream("POST", self.url + path, json=body) as response:
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > openai_protocol.MAX_BYTES:
                    raise openai_protocol.MalformedResponseError(
                        f"the answer is longer than {openai_protocol.MAX_BYTES >> 20} MiB"
                    )
        # a server that repeats the key must not bring it into a log or a table
        whole = bytes(content).replace(self.key.encode(), b"***") if self.key else bytes(content)
        return response.status_code, response.headers, whole

    def _read(self, content: bytes, max_tokens: int) -> openai_protocol.Answer | _Failure:
        try:
            answer = openai_protocol.read(content)
        except openai_protocol.MalformedResponseError as error:
            # a server bills what we cannot read
            self.tokens += openai_protocol.billed(content, max_tokens)
            return _Failure(f"not an answer: {error}")
        self.tokens += answer.prompt_tokens + answer.completion_tokens
        self._answered = True
        self.successes += 1
        self._last_answer = time.monotonic()
        return answer

    def _refused(self, status: int, headers: Any, content: bytes) -> _Failure:
        if openai_protocol.is_overflow(status, content):
            self._answered = True
            raise ContextLengthExceededError(openai_protocol.complaint(content))
        reason = f"HTTP {status}: {openai_protocol.complaint(content)}"
        broke = status == 429 and b"insufficient_quota" in content
        # after a success a 403 is about this prompt, not about the key
        if (
            broke
            or 300 <= status < 400
            or (status in FATAL and not (status == 403 and self._answered))
        ):
            cause = FATAL.get(402 if broke else status, "it moved: give its final address")
            raise InputError(
                f"{self.place}: {self.url} answers {reason} ({cause}); see base_url, api_key_env, served_model"
            )
        if status not in RETRY_STATUSES | UNAVAILABLE_STATUSES and status < 500:
            self._give_up(reason)
        gateway = status in UNAVAILABLE_STATUSES and status != 429
        return _Failure(
            reason,
            away=status in UNAVAILABLE_STATUSES,
            gateway=gateway,
            at_least=retry_after(headers.get("retry-after")),
        )

    def _give_up(self, reason: str) -> None:
        self.failures[reason] += 1
        if self.failures[reason] == 1:
            log(f"openai: a request is given up: {reason}")
        if not (self._answered or self._proven) and self.failures.total() >= MAX_INITIAL_FAILURES:
            raise InputError(
                f"{self.place}: {self.url} answered none of {MAX_INITIAL_FAILURES} requests; the last: {reason}"
            )
        raise RequestFailedError(reason)

    def _judge_outage(self, since: float, failure: _Failure) -> None:
        limit = (
            self.retry_policy.outage_s
            if self._answered or failure.connected
            else self.retry_policy.start_s
        )
        # while others get through, so will this one
        if time.monotonic() - max(since, self._last_answer) <= limit:
            return
        if failure.connected:
            raise InputError(
                f"{self.place}: {self.url} answered nothing for {limit:g} s: {failure.reason}; run again when it does (what "
                "it answered is kept)"
            )
        raise InputError(
            f"{self.place}.base_url: {self.url} was not there for {limit:g} s: {failure.reason}; start the server or correct "
            "the address, then run again (what it answered is kept)"
        )

    def _log_retry(self, reason: str) -> None:
        self.retries += 1
        now = time.monotonic()
        if now - self._last_log >= LOG_EVERY:
            self._last_log = now
            log(f"openai: {reason}; trying again ({self.retries} failures so far)")


def retry_after(value: str | None) -> float:
    """Seconds from a Retry-After header, a number or a date; 0 where it is absent or nonsense."""
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
