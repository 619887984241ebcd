"""Deployment → ReplicaSets: scaling, rolling updates, history."""

from datetime import datetime

from protoqueue_devcluster.controllers import rollout_status
from protoqueue_devcluster.controllers.actions import Action, Create, Delete, Merge, Plan, soonest, status_update
from protoqueue_devcluster.controllers.ownership import is_leaving, owner_reference
from protoqueue_devcluster.controllers.pods import TEMPLATE_HASH, phase, template_hash
from protoqueue_devcluster.controllers.rollouts import REVISION, Rollout, available_of, revision_of, rollout_of, size_of
from protoqueue_devcluster.kube.client import DEPLOYMENTS, REPLICA_SETS, Object

DESIRED_REPLICAS = "deployment.kubernetes.io/desired-replicas"
MAX_REPLICAS = "deployment.kubernetes.io/max-replicas"


def plan_deployment(deployment: Object, replica_sets: list[Object], pods: list[Object], now: datetime) -> Plan:
    """Plan one Deployment; `replica_sets` are those it controls, `pods` those that they control."""
    rollout = rollout_of(deployment, replica_sets)
    writes: list[Action] = []
    if not is_leaving(deployment):
        writes = _writes(rollout, pods)
    status, look_again_s = rollout_status.desired_status(rollout, pods, now)
    return Plan((*writes, *status_update(DEPLOYMENTS, deployment, status)), soonest(look_again_s))


def _writes(rollout: Rollout, pods: list[Object]) -> list[Action]:
    """What to do next, one step at a time: each step's outcome is observed before the next is planned."""
    if _is_scaling(rollout):
        return [action for rs, size in _proportional(rollout) if (action := _resize(rollout, rs, size))]
    if rollout.deployment["spec"].get("paused"):
        return []
    if rollout.recreate and (pending := _emptying(rollout, pods)) is not None:
        return pending
    if rollout.new is None:
        return [_create_new(rollout), *_revision_on_deployment(rollout, _next_revision(rollout))]
    return _adopt_revision(rollout) or _roll(rollout) or _forget_history(rollout)


def _is_scaling(rollout: Rollout) -> bool:
    """Whether the Deployment's size changed since its active ReplicaSets were sized."""
    return any(
        size_of(rs) > 0 and (rs["metadata"].get("annotations") or {}).get(DESIRED_REPLICAS) != str(rollout.replicas)
        for rs in rollout.all
    )


