"""HTTP as an archive likes it: few connections, and patience.

httpx moves the bytes (streams, redirects, timeouts, pools), tenacity repeats. Why no ready-made downloader: pooch does
not resume, asks for one file at a time and wants every checksum beforehand, which a part of a file does not have;
astroquery reads whole files of hundreds of megabytes into memory and leaves resuming and checksums to the caller.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from threading import Event
from typing import Any, Self

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

PASSING = {408, 425, 429, 500, 502, 503, 504}  # answers that another attempt may better

logging.getLogger("httpx").setLevel(logging.WARNING)  # its line for each request would tear the progress bar


@dataclass(frozen=True)
class Manners:
    """How politely and how patiently an archive is asked.

    Attributes
    ----------
    connections : int
        Files that come at the same time.
    attempts : int
        In a row without a byte gained, until a file is given up.
    delay, longest : float
        Seconds before the second attempt, doubled with each further one up to ``longest``; chance adds up to ``delay``.
        A server that says Retry-After is obeyed, unless it asks for more than ``patience``.
    patience, timeout : float
        Seconds: the longest Retry-After, and how long a server may be silent.
    """

    connections: int = 4
    attempts: int = 6
    delay: float = 1.0
    longest: float = 60.0
    patience: float = 600.0
    timeout: float = 60.0

    def __post_init__(self) -> None:
        if self.connections < 1 or self.attempts < 1:
            raise ValueError(f"expected at least 1 connection and 1 attempt, got {self.connections}, {self.attempts}")


POLITE = Manners()


class FetchError(OSError):
    """An archive did not give what was asked for."""


class PassingError(FetchError):
    """A trouble that may be over at the next attempt, ``wait`` seconds later."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


class Session:
    """A pool of connections, to be used in a ``with`` block.

    Attributes
    ----------
    stop : Event
        Once set, whatever waits or repeats gives up.
    """

    def __init__(self, manners: Manners = POLITE) -> None:
        self.manners, self.stop = manners, Event()
        self.answers: dict[str, Any] = {}
        self.http = httpx.Client(
            timeout=manners.timeout,
            limits=httpx.Limits(max_connections=manners.connections),
            headers={"User-Agent": "cosmicgate", "Accept-Encoding": "identity"},  # bytes as they lie in the archive
            follow_redirects=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def ask(self, method: str, url: str, **body: Any) -> Any:
        """Return the JSON that a URL answers with; one that needs no body is asked once in a session."""
        if not body and url in self.answers:
            return self.answers[url]

        def once() -> httpx.Response:
            with self.passing(url):
                response = self.http.request(method, url, **body)
                self.check(response)
            return response

        response = self.patient()(once)
        try:
            answer = response.json()
        except ValueError as error:
            raise FetchError(f"{url}: expected JSON, got {response.text[:60]!r}") from error
        if not body:
            self.answers[url] = answer
        return answer

    def patient(self) -> Retrying:
        """Return what repeats a call, with exponential back-off and as the server asks."""
        manners = self.manners
        backoff = wait_exponential(multiplier=manners.delay, max=manners.longest) + wait_random(0, manners.delay)

        def wait(state: RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            return max(backoff(state), error.wait if isinstance(error, PassingError) else 0.0)

        return Retrying(
            stop=stop_after_attempt(manners.attempts),
            wait=wait,
            retry=retry_if_exception_type(PassingError),
            sleep=sleep_using_event(self.stop),
            reraise=True,
        )

    @contextmanager
    def passing(self, url: str) -> Iterator[None]:
        """Make of a connection that failed or broke something that is tried again."""
        try:
            yield
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            lasting = not isinstance(error, httpx.TransportError) or isinstance(error, httpx.UnsupportedProtocol)
            kind = FetchError if lasting else PassingError
            raise kind(f"{url}: {str(error) or type(error).__name__}") from error

    def check(self, response: httpx.Response) -> None:
        """Raise for an answer that is an error."""
        if response.status_code < 400:
            return
        response.read()
        reason = f"{response.url}: HTTP {response.status_code}{_said(response)}"
        if response.status_code not in PASSING:
            raise FetchError(reason)
        wait = _retry_after(response.headers.get("Retry-After", ""))
        if wait > self.manners.patience:
            raise FetchError(f"{reason}, asks to come back in {wait:.0f} s: try again then")
        raise PassingError(reason, wait)


def _said(response: httpx.Response) -> str:
    """Return the archive's own words about an error, if it has some."""
    try:
        content = response.json()
    except ValueError:
        return ""
    known = content if isinstance(content, dict) else {}
    words = [known[k] for k in ("errorMessage", "message", "detail") if k in known]
    return f" ({str(words[0]).splitlines()[0]})" if words and words[0] else ""


def _retry_after(value: str) -> float:
    """Return the seconds of a Retry-After header, which may also be a date; 0 where it says nothing."""
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return 0.0
