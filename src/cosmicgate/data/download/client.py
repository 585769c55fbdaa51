"""HTTP client with few connections, retries and exponential back-off, as archives ask for.

httpx transfers the bytes (streams, redirects, timeouts, pools), and tenacity retries. Existing downloaders do not fit:
pooch does not resume, downloads one file at a time, and needs every checksum beforehand, which is unknown for a part of
a file; astroquery reads whole files of hundreds of megabytes into memory, without resuming or checksums.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from threading import Event
from typing import Any, Self

from cosmicgate.extras import extra

with extra("train"):
    import httpx
    from tenacity import (
        RetryCallState,
        Retrying,
        retry_if_exception_type,
        stop_after_attempt,
        wait_exponential,
        wait_random,
    )
    from tenacity.nap import sleep_using_event

Progress = Callable[[str, int], None]  # is called with the path of a file and the number of bytes downloaded so far
RETRYABLE = {408, 425, 429, 500, 502, 503, 504}  # status codes after which another attempt may succeed

logging.getLogger("httpx").setLevel(logging.WARNING)  # one line per request would break up the progress bar


@dataclass(frozen=True)
class RetryPolicy:
    """Limits on connections, retries and waiting times.

    Attributes
    ----------
    connections : int
        Number of simultaneous downloads.
    attempts : int
        Number of consecutive attempts without progress after which a file is given up.
    delay, max_delay : float
        Seconds before the second attempt, doubled with each further one up to ``max_delay``; a random time of up to
        ``delay`` is added. A server's Retry-After is respected, unless it exceeds ``max_retry_after``.
    max_retry_after, timeout : float
        Maximum Retry-After, and maximum time without data from the server, seconds.
    """

    connections: int = 4
    attempts: int = 6
    delay: float = 1.0
    max_delay: float = 60.0
    max_retry_after: float = 600.0
    timeout: float = 60.0

    def __post_init__(self) -> None:
        if self.connections < 1 or self.attempts < 1:
            raise ValueError(f"expected at least 1 connection and 1 attempt, got {self.connections}, {self.attempts}")


DEFAULT_RETRY = RetryPolicy()


class FetchError(OSError):
    """Raised if a request or download fails for good."""


class RetryableError(FetchError):
    """Raised if another attempt, after ``wait`` seconds or more, may succeed."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


class Session:
    """A pool of connections, used as a context manager.

    Attributes
    ----------
    stop : Event
        Set it to end all waiting, retries and downloads.
    """

    def __init__(self, policy: RetryPolicy = DEFAULT_RETRY) -> None:
        self.policy, self.stop = policy, Event()
        self.cached_responses: dict[str, Any] = {}
        self.http = httpx.Client(
            timeout=policy.timeout,
            limits=httpx.Limits(max_connections=policy.connections),
            headers={"User-Agent": "cosmicgate", "Accept-Encoding": "identity"},  # bytes exactly as in the archive
            follow_redirects=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def request_json(self, method: str, url: str, **body: Any) -> Any:
        """Request a URL and decode its JSON response; responses to requests without a body are cached.

        Raises
        ------
        FetchError
            If the request fails, or the response is not JSON.
        """
        if not body and url in self.cached_responses:
            return self.cached_responses[url]

        def once() -> httpx.Response:
            with self.translated_errors(url):
                response = self.http.request(method, url, **body)
                self.check(response)
            return response

        response = self.retrying()(once)
        try:
            content = response.json()
        except ValueError as error:
            raise FetchError(f"{url}: expected JSON, got {response.text[:60]!r}") from error
        if not body:
            self.cached_responses[url] = content
        return content

    def retrying(self) -> Retrying:
        """Make a retrying caller with exponential back-off, which also respects the server's Retry-After."""
        policy = self.policy
        backoff = wait_exponential(multiplier=policy.delay, max=policy.max_delay) + wait_random(0, policy.delay)

        def wait(state: RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            return max(backoff(state), error.wait if isinstance(error, RetryableError) else 0.0)

        return Retrying(
            stop=stop_after_attempt(policy.attempts),
            wait=wait,
            retry=retry_if_exception_type(RetryableError),
            sleep=sleep_using_event(self.stop),
            reraise=True,
        )

    @contextmanager
    def translated_errors(self, url: str) -> Iterator[None]:
        """Convert httpx errors: failures of the connection to RetryableError, all others to FetchError."""
        try:
            yield
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            lasting = not isinstance(error, httpx.TransportError) or isinstance(error, httpx.UnsupportedProtocol)
            kind = FetchError if lasting else RetryableError
            raise kind(f"{url}: {str(error) or type(error).__name__}") from error

    def check(self, response: httpx.Response) -> None:
        """Raise RetryableError or FetchError if the response is an error."""
        if response.status_code < 400:
            return
        response.read()
        reason = f"{response.url}: HTTP {response.status_code}{server_message(response)}"
        if response.status_code not in RETRYABLE:
            raise FetchError(reason)
        wait = _retry_after(response.headers.get("Retry-After", ""))
        if wait > self.policy.max_retry_after:
            raise FetchError(f"{reason}, asks to wait {wait:.0f} s: try again then")
        raise RetryableError(reason, wait)


def server_message(response: httpx.Response) -> str:
    """Extract the server's error message from a response, in parentheses; empty if there is none."""
    try:
        content = response.json()
    except ValueError:
        return ""
    known = content if isinstance(content, dict) else {}
    words = [known[k] for k in ("errorMessage", "message", "detail") if k in known]
    return f" ({str(words[0]).splitlines()[0]})" if words and words[0] else ""


def _retry_after(value: str) -> float:
    """Parse a Retry-After header, in seconds or as a date, into seconds; 0 if it is missing or invalid."""
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return 0.0
