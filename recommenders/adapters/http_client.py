"""JSON over HTTP, for requests that may be sent again: whole answers by a deadline, a bounded number of tries.

One connection is kept open and made anew where the server closed it. A failure that may pass - no connection, no whole
answer in time, broken JSON, status 408, 425, 429, 500, 502, 503, 504 - is tried again, later each time; any other ends
the call. Nothing here changes an answer, so pauses cannot change a result; their jitter is a hash of the request and
the try, not a draw. Redirects are not followed, proxies of the environment are not used.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import ssl
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection, IncompleteRead
from socket import socket
from time import monotonic, sleep
from typing import Any

from recommenders.adapters.http_config import ENVIRONMENT, HttpConfig
from recommenders.base import RecommenderError

_PASSING = {408, 425, 429, 500, 502, 503, 504}
_EXCERPT = 300
"""Characters that an error shows of what a server said."""


class StatusError(RecommenderError):
    """The server answered with a status that trying again will not change."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class _PassingError(Exception):
    """Worth another try, after some seconds if the server said how many."""

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


@dataclass(frozen=True)
class _Message:
    """A request, the same at each try.

    Attributes:
        method, path: of the request.
        body: JSON; none for GET.
        key: says that two requests are one.
        seconds: until the whole answer.
    """

    method: str
    path: str
    body: bytes | None
    key: str
    seconds: float


class HttpClient:
    """Speaks JSON with one server, over one connection."""

    def __init__(self, config: HttpConfig) -> None:
        """Opens nothing yet.

        Raises:
            RecommenderError: an environment variable is not set, or the certificates cannot be read.
        """
        self._config = config
        self._secrets = {name: _from_environment(name, value) for name, value in config.headers.items()}
        self._connection = _connection(config)
        weakref.finalize(self, self._connection.close)

    def get(self, path: str) -> Any:
        """The JSON that the server has at a path. Raises as `post`."""
        return self._call(_Message("GET", path, None, path, self._config.answer_timeout_seconds))

    def post(self, path: str, content: Mapping[str, Any], seconds: float) -> Any:
        """The JSON that the server answers.

        Args:
            path: below the url of the settings.
            content: sent as JSON; the same content has the same Idempotency-Key.
            seconds: for each try, until the whole answer.

        Raises:
            StatusError: the server refuses.
            RecommenderError: no answer after all tries, or one that must not be trusted: with a wrong certificate, a
                redirect, too long.
        """
        body = json.dumps(content, separators=(",", ":"), allow_nan=False).encode()
        key = hashlib.sha256(path.encode() + b"\n" + body).hexdigest()[:32]
        return self._call(_Message("POST", path, body, key, seconds))

    def where(self, method: str, path: str) -> str:
        """The request, for messages."""
        return f"{method} {self._config.url.rstrip('/')}{path}"

    def _call(self, message: _Message) -> Any:
        where, tries, start = self.where(message.method, message.path), self._config.tries, monotonic()
        for nth in range(1, tries + 1):
            try:
                return self._answer(message)
            except ssl.SSLCertVerificationError as error:
                self._connection.close()
                reason = f"{where}: got a certificate that cannot be trusted ({error.verify_message})"
                raise RecommenderError(f"{reason}, expected one of a known authority; see ca_file") from error
            except (_PassingError, OSError, HTTPException) as error:
                self._connection.close()
                last, asked = self._in_words(error, message), getattr(error, "retry_after", 0.0)
            except BaseException:  # Ctrl-C, or an answer left half read
                self._connection.close()
                raise
            if asked > self._config.longest_wait_seconds:
                last += f", which asks to wait {asked:.0f} s, longer than longest_wait_seconds"
                break
            if nth < tries:
                sleep(max(asked, self._pause(message.key, nth)))
        tried = f"{nth} {'try' if nth == 1 else 'tries'} in {monotonic() - start:.1f} s"
        raise RecommenderError(f"{where}: gave up after {tried}; the last: {last}")

    def _pause(self, key: str, nth: int) -> float:
        """Seconds after the nth try: a hash takes the place of a random number, and sets clients apart like one."""
        share = int.from_bytes(hashlib.sha256(f"{key} {nth}".encode()).digest()[:8]) / 2**64
        longest = min(self._config.backoff_seconds * 2.0 ** (nth - 1), self._config.longest_wait_seconds)
        return longest * (1 - share / 2)

    def _answer(self, message: _Message) -> Any:
        kept = self._connection.sock is not None
        try:
            body = self._exchange(message)
        except ConnectionError:
            # A server may close a kept connection at any time: that alone is no failed try.
            if not kept:
                raise
            self._connection.close()
            body = self._exchange(message)
        try:
            return json.loads(body)
        except (ValueError, RecursionError) as error:
            raise _PassingError(f"not JSON ({error}): {self._excerpt(body)}") from error

    def _exchange(self, message: _Message) -> bytes:
        connection, limit = self._connection, self._config.max_answer_bytes
        if connection.sock is None:
            connection.connect()
        connection.deadline = monotonic() + message.seconds
        connection.sock.settimeout(message.seconds)
        headers = {"Accept": "application/json", "Idempotency-Key": message.key, **self._secrets}
        if message.body is not None:
            headers["Content-Type"] = "application/json"
        base = self._config.address.path.rstrip("/")
        connection.request(message.method, base + message.path, message.body, headers)
        response = connection.getresponse()
        promised = response.length
        if promised is None or promised <= limit:
            body = response.read(limit + 1)
        if (promised or len(body)) > limit:
            got = f"an answer of {promised or f'more than {limit}'} bytes"
            raise RecommenderError(f"{self.where(message.method, message.path)}: got {got}, expected at most {limit}")
        if promised is not None and len(body) < promised:  # reading a piece does not check
            raise IncompleteRead(body, promised - len(body))
        self._check_status(response, body, self.where(message.method, message.path))
        return body

    def _check_status(self, response: HTTPResponse, body: bytes, where: str) -> None:
        status = response.status
        got = f"status {status}: {self._excerpt(body)}"
        if status in _PASSING:
            raise _PassingError(got, _retry_after(response.headers.get("Retry-After")))
        if 300 <= status < 400:
            target = self._excerpt(response.headers.get("Location", "nowhere").encode())
            raise StatusError(
                f"{where}: got a redirect to {target}, expected an answer; no redirect is followed", status
            )
        if status != 200:
            raise StatusError(f"{where}: got {got}, expected status 200", status)
        encoding = response.headers.get("Content-Encoding", "identity")
        if encoding != "identity":
            raise RecommenderError(f"{where}: got an answer encoded by {encoding!r}, expected plain JSON")

    def _in_words(self, error: Exception, message: _Message) -> str:
        if isinstance(error, TimeoutError):
            limits = f"{self._config.connect_timeout_seconds:g} s to connect, {message.seconds:g} s to answer"
            return f"time ran out ({limits})"
        if isinstance(error, IncompleteRead):
            return f"an answer that broke off after {len(error.partial)} bytes"
        if isinstance(error, OSError):
            return f"{type(error).__name__}: {error}"
        if isinstance(error, HTTPException):  # tells what the server sent in place of HTTP
            return f"{type(error).__name__}: {self._excerpt(str(error).encode())}"
        return str(error)

    def _excerpt(self, body: bytes) -> str:
        """The beginning of what a server said, printable, without the secrets that it may repeat."""
        text = body[:10_000].decode(errors="replace")
        for secret in self._secrets.values():
            for part in (secret, secret.split()[-1]):  # the token behind `Bearer`, too
                text = text.replace(part, "(secret)")
        return repr(text if len(text) <= _EXCERPT else f"{text[:_EXCERPT]}...")


