"""ReplicaSet → Pods: as many active pods as wanted, and an account of them."""

from datetime import datetime

from protoqueue_devcluster.controllers.actions import Action, Create, Delete, Plan, soonest, status_update
from protoqueue_devcluster.controllers.ownership import is_leaving, matches
from protoqueue_devcluster.controllers.pods import available_in, deletion_order, is_active, is_ready, pod_from_template
from protoqueue_devcluster.kube.client import PODS, REPLICA_SETS, Object

BURST = 500
"""At most this many pods are made or deleted at a time, as in the real controller."""


def plan_replica_set(replica_set: Object, pods: list[Object], now: datetime) -> Plan:
    """Plan one ReplicaSet; `pods` are those it controls."""
    active = [pod for pod in pods if is_active(pod)]
    actions: list[Action] = []
    if not is_leaving(replica_set):
        actions += _scale(replica_set, active)
    min_ready_s = replica_set["spec"].get("minReadySeconds") or 0
    waits = [available_in(pod, min_ready_s, now) for pod in active]
    # The count of leaving pods leaves out the finished ones: nothing of them runs any more.
    leaving = sum(is_leaving(pod) and (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")
                  for pod in pods)  # fmt: skip
    template_labels = (replica_set["spec"]["template"].get("metadata") or {}).get("labels") or {}
    status = {
        "replicas": len(active),
        "fullyLabeledReplicas": _count(
            sum(matches({"matchLabels": template_labels}, pod["metadata"].get("labels") or {}) for pod in active)
        ),
        "readyReplicas": _count(sum(is_ready(pod) for pod in active)),
        "availableReplicas": _count(sum(wait == 0 for wait in waits)),
        "terminatingReplicas": _count(leaving),
        "observedGeneration": replica_set["metadata"].get("generation"),
    }
    return Plan(
        (*actions, *status_update(REPLICA_SETS, replica_set, status)), soonest(*(wait for wait in waits if wait))
    )


def _scale(replica_set: Object, active: list[Object]) -> list[Action]:
    wanted = replica_set["spec"].get("replicas", 1)
    missing = min(wanted - len(active), BURST)
    if missing > 0:
        pod = pod_from_template(REPLICA_SETS, replica_set, replica_set["spec"]["template"])
        pod["metadata"]["generateName"] = f"{replica_set['metadata']['name']}-"
        return [Create(PODS, pod) for _ in range(missing)]
    surplus = sorted(active, key=deletion_order)[: min(-missing, BURST)]
    return [Delete(PODS, pod) for pod in surplus]


def _count(number: int) -> int | None:
    """Counts of zero are left out of the status, as Go's omitempty does."""
    return number or None
