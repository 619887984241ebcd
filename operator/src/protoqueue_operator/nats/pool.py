"""Which NATS holds which queue: one connection per set of servers and credentials, shared by all that name it.

The pool does not know how a connection is used: `make` builds whatever the caller needs around each.
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
import json
import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from protoqueue_operator.api.v1alpha1.errors import SecretInvalid, SecretNotFound
from protoqueue_operator.api.v1alpha1.meta import Key
from protoqueue_operator.nats.connection import Connection
from protoqueue_operator.nats.credentials import SECRET_SCHEMES, Credentials, parse_credentials
from protoqueue_operator.runtime.client import Gone, Json, Kubernetes

logger = logging.getLogger(__name__)

CONNECTING_AGAIN_S = 1.0
"""Callers are notified when a first connection is established; this is for one that is not."""

_FIELD = "spec.nats.connectionSecretRef"


class HasConnection(Protocol):
    """The object built around a connection."""

    @property
    def connection(self) -> Connection: ...


B = TypeVar("B", bound=HasConnection)
OfListener = TypeVar("OfListener", contravariant=True)


@dataclass(frozen=True)
class Home(Generic[B]):
    """Where a queue lives, and through which Secret; without one it is the operator's own connection."""

    broker: B
    secret: str | None = None
    digest: str = ""
    """Changes whenever the Secret's data does, and reveals nothing of it."""


class Listener(Protocol[OfListener]):
    """Is notified of connections opened and closed, established and lost."""

    def broker_opened(self, broker: OfListener) -> None: ...
    def broker_changed(self, broker: OfListener, is_up: bool) -> None: ...
    def broker_closed(self, broker: OfListener) -> None: ...
    def home_changed(self, queue: Key) -> None: ...


