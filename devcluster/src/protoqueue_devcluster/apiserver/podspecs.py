"""What is wrong with a pod's spec, in the words of the real validation: the mistakes people make, not every rule."""

from collections.abc import Iterator, Set
from typing import Any

from .names import LABEL, LABEL_TEXT
from .rules import quantity
from .statuses import Cause, duplicate, invalid_value, not_supported, required

Object = dict[str, Any]
RESTART_POLICIES = ("Always", "OnFailure", "Never")
HANDLERS = ("exec", "grpc", "httpGet", "lifecycleSleep", "tcpSocket")
LISTS = ("initContainers", "containers")


def template_causes(spec: Object, restart_policies: tuple[str, ...]) -> Iterator[Cause]:
    """What is wrong with a workload's `spec.template`; its pods may restart in some ways only."""
    path, pod = "spec.template.spec", (spec.get("template") or {}).get("spec") or {}
    claims = {str(claim["metadata"].get("name")) for claim in spec.get("volumeClaimTemplates") or ()}
    yield from pod_causes(pod, path, claims)
    policy = pod.get("restartPolicy")
    if policy not in restart_policies:
        yield not_supported(f"{path}.restartPolicy", policy or "", restart_policies)


def pod_causes(spec: Object, path: str, claims: Set[str] = frozenset()) -> Iterator[Cause]:
    """`claims` are the names of volumes that a StatefulSet adds to each of its pods."""
    volumes: set[str] = set()
    for index, volume in enumerate(spec.get("volumes") or ()):
        yield from _name_causes(volume.get("name", ""), volumes, f"{path}.volumes[{index}].name")
    names: set[str] = set()
    for field in LISTS:
        for index, container in enumerate(spec.get(field) or ()):
            where = f"{path}.{field}[{index}]"
            yield from _name_causes(container.get("name", ""), names, f"{where}.name")
            yield from _container_causes(container, volumes | claims, where)
    policy = spec.get("restartPolicy", "Always")
    if policy not in RESTART_POLICIES:
        yield not_supported(f"{path}.restartPolicy", policy, RESTART_POLICIES)


def _name_causes(name: str, taken: set[str], path: str) -> Iterator[Cause]:
    """An absent name is a missing field, which is told of elsewhere."""
    if name and not (LABEL.match(name) and len(name) <= 63):
        yield invalid_value(path, name, LABEL_TEXT if len(name) <= 63 else "must be no more than 63 characters")
    elif name in taken:
        yield duplicate(path, name)
    taken.add(name)


def _container_causes(container: Object, volumes: set[str], path: str) -> Iterator[Cause]:
    if not container.get("image"):
        yield required(f"{path}.image")
    for index, port in enumerate(container.get("ports") or ()):
        number = port.get("containerPort", 0)
        if number and not 0 < number < 65536:
            yield invalid_value(
                f"{path}.ports[{index}].containerPort", number, "must be between 1 and 65535, inclusive"
            )
    for index, variable in enumerate(container.get("env") or ()):
        if variable.get("value") and variable.get("valueFrom"):
            text = "may not be specified when `value` is not empty"
            yield invalid_value(f"{path}.env[{index}].valueFrom", "", text)
    for index, mount in enumerate(container.get("volumeMounts") or ()):
        if mount.get("name") and mount["name"] not in volumes:
            yield Cause("FieldValueNotFound", f'Not found: "{mount["name"]}"', f"{path}.volumeMounts[{index}].name")
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        if probe in container and not any(handler in container[probe] for handler in HANDLERS):
            yield required(f"{path}.{probe}", "must specify a handler type")
    yield from _resource_causes(container.get("resources") or {}, f"{path}.resources")


def _resource_causes(resources: Object, path: str) -> Iterator[Cause]:
    limits = resources.get("limits") or {}
    for name, text in (resources.get("requests") or {}).items():
        if name in limits and quantity(text) > quantity(limits[name]):
            yield invalid_value(
                f"{path}.requests", text, f"must be less than or equal to {name} limit of {limits[name]}"
            )
