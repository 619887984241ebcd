"""What a Deployment's status says about its rollout."""

from datetime import datetime, timedelta

from protoqueue_devcluster.controllers.ownership import is_leaving
from protoqueue_devcluster.controllers.pods import format_time, parse_time, phase
from protoqueue_devcluster.controllers.rollouts import Rollout, available_of, size_of
from protoqueue_devcluster.kube.client import Object


def is_complete(rollout: Rollout) -> bool:
    """Whether the new ReplicaSet is all there is, full and available, and the status of it is up to date."""
    new = rollout.new
    if new is None:
        return False
    status = new.get("status") or {}
    return (
        size_of(new) == rollout.replicas
        and status.get("observedGeneration", 0) >= new["metadata"].get("generation", 0)
        and (status.get("replicas") or 0) == rollout.replicas == available_of(new)
        and all(size_of(rs) == 0 and not (rs.get("status") or {}).get("replicas") for rs in rollout.old)
    )


def desired_status(rollout: Rollout, pods: list[Object], now: datetime) -> tuple[Object, float | None]:
    """The status (None: field absent) and in how many seconds the progress deadline wants another look."""
    counts = {field: _total(rollout, field) for field in ("replicas", "readyReplicas", "availableReplicas")}
    unavailable = sum(size_of(rs) for rs in rollout.all) - counts["availableReplicas"]
    leaving = sum(is_leaving(pod) and phase(pod) not in ("Succeeded", "Failed") for pod in pods)
    updated = ((rollout.new or {}).get("status") or {}).get("replicas") or 0
    status: Object = {
        "observedGeneration": rollout.deployment["metadata"].get("generation"),
        **{field: count or None for field, count in counts.items()},
        "updatedReplicas": updated or None,
        "unavailableReplicas": max(0, unavailable) or None,
        "terminatingReplicas": leaving or None,
    }
    progressing, look_again_s = _progressing(rollout, status, now)
    conditions = [_available(rollout, counts["availableReplicas"]), progressing]
    known = {condition["type"]: condition for condition in _conditions(rollout)}
    status["conditions"] = [_dated(condition, known.get(condition["type"]), now) for condition in conditions]
    return status, look_again_s


def _available(rollout: Rollout, available: int) -> Object:
    if available >= rollout.replicas - rollout.max_unavailable:
        return {
            "type": "Available",
            "status": "True",
            "reason": "MinimumReplicasAvailable",
            "message": "Deployment has minimum availability.",
        }
    return {
        "type": "Available",
        "status": "False",
        "reason": "MinimumReplicasUnavailable",
        "message": "Deployment does not have minimum availability.",
    }


def _progressing(rollout: Rollout, status: Object, now: datetime) -> tuple[Object, float | None]:
    name = rollout.deployment["metadata"]["name"]
    known = next((c for c in _conditions(rollout) if c["type"] == "Progressing"), None)
    subject = f'ReplicaSet "{rollout.new["metadata"]["name"]}"' if rollout.new else f'Deployment "{name}"'
    if is_complete(rollout):
        return _progress("True", "NewReplicaSetAvailable", f"{subject} has successfully progressed."), None
    if known is None or rollout.new is None:
        return _progress("True", "NewReplicaSetCreated", f"{subject} is progressing."), _deadline_s(rollout)
    moved = any(
        (rollout.deployment.get("status") or {}).get(field) != status[field]
        for field in ("updatedReplicas", "readyReplicas", "availableReplicas", "replicas")
    )
    template_changed = known["reason"] == "NewReplicaSetAvailable" and _is_rolling(rollout)
    if moved or template_changed:
        return _progress("True", "ReplicaSetUpdated", f"{subject} is progressing."), _deadline_s(rollout)
    # A finished rollout stays finished when a pod is lost later; only a rollout under way can miss its deadline.
    if known["reason"] == "NewReplicaSetAvailable" or rollout.deployment["spec"].get("paused"):
        return _same(known), None
    left_s = (parse_time(known["lastUpdateTime"]) + timedelta(seconds=_deadline_s(rollout)) - now).total_seconds()
    if left_s <= 0:
        return _progress("False", "ProgressDeadlineExceeded", f"{subject} has timed out progressing."), None
    return _same(known), left_s


def _is_rolling(rollout: Rollout) -> bool:
    return rollout.new is None or any((rs.get("status") or {}).get("replicas") for rs in rollout.old)


def _progress(status: str, reason: str, message: str) -> Object:
    return {"type": "Progressing", "status": status, "reason": reason, "message": message}


def _same(condition: Object) -> Object:
    return {field: condition[field] for field in ("type", "status", "reason", "message")}


def _dated(condition: Object, known: Object | None, now: datetime) -> Object:
    """Add the two times; a condition that says the same as before keeps them, so that nothing is written."""
    if known is not None and _same(known) == condition:
        return known
    transition = known["lastTransitionTime"] if known and known["status"] == condition["status"] else format_time(now)
    return {**condition, "lastUpdateTime": format_time(now), "lastTransitionTime": transition}


def _deadline_s(rollout: Rollout) -> float:
    return float(rollout.deployment["spec"].get("progressDeadlineSeconds", 600))


def _conditions(rollout: Rollout) -> list[Object]:
    return (rollout.deployment.get("status") or {}).get("conditions") or []


def _total(rollout: Rollout, field: str) -> int:
    return sum((rs.get("status") or {}).get(field) or 0 for rs in rollout.all)
