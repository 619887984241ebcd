"""The scale subresource: replicas of anything that has them, in one shape."""

from typing import Any

from .decoding import check_shape
from .jsonpath import find
from .kinds import Kind, ScalePaths
from .options import WriteOptions
from .registry import Registry, Written
from .selectors import label_selector_text
from .statuses import ApiError, internal_error, invalid, invalid_value

Object = dict[str, Any]


def read_scale(kind: Kind, obj: Object) -> Object:
    """The Scale of an object. Raises ApiError 500 where a custom resource lacks its spec path."""
    paths = kind.scale or ScalePaths()
    wanted = find(obj, paths.spec_replicas)
    if kind.custom and not wanted:
        raise internal_error(f'the spec replicas field "{paths.spec_replicas}" does not exist')
    observed = find(obj, paths.status_replicas)
    status: Object = {"replicas": observed[0] if observed else 0}
    selector = _selector(kind, paths, obj)
    if selector:
        status["selector"] = selector
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {key: obj["metadata"][key] for key in kept if key in obj["metadata"]},
        "spec": {"replicas": wanted[0]} if wanted and wanted[0] else {},
        "status": status,
    }


def _selector(kind: Kind, paths: ScalePaths, obj: Object) -> str:
    if not kind.custom:
        return label_selector_text(obj.get("spec", {}).get("selector") or {})
    found = find(obj, paths.label_selector) if paths.label_selector else []
    return str(found[0]) if found else ""


def current_scale(kind: Kind, obj: Object) -> Object:
    """What a patch to the scale starts from: an absent number of replicas is simply missing."""
    paths = kind.scale or ScalePaths()
    return read_scale(kind, obj if find(obj, paths.spec_replicas) else with_replicas(kind, obj, 0))


def with_replicas(kind: Kind, obj: Object, replicas: int) -> Object:
    """`obj` with another number of replicas at the path its kind keeps it."""
    names = (kind.scale or ScalePaths()).spec_replicas.strip(".").split(".")

    def put(value: Any, rest: list[str]) -> Any:
        if not rest:
            return replicas
        inside = value if isinstance(value, dict) else {}
        return {**inside, rest[0]: put(inside.get(rest[0]), rest[1:])}

    changed: Object = put(obj, names)
    return changed


def _negative(kind: Kind, name: str, replicas: int) -> ApiError:
    if kind.custom:
        path = (kind.scale or ScalePaths()).spec_replicas
        return invalid(kind.group, kind.kind, name, [invalid_value(path, replicas, "should be a non-negative integer")])
    cause = invalid_value("spec.replicas", replicas, "must be greater than or equal to 0")
    return invalid("autoscaling", "Scale", name, [cause])


def write_scale(
    registry: Registry, kind: Kind, namespace: str, name: str, scale: Object, options: WriteOptions
) -> Written:
    """Store the replicas a Scale names and answer with the new Scale. Raises ApiError 400, 404, 409, 422."""
    checked = check_shape("V1Scale", scale)
    replicas = checked.get("spec", {}).get("replicas", 0)
    version = checked.get("metadata", {}).get("resourceVersion")
    if replicas < 0:
        raise _negative(kind, name, replicas)

    def change(obj: Object) -> Object:
        changed = with_replicas(kind, obj, replicas)
        if version:
            changed = {**changed, "metadata": {**changed["metadata"], "resourceVersion": version}}
        return changed

    written = registry.update(kind, namespace, name, change, "scale", options)
    return Written(read_scale(kind, written.object), written.warnings)