def _proportional(rollout: Rollout) -> list[tuple[Object, int]]:
    """Sizes after scaling: all of it to a single ReplicaSet, else in proportion: a rollout keeps its balance."""
    active = [rs for rs in rollout.all if size_of(rs) > 0]
    if len(active) == 1:
        return [(active[0], rollout.replicas)]
    total = sum(size_of(rs) for rs in active)
    allowed = rollout.replicas + rollout.max_surge if rollout.replicas else 0
    sizes = {id(rs): size_of(rs) * allowed // total for rs in active}
    largest = max(active, key=size_of)
    sizes[id(largest)] += allowed - sum(sizes.values())
    return [(rs, sizes[id(rs)]) for rs in active]


def _emptying(rollout: Rollout, pods: list[Object]) -> list[Action] | None:
    """Recreate: the old pods go first. None when they are gone and the new ones may come."""
    shrink: list[Action] = [action for rs in rollout.old if (action := _resize(rollout, rs, 0))]
    if shrink:
        return shrink
    new_uid = rollout.new["metadata"]["uid"] if rollout.new else None
    running_old = [
        pod
        for pod in pods
        if phase(pod) not in ("Succeeded", "Failed")
        and new_uid not in (reference["uid"] for reference in pod["metadata"].get("ownerReferences") or [])
    ]
    return [] if running_old else None


def _roll(rollout: Rollout) -> list[Action]:
    """Grow the new ReplicaSet as far as the surge allows, then shrink old ones as far as availability allows."""
    assert rollout.new is not None
    if grown := _resize(rollout, rollout.new, _new_size(rollout)):
        return [grown]
    return _shrink_old(rollout)


def _new_size(rollout: Rollout) -> int:
    size = size_of(rollout.new) if rollout.new else 0
    if rollout.recreate or size >= rollout.replicas:
        return rollout.replicas
    room = rollout.replicas + rollout.max_surge - sum(size_of(rs) for rs in rollout.all)
    return size + max(0, min(room, rollout.replicas - size))


def _shrink_old(rollout: Rollout) -> list[Action]:
    assert rollout.new is not None
    minimum = rollout.replicas - rollout.max_unavailable
    new_unavailable = size_of(rollout.new) - available_of(rollout.new)
    removable = sum(size_of(rs) for rs in rollout.all) - minimum - new_unavailable
    sizes = {id(rs): size_of(rs) for rs in rollout.old}
    for rs in rollout.old:  # pods that are not available anyway go first: losing them costs nothing
        cut = max(0, min(removable, size_of(rs) - available_of(rs)))
        sizes[id(rs)] -= cut
        removable -= cut
    # A status lags behind the size: without the second bound, pods already being deleted would count as spare.
    spare = min(sum(available_of(rs) for rs in rollout.all) - minimum, removable)
    for rs in rollout.old:
        cut = max(0, min(spare, sizes[id(rs)]))
        sizes[id(rs)] -= cut
        spare -= cut
    return [action for rs in rollout.old if (action := _resize(rollout, rs, sizes[id(rs)]))]


def _create_new(rollout: Rollout) -> Create:
    deployment = rollout.deployment
    digest = template_hash(deployment["spec"]["template"])
    template = deployment["spec"]["template"]
    labels = {**((template.get("metadata") or {}).get("labels") or {}), TEMPLATE_HASH: digest}
    selector = deployment["spec"]["selector"]
    spec: Object = {
        "replicas": _new_size(rollout),
        "selector": {**selector, "matchLabels": {**(selector.get("matchLabels") or {}), TEMPLATE_HASH: digest}},
        "template": {**template, "metadata": {**(template.get("metadata") or {}), "labels": labels}},
    }
    if min_ready_s := deployment["spec"].get("minReadySeconds"):
        spec["minReadySeconds"] = min_ready_s
    metadata = {
        "name": f"{deployment['metadata']['name']}-{digest}",
        "namespace": deployment["metadata"]["namespace"],
        "labels": labels,
        "annotations": {**_size_annotations(rollout), REVISION: _next_revision(rollout)},
        "ownerReferences": [owner_reference(DEPLOYMENTS, deployment)],
    }
    return Create(REPLICA_SETS, {"metadata": metadata, "spec": spec})


def _adopt_revision(rollout: Rollout) -> list[Action]:
    """Returning to an older template makes its ReplicaSet the newest revision; the Deployment always shows that one."""
    assert rollout.new is not None
    revision = revision_of(rollout.new)
    if any(revision_of(rs) > revision for rs in rollout.old):
        newest = _next_revision(rollout)
        renumber = Merge(REPLICA_SETS, rollout.new, {"metadata": {"annotations": {REVISION: newest}}})
        return [renumber, *_revision_on_deployment(rollout, newest)]
    return _revision_on_deployment(rollout, str(revision))


def _revision_on_deployment(rollout: Rollout, revision: str) -> list[Action]:
    if (rollout.deployment["metadata"].get("annotations") or {}).get(REVISION) == revision:
        return []
    return [Merge(DEPLOYMENTS, rollout.deployment, {"metadata": {"annotations": {REVISION: revision}}})]


def _forget_history(rollout: Rollout) -> list[Action]:
    """Drop empty old ReplicaSets beyond the history limit once the rollout is complete."""
    if not rollout_status.is_complete(rollout):
        return []
    idle = [
        rs
        for rs in sorted(rollout.old, key=revision_of)
        if size_of(rs) == 0 and not (rs.get("status") or {}).get("replicas") and not is_leaving(rs)
    ]
    limit = rollout.deployment["spec"].get("revisionHistoryLimit", 10)
    return [Delete(REPLICA_SETS, rs) for rs in idle[: max(0, len(idle) - limit)]]


def _resize(rollout: Rollout, replica_set: Object, size: int) -> Merge | None:
    annotations = _size_annotations(rollout)
    known = replica_set["metadata"].get("annotations") or {}
    if size_of(replica_set) == size and all(known.get(key) == value for key, value in annotations.items()):
        return None
    if size_of(replica_set) == size == 0:
        return None  # an empty one keeps the annotations of its last size
    patch = {"metadata": {"annotations": annotations}, "spec": {"replicas": size}}
    return Merge(REPLICA_SETS, replica_set, patch)


def _size_annotations(rollout: Rollout) -> dict[str, str]:
    most = rollout.replicas + rollout.max_surge if rollout.replicas else 0
    return {DESIRED_REPLICAS: str(rollout.replicas), MAX_REPLICAS: str(most)}


def _next_revision(rollout: Rollout) -> str:
    return str(max((revision_of(rs) for rs in rollout.all), default=0) + 1)
