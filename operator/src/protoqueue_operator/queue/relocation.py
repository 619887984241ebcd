"""A queue that moves to another NATS account stays where it is until it is empty there.

Streams cannot be moved along, and nobody would look for tasks in an account that the Queue no longer names. So the
queue stays at its old home, with its workers, and moves by itself once no task is left. A move is distinguished from a
new password, or another name of the same servers, by the account and the streams themselves.
"""

import logging
from collections.abc import Mapping
from dataclasses import replace

from protoqueue_operator.api.v1alpha1.errors import BrokerUnavailable, Moving, SecretInvalid, SecretNotFound
from protoqueue_operator.api.v1alpha1.location import NatsLocation
from protoqueue_operator.api.v1alpha1.meta import Key
from protoqueue_operator.api.v1alpha1.objects import Group, Queue
from protoqueue_operator.api.v1alpha1.queue import QueueSpec
from protoqueue_operator.jetstream.assets import Owner, Stream
from protoqueue_operator.jetstream.broker import Broker, Brokers, Home
from protoqueue_operator.jetstream.client import Json
from protoqueue_operator.jetstream.contents import contents, own_streams
from protoqueue_operator.queue import removal
from protoqueue_operator.queue.state import QueueStates
from protoqueue_operator.runtime.cache import Index
from protoqueue_operator.runtime.client import ApiError
from protoqueue_operator.runtime.event_recorder import EventRecorder
from protoqueue_operator.runtime.namespaces import Namespaces

logger = logging.getLogger(__name__)

_FIELD = "spec.nats"