class Pool(Generic[B]):
    """The operator's own connection, and those that Secrets name; one that no queue names any more is closed."""

    def __init__(
        self, own: Credentials, kubernetes: Kubernetes, listener: Listener[B], make: Callable[[Connection], B]
    ) -> None:
        self._kubernetes = kubernetes
        self._listener = listener
        self._make = make
        self._open: dict[Credentials, B] = {}
        self._requested: dict[Key, Home[B]] = {}
        self._homes: dict[Key, Home[B]] = {}
        self._locks: dict[Key, asyncio.Lock] = {}
        self._versions: dict[Key, str] = {}
        self._own = own
        self._closing: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        self._broker(self._own)

    async def stop(self) -> None:
        for broker in self._open.values():
            await broker.connection.close()

    def reload(self, own: Credentials) -> None:
        """Replace the operator's own connection; each queue leaves the old one when it is next reconciled."""
        if own == self._own:
            return
        logger.info("nats credentials reloaded: servers=%s", own.where)
        before, self._own = self._open.get(self._own), own
        if before is None:  # nothing has started yet, and will start there
            return
        self._broker(own).connection.trust()  # a Secret may have named it before
        for queue in self.queues_referring_to(before):
            self._listener.home_changed(queue)
        self._close_unused(before)

    def opened(self) -> Collection[B]:
        """All current brokers."""
        return self._open.values()

    @property
    def own(self) -> B:
        return self._open[self._own]

    def queues_of(self, broker: B) -> set[Key]:
        """The queues that live there."""
        return {key for key, home in self._homes.items() if home.broker is broker}

    def queues_referring_to(self, broker: B) -> set[Key]:
        """The queues that live there, or will."""
        return self.queues_of(broker) | {key for key, home in self._requested.items() if home.broker is broker}

    def lock(self, queue: Key) -> asyncio.Lock:
        """Held while the queue's home is decided: a queue and its groups may ask concurrently."""
        return self._locks.setdefault(queue, asyncio.Lock())

    def home(self, queue: Key) -> Home[B] | None:
        """Where the queue was last found to live."""
        return self._homes.get(queue)

    def requested(self, queue: Key) -> Home[B] | None:
        """Where the queue last asked to live."""
        return self._requested.get(queue)

    def is_connecting(self, queue: Key) -> bool:
        """Whether the queue's requested connection was just opened, as after a change of leader."""
        home = self._requested.get(queue)
        return home is not None and home.broker.connection.is_on_its_way

    def known(self, queue: Key) -> B | None:
        """The broker that last held the queue."""
        home = self._homes.get(queue)
        return home.broker if home else None

    async def resolve(self, queue: Key, secret: str | None) -> Home[B]:
        """The home a queue requests, opening its connection if necessary.

        It stays open as long as the queue requests it. Raises SecretNotFound, SecretInvalid and ApiError.
        """
        if secret is None:
            self._versions.pop(queue, None)
            home = Home(self.own)
        else:
            body = await self._find(queue.namespace, secret)
            self._note(queue, _version(body))
            home = self._home(queue.namespace, secret, body)
        self._replace(self._requested, queue, home)
        return home

    async def connect(self, namespace: str, secret: str | None) -> Home[B]:
        """What a Secret names, or the operator's own connection. Raises SecretNotFound, SecretInvalid and ApiError."""
        if secret is None:
            return Home(self.own)
        return self._home(namespace, secret, await self._find(namespace, secret))

    def version_read(self, queue: Key) -> str | None:
        """The version of the queue's Secret: empty if there was none, None if not read yet."""
        return self._versions.get(queue)

    def set_home(self, queue: Key, home: Home[B]) -> None:
        """The queue lives there from now on."""
        before = self._homes.get(queue)
        self._replace(self._homes, queue, home)
        if before and before != home:
            self._listener.home_changed(queue)

    def forget(self, queue: Key) -> None:
        """The queue is gone."""
        self._locks.pop(queue, None)
        self._versions.pop(queue, None)
        for homes in (self._requested, self._homes):
            if home := homes.pop(queue, None):
                self._close_unused(home.broker)

    def _note(self, queue: Key, version: str) -> None:
        """Whether the queue or one of its groups finds the Secret changed, all of them are notified."""
        before, self._versions[queue] = self._versions.get(queue), version
        if before not in (None, version):
            self._listener.home_changed(queue)

    def _replace(self, homes: dict[Key, Home[B]], queue: Key, home: Home[B]) -> None:
        before, homes[queue] = homes.get(queue), home
        if before and before.broker is not home.broker:
            self._close_unused(before.broker)

    def _broker(self, credentials: Credentials) -> B:
        broker = self._open.get(credentials)
        if broker is None:
            trusted = credentials == self._own
            connection = Connection(credentials, lambda is_up: self._changed(credentials, is_up), trusted=trusted)
            broker = self._open[credentials] = self._make(connection)
            self._listener.broker_opened(broker)
            connection.open()
        return broker

    def _changed(self, credentials: Credentials, is_up: bool) -> None:
        if broker := self._open.get(credentials):
            self._listener.broker_changed(broker, is_up)

    def _close_unused(self, broker: B) -> None:
        if broker is self.own or self.queues_referring_to(broker):
            return
        if self._open.pop(broker.connection.credentials, None):
            self._listener.broker_closed(broker)
            task = asyncio.create_task(broker.connection.close(), name="nats closing")
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def _find(self, namespace: str, name: str) -> Json | None:
        try:
            return await self._kubernetes.get(Key("Secret", namespace, name))
        except Gone:
            return None

    def _home(self, namespace: str, name: str, secret: Json | None) -> Home[B]:
        """Raises SecretNotFound and SecretInvalid."""
        if secret is None:
            raise SecretNotFound(f"there is no Secret {name} in namespace {namespace}", field=_FIELD)
        try:
            values = {key: base64.b64decode(value).decode() for key, value in (secret.get("data") or {}).items()}
        except (binascii.Error, UnicodeDecodeError):
            raise SecretInvalid(f"the Secret {name} holds a value that is not text", field=_FIELD) from None
        credentials = parse_credentials(values, f"{_FIELD}: the Secret {name}", SECRET_SCHEMES)
        return Home(self._broker(credentials), name, _digest(secret))


def _version(secret: Json | None) -> str:
    return str(secret["metadata"].get("resourceVersion", "")) if secret else ""


def _digest(secret: Json) -> str:
    """Of the data only: a label or an annotation must not restart workers.

    The digest is visible to all who may see pods. Users who may not read the Secret do not know its uid either, so they
    cannot test passwords against the digest.
    """
    data = json.dumps(secret.get("data") or {}, sort_keys=True).encode()
    return hmac.new(str(secret["metadata"].get("uid", "")).encode(), data, hashlib.sha256).hexdigest()[:32]
