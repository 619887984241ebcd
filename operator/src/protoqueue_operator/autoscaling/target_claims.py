"""Which object a group sizes. Several groups may name one object, and only one of them can have its way."""

from dataclasses import dataclass
from datetime import datetime

from protoqueue_operator.core.consumer_group import ConsumerGroupSpec, WorkerSource
from protoqueue_operator.core.resources import Group, Key


@dataclass(frozen=True)
class Target:
    """An object with a size, in whatever version of its API."""

    api_group: str
    key: Key

    def __str__(self) -> str:
        return f"the {self.key.kind} {self.key.name}"


def own_target(group: Group) -> Target:
    """The Deployment of the group's name: its own, where it has made it."""
    return Target("apps", Key("Deployment", group.meta.namespace, group.meta.name))


def named_target(group: Group) -> Target | None:
    """What `scaleTargetRef` names; None where the group has none, or cannot be read."""
    worker = _worker(group)
    reference = worker.scale_target_ref if worker else None
    if reference is None:
        return None
    api_group = reference.api_version.rpartition("/")[0]
    return Target(api_group, Key(reference.kind, group.meta.namespace, reference.name))


def seniority(group: Group) -> tuple[datetime, str]:
    """Sorts the oldest first; of two made in the same second the one whose name comes first."""
    return group.meta.created, group.meta.name


def comes_before(other: Group, group: Group, target: Target) -> bool:
    """Whether the other may size what the group names: it is to make it, or has named it and is older."""
    worker = _worker(other)
    if worker and worker.template is not None:
        return own_target(other) == target
    return named_target(other) == target and seniority(other) < seniority(group)


def _worker(group: Group) -> WorkerSource | None:
    return group.spec.worker if isinstance(group.spec, ConsumerGroupSpec) else None
