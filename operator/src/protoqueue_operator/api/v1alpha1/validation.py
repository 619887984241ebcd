"""Validation beyond the schema."""

import json
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from protoqueue.protocol.cron import parse_cron
from protoqueue.protocol.durations import format_duration
from protoqueue_operator.api.v1alpha1.consumer_group import Autoscale, ConsumerGroupSpec
from protoqueue_operator.api.v1alpha1.errors import InvalidSpec, QuotaExceeded
from protoqueue_operator.api.v1alpha1.fields import Model, durations, is_deeper_than
from protoqueue_operator.api.v1alpha1.objects import Group, Queue, Redrive
from protoqueue_operator.api.v1alpha1.queue import QueueSpec, RateLimit
from protoqueue_operator.api.v1alpha1.redrive import RedriveSpec
from protoqueue_operator.api.v1alpha1.schedule import Schedule
from protoqueue_operator.api.v1alpha1.text import counted

_LONGEST = timedelta(days=36_500)
"""JetStream counts nanoseconds in 64 bits, which is 292 years."""
_MOST = 2**63 - 1
_MOST_REPLICAS = 2**31 - 1
_LARGEST_TASK = 1 << 20
"""The largest message a NATS server accepts by default."""
_ENVELOPE = 512
"""Space for what surrounds the payload of a recurring task: headers and the task's other fields."""

_DEEPEST_PAYLOAD = 64
"""Workers in any language must be able to read it."""


def valid_queue_spec(queue: Queue) -> QueueSpec:
    """Raises InvalidSpec."""
    if isinstance(queue.spec, InvalidSpec):
        raise queue.spec
    check_queue(queue.spec)
    return queue.spec


def valid_group_spec(group: Group, queue: QueueSpec) -> ConsumerGroupSpec:
    """Raises InvalidSpec."""
    if isinstance(group.spec, InvalidSpec):
        raise group.spec
    check_group(group.spec, queue)
    return group.spec


def valid_redrive_spec(redrive: Redrive) -> RedriveSpec:
    """Raises InvalidSpec."""
    if isinstance(redrive.spec, InvalidSpec):
        raise redrive.spec
    check_redrive(redrive.spec)
    return redrive.spec


def check_redrive(spec: RedriveSpec) -> None:
    """Raises InvalidSpec, naming the field."""
    _check_durations(spec, "spec")


def check_queue(spec: QueueSpec) -> None:
    """Raises InvalidSpec, naming the field."""
    _check_durations(spec, "spec")
    _check_count("spec.deadLetter.maxTasks", spec.dead_letter.max_tasks, _MOST)
    _check_count("spec.history.maxTasks", spec.history.max_tasks if spec.history else None, _MOST)
    _check_size("spec.history.maxBytes", spec.history.max_bytes if spec.history else None, _MOST)
    _check_count("spec.limits.maxTasks", spec.limits.max_tasks, _MOST)
    _check_size("spec.limits.maxBytes", spec.limits.max_bytes, _MOST)
    _check_size("spec.limits.maxTaskSize", spec.limits.max_task_size, 2**31 - 1)
    _check_rate_limit(spec.rate_limit)
    for schedule in spec.schedules:
        _check_schedule(schedule, spec.limits.max_task_size or _LARGEST_TASK)


def check_reservation(queue: Queue, others: Iterable[Queue], most: int | None) -> None:
    """JetStream reserves `maxBytes` on each replica, used or not: one tenant could take all storage.

    `others` are the Queues of the namespace; the older ones go first. Raises InvalidSpec and QuotaExceeded.
    """
    if most is None:
        return
    field = "spec.limits.maxBytes"
    mine = _reserved(queue)
    if mine is None:
        raise InvalidSpec("must be stated: this operator limits what the Queues of a namespace reserve", field=field)
    age = (queue.meta.created, queue.meta.name)
    before = sum(_reserved(each) or 0 for each in others if (each.meta.created, each.meta.name) < age)
    if before + mine > most:
        raise QuotaExceeded(
            f"reserves {mine} bytes with its replicas, the older Queues of the namespace reserve {before}, and this "
            f"operator allows {most} per namespace (--max-bytes-per-namespace): lower it, or delete Queues",
            field=field,
        )


