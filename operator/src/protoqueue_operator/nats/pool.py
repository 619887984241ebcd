"""Which NATS holds which queue: one broker for each set of servers and credentials, shared by all who name it."""

import asyncio
import base64
import binascii
import logging
from dataclasses import dataclass
from typing import Protocol

from protoqueue_operator.adapters.buckets import ConfigBucket
from protoqueue_operator.adapters.connections import Connection
from protoqueue_operator.adapters.jetstream import JetStream
from protoqueue_operator.adapters.kubernetes import Gone, Json, Kubernetes
from protoqueue_operator.core.credentials import Credentials, parse_credentials
from protoqueue_operator.core.refusals import SecretInvalid, SecretNotFound
from protoqueue_operator.core.resources import Key

logger = logging.getLogger(__name__)

_FIELD = "spec.nats.connectionSecretRef"


@dataclass(frozen=True, eq=False)
class Broker:
    """One NATS account, as the reconcilers use it."""

    connection: Connection
    jetstream: JetStream
    configs: ConfigBucket


@dataclass(frozen=True)
class Home:
    """Where a queue lives, and through which Secret; without one it is the operator's own connection."""

    broker: Broker
    secret: str | None = None
    version: str = ""
    """The Secret's resourceVersion: it changes whenever the Secret does, and tells nothing of what is in it."""


class Watcher(Protocol):
    """Who is told of brokers that come, go, and change their state."""

    def broker_opened(self, broker: Broker) -> None: ...
    def broker_changed(self, broker: Broker, is_up: bool) -> None: ...
    def broker_closed(self, broker: Broker) -> None: ...
    def queue_settled(self, queue: Key) -> None: ...


class Brokers:
    """The operator's own broker, and those that Secrets name; a broker that no queue names any more is closed."""

    def __init__(self, own: Credentials, kubernetes: Kubernetes, watcher: "Watcher") -> None:
        self._kubernetes = kubernetes
        self._watcher = watcher
        self._open: dict[Credentials, Broker] = {}
        self._asked: dict[Key, Home] = {}
        self._homes: dict[Key, Home] = {}
        self._locks: dict[Key, asyncio.Lock] = {}
        self._versions: dict[Key, str] = {}
        self._own = own
        self._closing: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        self._broker(self._own)

    async def stop(self) -> None:
        for broker in self._open.values():
            await broker.connection.close()

    def adopt(self, own: Credentials) -> None:
        """The operator's own connection is to be another; each queue leaves the old one when it is looked at."""
        if own == self._own:
            return
        logger.info("own nats credentials changed: servers=%s", own.where)
        before, self._own = self._open.get(self._own), own
        if before is None:  # nothing has begun yet, and begins there
            return
        self._broker(own)
        for queue in self.queues_naming(before):
            self._watcher.queue_settled(queue)
        self._close_unused(before)

    @property
    def own(self) -> Broker:
        return self._open[self._own]

    def queues_of(self, broker: Broker) -> set[Key]:
        """The queues that live there."""
        return {key for key, home in self._homes.items() if home.broker is broker}

    def queues_naming(self, broker: Broker) -> set[Key]:
        """The queues that live there, or are to."""
        return self.queues_of(broker) | {key for key, home in self._asked.items() if home.broker is broker}

    def lock(self, queue: Key) -> asyncio.Lock:
        """Held while it is decided where the queue lives: a queue and its groups may all ask at once."""
        return self._locks.setdefault(queue, asyncio.Lock())

    def home(self, queue: Key) -> Home | None:
        """Where the queue was last found to live."""
        return self._homes.get(queue)

    def wanted(self, queue: Key) -> Home | None:
        """Where the queue last asked to live."""
        return self._asked.get(queue)

    def known(self, queue: Key) -> Broker | None:
        """The broker the queue was last found to be held by."""
        home = self._homes.get(queue)
        return home.broker if home else None

    async def asked(self, queue: Key, secret: str | None) -> Home:
        """The home a queue asks for, its connection opened if need be.

        It stays open as long as the queue asks for it. Raises SecretNotFound, SecretInvalid and ApiError.
        """
        if secret is None:
            self._versions.pop(queue, None)
            home = Home(self.own)
        else:
            body = await self._find(queue.namespace, secret)
            self._note(queue, _version(body))
            home = self._home(queue.namespace, secret, body)
        self._replace(self._asked, queue, home)
        return home

    async def reach(self, namespace: str, secret: str | None) -> Home:
        """What a Secret names, or the operator's own connection. Raises SecretNotFound, SecretInvalid and ApiError."""
        if secret is None:
            return Home(self.own)
        return self._home(namespace, secret, await self._find(namespace, secret))

    def version_read(self, queue: Key) -> str | None:
        """Of the Secret the queue names: empty where there was none, None where nobody has looked yet."""
        return self._versions.get(queue)

    def settle(self, queue: Key, home: Home) -> None:
        """The queue lives there from now on."""
        before = self._homes.get(queue)
        self._replace(self._homes, queue, home)
        if before and before != home:
            self._watcher.queue_settled(queue)

    def forget(self, queue: Key) -> None:
        """The queue is gone."""
        self._locks.pop(queue, None)
        self._versions.pop(queue, None)
        for homes in (self._asked, self._homes):
            if home := homes.pop(queue, None):
                self._close_unused(home.broker)

    def _note(self, queue: Key, version: str) -> None:
        """Whoever finds the Secret changed, the queue or one of its groups: all of them are to know."""
        before, self._versions[queue] = self._versions.get(queue), version
        if before not in (None, version):
            self._watcher.queue_settled(queue)

    def _replace(self, homes: dict[Key, Home], queue: Key, home: Home) -> None:
        before, homes[queue] = homes.get(queue), home
        if before and before.broker is not home.broker:
            self._close_unused(before.broker)

    def _broker(self, credentials: Credentials) -> Broker:
        broker = self._open.get(credentials)
        if broker is None:
            connection = Connection(credentials, lambda is_up: self._changed(credentials, is_up))
            jetstream = JetStream(connection)
            broker = self._open[credentials] = Broker(connection, jetstream, ConfigBucket(jetstream))
            self._watcher.broker_opened(broker)
            connection.open()
        return broker

    def _changed(self, credentials: Credentials, is_up: bool) -> None:
        if broker := self._open.get(credentials):
            self._watcher.broker_changed(broker, is_up)

    def _close_unused(self, broker: Broker) -> None:
        if broker is self.own or self.queues_naming(broker):
            return
        if self._open.pop(broker.connection.credentials, None):
            self._watcher.broker_closed(broker)
            task = asyncio.create_task(broker.connection.close(), name="nats closing")
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def _find(self, namespace: str, name: str) -> Json | None:
        try:
            return await self._kubernetes.get(Key("Secret", namespace, name))
        except Gone:
            return None

    def _home(self, namespace: str, name: str, secret: Json | None) -> Home:
        """Raises SecretNotFound and SecretInvalid."""
        if secret is None:
            raise SecretNotFound(f"there is no Secret {name} in namespace {namespace}", field=_FIELD)
        try:
            values = {key: base64.b64decode(value).decode() for key, value in (secret.get("data") or {}).items()}
        except (binascii.Error, UnicodeDecodeError):
            raise SecretInvalid(f"the Secret {name} holds what is no text", field=_FIELD) from None
        credentials = parse_credentials(values, f"{_FIELD}: the Secret {name}")
        return Home(self._broker(credentials), name, _version(secret))


def _version(secret: Json | None) -> str:
    return str(secret["metadata"].get("resourceVersion", "")) if secret else ""
