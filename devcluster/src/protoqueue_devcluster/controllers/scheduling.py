"""Pod → Node: the ready node that the pod may run on and that has the fewest pods."""

from collections import Counter

from protoqueue_devcluster.controllers.actions import Action, Create
from protoqueue_devcluster.controllers.ownership import is_leaving
from protoqueue_devcluster.kube.client import PODS, Object


def plan_binding(pod: Object, nodes: list[Object], pods: list[Object]) -> tuple[Action, ...]:
    """Bind an unassigned pod, or do nothing while no node fits: a change of the nodes asks again."""
    if pod["spec"].get("nodeName") or is_leaving(pod) or pod["spec"].get("schedulingGates"):
        return ()
    load = Counter(other["spec"].get("nodeName") for other in pods)
    fitting = [node for node in nodes if fits(pod, node)]
    if not fitting:
        return ()
    best = min(fitting, key=lambda node: (load[node["metadata"]["name"]], node["metadata"]["name"]))
    return (binding(pod, best["metadata"]["name"]),)


def binding(pod: Object, node: str) -> Create:
    """The request with which a scheduler assigns a pod to a node."""
    metadata = {field: pod["metadata"][field] for field in ("name", "namespace", "uid")}
    target = {"apiVersion": "v1", "kind": "Node", "name": node}
    body = {"apiVersion": "v1", "kind": "Binding", "metadata": metadata, "target": target}
    return Create(PODS, body, name=metadata["name"], subresource="binding")


def fits(pod: Object, node: Object) -> bool:
    """Look at node selector, readiness, cordon and taints; not at affinity and resources: one machine is one."""
    labels = node["metadata"].get("labels") or {}
    if any(labels.get(key) != value for key, value in (pod["spec"].get("nodeSelector") or {}).items()):
        return False
    if node["spec"].get("unschedulable") or not _is_ready(node):
        return False
    tolerations = pod["spec"].get("tolerations") or []
    return all(
        taint["effect"] == "PreferNoSchedule" or any(_tolerates(toleration, taint) for toleration in tolerations)
        for taint in node["spec"].get("taints") or []
    )


def _is_ready(node: Object) -> bool:
    conditions = (node.get("status") or {}).get("conditions") or []
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def _tolerates(toleration: Object, taint: Object) -> bool:
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    if not toleration.get("key"):
        return toleration.get("operator") == "Exists"
    if toleration["key"] != taint["key"]:
        return False
    return toleration.get("operator") == "Exists" or toleration.get("value", "") == taint.get("value", "")
