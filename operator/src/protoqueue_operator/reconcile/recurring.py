"""Keeps the schedules on LATER as the Queue lists them."""

import asyncio
import logging

from protoqueue_operator.adapters.jetstream import JetStream
from protoqueue_operator.core.queue import QueueSpec
from protoqueue_operator.core.refusals import BrokerRefused, InvalidSpec
from protoqueue_operator.core.resources import Queue
from protoqueue_operator.core.schedules import Recurring, observed_recurring, recurring_tasks, superfluous

logger = logging.getLogger(__name__)


async def apply_schedules(queue: Queue, spec: QueueSpec, jetstream: JetStream) -> None:
    """Raises InvalidSpec where the server takes no such cron or time zone, BrokerUnavailable and BrokerRefused."""
    stored = await jetstream.subjects(queue.name.later_stream, queue.name.all_recurring)
    for subject in superfluous(queue.name, spec, stored):
        await jetstream.purge(queue.name.later_stream, subject)
        logger.info("schedule removed: object=%s subject=%s", queue.meta.key, subject)
    await asyncio.gather(*(_apply(queue, each, jetstream) for each in recurring_tasks(queue.name, spec)))


async def remove_schedules(queue: Queue, jetstream: JetStream) -> None:
    """So that a stream that is kept does not go on filling with nobody to work on it."""
    await jetstream.purge(queue.name.later_stream, queue.name.all_recurring)


async def _apply(queue: Queue, wanted: Recurring, jetstream: JetStream) -> None:
    message = await jetstream.last_message(queue.name.later_stream, wanted.subject)
    if message and observed_recurring(wanted.name, message) == wanted:
        return
    try:
        # A schedule takes the place of the one before it on its subject.
        await jetstream.publish(wanted.subject, wanted.data, dict(wanted.headers))
    except BrokerRefused as error:
        separator = "." if error.field else ": "  # with a field the error begins with it
        raise InvalidSpec(f"spec.schedules[{wanted.name}]{separator}{error}") from error
    logger.info("schedule set: object=%s name=%s", queue.meta.key, wanted.name)
