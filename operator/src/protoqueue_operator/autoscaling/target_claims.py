"""Which object a group sizes. Several groups may name one object, but only one of them may size it."""

from dataclasses import dataclass

from protoqueue_operator.api.v1alpha1.consumer_group import ConsumerGroupSpec, WorkerSource
from protoqueue_operator.api.v1alpha1.deployment import Deployment
from protoqueue_operator.api.v1alpha1.errors import ScaleTargetTaken
from protoqueue_operator.api.v1alpha1.meta import Key
from protoqueue_operator.api.v1alpha1.objects import Group
from protoqueue_operator.runtime.cache import Cache, seniority


@dataclass(frozen=True)
class Target:
    """An object with a size, in any version of its API."""

    api_group: str
    key: Key

    def __str__(self) -> str:
        return f"the {self.key.kind} {self.key.name}"


def own_target(group: Group) -> Target:
    """The Deployment of the group's name: its own if the operator created it for the group."""
    return Target("apps", Key("Deployment", group.meta.namespace, group.meta.name))


def named_target(group: Group) -> Target | None:
    """What `scaleTargetRef` names; None if the group has none, or is invalid."""
    worker = _worker(group)
    reference = worker.scale_target_ref if worker else None
    if reference is None:
        return None
    api_group = reference.api_version.rpartition("/")[0]
    return Target(api_group, Key(reference.kind, group.meta.namespace, reference.name))


class TargetClaims:
    """Which of the known groups sizes what."""

    def __init__(self, groups: Cache[Group], deployments: Cache[Deployment]) -> None:
        self._groups = groups
        self._deployments = deployments
        self._naming = groups.index(named_target)

    def naming(self, target: Target) -> list[Group]:
        """The groups whose `scaleTargetRef` names it, oldest first."""
        return self._naming.get(target)

    def sizer_of(self, target: Target) -> Group | None:
        """Which group sizes an object that several name: the one that created it, else the oldest."""
        maker = self._groups.get(Key("ConsumerGroup", target.key.namespace, target.key.name))
        if maker and own_target(maker) == target and self._has_made(maker):
            return maker
        return next(iter(self.naming(target)), None)

    def target_of(self, group: Key) -> Target | None:
        """What the group sizes, or would if it were the only one to name it."""
        known = self._groups.get(group)
        if known is None:
            return None
        return named_target(known) or (own_target(known) if self._has_made(known) else None)

    def taken_by_another(self, group: Group) -> ScaleTargetTaken | None:
        """Why the group may not size what it names; None if it may, or names nothing."""
        target = named_target(group)
        sizer = self.sizer_of(target) if target else None
        return taken(target, sizer) if target and sizer and sizer.meta.key != group.meta.key else None

    def _has_made(self, group: Group) -> bool:
        deployment = self._deployments.get(own_target(group).key)
        return deployment is not None and deployment.controller_uid == group.meta.uid


def taken(target: Target, sizer: Group) -> ScaleTargetTaken:
    return ScaleTargetTaken(
        f"{target} is already scaled by the ConsumerGroup {sizer.meta.name}: use another target in one of the two",
        field="spec.worker.scaleTargetRef",
    )


def comes_before(other: Group, group: Group, target: Target) -> bool:
    """Whether the other group goes first: it creates the object, or names it too and is older."""
    worker = _worker(other)
    if worker and worker.template is not None:
        return own_target(other) == target
    return named_target(other) == target and seniority(other) < seniority(group)


def _worker(group: Group) -> WorkerSource | None:
    return group.spec.worker if isinstance(group.spec, ConsumerGroupSpec) else None
