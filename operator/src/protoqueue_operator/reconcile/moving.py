"""A queue that is to live in another NATS account stays where it is until it is empty there.

Streams cannot be taken along, and nobody would look for tasks where the Queue does not point any more. So the queue
goes on at its old home, workers and all, and moves by itself once nothing is left. What tells a move from a new
password, or from another name of the same servers, is the account and the streams themselves.
"""

import logging
from dataclasses import replace

from protoqueue_operator.adapters.jetstream import Json
from protoqueue_operator.core.assets import Owner, Stream
from protoqueue_operator.core.places import Place
from protoqueue_operator.core.plan import DeleteStream, UpdateStream
from protoqueue_operator.core.queue import QueueSpec
from protoqueue_operator.core.refusals import BrokerUnavailable, Moving, SecretInvalid, SecretNotFound
from protoqueue_operator.core.resources import Queue
from protoqueue_operator.reconcile.applying import apply_plan
from protoqueue_operator.reconcile.brokers import Broker, Home
from protoqueue_operator.reconcile.holdings import contents, own_streams
from protoqueue_operator.reconcile.runtime import Runtime

logger = logging.getLogger(__name__)

_FIELD = "spec.nats"


async def home_of(queue: Queue, spec: QueueSpec, runtime: Runtime) -> Home:
    """Where the queue lives: where it asks to, or where it was as long as it cannot leave.

    Raises Moving where nobody can tell what is at its old home, SecretNotFound, SecretInvalid, BrokerUnavailable and
    ApiError.
    """
    key, brokers = queue.meta.key, runtime.brokers
    async with brokers.lock(key):
        asked = await brokers.asked(key, spec.nats.connection_secret_ref.name if spec.nats else None)
        before = brokers.home(key)
        settled = before or await _remembered(queue, asked, runtime)
        if settled is None or settled.broker is asked.broker or await _moves(queue, settled.broker, asked, runtime):
            settled = asked
        if before and before.broker is not settled.broker:
            runtime.streams.pop(key, None)  # those were at the old home, whoever has them now
            runtime.yielded.pop(key, None)
        brokers.settle(key, settled)
        return settled


async def refuse_while_moving(queue: Queue, home: Home, runtime: Runtime) -> None:
    """Raises Moving where the queue asks for another home than it has."""
    asked = runtime.brokers.wanted(queue.meta.key)
    if asked is None or asked.broker is home.broker:
        return
    what = contents(queue, await own_streams(queue, home.broker.jetstream)) or "tasks that came a moment ago"
    raise Moving(
        f"the queue is to move to {await place_of(asked)} and still holds {what} at {await place_of(home)}: it goes on "
        "there until they are done or removed, and then moves by itself",
        field=_FIELD,
    )


async def place_of(home: Home) -> Place:
    """Raises BrokerUnavailable before there has been a connection."""
    connection = home.broker.connection
    return Place(servers=connection.credentials.where, account=await connection.account(), secret=home.secret)


async def _remembered(queue: Queue, asked: Home, runtime: Runtime) -> Home | None:
    """The other home that the status tells of, after a restart of the operator; None where it tells of none."""
    place = queue.status.nats
    now = await place_of(asked)
    if place is None or place.is_same_as(now):
        return None
    try:
        old = await runtime.brokers.reach(queue.meta.namespace, place.secret)
    except (SecretNotFound, SecretInvalid):
        old = asked
    if old.broker is asked.broker and place.may_be(now):
        return None
    if old.broker.connection.credentials.where == place.servers and old.broker is not asked.broker:
        return old
    await _adopt(queue, place, asked, runtime)
    return None


async def _moves(queue: Queue, old: Broker, asked: Home, runtime: Runtime) -> bool:
    """Whether the queue lives where it asks to from now on; what it leaves behind is empty, and taken away."""
    place = queue.status.nats
    if place is None or place.is_same_as(await place_of(asked)):
        return True
    here = await own_streams(queue, asked.broker.jetstream)
    try:
        there = await own_streams(queue, old.jetstream)
    except BrokerUnavailable:
        await _adopt(queue, place, asked, runtime)
        return True
    if (created := _created(queue, there)) and created == _created(queue, here):
        return True
    if _is_anothers(queue, there):
        left = "belong to another cluster's and were left"
    elif contents(queue, there) or not await _leave(queue, old, there, runtime):
        return False
    else:
        left = "were empty and were removed"
    message = f"lives at {await place_of(asked)} now; its streams at {place} {left}"
    runtime.reporter.event(queue.meta, "Normal", "Moved", message)
    return True


async def _adopt(queue: Queue, place: Place, asked: Home, runtime: Runtime) -> None:
    """Take the streams that somebody has brought to the new home; raises Moving where there are none."""
    now = await place_of(asked)
    if not await own_streams(queue, asked.broker.jetstream):
        raise Moving(
            f"the queue's streams are at {place}, which cannot be looked into, and not at {now}: restore the way "
            "there, or the streams here from a backup; to give up what they hold, delete the Queue and create it again",
            field=_FIELD,
        )
    message = f"lives at {now} now, where its streams were found; what is at {place} cannot be looked into"
    runtime.reporter.event(queue.meta, "Normal", "Moved", message)


async def _leave(queue: Queue, old: Broker, there: dict[str, Json], runtime: Runtime) -> bool:
    """Take no more tasks, look once more, and only then remove what is empty; returns whether it was.

    Where a task came in between, the next look at the queue finds its streams changed and opens them again.
    """
    configs = {name: info["config"] for name, info in there.items()}
    closed = [
        UpdateStream(replace(Stream.observed(config), subjects=(f"{queue.name.closed}.{number}",)))
        for number, config in enumerate(configs.values())
    ]
    await apply_plan(old.jetstream, closed, configs)
    if contents(queue, await own_streams(queue, old.jetstream)):
        return False
    for group in runtime.cache.groups_of(queue.meta.key):
        await old.configs.purge(group.name.config_key)
    await old.configs.purge(queue.name.config_key)
    # The queue before what it sources, so that nothing comes due into a stream that is gone.
    await apply_plan(old.jetstream, [DeleteStream(name) for name in reversed(configs)], {})
    return True


def _is_anothers(queue: Queue, there: dict[str, Json]) -> bool:
    """Whether a Queue of the same name, as of another cluster, has taken the streams over: nothing is left here."""
    return any(Stream.observed(info["config"]).owner != Owner.of(queue.meta) for info in there.values())


def _created(queue: Queue, streams: dict[str, Json]) -> str | None:
    """When the queue's stream was made, to the nanosecond: no two streams share that. None where there is none."""
    info = streams.get(queue.name.stream)
    return info["created"] if info else None
