"""Deletes the streams of a queue once they are empty, whatever producers do meanwhile.

A stream that was just empty may hold a task now, whose producer was told that it is stored. So the streams are closed
first: later tasks are refused, and earlier ones are found by reading once more.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from protoqueue_operator.api.v1alpha1.objects import Queue
from protoqueue_operator.jetstream.apply import apply_plan
from protoqueue_operator.jetstream.assets import Stream
from protoqueue_operator.jetstream.client import JetStream, Json
from protoqueue_operator.jetstream.contents import contents, own_streams
from protoqueue_operator.jetstream.diff import DeleteStream, UpdateStream


async def close(queue: Queue, streams: Mapping[str, Json], jetstream: JetStream) -> str:
    """Close the streams; returns what they then hold, in words, or nothing.

    They stay closed even if they hold something, until `reopen`, or until the queue is reconciled. `streams` as
    `own_streams` gives them. Raises BrokerUnavailable and BrokerRefused.
    """
    configs = {name: info["config"] for name, info in streams.items()}
    closed = [
        UpdateStream(replace(Stream.observed(config), subjects=(f"{queue.name.closed}.{number}",)))
        for number, config in enumerate(configs.values())
    ]
    await apply_plan(jetstream, closed, configs)
    return contents(queue, await own_streams(queue, jetstream))


async def reopen(desired: Iterable[Stream], streams: Mapping[str, Json], jetstream: JetStream) -> None:
    """Reopen closed streams; ignores open ones. Raises BrokerUnavailable and BrokerRefused."""
    configs = {stream: info["config"] for stream, info in streams.items()}
    subjects = {stream.name: stream.subjects for stream in desired}
    observed = [Stream.observed(config) for config in configs.values()]
    plan = [
        UpdateStream(replace(stream, subjects=subjects[stream.name]))
        for stream in observed
        if stream.subjects != subjects.get(stream.name, stream.subjects)
    ]
    await apply_plan(jetstream, plan, configs)


async def delete(streams: Mapping[str, Json], jetstream: JetStream) -> None:
    """Delete the queue's stream before the one it sources, so that nothing comes due into a deleted stream.

    Raises BrokerUnavailable and BrokerRefused.
    """
    await apply_plan(jetstream, [DeleteStream(name) for name in reversed(list(streams))], {})
