"""The cookies of the dashboard."""

import time

from starlette.requests import Request
from starlette.responses import Response

from protoqueue_gateway.dashboard.sessions import LONGEST_S, Session, Signer

_SESSION = "protoqueue-session"
_FORM = "protoqueue-sign-in"
_FORM_S = 3600


def is_https(request: Request) -> bool:
    """As the browser sees it: TLS mostly ends at a proxy in front, which says so."""
    return request.headers.get("x-forwarded-proto", request.url.scheme).split(",")[0].strip().lower() == "https"


def read_session(request: Request, signer: Signer) -> Session | None:
    return signer.read(request.cookies.get(_name(request, _SESSION), ""), time.time())


def set_session(request: Request, response: Response, text: str) -> None:
    _set(request, response, _SESSION, text, LONGEST_S)


def clear_session(request: Request, response: Response) -> None:
    _set(request, response, _SESSION, "", 0)


def read_form_id(request: Request) -> str:
    """The number that the sign-in page gave this browser: a session it is not."""
    return request.cookies.get(_name(request, _FORM), "")


def set_form_id(request: Request, response: Response, text: str) -> None:
    _set(request, response, _FORM, text, _FORM_S if text else 0)


def _name(request: Request, name: str) -> str:
    """With https a name that no other host of the domain can set."""
    return f"__Host-{name}" if is_https(request) else name


def _set(request: Request, response: Response, name: str, text: str, seconds: int) -> None:
    response.set_cookie(
        _name(request, name), text, max_age=seconds, path="/", httponly=True, samesite="strict",
        secure=is_https(request),
    )  # fmt: skip
