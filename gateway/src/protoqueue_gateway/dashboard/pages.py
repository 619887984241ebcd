"""One page or action: whom it is shown to, and how every error becomes a page."""

import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from protoqueue_gateway.api.failures import problem_of
from protoqueue_gateway.api.problems import STATUS_OF, Problem
from protoqueue_gateway.auth.keys import EVERYTHING, Action, Key
from protoqueue_gateway.dashboard import cookies
from protoqueue_gateway.dashboard.rendering import HEADERS, html_answer, rendered
from protoqueue_gateway.dashboard.sessions import Session, new_session
from protoqueue_gateway.dashboard.visits import Site, Visit

log = logging.getLogger(__name__)

SIGN_IN = "/dashboard/sign-in"

Handler: TypeAlias = Callable[[Visit], Awaitable[Response]]


@dataclass(frozen=True)
class Page:
    """`action` is what the key has to allow on the queue in the path; None where none is named."""

    method: str
    path: str
    action: Action | None
    handler: Handler


class Pages(list[Page]):
    """Those of one module; used as a decorator."""

    def add(self, method: str, path: str, action: Action | None = None) -> Callable[[Handler], Handler]:
        def register(handler: Handler) -> Handler:
            self.append(Page(method, path, action, handler))
            return handler

        return register


class PageEndpoint:
    """The pages on one path, by method. A plain ASGI application."""

    def __init__(self, site: Site, pages: Iterable[Page]) -> None:
        self._site = site
        self._pages = {page.method: page for page in pages}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        try:
            response = await self._answer(request)
        except Exception as error:
            response = error_page(request, error)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        page = self._pages.get(method)
        if page is None:
            allow = ", ".join(sorted(self._pages))
            raise Problem("MethodNotAllowed", f"this path takes {allow}", headers={"Allow": allow})
        request.scope["operation"] = f"dashboard_{page.handler.__name__}"
        found = visitor(request, self._site)
        if found is None:
            return _to_sign_in(request, page)
        key, session = found
        self._within_rate(key)
        visit = Visit(request, self._site, key, session)
        if page.action is not None:
            visit.require(page.action, visit.queue)
        response = await page.handler(visit)
        renewed = session.renewed(time.time())
        if renewed is not None and session.id not in self._site.signed_out:
            cookies.set_session(request, response, self._site.signer.sign(renewed))
        return response

    def _within_rate(self, key: Key) -> None:
        rates = self._site.services.rates
        if rates is not None and not rates.take(key.id):
            raise Problem("TooManyRequests", "this key sends more requests per second than are allowed")


def visitor(request: Request, site: Site) -> tuple[Key, Session] | None:
    """Who is signed in; without authentication it is everybody."""
    keys = site.services.keys
    if keys is None:
        return EVERYTHING, new_session(EVERYTHING, time.time(), _ANYBODY)
    session = cookies.read_session(request, site.signer)
    if session is None or session.id in site.signed_out:
        return None
    key = keys.of_id(session.key_id)
    return (key, session) if key is not None and session.is_of(key) else None


_ANYBODY = "anybody"
"""The session of who is not asked to sign in."""


def _to_sign_in(request: Request, page: Page) -> Response:
    """To the page that asks for a key; what a script has asked for is told in its own words."""
    is_navigation = page.method == "GET" and "text/html" in request.headers.get("accept", "")
    if not is_navigation:
        raise Problem("Unauthorized", "you are signed out: reload the page to sign in again")
    path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return RedirectResponse(f"{SIGN_IN}?next={quote(path, safe='')}", 303, HEADERS)


def error_page(request: Request, error: Exception) -> Response:
    problem = problem_of(error)
    if problem is None:
        log.exception("a page failed", extra={"request": request.scope.get("request_id"), "path": request.url.path})
        problem = Problem("Internal", "the gateway failed: its log says why, under the id below")
    status, title = STATUS_OF[problem.code]
    text = rendered(
        "error.html", title=title, detail=problem.detail, faults=problem.faults, status=status,
        request_id=request.scope.get("request_id", ""), visit=None,
    )  # fmt: skip
    return html_answer(request, text, status, problem.headers)
