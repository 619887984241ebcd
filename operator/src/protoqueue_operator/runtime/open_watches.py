"""Which of kopf's watches are open: seen on the session through which kopf asks the API server."""

import time
from collections.abc import Collection, Iterable
from typing import NamedTuple

import aiohttp
import kopf
from yarl import URL


class WatchStream(NamedTuple):
    """`namespace` None: all of them."""

    plural: str
    namespace: str | None


class OpenWatches:
    """A watch is opened after a listing: where each has been, everything there is has been brought."""

    def __init__(self, plurals: Collection[str], namespaces: Iterable[str]) -> None:
        """No namespaces: all of them."""
        wanted = tuple(namespaces) or (None,)
        self._wanted = {WatchStream(plural, namespace) for plural in plurals for namespace in wanted}
        self._open: set[WatchStream] = set()
        self._answered_at = time.monotonic()

    def missing(self) -> set[WatchStream]:
        """What is not watched: not yet, or refused when it was last asked for."""
        return self._wanted - self._open

    def quiet_for_s(self) -> float:
        """Seconds since the API server last answered kopf with success."""
        return time.monotonic() - self._answered_at

    def session(self, credentials: kopf.ConnectionInfo) -> kopf.AiohttpSession:
        """What kopf is to ask through, watched."""
        tracing = aiohttp.TraceConfig()

        async def answered(_: object, __: object, answer: aiohttp.TraceRequestEndParams) -> None:
            self._note(answer.url, answer.response.status)

        async def failed(_: object, __: object, failure: aiohttp.TraceRequestExceptionParams) -> None:
            self._note(failure.url, 0)

        tracing.on_request_end.append(answered)
        tracing.on_request_exception.append(failed)
        return kopf.AiohttpSession(
            server=credentials.server,
            default_namespace=credentials.default_namespace,
            priority=credentials.priority,
            expiration=credentials.expiration,
            aiohttp_session=aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ssl=credentials.as_ssl_context()),
                headers=credentials.as_http_headers(),
                proxy=credentials.proxy_url,
                trust_env=credentials.trust_env,
                trace_configs=[tracing],
            ),
        )

    def _note(self, url: URL, status: int) -> None:
        stream = _stream(url)
        if status == 200:
            self._answered_at = time.monotonic()
            if url.query.get("watch") == "true":
                self._open.add(stream)
        else:  # a listing comes before a watch: where that fails there is none either
            self._open.discard(stream)


def _stream(url: URL) -> WatchStream:
    """`…/apis/<group>/<version>[/namespaces/<namespace>]/<plural>`."""
    *_, before, namespace, plural = ("", "", *url.parts)
    return WatchStream(plural, namespace if before == "namespaces" else None)
