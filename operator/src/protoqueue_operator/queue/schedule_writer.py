"""Writes the schedules that the Queue lists into JetStream."""

import asyncio
import contextlib
import logging
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from protoqueue_operator.api.v1alpha1.errors import BrokerRefused, InvalidSpec
from protoqueue_operator.api.v1alpha1.objects import Queue
from protoqueue_operator.api.v1alpha1.queue import QueueSpec
from protoqueue_operator.jetstream.client import JetStream
from protoqueue_operator.jetstream.layout import Layout
from protoqueue_operator.queue.schedules import (
    Recurring,
    next_firings,
    observed_recurring,
    recurring_tasks,
    superfluous,
)

logger = logging.getLogger(__name__)

_STATED_FOR_S = 60.0
"""If a schedule fires more often, the status is not written each time."""


async def apply_schedules(queue: Queue, spec: QueueSpec, layout: Layout, jetstream: JetStream) -> None:
    """Raises InvalidSpec where the server takes no such cron or time zone, BrokerUnavailable and BrokerRefused."""
    stored = await jetstream.subjects(layout.later, queue.name.all_recurring)
    for subject in superfluous(queue.name, spec, stored):
        await jetstream.purge(layout.later, subject)
        logger.info("schedule removed: object=%s subject=%s", queue.meta.key, subject)
    wanted = recurring_tasks(queue.name, spec)
    await asyncio.gather(*(_apply(queue, each, layout.later, jetstream) for each in wanted))
    # What both streams fire meanwhile belongs to one slot, which runs once.
    await asyncio.gather(*(remove_schedules(queue, stream, jetstream) for stream in layout.draining))


def zones_of(spec: QueueSpec) -> dict[str, tzinfo]:
    """The known time zones of its schedules, for the status: NATS itself evaluates them."""
    zones: dict[str, tzinfo] = {"UTC": UTC}
    for schedule in spec.schedules:
        if schedule.time_zone:
            with contextlib.suppress(ZoneInfoNotFoundError, OSError, ValueError):
                zones[schedule.time_zone] = ZoneInfo(schedule.time_zone)
    return zones


def seconds_to_next_firing(spec: QueueSpec, now: datetime) -> float | None:
    """When the next times in the status must be updated; None if there are none."""
    times = next_firings(spec, zones_of(spec), now).values()
    return max(_STATED_FOR_S, (min(times) - now).total_seconds() + 1) if times else None


async def remove_schedules(queue: Queue, stream: str, jetstream: JetStream) -> None:
    """Delete the schedules, so that a kept stream does not go on filling up."""
    await jetstream.purge(stream, queue.name.all_recurring)


async def _apply(queue: Queue, wanted: Recurring, stream: str, jetstream: JetStream) -> None:
    message = await jetstream.last_message(stream, wanted.subject)
    if message and observed_recurring(wanted.name, message) == wanted:
        return
    try:
        # A schedule replaces the previous one on its subject.
        await jetstream.publish(wanted.subject, wanted.data, dict(wanted.headers))
    except BrokerRefused as error:
        separator = "." if error.field else ": "  # with a field the error begins with it
        raise InvalidSpec(f"spec.schedules[{wanted.name}]{separator}{error}") from error
    logger.info("schedule set: object=%s name=%s", queue.meta.key, wanted.name)