class Relocation:
    """Decides where each queue lives: where it requests to, or where it was as long as it cannot leave."""

    def __init__(
        self,
        brokers: Brokers,
        queues: Mapping[Key, Queue],
        groups_of: Index[Group, Key],
        states: QueueStates,
        namespaces: Namespaces,
        events: EventRecorder,
    ) -> None:
        self._brokers = brokers
        self._queues = queues
        self._groups_of = groups_of
        self._states = states
        self._namespaces = namespaces
        self._events = events

    async def home_of(self, queue: Queue, spec: QueueSpec) -> Home:
        """Where the queue lives.

        Raises Moving if the contents of its old home are unknown, SecretNotFound, SecretInvalid, BrokerUnavailable and
        ApiError.
        """
        queue = replace(queue, namespace_uid=await self._namespaces.uid_of(queue.meta))
        key, brokers = queue.meta.key, self._brokers
        async with brokers.lock(key):
            asked = await brokers.resolve(key, spec.nats.connection_secret_ref.name if spec.nats else None)
            before = brokers.home(key)
            settled = before or await self._remembered(queue, asked)
            if settled is None or settled.broker is asked.broker or await self._moves(queue, settled.broker, asked):
                settled = asked
            if before and before.broker is not settled.broker:
                self._states.moved(key)
            brokers.set_home(key, settled)
            return settled

    async def broker_of(self, queue: Key) -> Broker:
        """Where the queue's assets are to be removed, as far as anybody knows.

        Raises BrokerUnavailable, also where nothing says any more where NATS is, and ApiError.
        """
        known = self._queues.get(queue)
        if known is not None and isinstance(known.spec, QueueSpec):
            try:
                return (await self.home_of(known, known.spec)).broker
            except (Moving, SecretNotFound, SecretInvalid) as error:
                if (broker := self._brokers.known(queue)) is None:
                    raise BrokerUnavailable(str(error)) from error
                return broker
            except ApiError as error:
                # In a namespace being deleted the right to read Secrets may be gone first.
                if not error.is_refusal:
                    raise
                if (broker := self._brokers.known(queue)) is None:
                    message = f"the Secret that says where NATS is cannot be read: {error}"
                    raise BrokerUnavailable(message) from error
                return broker
        return self._brokers.known(queue) or self._brokers.own

    def is_taken_over(self, queue: Key) -> bool:
        """Whether another Queue of the same name, as of another cluster, has the streams now."""
        return self._states.is_taken_over(queue)

    async def refuse_while_moving(self, queue: Queue, home: Home) -> None:
        """Raises Moving if the queue requests another home than it has."""
        asked = self._brokers.requested(queue.meta.key)
        if asked is None or asked.broker is home.broker:
            return
        what = contents(queue, await own_streams(queue, home.broker.jetstream)) or "tasks that came a moment ago"
        raise Moving(
            f"the queue is to move to {await location_of(asked)} and still holds {what} at {await location_of(home)}: "
            "it goes on there until they are done or removed, and then moves by itself",
            field=_FIELD,
        )

    async def _remembered(self, queue: Queue, asked: Home) -> Home | None:
        """The other home recorded in the status, after a restart of the operator; None if there is none."""
        location = queue.status.nats
        now = await location_of(asked)
        if location is None or location.is_same_as(now):
            return None
        try:
            old = await self._brokers.connect(queue.meta.namespace, location.secret)
        except (SecretNotFound, SecretInvalid):
            old = asked
        if old.broker is asked.broker and location.may_be(now):
            return None
        if old.broker.connection.credentials.where == location.servers and old.broker is not asked.broker:
            return old
        await self._adopt(queue, location, asked)
        return None

    async def _moves(self, queue: Queue, old: Broker, asked: Home) -> bool:
        """Whether the queue now lives where it requests to; what it leaves behind is empty, and deleted."""
        location = queue.status.nats
        if location is None or location.is_same_as(await location_of(asked)):
            return True
        here = await own_streams(queue, asked.broker.jetstream)
        try:
            there = await own_streams(queue, old.jetstream)
        except BrokerUnavailable:
            await self._adopt(queue, location, asked)
            return True
        if (created := _created(queue, there)) and created == _created(queue, here):
            return True
        if _is_anothers(queue, there):
            left = "belong to another cluster's and were left"
        elif contents(queue, there) or not await self._leave(queue, old, there):
            return False
        else:
            left = "were empty and were removed"
        message = f"lives at {await location_of(asked)} now; its streams at {location} {left}"
        self._events.event(queue.meta, "Normal", "Moved", message)
        return True

    async def _adopt(self, queue: Queue, location: NatsLocation, asked: Home) -> None:
        """Adopt streams that were copied to the new home; raises Moving if there are none."""
        now = await location_of(asked)
        if not await own_streams(queue, asked.broker.jetstream):
            raise Moving(
                f"the queue's streams are at {location}, which cannot be read, and not at {now}: restore the way "
                "there, or the streams here from a backup; to discard the tasks, delete the Queue and create it "
                "again",
                field=_FIELD,
            )
        message = f"lives at {now} now, where its streams were found; what is at {location} cannot be read"
        self._events.event(queue.meta, "Normal", "Moved", message)

    async def _leave(self, queue: Queue, old: Broker, there: dict[str, Json]) -> bool:
        """Close the streams, read them once more, and only then delete empty ones; returns whether they were empty.

        If a task came in between, the next reconcile finds the streams changed and reopens them.
        """
        if await removal.close(queue, there, old.jetstream):
            return False
        for group in self._groups_of.get(queue.meta.key):
            await old.configs.purge(group.name.config_key)
        await old.configs.purge(queue.name.config_key)
        await removal.delete(there, old.jetstream)
        return True


async def location_of(home: Home) -> NatsLocation:
    """Raises BrokerUnavailable before there has been a connection."""
    connection = home.broker.connection
    return NatsLocation(servers=connection.credentials.where, account=await connection.account(), secret=home.secret)


def _is_anothers(queue: Queue, there: dict[str, Json]) -> bool:
    """Whether a Queue of the same name, as of another cluster, has taken the streams over: nothing is left here."""
    return any(Stream.observed(info["config"]).owner != Owner.of(queue.meta) for info in there.values())


def _created(queue: Queue, streams: dict[str, Json]) -> str | None:
    """When the queue's stream was made, to the nanosecond: no two streams share that. None where there is none."""
    info = streams.get(queue.name.stream)
    return info["created"] if info else None
