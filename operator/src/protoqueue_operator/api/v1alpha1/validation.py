"""What the schema cannot refuse."""

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from protoqueue.durations import format_duration
from protoqueue_operator.core.consumer_group import Autoscale, ConsumerGroupSpec, RetryOverrides
from protoqueue_operator.core.queue import QueueSpec, RateLimit, Retry, Schedule
from protoqueue_operator.core.refusals import InvalidSpec
from protoqueue_operator.core.wording import counted

_INSTANT = timedelta(0)
_MOMENT = timedelta(milliseconds=100)
_LONGEST = timedelta(days=36_500)
"""JetStream counts nanoseconds in 64 bits, which is 292 years."""
_MOST = 2**63 - 1
_MOST_REPLICAS = 2**31 - 1
_LARGEST_TASK = 1 << 20
"""What a NATS server takes unless it is configured otherwise."""
_ENVELOPE = 512
"""Room for what surrounds the payload of a recurring task: the message's headers and the task's other fields."""


def check_queue(spec: QueueSpec) -> None:
    """Raises InvalidSpec, naming the field."""
    _check_duration("spec.visibilityTimeout", spec.visibility_timeout, _MOMENT)
    _check_duration("spec.deduplicationWindow", spec.deduplication_window, _MOMENT)
    _check_duration("spec.deadLetter.maxAge", spec.dead_letter.max_age, _MOMENT)
    _check_duration("spec.limits.maxAge", spec.limits.max_age, _MOMENT)
    _check_count("spec.deadLetter.maxTasks", spec.dead_letter.max_tasks, _MOST)
    _check_count("spec.limits.maxTasks", spec.limits.max_tasks, _MOST)
    _check_size("spec.limits.maxBytes", spec.limits.max_bytes, _MOST)
    _check_size("spec.limits.maxTaskSize", spec.limits.max_task_size, 2**31 - 1)
    _check_retry(spec.retry)
    _check_rate_limit(spec.rate_limit)
    for schedule in spec.schedules:
        _check_schedule(schedule, spec.limits.max_task_size or _LARGEST_TASK)


def check_group(spec: ConsumerGroupSpec, queue: QueueSpec) -> None:
    """Raises InvalidSpec, naming the field."""
    _check_duration("spec.visibilityTimeout", spec.visibility_timeout, _MOMENT)
    _check_retry(spec.retry)
    _check_rate_limit(spec.rate_limit)
    _check_count("spec.replicas", spec.replicas, _MOST_REPLICAS)
    levels = queue.effective_priority_levels
    if spec.priority_weights is not None and len(spec.priority_weights) != levels:
        weights = counted(len(spec.priority_weights), "weight")
        raise InvalidSpec(
            f"has {weights}, but the queue has {counted(levels, 'priority level')}", field="spec.priorityWeights"
        )
    if spec.autoscale:
        _check_autoscale(spec.autoscale)
    if spec.worker and spec.worker.template is not None:
        _check_template(spec.worker.template)


def _check_duration(field: str, value: timedelta | None, least: timedelta) -> None:
    if value is None:
        return
    if value < least:
        raise InvalidSpec(f"must be at least {format_duration(least)}", field=field)
    if value > _LONGEST:
        raise InvalidSpec(f"must be at most {format_duration(_LONGEST)}", field=field)


def _check_count(field: str, value: int | None, most: int) -> None:
    if value is not None and value > most:
        raise InvalidSpec(f"must be at most {most}", field=field)


def _check_size(field: str, value: int | None, most: int) -> None:
    if value is not None and not 1 <= value <= most:
        raise InvalidSpec(f"must be at least one byte and at most {most}", field=field)


def _check_retry(retry: Retry | RetryOverrides | None) -> None:
    if retry:
        _check_duration("spec.retry.initialDelay", retry.initial_delay, _INSTANT)
        _check_duration("spec.retry.maxDelay", retry.max_delay, _INSTANT)


def _check_rate_limit(limit: RateLimit | None) -> None:
    """Of no time at all there is no rate."""
    if limit:
        _check_duration("spec.rateLimit.per", limit.per, timedelta(milliseconds=1))
        _check_count("spec.rateLimit.tasks", limit.tasks, _MOST)
        _check_count("spec.rateLimit.burst", limit.burst, _MOST)


def _check_schedule(schedule: Schedule, most: int) -> None:
    """One task too large for the queue's stream would stop everything that comes due after it."""
    field = f"spec.schedules[{schedule.name}]"
    size = len(json.dumps(schedule.payload, separators=(",", ":"))) + len(schedule.type.encode()) + _ENVELOPE
    if size > most:
        raise InvalidSpec(f"comes to {size} bytes as a task, and {most} are allowed", field=f"{field}.payload")
    _check_duration(f"{field}.every", schedule.every, timedelta(seconds=1))
    # Both become headers of a message: a line break would begin another header.
    for name, text in (("cron", schedule.cron), ("timeZone", schedule.time_zone)):
        if text is not None and not text.isprintable():
            raise InvalidSpec("must be one line of printable characters", field=f"{field}.{name}")


def _check_autoscale(autoscale: Autoscale) -> None:
    _check_duration("spec.autoscale.target.drainTime", autoscale.target.drain_time, _MOMENT)
    _check_duration("spec.autoscale.scaleDownDelay", autoscale.scale_down_delay, _INSTANT)
    _check_duration("spec.autoscale.idleDelay", autoscale.idle_delay, _INSTANT)
    _check_count("spec.autoscale.maxReplicas", autoscale.max_replicas, _MOST_REPLICAS)


def _check_template(template: Mapping[str, Any]) -> None:
    """Only what the operator itself goes into; the rest of a pod is the API server's to judge."""
    path = "spec.worker.template"
    metadata = _part(template, "metadata", f"{path}.metadata", dict)
    for field in ("labels", "annotations"):
        _part(metadata, field, f"{path}.metadata.{field}", dict)
    pod = _part(template, "spec", f"{path}.spec", dict)
    _part(pod, "volumes", f"{path}.spec.volumes", list)
    containers = pod.get("containers")
    if not isinstance(containers, list) or not containers:
        raise InvalidSpec("a pod needs at least one container", field=f"{path}.spec.containers")
    for index, container in enumerate(containers):
        field = f"{path}.spec.containers[{index}]"
        if not isinstance(container, dict) or not container.get("name"):
            raise InvalidSpec("a container needs a name", field=f"{field}.name")
        _part(container, "volumeMounts", f"{field}.volumeMounts", list)
        for variable in _part(container, "env", f"{field}.env", list):
            if not isinstance(variable, dict) or not isinstance(variable.get("name"), str):
                raise InvalidSpec("must be a list of objects that have a name", field=f"{field}.env")


def _part(whole: Mapping[str, Any], name: str, field: str, kind: type[Any]) -> Any:
    """Empty where there is none. Raises InvalidSpec for what is of another kind."""
    part = whole.get(name)
    if part is None:
        return kind()
    if not isinstance(part, kind):
        raise InvalidSpec(f"must be {'a list' if kind is list else 'an object'}", field=field)
    return part
