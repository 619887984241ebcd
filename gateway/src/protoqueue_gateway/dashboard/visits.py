"""One request of a browser: who is signed in, and what the key allows."""

import logging
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request

from protoqueue.protocol.names import QueueName
from protoqueue_gateway.api.bodies import read_bytes
from protoqueue_gateway.api.operation import Services
from protoqueue_gateway.api.problems import Problem
from protoqueue_gateway.auth.keys import Action, Key
from protoqueue_gateway.dashboard.sessions import Session, Signer

audit = logging.getLogger("protoqueue_gateway.audit")

_MOST_FIELDS = 200


@dataclass
class Site:
    """What all requests have in common."""

    services: Services
    signer: Signer
    signed_out: dict[str, float] = field(default_factory=dict)
    """Sessions that were ended here, and until when they would have lasted."""
    streams: Counter[str] = field(default_factory=Counter)
    """How many streams of events are open, by key."""


@dataclass(frozen=True)
class Visit:
    """A request of a signed-in user."""

    request: Request
    site: Site
    key: Key
    session: Session

    @property
    def services(self) -> Services:
        return self.site.services

    @property
    def token(self) -> str:
        """What the forms of this session carry."""
        return self.site.signer.form_token(self.session.id)

    @property
    def queue(self) -> QueueName:
        """The queue that the path names; raises Problem."""
        names = self.request.path_params
        try:
            return QueueName.parse(f"{names['namespace']}/{names['queue']}")
        except ValueError as error:
            raise Problem("QueueNotFound", str(error)) from None

    def query(self, name: str, default: str = "") -> str:
        return self.request.query_params.get(name, default)

    def allows(self, action: Action, queue: QueueName) -> bool:
        return self.key.allows(action, str(queue))

    def require(self, action: Action, queue: QueueName) -> None:
        """Raises Problem where the key does not allow it."""
        if not self.allows(action, queue):
            raise Problem("Forbidden", f"your key does not allow to {action} on queue {queue}")

    async def form(self) -> "Form":
        """What was sent; raises Problem for what this session's pages have not sent."""
        form = await read_form(self.request, self.services)
        if not self.site.signer.is_form_token(self.session.id, form.text("csrf")):
            raise Problem(
                "Forbidden", "this form was not sent from a page of this session: reload the page and try again"
            )
        return form

    def log(self, what: str, queue: QueueName, **details: Any) -> None:
        """The audit line of something that was done."""
        more = "".join(f" {name}={value}" for name, value in details.items())
        audit.info(
            "%s queue=%s%s key=%s request=%s", what, queue, more, self.key.id or "none",
            self.request.scope.get("request_id", ""),
        )  # fmt: skip


@dataclass(frozen=True)
class Form:
    """The fields of a form, in order."""

    fields: tuple[tuple[str, str], ...]

    def text(self, name: str, default: str = "") -> str:
        return next((value for each, value in self.fields if each == name), default)

    def all(self, name: str) -> list[str]:
        return [value for each, value in self.fields if each == name]


async def read_form(request: Request, services: Services) -> Form:
    """Raises Problem for what is not a form, is too large, or was sent from another site."""
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise Problem("Forbidden", "this form was sent from another site")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise Problem("UnsupportedMediaType", "send a form: application/x-www-form-urlencoded")
    body = await read_bytes(request, services.settings.max_body_size)
    try:
        fields = parse_qsl(
            body.decode(), keep_blank_values=True, strict_parsing=bool(body), errors="strict",
            max_num_fields=_MOST_FIELDS,
        )  # fmt: skip
    except ValueError:
        raise Problem("BadRequest", "the form cannot be read") from None
    return Form(tuple(fields))
