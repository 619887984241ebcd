"""Which object a group sizes. Of several groups that name one object only one sizes it, unless all of them share it."""

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


def shares_target(group: Group) -> bool:
    """Whether it lets others that say so too size what it names."""
    worker = _worker(group)
    return bool(worker and worker.scale_target_ref and worker.scale_target_ref.shared)


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
        if not target or not sizer or sizer.meta.key == group.meta.key or _share(sizer, group):
            return None
        return taken(target, sizer)

    def partners_of(self, group: Group) -> list[Group]:
        """The other groups that size what it names together with it."""
        target = named_target(group)
        if target is None or self.taken_by_another(group):
            return []
        return [
            other
            for other in self.naming(target)
            if other.meta.key != group.meta.key and _share(other, group) and not other.meta.deleting_since
        ]

    def claim_of(self, group: Key) -> tuple[Target, bool] | None:
        """What the group sizes, or would if it were the only one, and whether it shares that."""
        target, known = self.target_of(group), self._groups.get(group)
        return (target, shares_target(known)) if target and known else None

    def _has_made(self, group: Group) -> bool:
        deployment = self._deployments.get(own_target(group).key)
        return deployment is not None and deployment.controller_uid == group.meta.uid


def taken(target: Target, sizer: Group) -> ScaleTargetTaken:
    return ScaleTargetTaken(
        f"{target} is already scaled by the ConsumerGroup {sizer.meta.name}: use another target in one of the two, "
        "or set scaleTargetRef.shared in both",
        field="spec.worker.scaleTargetRef",
    )


def comes_before(other: Group, group: Group, target: Target) -> bool:
    """Whether the other group goes first: it creates the object, or names it too and is older."""
    worker = _worker(other)
    if worker and worker.template is not None:
        return own_target(other) == target
    return named_target(other) == target and seniority(other) < seniority(group) and not _share(other, group)


def _share(one: Group, other: Group) -> bool:
    return shares_target(one) and shares_target(other)


def _worker(group: Group) -> WorkerSource | None:
    return group.spec.worker if isinstance(group.spec, ConsumerGroupSpec) else None
