"""Resources as a watch would bring them, from the few fields a test cares about."""

from typing import Any

from protoqueue_operator.api.v1alpha1.objects import Group, Queue, Redrive, parse_group, parse_queue, parse_redrive


def metadata(name: str, **fields: Any) -> dict[str, Any]:
    return {
        "name": name,
        "namespace": "default",
        "uid": f"uid-of-{name}",
        "generation": 1,
        "resourceVersion": "10",
        "creationTimestamp": "2026-01-01T00:00:00Z",
        **fields,
    }


def queue_body(spec: dict[str, Any] | None = None, *, name: str = "email", **meta: Any) -> dict[str, Any]:
    return {"kind": "Queue", "metadata": metadata(name, **meta), "spec": spec or {}}


def group_body(spec: dict[str, Any] | None = None, *, name: str = "mailers", **meta: Any) -> dict[str, Any]:
    return {
        "kind": "ConsumerGroup",
        "metadata": metadata(name, **meta),
        "spec": {"queueRef": {"name": "email"}, **(spec or {})},
    }


def redrive_body(spec: dict[str, Any] | None = None, *, name: str = "again", **meta: Any) -> dict[str, Any]:
    return {
        "kind": "Redrive",
        "metadata": metadata(name, **meta),
        "spec": {"queueRef": {"name": "email"}, **(spec or {})},
    }


def queue(**spec: Any) -> Queue:
    return parse_queue(queue_body(spec))


def group(**spec: Any) -> Group:
    return parse_group(group_body(spec))


def redrive(**spec: Any) -> Redrive:
    return parse_redrive(redrive_body(spec))
