"""One request to the gateway and when it is repeated, for both clients. Sends nothing itself."""

import email.utils
import functools
import os
import random
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx

from protoqueue.errors import ConfigurationError
from protoqueue.http.errors import ApiError, ConnectionFailed, MalformedAnswer, api_error

_RETRIED = frozenset((429, 502, 503, 504))
_FIRST_PAUSE_S, _MOST_PAUSE_S = 0.1, 20.0
_LONGEST_RETRY_AFTER_S = 30.0
"""A longer Retry-After is the caller's to decide about."""

_QUOTED = 200
"""What a proxy or a stranger answers in place of JSON is quoted up to here."""


@dataclass(frozen=True, slots=True)
class Request:
    """A call of the gateway. `wait_s` is added to the timeout; `retries` and `timeout_s` replace the client's."""

    method: str
    path: str
    body: Mapping[str, Any] | None = None
    query: Mapping[str, str | int | float] = field(default_factory=dict)
    wait_s: float = 0.0
    retries: int | None = None
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer's JSON, None where it has no body, and when it was given by the gateway's clock."""

    value: object
    at: datetime


@dataclass(frozen=True, slots=True)
class Settings:
    """How a client reaches its gateway; raises ConfigurationError for what cannot be."""

    api_key: str = field(repr=False)
    base_url: str
    retries: int
    timeout_s: float

    @classmethod
    def of(cls, api_key: str | None, base_url: str | None, retries: int, timeout: float) -> "Settings":
        key = api_key or os.environ.get("PROTOQUEUE_API_KEY")
        address = base_url or os.environ.get("PROTOQUEUE_GATEWAY_URL")
        if not address:
            raise ConfigurationError("no base_url is given, and PROTOQUEUE_GATEWAY_URL is not set")
        if not key:
            raise ConfigurationError("no api_key is given, and PROTOQUEUE_API_KEY is not set")
        if not all("!" <= character <= "~" for character in key):
            raise ConfigurationError("api_key has characters that no key has")
        return cls(key, _checked(address), retries, timeout)

    def client_options(self) -> dict[str, Any]:
        """Of an httpx client. Redirects are not followed: the key goes to no other address."""
        headers = {"Authorization": f"Bearer {self.api_key}", "Accept": "application/json"}
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=100)
        return {"headers": headers, "limits": limits, "follow_redirects": False, "verify": _tls()}

    def request_options(self, request: Request) -> dict[str, Any]:
        options: dict[str, Any] = {
            "method": request.method,
            "url": self.base_url + request.path,
            "timeout": self.limit_s(request),
        }
        if request.query:
            options["params"] = dict(request.query)
        if request.body is not None:
            options["json"] = request.body
        return options

    def limit_s(self, request: Request) -> float:
        return (self.timeout_s if request.timeout_s is None else request.timeout_s) + request.wait_s

    def connection_failed(self, request: Request, error: httpx.HTTPError) -> ConnectionFailed:
        late = f"no answer within {self.limit_s(request):g} s"
        why = late if isinstance(error, httpx.TimeoutException) else str(error) or type(error).__name__
        return ConnectionFailed(f"{request.method} {self.base_url}{request.path}: {why}")

    def pause_s(self, request: Request, error: ApiError | ConnectionFailed, failures: int) -> float:
        """How long to wait before the request is repeated; raises `error` where it is not."""
        retries = self.retries if request.retries is None else request.retries
        asked = 0.0
        if isinstance(error, ApiError):
            asked = error.retry_after or 0.0
            if error.status not in _RETRIED or asked > _LONGEST_RETRY_AFTER_S:
                raise error
        if failures >= retries:
            raise error
        return max(asked, backoff_s(failures))


@functools.cache
def _tls() -> ssl.SSLContext:
    """Reading the certificates of the system takes longer than a request: once is enough."""
    return httpx.create_ssl_context()


def decode(response: httpx.Response) -> Answer:
    """Raises ApiError and MalformedAnswer."""
    value: object = None
    readable = True
    if response.content:
        try:
            value = response.json()
        except ValueError:
            readable = False
    if response.is_success:
        if not readable:
            raise MalformedAnswer(
                f"HTTP {response.status_code} without JSON; does base_url name a gateway? {_quoted(response.text)}"
            )
        return Answer(value, _date(response.headers.get("Date")) or datetime.now(UTC))
    problem = dict(value) if isinstance(value, dict) else {}
    if not isinstance(problem.get("detail"), str) and not isinstance(problem.get("title"), str):
        problem["detail"] = _refusal(response, readable)
    retry_after = _retry_after_s(response.headers.get("Retry-After"), datetime.now(UTC))
    raise api_error(response.status_code, problem, response.headers.get("X-Request-Id", ""), retry_after)


def backoff_s(failures: int) -> float:
    """The pause before the next try; random, so that many clients do not come back together."""
    return min(_MOST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(failures, 10)) * random.uniform(0.5, 1)  # noqa: S311


def _refusal(response: httpx.Response, readable: bool) -> str:
    if response.is_redirect:
        return "the address redirects, and a key is sent to no other address than base_url"
    return response.reason_phrase if readable else _quoted(response.text)


def _quoted(text: str) -> str:
    return repr(text if len(text) <= _QUOTED else f"{text[:_QUOTED]}…")


def _retry_after_s(header: str | None, now: datetime) -> float | None:
    if header is None:
        return None
    if header.strip().isdigit():
        return float(header)
    moment = _date(header)
    return None if moment is None else max(0.0, (moment - now).total_seconds())


def _date(header: str | None) -> datetime | None:
    try:
        moment = email.utils.parsedate_to_datetime(header or "")
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _checked(address: str) -> str:
    try:
        url = httpx.URL(address)
    except (httpx.InvalidURL, TypeError) as error:
        raise ConfigurationError(f"base_url {address!r} is not a URL: {error}") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigurationError("base_url has to begin with http:// or https:// and a host")
    if url.userinfo or url.query or url.fragment:
        raise ConfigurationError("base_url has a user, a query or a fragment; it takes a scheme, a host and a path")
    return address.rstrip("/")
