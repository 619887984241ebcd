"""Running a delivery's handler, and the one outcome of that."""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Protocol

from protoqueue.aio import is_running
from protoqueue.broker import Delivery
from protoqueue.errors import ProtoQueueError, UndecodableTask
from protoqueue.handlers.executors import Executors
from protoqueue.handlers.registry import Registry
from protoqueue.handlers.retry_rules import NO_RULES, RetryRules
from protoqueue.observability.log import RUNNING
from protoqueue.observability.tracing import Tracing
from protoqueue.outcomes import Reason, Redrive, Reject, Retry
from protoqueue.protocol.config import GroupSettings, RetryPolicy
from protoqueue.protocol.message_headers import Header
from protoqueue.protocol.recurring import firing_expires_ms
from protoqueue.protocol.retries import effective_policy
from protoqueue.protocol.task_codec import count_of, decode_task, read_task
from protoqueue.settlement.attempt_count import NO_PAST, Past
from protoqueue.settlement.letter_routes import not_a_letter
from protoqueue.settlement.outcome import (
    DONE,
    Dead,
    Executed,
    Failure,
    Outcome,
    Redriven,
    RetryLater,
    Snoozed,
    WaitForWorker,
    outcome_of,
)
from protoqueue.task import Task

log = logging.getLogger(__name__)


def utc_now() -> datetime:
    return datetime.now(UTC)


class Ledger(Protocol):
    """A task that has succeeded before."""

    async def has(self, task_id: str) -> bool: ...


async def execute(
    delivery: Delivery,
    handlers: Registry,
    group: GroupSettings,
    executors: Executors,
    is_given_up: Callable[[], bool],
    ledger: Ledger | None = None,
    tracing: Tracing | None = None,
    past: Past = NO_PAST,
    now: Callable[[], datetime] = utc_now,
) -> Executed:
    """Run the handler for a delivery.

    Each of its errors becomes an outcome; only a cancellation for which `is_given_up` is true is passed on: others are
    the handler's own and fail its attempt. A task that has succeeded according to `ledger` does not run again.
    """
    read = read_delivery(delivery, group, past, now, handlers)
    task = read.task if isinstance(read, Executed) else read
    if ledger is not None and task is not None and await ledger.has(task.id):
        log.info("the task succeeded before and is not run again", extra={"task": task.id})
        return Executed(DONE, task, is_recorded=True)
    if isinstance(read, Executed):
        return read
    task = read
    started, failed, result = time.perf_counter(), None, None
    outcome: Outcome = DONE
    runner, said = asyncio.current_task(), RUNNING.set((group.name, task))
    try:
        if tracing is None:
            result = await handlers.run(task, executors)
        else:
            with tracing.attempt(task, delivery.headers, group.name):
                result = await handlers.run(task, executors)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a handler's exit() is not the worker's
        if isinstance(error, asyncio.CancelledError) and is_given_up():
            raise
        if isinstance(error, GeneratorExit) and not is_running(runner):
            raise
        if isinstance(error, Redrive) and task.dead_letter is None:
            error = not_a_letter(task.id, group.name)
        jitter = random.uniform(-1, 1)  # noqa: S311
        rules = handlers.rules(task.type)
        outcome = outcome_of(
            error, task.attempt, policy_of(task, group, rules), jitter, unfit_for_s(delivery.headers, now()),
            is_final=rules.is_final(error),
        )  # fmt: skip
        _tell(error, outcome, task, group)
        failed = None if isinstance(outcome, Redriven | Snoozed) else error
    finally:
        RUNNING.reset(said)
    return Executed(outcome, task, time.perf_counter() - started, failed, result=result)


def policy_of(task: Task, group: GroupSettings, rules: RetryRules = NO_RULES) -> RetryPolicy:
    """The retry policy of a task in this group, for a handler with these `rules`."""
    if task.retries is None and rules.retries is None:
        return group.retry
    return effective_policy(group.retry, rules.retries, task.retries)


def policy_for(delivery: Delivery, group: GroupSettings, handlers: Registry) -> RetryPolicy:
    """The same for a delivery; the group's policy if it is not a task."""
    try:
        task = _task_of(delivery, group)
    except UndecodableTask:
        return group.retry
    return policy_of(task, group, handlers.rules(task.type))


def _task_of(delivery: Delivery, group: GroupSettings) -> Task:
    return decode_task(
        delivery.data, delivery.headers, delivery.sequence, delivery.stream, group.retry.max_attempts
    )  # fmt: skip


