"""StatefulSet → Pods with ordinals: up in order, down in reverse, replaced from the highest."""

from datetime import datetime

from protoqueue_devcluster.controllers.actions import Action, Create, Delete, Plan, soonest, status_update
from protoqueue_devcluster.controllers.ownership import is_leaving
from protoqueue_devcluster.controllers.pods import available_in, is_ready, phase, pod_from_template, template_hash
from protoqueue_devcluster.kube.client import PODS, STATEFUL_SETS, Object

REVISION_LABEL = "controller-revision-hash"


def plan_stateful_set(stateful_set: Object, pods: list[Object], now: datetime) -> Plan:
    """Plan one StatefulSet; `pods` are those it controls. Claim templates and partitions are not supported."""
    spec, metadata = stateful_set["spec"], stateful_set["metadata"]
    wanted = spec.get("replicas", 1)
    revision = f"{metadata['name']}-{template_hash(spec['template'])}"
    by_ordinal = {_ordinal(pod): pod for pod in pods}
    waits = [available_in(pod, spec.get("minReadySeconds") or 0, now) for pod in pods]
    actions: list[Action] = [] if is_leaving(stateful_set) else _next(stateful_set, by_ordinal, wanted, revision)
    current = [pod for pod in pods if (pod["metadata"].get("labels") or {}).get(REVISION_LABEL) == revision]
    status = {
        "observedGeneration": metadata.get("generation"),
        "replicas": len(pods),
        "readyReplicas": sum(is_ready(pod) for pod in pods) or None,
        "availableReplicas": sum(wait == 0 for wait in waits),
        "updatedReplicas": len(current) or None,
        "currentReplicas": len(current) or None,
        "updateRevision": revision,
        "currentRevision": revision
        if len(current) == len(pods)
        else (stateful_set.get("status") or {}).get("currentRevision", revision),
    }
    return Plan(
        (*actions, *status_update(STATEFUL_SETS, stateful_set, status)), soonest(*(wait for wait in waits if wait))
    )


def _next(stateful_set: Object, by_ordinal: dict[int, Object], wanted: int, revision: str) -> list[Action]:
    """The next step; with OrderedReady one pod at a time, each ready before the next one is touched."""
    parallel = stateful_set["spec"].get("podManagementPolicy") == "Parallel"
    dead = [pod for pod in by_ordinal.values() if phase(pod) in ("Failed", "Succeeded") and not is_leaving(pod)]
    if dead:
        return [Delete(PODS, pod) for pod in dead]
    missing = [ordinal for ordinal in range(wanted) if ordinal not in by_ordinal]
    surplus = sorted((n for n in by_ordinal if n >= wanted and not is_leaving(by_ordinal[n])), reverse=True)
    if parallel:
        return [*(_pod(stateful_set, n, revision) for n in missing), *(Delete(PODS, by_ordinal[n]) for n in surplus)]
    settled = all(is_ready(pod) and not is_leaving(pod) for n, pod in by_ordinal.items() if n < wanted)
    if missing:
        before = [pod for n, pod in by_ordinal.items() if n < missing[0]]
        return [_pod(stateful_set, missing[0], revision)] if all(is_ready(pod) for pod in before) else []
    if any(is_leaving(pod) for pod in by_ordinal.values()) or not settled:
        return []
    outdated = [n for n, pod in by_ordinal.items() if pod["metadata"]["labels"].get(REVISION_LABEL) != revision]
    if (stateful_set["spec"].get("updateStrategy") or {}).get("type") == "OnDelete":
        outdated = []
    return [Delete(PODS, by_ordinal[n]) for n in (surplus or sorted(outdated, reverse=True))[:1]]


def _pod(stateful_set: Object, ordinal: int, revision: str) -> Create:
    name = f"{stateful_set['metadata']['name']}-{ordinal}"
    pod = pod_from_template(STATEFUL_SETS, stateful_set, stateful_set["spec"]["template"])
    pod["metadata"]["name"] = name
    pod["metadata"]["labels"] |= {
        REVISION_LABEL: revision,
        "statefulset.kubernetes.io/pod-name": name,
        "apps.kubernetes.io/pod-index": str(ordinal),
    }
    pod["spec"]["hostname"] = name
    return Create(PODS, pod)


def _ordinal(pod: Object) -> int:
    return int(pod["metadata"]["name"].rpartition("-")[2])
