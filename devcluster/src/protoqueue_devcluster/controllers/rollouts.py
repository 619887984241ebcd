"""A Deployment and its ReplicaSets, the one of the current template told from the others."""

import math
from dataclasses import dataclass
from typing import Any

from protoqueue_devcluster.controllers.pods import same_template
from protoqueue_devcluster.kube.client import Object

REVISION = "deployment.kubernetes.io/revision"


@dataclass(frozen=True)
class Rollout:
    """A Deployment and its ReplicaSets; `new` is the one of the current template, if it exists yet."""

    deployment: Object
    new: Object | None
    old: tuple[Object, ...]

    @property
    def all(self) -> tuple[Object, ...]:
        return (self.new, *self.old) if self.new else self.old

    @property
    def replicas(self) -> int:
        return int(self.deployment["spec"].get("replicas", 1))

    @property
    def recreate(self) -> bool:
        return bool((self.deployment["spec"].get("strategy") or {}).get("type") == "Recreate")

    @property
    def max_surge(self) -> int:
        return 0 if self.recreate else self._bound("maxSurge", math.ceil)

    @property
    def max_unavailable(self) -> int:
        """Pods that may be missing while rolling; at least one if no surge is allowed, or nothing could ever move."""
        if self.recreate:
            return 0
        bound = self._bound("maxUnavailable", math.floor)
        return min(bound or (0 if self.max_surge else 1), self.replicas)

    def _bound(self, field: str, rounded: Any) -> int:
        value = ((self.deployment["spec"].get("strategy") or {}).get("rollingUpdate") or {}).get(field, "25%")
        if isinstance(value, str):
            return int(rounded(int(value.removesuffix("%")) * self.replicas / 100))
        return int(value)


def rollout_of(deployment: Object, replica_sets: list[Object]) -> Rollout:
    """Tell the ReplicaSet of the current template (the oldest of them) from the others, oldest first."""
    ordered = sorted(replica_sets, key=lambda rs: (rs["metadata"]["creationTimestamp"], rs["metadata"]["name"]))
    template = deployment["spec"]["template"]
    new = next((rs for rs in ordered if same_template(rs["spec"]["template"], template)), None)
    return Rollout(deployment, new, tuple(rs for rs in ordered if rs is not new))


def revision_of(replica_set: Object) -> int:
    return int((replica_set["metadata"].get("annotations") or {}).get(REVISION, 0))


def size_of(replica_set: Object) -> int:
    return int(replica_set["spec"].get("replicas", 1))


def available_of(replica_set: Object) -> int:
    return int((replica_set.get("status") or {}).get("availableReplicas") or 0)