def _reserved(queue: Queue) -> int | None:
    """Bytes reserved in the operator's own NATS; other servers do not count. None without a limit."""
    spec = queue.spec
    if isinstance(spec, InvalidSpec) or spec.nats is not None:
        return 0
    if spec.limits.max_bytes is None:
        return None
    return (spec.limits.max_bytes + (spec.history.max_bytes if spec.history else 0)) * spec.replicas


def check_group(spec: ConsumerGroupSpec, queue: QueueSpec) -> None:
    """Raises InvalidSpec, naming the field."""
    _check_durations(spec, "spec")
    _check_rate_limit(spec.rate_limit)
    levels = queue.effective_priority_levels
    if spec.priority_weights is not None and len(spec.priority_weights) != levels:
        weights = counted(len(spec.priority_weights), "weight")
        raise InvalidSpec(
            f"has {weights}, but the queue has {counted(levels, 'priority level')}", field="spec.priorityWeights"
        )
    check_scaling(spec)
    if spec.worker and spec.worker.template is not None:
        _check_template(spec.worker.template.parsed())


def _check_durations(model: Model, path: str) -> None:
    """The bounds are stated beside the fields."""
    for field, value, least in durations(model, path):
        _check_duration(field, value, least)


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


def _check_rate_limit(limit: RateLimit | None) -> None:
    if limit:
        _check_count("spec.rateLimit.tasks", limit.tasks, _MOST)
        _check_count("spec.rateLimit.burst", limit.burst, _MOST)


def _check_schedule(schedule: Schedule, most: int) -> None:
    """One task too large for the queue's stream would block everything that comes due after it."""
    field = f"spec.schedules[{schedule.name}]"
    _check_payload(schedule.payload, f"{field}.payload")
    size = len(schedule.payload.encode()) + len(schedule.type.encode()) + _ENVELOPE
    if size > most:
        raise InvalidSpec(f"comes to {size} bytes as a task, and {most} are allowed", field=f"{field}.payload")
    for name, value in (("every", schedule.every), ("expires", schedule.expires), ("jitter", schedule.jitter)):
        _check_duration(f"{field}.{name}", value, timedelta(seconds=1))
    for name, limit in (("every", schedule.every), ("expires", schedule.expires)):
        if schedule.jitter is not None and limit is not None and schedule.jitter >= limit:
            raise InvalidSpec(f"must be less than {name}, {format_duration(limit)}", field=f"{field}.jitter")
    if schedule.cron is not None:
        try:
            parse_cron(schedule.cron)
        except ValueError as error:
            raise InvalidSpec(str(error), field=f"{field}.cron") from error
    # It becomes a header of a message: a line break would begin another header.
    if schedule.time_zone is not None and not schedule.time_zone.isprintable():
        raise InvalidSpec("must be one line of printable characters", field=f"{field}.timeZone")


def _check_payload(payload: str, field: str) -> None:
    """A payload that workers cannot read would fail at each firing."""
    try:
        deep = is_deeper_than(_DEEPEST_PAYLOAD, json.loads(payload, parse_constant=_no_number))
    except ValueError as error:
        raise InvalidSpec(f"is not valid JSON: {error}", field=field) from error
    except RecursionError:
        deep = True
    if deep:
        raise InvalidSpec(f"is nested in more than {_DEEPEST_PAYLOAD} levels", field=field)


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is not a JSON number")


def check_scaling(spec: ConsumerGroupSpec) -> None:
    """The group's settings of its number of workers. Raises InvalidSpec, naming the field."""
    _check_count("spec.replicas", spec.replicas, _MOST_REPLICAS)
    if spec.autoscale:
        _check_autoscale(spec.autoscale)


def _check_autoscale(autoscale: Autoscale) -> None:
    _check_durations(autoscale, "spec.autoscale")
    _check_count("spec.autoscale.maxReplicas", autoscale.max_replicas, _MOST_REPLICAS)
    _check_count("spec.autoscale.activationTasks", autoscale.activation_tasks, _MOST)
    if autoscale.scale_up_limit:
        _check_count("spec.autoscale.scaleUpLimit.workers", autoscale.scale_up_limit.workers, _MOST_REPLICAS)


def _check_template(template: Mapping[str, Any]) -> None:
    """Checks only what the operator itself uses; the API server validates the rest of the pod."""
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
    """Empty if there is none. Raises InvalidSpec for a value of another type."""
    part = whole.get(name)
    if part is None:
        return kind()
    if not isinstance(part, kind):
        raise InvalidSpec(f"must be {'a list' if kind is list else 'an object'}", field=field)
    return part
