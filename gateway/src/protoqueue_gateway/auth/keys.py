"""API keys: as sent by a request, as stored, and what they allow. Pure."""

import functools
import hashlib
import hmac
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from fnmatch import fnmatchcase

_TEXT = re.compile(r"pq_(?P<id>[a-zA-Z0-9-]{1,64})_(?P<secret>[a-zA-Z0-9_-]{16,256})")
_NOBODYS = hashlib.sha256(b"").hexdigest()


class Action(StrEnum):
    """What a key may do with a queue. ADMIN includes the others."""

    ENQUEUE = "enqueue"
    CONSUME = "consume"
    READ = "read"
    MANAGE = "manage"
    ADMIN = "admin"


class UnusableEntry(Exception):
    """An entry of a Secret that is not a key; the text says why and holds nothing of it."""


@dataclass(frozen=True)
class Permission:
    """`queues` are patterns of `namespace/name`, in which `*` stands for any text."""

    queues: tuple[str, ...]
    actions: frozenset[Action]


@dataclass(frozen=True)
class Key:
    """A key as it is stored: never its secret."""

    id: str
    name: str
    sha256: str
    permissions: tuple[Permission, ...]
    expires: datetime | None = None

    def allows(self, action: Action, queue: str) -> bool:
        return _allow(self.permissions, action, queue)

    def is_expired(self, now: datetime) -> bool:
        return self.expires is not None and self.expires <= now


@functools.lru_cache(maxsize=10_000)  # every request asks, mostly for the same few queues
def _allow(permissions: tuple[Permission, ...], action: Action, queue: str) -> bool:
    return any(
        (action in each.actions or Action.ADMIN in each.actions)
        and any(fnmatchcase(queue, pattern) for pattern in each.queues)
        for each in permissions
    )


EVERYTHING = Key("", "anybody", "", (Permission(("*",), frozenset(Action)),))
"""The caller if the gateway runs without authentication."""


def parse_key(key_id: str, entry: bytes) -> Key:
    """Read an entry of a Secret, `{"sha256", "name", "allow": [{"queues", "actions"}], "expires"}`.

    Raises UnusableEntry.
    """
    try:
        body = json.loads(entry)
    except ValueError:
        raise UnusableEntry("it is not JSON") from None
    if not isinstance(body, dict) or not isinstance(body.get("sha256"), str):
        raise UnusableEntry("it has no sha256")
    if not re.fullmatch(r"[0-9a-fA-F]{64}", body["sha256"]):
        raise UnusableEntry("its sha256 is not 64 hexadecimal digits")
    allow = body.get("allow", [])
    if not isinstance(allow, list):
        raise UnusableEntry("allow is not a list")
    permissions = tuple(_permission(each) for each in allow)
    return Key(key_id, str(body.get("name", "")), body["sha256"].lower(), permissions, _moment(body.get("expires")))


def _permission(allowed: object) -> Permission:
    queues = allowed.get("queues") if isinstance(allowed, Mapping) else None
    actions = allowed.get("actions") if isinstance(allowed, Mapping) else None
    patterns = [queues] if isinstance(queues, str) else queues
    if not isinstance(patterns, list) or not isinstance(actions, list):
        raise UnusableEntry("allow needs queues and actions")
    if not all(isinstance(pattern, str) for pattern in patterns):
        raise UnusableEntry("queues are patterns such as shop/*")
    try:
        return Permission(tuple(patterns), frozenset(Action(action) for action in actions))
    except ValueError:
        raise UnusableEntry(f"actions are of {', '.join(Action)}") from None


def _moment(text: object) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        raise UnusableEntry("expires is not a time such as 2027-01-31T00:00:00Z") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def digest_of(secret: str) -> str:
    """The stored digest of a secret. Secrets are random, so that a plain digest cannot be brute-forced."""
    return hashlib.sha256(secret.encode()).hexdigest()


def split_key(text: str) -> tuple[str, str] | None:
    """Id and secret of `pq_<id>_<secret>`."""
    match = _TEXT.fullmatch(text)
    return (match["id"], match["secret"]) if match else None


def find_key(keys: Mapping[str, Key], text: str, now: datetime) -> Key | None:
    """The key that `text` presents, in constant time whether or not its id exists."""
    parts = split_key(text)
    if parts is None:
        return None
    key_id, secret = parts
    key = keys.get(key_id)
    is_right = hmac.compare_digest(digest_of(secret), key.sha256 if key else _NOBODYS)
    return key if key is not None and is_right and not key.is_expired(now) else None


def allowed_queues(key: Key, action: Action, queues: Sequence[str]) -> list[str]:
    return [queue for queue in queues if key.allows(action, queue)]
