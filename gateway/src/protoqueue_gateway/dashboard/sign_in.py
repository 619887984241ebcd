"""Signing in with a key, and out again."""

import logging
import secrets
import time

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from protoqueue_gateway.api.operation import json_answer
from protoqueue_gateway.api.problems import Problem
from protoqueue_gateway.dashboard import cookies
from protoqueue_gateway.dashboard.pages import SIGN_IN, Pages, error_page, visitor
from protoqueue_gateway.dashboard.rendering import HEADERS, html_answer, rendered
from protoqueue_gateway.dashboard.sessions import LONGEST_S, new_session
from protoqueue_gateway.dashboard.visits import Site, Visit, audit, read_form

log = logging.getLogger(__name__)

pages = Pages()

_HOME = "/dashboard/queues"


class SignIn:
    """The page that asks for a key. A plain ASGI application, as there is no session yet."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        scope["operation"] = "dashboard_sign_in"
        try:
            if request.method in ("GET", "HEAD"):
                response = self._form(request)
            elif request.method == "POST":
                response = await self._sign_in(request)
            else:
                raise Problem("MethodNotAllowed", "this path takes GET, POST", headers={"Allow": "GET, POST"})
        except Exception as error:
            response = error_page(request, error)
        await response(scope, receive, send)

    def _form(self, request: Request, status: int = 200, error: str = "", target: str = "") -> Response:
        target = target or target_of(request.query_params.get("next", ""))
        if visitor(request, self._site) is not None:
            return RedirectResponse(target, 303, HEADERS)
        self._site.services.live_queues.expect()
        form_id = secrets.token_urlsafe(16)
        text = rendered(
            "sign_in.html", token=self._site.signer.form_token(form_id), target=target, error=error, visit=None
        )
        response = html_answer(request, text, status)
        cookies.set_form_id(request, response, form_id)
        return response

    async def _sign_in(self, request: Request) -> Response:
        form = await read_form(request, self._site.services)
        target = target_of(form.text("next"))
        form_id = cookies.read_form_id(request)
        if not form_id or not self._site.signer.is_form_token(form_id, form.text("csrf")):
            return self._form(request, 403, "This page was open for too long: please enter the key again.", target)
        keys = self._site.services.keys
        if keys is None:
            return RedirectResponse(target, 303, HEADERS)
        key = keys.find(form.text("key").strip())
        if key is None:
            return self._form(request, 401, "This key is not known, is revoked or has expired.", target)
        # Always a new session: one that an attacker has put into this browser is not used.
        session = new_session(key, time.time())
        response = RedirectResponse(target, 303, HEADERS)
        cookies.set_session(request, response, self._site.signer.sign(session))
        cookies.set_form_id(request, response, "")
        audit.info("signed in key=%s request=%s", key.id, request.scope.get("request_id", ""))
        return response


def target_of(text: str) -> str:
    """Where to go after signing in: to a page of the dashboard and nowhere else."""
    is_ours = text.startswith("/dashboard/") and not text.startswith(SIGN_IN) and "\\" not in text
    return text if is_ours and text.isprintable() else _HOME


@pages.add("POST", "/dashboard/sign-out")
async def sign_out(visit: Visit) -> Response:
    await visit.form()
    ended, now = visit.site.signed_out, time.time()
    for session_id in [session_id for session_id, until in ended.items() if until < now]:
        del ended[session_id]
    ended[visit.session.id] = now + LONGEST_S
    response = RedirectResponse(SIGN_IN, 303, {**HEADERS, "Clear-Site-Data": '"cache", "storage"'})
    cookies.clear_session(visit.request, response)
    audit.info("signed out key=%s request=%s", visit.key.id or "none", visit.request.scope.get("request_id", ""))
    return response


class SessionCheck:
    """Whether this browser is signed in. A plain ASGI application.

    For the sign-in page: a browser that comes from another site brings its cookie with the second request only.
    """

    def __init__(self, site: Site) -> None:
        self._site = site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["operation"] = "dashboard_session"
        is_known = visitor(Request(scope, receive, send), self._site) is not None
        await json_answer({"signedIn": is_known}, headers=HEADERS)(scope, receive, send)
