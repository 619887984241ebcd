"""Sessions of the dashboard: who is signed in, in a signed cookie, so that any replica knows. Pure but for randomness.

A session names a key and holds the beginning of that key's digest: it is over when the key is revoked, replaced or has
expired. It is made at sign-in alone and never taken over from what a browser brings.
"""

import base64
import binascii
import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass, replace

from protoqueue_gateway.auth.keys import Key

IDLE_S = 30 * 60
"""A session that is unused for this long is over."""
LONGEST_S = 12 * 3600
RENEW_S = 5 * 60
"""A session is signed again at the first request after this time."""

_DIGEST_CHARACTERS = 16
_FORM = "form"


@dataclass(frozen=True)
class Session:
    """`id` is random; times are seconds since the epoch."""

    id: str
    key_id: str
    digest: str
    begun_at: int
    seen_at: int

    def is_of(self, key: Key) -> bool:
        return key.id == self.key_id and key.sha256[:_DIGEST_CHARACTERS] == self.digest

    def is_over(self, now: float) -> bool:
        return now > self.seen_at + IDLE_S or now > self.begun_at + LONGEST_S

    def renewed(self, now: float) -> "Session | None":
        """The session to be signed again; None if that was done recently."""
        return replace(self, seen_at=int(now)) if now > self.seen_at + RENEW_S else None


def new_session(key: Key, now: float, session_id: str | None = None) -> Session:
    """Create a session, with an unguessable id unless one is given."""
    return Session(session_id or secrets.token_urlsafe(16), key.id, key.sha256[:_DIGEST_CHARACTERS], int(now), int(now))


class Signer:
    """Signs sessions and the tokens of forms with what all replicas share."""

    def __init__(self, key: bytes) -> None:
        self._key = hmac.digest(key, b"protoqueue dashboard", hashlib.sha256)

    def sign(self, session: Session) -> str:
        data = json.dumps(
            [session.id, session.key_id, session.digest, session.begun_at, session.seen_at], separators=(",", ":")
        ).encode()
        return f"{_encoded(data)}.{_encoded(self._mac('session', data))}"

    def read(self, cookie: str, now: float) -> Session | None:
        """The session in a cookie; None if it was not signed here, or is over."""
        data_text, _, mac_text = cookie.partition(".")
        data, mac = _decoded(data_text), _decoded(mac_text)
        if not data or not hmac.compare_digest(mac, self._mac("session", data)):
            return None
        session = Session(*json.loads(data))
        return None if session.is_over(now) else session

    def form_token(self, session_id: str) -> str:
        """What each form of a session sends along, so that no other site can send one."""
        return _encoded(self._mac(_FORM, session_id.encode()))

    def is_form_token(self, session_id: str, token: str) -> bool:
        return hmac.compare_digest(token.encode(), self.form_token(session_id).encode())

    def _mac(self, purpose: str, data: bytes) -> bytes:
        return hmac.digest(self._key, purpose.encode() + b"\0" + data, hashlib.sha256)


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _decoded(text: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return b""