class _ReadUntil(io.RawIOBase):
    """A connection's bytes up to a deadline: a server that sends a byte now and then would outlive any time-out."""

    def __init__(self, source: socket, deadline: float) -> None:
        self._source, self._deadline = source, deadline
        self._bytes = source.makefile("rb", buffering=0)

    def makefile(self, mode: str) -> io.BufferedReader:
        """What `HTTPResponse` asks a socket for."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._deadline - monotonic()
        if left <= 0:
            raise TimeoutError
        self._source.settimeout(left)
        return self._bytes.readinto(buffer)

    def close(self) -> None:
        self._bytes.close()
        super().close()


class _Connection(HTTPConnection):
    """A connection whose answers must be whole by a deadline."""

    deadline = 0.0

    def response_class(self, source: socket, method: str | None = None) -> HTTPResponse:  # type: ignore[override]
        return HTTPResponse(_ReadUntil(source, self.deadline), method=method)  # type: ignore[arg-type]


class _SecureConnection(_Connection, HTTPSConnection):
    """The same over TLS."""


def _connection(config: HttpConfig) -> _Connection:
    address, seconds = config.address, config.connect_timeout_seconds
    host = address.hostname or ""
    if address.scheme == "http":
        return _Connection(host, address.port, timeout=seconds)
    try:
        context = ssl.create_default_context(cafile=config.ca_file)
    except OSError as error:
        got = f"{config.ca_file!r} ({error.strerror or error})"
        raise RecommenderError(f"http: ca_file: got {got}, expected a file of certificates (PEM)") from error
    return _SecureConnection(host, address.port, timeout=seconds, context=context)


def _from_environment(header: str, setting: str) -> str:
    variable = setting.removeprefix(ENVIRONMENT)
    value = os.environ.get(variable)
    if not value or value.isspace():
        raise RecommenderError(f"http: headers.{header}: got no environment variable {variable}, expected it to be set")
    if not (value.isascii() and value.isprintable()):
        raise RecommenderError(f"http: headers.{header}: expected printable characters of ASCII in {variable}")
    return value


def _retry_after(value: str | None) -> float:
    """Seconds that a server asks to wait, by number or date; 0 where it does not say, or nothing sensible."""
    if value is None:
        return 0.0
    if value.strip().isdecimal():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    zoned = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return max(0.0, (zoned - datetime.now(UTC)).total_seconds())
