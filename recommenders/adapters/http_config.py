"""Settings of a recommender that is served over HTTP. None of them can hold a secret: a run's folder keeps them all."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import SplitResult, urlsplit

from pydantic import ConfigDict, Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from recommenders.base import Config

ENVIRONMENT = "env:"
_VARIABLE = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HOST = re.compile(r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?|[0-9A-Fa-f]*:[0-9A-Fa-f:.]*")
_OWN_HEADERS = {
    "accept", "accept-encoding", "connection", "content-length", "content-type", "host", "idempotency-key",
    "transfer-encoding",
}  # fmt: skip
Seconds = Annotated[float, Field(gt=0, le=86_400)]


class HttpConfig(Config):
    """Settings of a recommender that is served over HTTP."""

    model_config = ConfigDict(hide_input_in_errors=True, use_attribute_docstrings=True)

    url: str
    """Where it is served, such as `https://models.example.com/popularity`: without user, password, query."""
    headers: dict[str, str] = Field(default_factory=dict)
    """Sent with every request, such as `{Authorization: "env:MODEL_TOKEN"}`. A value is the name of an environment
    variable that holds it, so that no secret is in a scenario or in the folder of a run."""
    ca_file: str | None = None
    """Certificates (PEM) of the authorities to trust in place of the system's, from the working folder; https only."""
    connect_timeout_seconds: Seconds = 5.0
    """For a connection."""
    answer_timeout_seconds: Seconds = 30.0
    """From sending a request to the last byte of its answer."""
    fit_timeout_seconds: Seconds = 600.0
    """The same for a part of a log, after the last of which the server trains."""
    tries: Annotated[int, Field(ge=1, le=100)] = 6
    """How often a request is sent before the run ends with an error."""
    backoff_seconds: Annotated[float, Field(ge=0, le=60)] = 0.25
    """Pause after the first try; it doubles with each, less up to a half."""
    longest_wait_seconds: Annotated[float, Field(ge=0, le=3_600)] = 30.0
    """Most that a pause may become; a server that asks for a longer one (Retry-After) ends the run."""
    max_answer_bytes: Annotated[int, Field(ge=1_000)] = 64_000_000
    """Longest answer that is read."""
    batch_size: Annotated[int, Field(ge=1, le=10_000)] = 256
    """Most users asked for in one request; a server that wants a fixed number says so itself."""

    @model_validator(mode="before")
    @classmethod
    def _holds_no_secret(cls, data: Any) -> Any:
        """Checked first, and told without the value: an error message may end up in anybody's log."""
        written = data if isinstance(data, Mapping) else {}
        url, headers = written.get("url"), written.get("headers")
        if isinstance(url, str) and (problem := _url_problem(url)):
            raise _hidden((), f"a url {problem}")
        for name, value in headers.items() if isinstance(headers, Mapping) else ():
            if problem := _header_problem(str(name), value):
                raise _hidden(("headers",), problem)
        if written.get("ca_file") is not None and isinstance(url, str) and urlsplit(url).scheme != "https":
            raise _hidden((), "a url that begins with https:// where there is a ca_file")
        return data

    @property
    def address(self) -> SplitResult:
        """The parts of the url."""
        return urlsplit(self.url)


def _url_problem(url: str) -> str:
    """What a url should be that it is not; empty where all is well."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "with a host and a port that are valid"
    if "@" in parts.netloc:
        return "without user and password; name the secret's environment variable in headers"
    if parts.query or parts.fragment or "?" in url or "#" in url:
        return "without a query (?) and a fragment (#); name a secret's environment variable in headers"
    if parts.scheme not in ("http", "https"):
        return "that begins with http:// or https://"
    if not (host and _HOST.fullmatch(host)) or port == 0:
        return "with a host and a port that are valid"
    return "" if url.isascii() and url.isprintable() and " " not in url else "of printable characters of ASCII"


def _header_problem(name: str, value: object) -> str:
    if not _HEADER.fullmatch(name):
        return "names of HTTP headers"
    if name.lower() in _OWN_HEADERS:
        return f"no header {name}, which is sent in any case"
    if not (isinstance(value, str) and _VARIABLE.fullmatch(value)):
        return (
            f"env:NAME for {name}: the environment variable that holds the value, which the run's folder must not keep"
        )
    return ""


def _hidden(place: tuple[str, ...], expected: str) -> ValidationError:
    """An error that does not tell the value; located at a mapping, of which no message shows the values."""
    kind = PydanticCustomError("holds_a_secret", "{expected}", {"expected": expected})
    return ValidationError.from_exception_data(
        "HttpConfig", [InitErrorDetails(type=kind, loc=place, input="not shown")], hide_input=True
    )
