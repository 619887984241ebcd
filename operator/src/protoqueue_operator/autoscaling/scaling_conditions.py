"""Conditions of a ConsumerGroup about its size: Scaling and Contended."""

from typing import Literal

from protoqueue_operator.api.v1alpha1.conditions import Condition
from protoqueue_operator.api.v1alpha1.consumer_group import ConsumerGroupSpec
from protoqueue_operator.api.v1alpha1.objects import Group


def scaling(generation: int, reason: str, message: str) -> Condition:
    """True while the size follows the backlog, Unknown while the backlog is unknown, False if nothing is scaled."""
    status = {
        "Disabled": "False",
        "TargetNotFound": "False",
        "BacklogUnknown": "Unknown",
        "SpecRefused": "Unknown",
    }.get(reason, "True")
    return Condition.model_validate(
        {
            "type": "Scaling",
            "status": status,
            "reason": reason,
            "message": message,
            "observedGeneration": generation,
        }
    )


def contended(group: Group, contender: str) -> Condition | None:
    """Contended: others write the size of the group's workers, or one without effect; None if nobody does."""
    generation, spec = group.meta.generation, group.spec
    if contender:
        message = (
            f"{contender} also writes the size of this group's workers, and is overridden: scale the ConsumerGroup "
            f"{group.meta.name} instead, and remove any HorizontalPodAutoscaler that targets its workers"
        )
        return _contended("True", "SizeOverwritten", message, generation)
    if isinstance(spec, ConsumerGroupSpec) and spec.autoscale and spec.replicas is not None:
        # Who writes a custom resource's scale leaves no trace among its managed fields, and takes the owner's.
        writer = f"last written by {group.sized_by}" if group.sized_by else "written through its scale (kubectl scale)"
        message = f"spec.replicas, {writer}, is ignored because spec.autoscale is set: remove one of the two"
        return _contended("True", "ReplicasIgnored", message, generation)
    return None


def uncontended(generation: int) -> Condition:
    return _contended("False", "SingleWriter", "no other client writes the number of workers", generation)


def _contended(status: Literal["True", "False"], reason: str, message: str, generation: int) -> Condition:
    return Condition(type="Contended", status=status, reason=reason, message=message, observed_generation=generation)
