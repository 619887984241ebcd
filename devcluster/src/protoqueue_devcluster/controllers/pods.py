"""Pods as controllers see them: made from a template, ready, available, and which to lose first."""

import copy
import json
from datetime import datetime, timedelta
from typing import Any

from protoqueue_devcluster.controllers.ownership import is_leaving, owner_reference
from protoqueue_devcluster.kube.client import Kind, Object

TEMPLATE_HASH = "pod-template-hash"
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"

_SAFE = "bcdfghjklmnpqrstvwxz2456789"  # Kubernetes' alphabet for generated names: no vowels, no bad words


def template_hash(template: Object) -> str:
    """A short name for a pod template. Kubernetes hashes its own in-memory form, so values differ from a real one's."""
    value = 0x811C9DC5  # FNV-1a, 32 bits
    for byte in json.dumps(template, sort_keys=True, separators=(",", ":")).encode():
        value = (value ^ byte) * 0x01000193 % 2**32
    return "".join(_SAFE[int(digit) % len(_SAFE)] for digit in str(value))


def same_template(one: Object, other: Object) -> bool:
    """Whether two templates are equal but for the hash label that controllers add."""
    return _without_hash(one) == _without_hash(other)


def _without_hash(template: Object) -> Object:
    result = copy.deepcopy(template)
    metadata = result.get("metadata") or {}
    labels = metadata.get("labels") or {}
    labels.pop(TEMPLATE_HASH, None)
    metadata.pop("creationTimestamp", None)
    result["metadata"] = {key: value for key, value in metadata.items() if value}
    return result


def pod_from_template(kind: Kind, owner: Object, template: Object) -> Object:
    """A pod for `owner` without its name: the caller adds `name` or `generateName`."""
    metadata = template.get("metadata") or {}
    return {
        "metadata": {
            "namespace": owner["metadata"]["namespace"],
            "labels": dict(metadata.get("labels") or {}),
            "annotations": dict(metadata.get("annotations") or {}),
            "finalizers": list(metadata.get("finalizers") or []),
            "ownerReferences": [owner_reference(kind, owner)],
        },
        "spec": copy.deepcopy(template["spec"]),
    }


def phase(pod: Object) -> str:
    return str((pod.get("status") or {}).get("phase") or "Pending")


def is_active(pod: Object) -> bool:
    """Whether the pod counts as a replica: neither finished nor on its way out."""
    return phase(pod) not in ("Succeeded", "Failed") and not is_leaving(pod)


def ready_since(pod: Object) -> datetime | None:
    """When the pod became ready; None while it is not."""
    for condition in (pod.get("status") or {}).get("conditions") or []:
        if condition["type"] == "Ready" and condition["status"] == "True":
            return parse_time(condition["lastTransitionTime"])
    return None


def is_ready(pod: Object) -> bool:
    return ready_since(pod) is not None


def available_in(pod: Object, min_ready_s: int, now: datetime) -> float | None:
    """Seconds until the pod counts as available, 0 if it does now, None while it is not ready."""
    since = ready_since(pod)
    if since is None:
        return None
    return max(0.0, (since + timedelta(seconds=min_ready_s) - now).total_seconds()) if min_ready_s else 0.0


def deletion_order(pod: Object) -> tuple[Any, ...]:
    """Sort key: the pod to lose first comes first. The rules and their order are those of the ReplicaSet controller."""
    since = ready_since(pod)
    status = pod.get("status") or {}
    restarts = max((entry.get("restartCount", 0) for entry in status.get("containerStatuses") or []), default=0)
    return (
        bool(pod["spec"].get("nodeName")),
        {"Pending": 0, "Unknown": 1}.get(phase(pod), 2),
        since is not None,
        _deletion_cost(pod),
        -since.timestamp() if since else 0.0,
        -restarts,
        -parse_time(pod["metadata"]["creationTimestamp"]).timestamp(),
        pod["metadata"]["name"],
    )


def _deletion_cost(pod: Object) -> int:
    try:
        return int((pod["metadata"].get("annotations") or {}).get(DELETION_COST, "0"))
    except ValueError:
        return 0


def parse_time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def format_time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