def read_delivery(
    delivery: Delivery,
    group: GroupSettings,
    past: Past,
    now: Callable[[], datetime] = utc_now,
    handlers: Registry | None = None,
) -> Task | Executed:
    """The task of a delivery, or the outcome if it must not run."""
    try:
        task = _task_of(delivery, group)
    except UndecodableTask as error:
        log.error("message %s of %s is not a task and is dead-lettered: %s", delivery.place, group.name.queue, error)
        return Executed(Dead(Reason.UNDECODABLE, Failure.of(error)), None)
    rules = NO_RULES if handlers is None else handlers.rules(task.type)
    policy = policy_of(task, group, rules)
    if task.max_attempts != policy.max_attempts:
        task = replace(task, max_attempts=policy.max_attempts)
    dead = _dead_on_arrival(delivery, policy, past, now)
    if dead is None:
        return task
    if dead.reason is Reason.CRASHED:
        log.error(
            "task %s of %s is dead-lettered as Crashed: %s. Find out how its worker ended: out of memory "
            "(kubectl describe pod), a crash of a C extension, a handler that blocks the event loop",
            task.id, group.name.queue, dead.failure.message, extra=_fields(task, group),
        )  # fmt: skip
    return Executed(dead, task)


def _dead_on_arrival(
    delivery: Delivery, policy: RetryPolicy, past: Past, now: Callable[[], datetime]
) -> Dead | None:  # fmt: skip
    if past.crashes >= policy.most_crashes:
        return Dead(Reason.CRASHED, Failure("Crashed", _crashed(past)), past.crashes)
    headers = delivery.headers
    expires_ms = count_of(headers.get(Header.EXPIRES_AT))
    if not expires_ms and Header.EXPIRES_AFTER in headers:
        expires_ms = firing_expires_ms(headers, delivery.stored_ns)
    if expires_ms and not past.started and expires_ms <= now().timestamp() * 1000:
        return _EXPIRED
    return None


def expired(delivery: Delivery) -> Executed:
    """The outcome of a task that expired before it could start."""
    return Executed(_EXPIRED, read_task(delivery.data, delivery.headers, delivery.sequence, delivery.stream))


_EXPIRED = Dead(Reason.EXPIRED, Failure("Expired", "no worker started the task in time"))


def _crashed(past: Past) -> str:
    often = "once" if past.crashes == 1 else f"{past.crashes} times"
    if past.beside is None:
        beside = "how many other tasks were in flight there is not known"
    else:
        beside = f"{past.beside} other tasks were in flight there the last time"
    return f"delivered {often} without an outcome: it appears to crash the workers that run it; {beside}"


def unfit_for_s(headers: Mapping[str, str], now: datetime) -> float:
    """How long a task has waited for a worker that can handle it."""
    since_ms = count_of(headers.get(Header.UNFIT_SINCE))
    return max(0.0, now.timestamp() - since_ms / 1000) if since_ms else 0.0


def _tell(error: BaseException, outcome: Outcome, task: Task, group: GroupSettings) -> None:
    """Log that an attempt failed; task and queue are in the text too, which every log format shows."""
    fields = _fields(task, group)
    # For what a handler raises on purpose the text is enough, and for our own errors the traceback adds nothing.
    told = isinstance(error, Reject | Retry) and error.__cause__ is None
    trace = None if told or isinstance(error, ProtoQueueError) else error
    if isinstance(outcome, RetryLater):
        fields["retry_in_s"] = delay_s = round(outcome.delay.total_seconds(), 3)
        log.warning(
            "task %s of %s failed at attempt %d, retrying in %g s: %r",
            task.id, group.name.queue, task.attempt, delay_s, error, extra=fields, exc_info=trace,
        )  # fmt: skip
    elif isinstance(outcome, WaitForWorker):
        fields["retry_in_s"] = round(outcome.delay.total_seconds(), 3)
        log.warning("no handler of this worker takes the task, it waits for a newer version: %s", error, extra=fields)
    elif isinstance(outcome, Dead):
        fields["reason"] = outcome.reason.value
        log.error(
            "task %s of %s failed for good (%s) at attempt %d: %r",
            task.id, group.name.queue, outcome.reason.value, task.attempt, error, extra=fields, exc_info=trace,
        )  # fmt: skip


def _fields(task: Task, group: GroupSettings) -> dict[str, object]:
    return {"queue": str(group.name.queue), "group": group.name.name, "task": task.id, "attempt": task.attempt}
