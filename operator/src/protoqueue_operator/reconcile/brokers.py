"""Which NATS holds which queue: one broker for each set of servers and credentials, shared by all who name it."""

import asyncio
import base64
import binascii
from dataclasses import dataclass
from typing import Protocol

from protoqueue_operator.adapters.buckets import ConfigBucket
from protoqueue_operator.adapters.connections import Connection
from protoqueue_operator.adapters.jetstream import JetStream
from protoqueue_operator.adapters.kubernetes import Gone, Kubernetes
from protoqueue_operator.core.credentials import Credentials, parse_credentials
from protoqueue_operator.core.queue import QueueSpec
from protoqueue_operator.core.refusals import SecretInvalid, SecretNotFound
from protoqueue_operator.core.resources import Key, Queue

SECRET_AGAIN_S = 20.0
"""How often a Secret is read again: the operator may read those that are named, and watches none."""


@dataclass(frozen=True, eq=False)
class Broker:
    """One NATS account, as the reconcilers use it."""

    connection: Connection
    jetstream: JetStream
    configs: ConfigBucket


class Watcher(Protocol):
    """Who is told of brokers that come, go, and change their state."""

    def broker_opened(self, broker: Broker) -> None: ...
    def broker_changed(self, broker: Broker, is_up: bool) -> None: ...
    def broker_closed(self, broker: Broker) -> None: ...


class Brokers:
    """The operator's own broker, and those that Secrets name; a broker that no queue names any more is closed."""

    def __init__(self, own: Credentials, kubernetes: Kubernetes, watcher: "Watcher") -> None:
        self._kubernetes = kubernetes
        self._watcher = watcher
        self._open: dict[Credentials, Broker] = {}
        self._of: dict[Key, Credentials] = {}
        self._own = own
        self._closing: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        self._broker(self._own)

    async def stop(self) -> None:
        for broker in self._open.values():
            await broker.connection.close()

    @property
    def own(self) -> Broker:
        return self._open[self._own]

    def queues_of(self, broker: Broker) -> set[Key]:
        """The queues this broker is known to hold."""
        return {key for key, credentials in self._of.items() if self._open.get(credentials) is broker}

    def known(self, queue: Key) -> Broker | None:
        """The broker the queue was last found to be held by."""
        credentials = self._of.get(queue)
        return self._open.get(credentials) if credentials else None

    async def find(self, queue: Queue, spec: QueueSpec) -> Broker:
        """The broker a queue asks for, opened if need be. Raises SecretNotFound, SecretInvalid and ApiError."""
        credentials = self._own
        if spec.nats:
            credentials = await self._read(queue.meta.namespace, spec.nats.connection_secret_ref.name)
        broker = self._broker(credentials)
        before = self._of.get(queue.meta.key)
        self._of[queue.meta.key] = credentials
        if before and before != credentials:
            self._close_unused(before)
        return broker

    def forget(self, queue: Key) -> None:
        """The queue is gone."""
        credentials = self._of.pop(queue, None)
        if credentials:
            self._close_unused(credentials)

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

    def _close_unused(self, credentials: Credentials) -> None:
        if credentials == self._own or credentials in self._of.values():
            return
        if broker := self._open.pop(credentials, None):
            self._watcher.broker_closed(broker)
            task = asyncio.create_task(broker.connection.close(), name="nats closing")
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def _read(self, namespace: str, name: str) -> Credentials:
        field = "spec.nats.connectionSecretRef"
        try:
            secret = await self._kubernetes.get(Key("Secret", namespace, name))
        except Gone:
            raise SecretNotFound(f"there is no Secret {name} in namespace {namespace}", field=field) from None
        try:
            values = {key: base64.b64decode(value).decode() for key, value in (secret.get("data") or {}).items()}
        except (binascii.Error, UnicodeDecodeError):
            raise SecretInvalid(f"the Secret {name} holds what is no text", field=field) from None
        return parse_credentials(values, f"{field}: the Secret {name}")
