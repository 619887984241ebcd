"""What the schema cannot refuse, and what is refused until a later version acts on it."""

from collections.abc import Callable
from typing import Any

from protoqueue_operator.core.consumer_group import ConsumerGroupSpec
from protoqueue_operator.core.queue import QueueSpec
from protoqueue_operator.core.refusals import InvalidSpec, NotSupportedYet

QueueFeature = tuple[str, Callable[[QueueSpec], Any]]
GroupFeature = tuple[str, Callable[[ConsumerGroupSpec], Any]]

# The one table of what the contract promises and this version does not keep yet: field, and whether a spec asks for it.
NOT_SUPPORTED_YET: tuple[tuple[QueueFeature, ...], tuple[GroupFeature, ...]] = ((), ())


def check_queue(spec: QueueSpec) -> None:
    """Raises InvalidSpec or NotSupportedYet, naming the field."""
    refuse_unsupported(NOT_SUPPORTED_YET[0], spec)
    for field, value in (
        ("spec.visibilityTimeout", spec.visibility_timeout),
        ("spec.deduplicationWindow", spec.deduplication_window),
        ("spec.deadLetter.maxAge", spec.dead_letter.max_age),
        ("spec.limits.maxAge", spec.limits.max_age),
    ):
        if value is not None and value.total_seconds() < 0.1:
            raise InvalidSpec("must be at least 100ms", field=field)
    for schedule in spec.schedules:
        if schedule.every is not None and schedule.every.total_seconds() < 1:
            raise InvalidSpec("must be at least 1s", field=f"spec.schedules[{schedule.name}].every")
    _check_size("spec.limits.maxBytes", spec.limits.max_bytes, 2**63 - 1)
    _check_size("spec.limits.maxTaskSize", spec.limits.max_task_size, 2**31 - 1)


def check_group(spec: ConsumerGroupSpec, queue: QueueSpec) -> None:
    """Raises InvalidSpec or NotSupportedYet, naming the field."""
    refuse_unsupported(NOT_SUPPORTED_YET[1], spec)
    if spec.visibility_timeout is not None and spec.visibility_timeout.total_seconds() < 0.1:
        raise InvalidSpec("must be at least 100ms", field="spec.visibilityTimeout")
    levels = queue.effective_priority_levels
    if spec.priority_weights is not None and len(spec.priority_weights) != levels:
        raise InvalidSpec(
            f"has {len(spec.priority_weights)} weights, but the queue has {levels} priority levels",
            field="spec.priorityWeights",
        )
    if spec.worker and spec.worker.template is not None:
        _check_template(spec.worker.template)


def refuse_unsupported(features: tuple[tuple[str, Callable[[Any], Any]], ...], spec: Any) -> None:
    """Raises NotSupportedYet, naming the first field of `features` that the spec makes use of."""
    for field, asked_for in features:
        if asked_for(spec):
            raise NotSupportedYet("this version of ProtoQueue does not support it yet: remove it", field=field)


def _check_size(field: str, value: int | None, most: int) -> None:
    if value is not None and not 1 <= value <= most:
        raise InvalidSpec(f"must be at least one byte and at most {most}", field=field)


def _check_template(template: dict[str, Any]) -> None:
    containers = (template.get("spec") or {}).get("containers")
    if not isinstance(containers, list) or not containers:
        raise InvalidSpec("a pod needs at least one container", field="spec.worker.template.spec.containers")
    for index, container in enumerate(containers):
        field = f"spec.worker.template.spec.containers[{index}]"
        if not isinstance(container, dict) or not container.get("name"):
            raise InvalidSpec("a container needs a name", field=f"{field}.name")
        if not isinstance(container.get("env", []), list):
            raise InvalidSpec("must be a list", field=f"{field}.env")
