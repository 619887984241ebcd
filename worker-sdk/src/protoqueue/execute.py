"""From a delivery and the worker's handlers to the one outcome of it."""

import asyncio
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from protoqueue.cancellation import is_running
from protoqueue.codec import count_of, decode_task
from protoqueue.connection import Delivery
from protoqueue.errors import UndecodableTask
from protoqueue.log import RUNNING
from protoqueue.naming import Header
from protoqueue.outcomes import DONE, Dead, Failure, Outcome, Reason, Reject, RetryLater, outcome_of
from protoqueue.registry import Registry
from protoqueue.settings import GroupSettings
from protoqueue.surroundings import Surroundings
from protoqueue.task import Task
from protoqueue.tracing import Tracing

log = logging.getLogger(__name__)


@dataclass(slots=True)  # frozen costs half a microsecond a task
class Executed:
    """`task` is None when it could not be decoded; `seconds` is what the handler took."""

    outcome: Outcome
    task: Task | None
    seconds: float = 0.0


class Ledger(Protocol):
    """What has succeeded before."""

    async def has(self, task_id: str) -> bool: ...


async def execute(
    delivery: Delivery,
    handlers: Registry,
    group: GroupSettings,
    surroundings: Surroundings,
    is_given_up: Callable[[], bool],
    ledger: Ledger | None = None,
    tracing: Tracing | None = None,
) -> Executed:
    """Run the handler a delivery asks for. Every error of it becomes an outcome; only cancellation is let through.

    That is one for which `is_given_up` answers: others are the handler's own, which fail its attempt. What `ledger`
    says has succeeded does not run again.
    """
    read = read_delivery(delivery, group)
    task = read.task if isinstance(read, Executed) else read
    if ledger is not None and task is not None and await ledger.has(task.id):
        log.info("task had succeeded before and is not run again", extra={"task": task.id})
        return Executed(DONE, task)
    if isinstance(read, Executed):
        return read
    task = read
    started = time.perf_counter()
    outcome: Outcome = DONE
    runner, said = asyncio.current_task(), RUNNING.set((group.name, task))
    try:
        if tracing is None:
            await handlers.run(task, surroundings)
        else:
            with tracing.attempt(task, delivery.headers, group.name):
                await handlers.run(task, surroundings)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a handler's exit() is not the worker's
        if isinstance(error, asyncio.CancelledError) and is_given_up():
            raise
        if isinstance(error, GeneratorExit) and not is_running(runner):
            raise
        outcome = outcome_of(error, task.attempt, group.retry, random.uniform(-1, 1))  # noqa: S311
        _tell(error, outcome, task, group)
    finally:
        RUNNING.reset(said)
    return Executed(outcome, task, time.perf_counter() - started)


def read_delivery(delivery: Delivery, group: GroupSettings) -> Task | Executed:
    """The task of a delivery, or what has to become of it without anyone running it."""
    try:
        task = decode_task(delivery.data, delivery.headers, delivery.sequence)
    except UndecodableTask as error:
        return Executed(Dead(Reason.UNDECODABLE, Failure.of(error)), None)
    dead = _dead_on_arrival(delivery, group)
    return task if dead is None else Executed(dead, task)


def _dead_on_arrival(delivery: Delivery, group: GroupSettings) -> Dead | None:
    before = delivery.deliveries - 1
    if before >= group.retry.max_attempts:
        text = f"delivered {before} times without an outcome: it seems to end the workers that start it"
        return Dead(Reason.CRASHED, Failure("Crashed", text))
    expires = delivery.headers.get(Header.EXPIRES_AT)
    if expires and before == 0 and 0 < count_of(expires) <= time.time() * 1000:
        return Dead(Reason.EXPIRED, Failure("Expired", "no worker started it in time"))
    return None


def _tell(error: BaseException, outcome: Outcome, task: Task, group: GroupSettings) -> None:
    fields = {"queue": str(group.name.queue), "group": group.name.name, "task": task.id, "attempt": task.attempt}
    if isinstance(outcome, RetryLater):
        fields["retry_in_s"] = round(outcome.delay.total_seconds(), 3)
        log.warning("task failed, retrying: %r", error, extra=fields, exc_info=log.isEnabledFor(logging.DEBUG))
    elif isinstance(outcome, Dead):
        fields["reason"] = outcome.reason.value
        log.error(
            "task failed for good: %r", error, extra=fields, exc_info=None if isinstance(error, Reject) else error
        )
