"""What particular built-in resources do on create and update beyond the general rules."""

import functools
import ipaddress
import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from .access_rules import check_binding, check_role
from .builtin import ModelNode
from .contents import check_config_map, check_secret
from .kinds import Kind
from .podspecs import pod_causes, template_causes
from .schema import MISSING, Node
from .selectors import matches_label_selector
from .statuses import Cause, bad_request, forbidden_field, invalid_value, required

Object = dict[str, Any]
Resource = tuple[str, str]
MICRO_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d)\Z")
NODE_TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


def _same(obj: Object) -> Object:
    return obj


def _no_causes(_obj: Object, _old: Object | None) -> list[Cause]:
    return []


@dataclass(frozen=True)
class Strategy:
    """`create` completes a new object (after field ownership was settled), `check` adds causes of refusal."""

    create: Callable[[Object], Object] = _same
    check: Callable[[Object, Object | None], list[Cause]] = _no_causes


def strategy_of(kind: Kind) -> Strategy:
    return STRATEGIES.get(kind.storage_key, PLAIN_STATUS if kind.status and not kind.custom else PLAIN)


def _empty_status(obj: Object) -> Object:
    return {**obj, "status": {}}


def _new_namespace(obj: Object) -> Object:
    return {**obj, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}}


def _new_pod(obj: Object) -> Object:
    """Includes what the real server's admission adds: service account, tolerations, priority."""
    spec = {"serviceAccountName": "default", "priority": 0, "preemptionPolicy": "PreemptLowerPriority", **obj["spec"]}
    spec.setdefault("serviceAccount", spec["serviceAccountName"])
    given = spec.get("tolerations", [])
    missing = [key for key in NODE_TAINTS if not any(each.get("key") == key for each in given)]
    default = {"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
    spec["tolerations"] = [*given, *({"key": key, **default} for key in missing)]
    return {**obj, "spec": spec, "status": {"phase": "Pending", "qosClass": quality_of_service(spec)}}


def quality_of_service(spec: Object) -> str:
    """Guaranteed, Burstable or BestEffort, from the containers' requests and limits."""
    resources = [container.get("resources", {}) for container in spec.get("containers", [])]
    if not any(each.get("requests") or each.get("limits") for each in resources):
        return "BestEffort"
    full = all(
        set(each.get("limits", {})) >= {"cpu", "memory"} and each.get("requests", {}) == each["limits"]
        for each in resources
    )
    return "Guaranteed" if full else "Burstable"


_addresses: Iterator[int] = itertools.count(int(ipaddress.ip_address("10.96.0.10")))


def _new_service(obj: Object) -> Object:
    spec = dict(obj.get("spec", {}))
    if spec.get("type") != "ExternalName" and "clusterIP" not in spec:
        spec["clusterIP"] = str(ipaddress.ip_address(next(_addresses)))
    if spec.get("clusterIP"):
        spec |= {"clusterIPs": [spec["clusterIP"]], "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack"}
    return {**obj, "spec": spec, "status": {"loadBalancer": {}}}


def _new_claim(obj: Object) -> Object:
    return {**obj, "status": {"phase": "Pending"}}


def _keep_status(obj: Object) -> Object:
    return obj


def _check_workload(obj: Object, old: Object | None) -> list[Cause]:
    """A workload's selector must select its template, and stay; its pods must be such as never end."""
    spec, before = obj.get("spec", {}), (old or {}).get("spec", {})
    if spec == before:
        return []
    selector, labels = spec.get("selector"), spec.get("template", {}).get("metadata", {}).get("labels")
    causes = list(_replica_causes(spec))
    if selector == {}:
        what = "statefulset" if obj["kind"] == "StatefulSet" else "deployment"
        causes.append(invalid_value("spec.selector", selector, f"empty selector is invalid for {what}"))
    elif selector and not matches_label_selector(selector, labels or {}):
        text = "`selector` does not match template `labels`"
        causes.append(invalid_value("spec.template.metadata.labels", labels, text))
    if old is not None and selector != before.get("selector"):
        causes.append(invalid_value("spec.selector", selector, "field is immutable"))
    if spec.get("template") != before.get("template"):
        causes += template_causes(spec, ("Always",))
    return causes


def _replica_causes(spec: Object) -> Iterator[Cause]:
    if spec.get("replicas", 0) < 0:
        yield invalid_value("spec.replicas", spec["replicas"], "must be greater than or equal to 0")


def _check_pod(obj: Object, old: Object | None) -> list[Cause]:
    if old is None:
        return list(pod_causes(obj.get("spec", {}), "spec"))
    mutable = ("activeDeadlineSeconds", "terminationGracePeriodSeconds", "tolerations", "schedulingGates")

    def fixed(spec: Object) -> Object:
        kept = {name: value for name, value in spec.items() if name not in mutable}
        for containers in ("containers", "initContainers"):
            kept[containers] = [{**each, "image": ""} for each in spec.get(containers, [])]
        return kept

    if fixed(obj.get("spec", {})) == fixed(old.get("spec", {})):
        return []
    names = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations`"
    text = f"pod updates may not change fields other than {names} (only additions to existing tolerations)"
    return [forbidden_field("spec", f"{text},`spec.terminationGracePeriodSeconds`")]


def _check_lease(obj: Object, _old: Object | None) -> list[Cause]:
    """Raises ApiError 400 for a time without its microseconds: clients that leave them out fail on real servers."""
    spec = obj.get("spec") or {}
    for name in ("acquireTime", "renewTime"):
        if name in spec and not MICRO_TIME.match(spec[name]):
            why = f'parsing time "{spec[name]}" as "2006-01-02T15:04:05.000000Z07:00"'
            raise bad_request(f'Lease in version "v1" cannot be handled as a Lease: {why}')
    causes = []
    if spec.get("leaseDurationSeconds", 1) < 1:
        causes.append(
            invalid_value("spec.leaseDurationSeconds", spec["leaseDurationSeconds"], "must be greater than 0")
        )
    if spec.get("leaseTransitions", 0) < 0:
        text = "must be greater than or equal to 0"
        causes.append(invalid_value("spec.leaseTransitions", spec["leaseTransitions"], text))
    return causes


def _check_event(obj: Object, old: Object | None) -> list[Cause]:
    """An event is in the namespace of what it tells of; what has none is told of in `default`."""
    named = obj.get("involvedObject", {}).get("namespace", "")
    if old is not None or (named or "default") == obj["metadata"]["namespace"]:
        return []
    return [invalid_value("involvedObject.namespace", named, "does not match event.namespace")]


PLAIN = Strategy()
PLAIN_STATUS = Strategy(create=_empty_status)
WORKLOAD = Strategy(create=_empty_status, check=_check_workload)
ROLE = Strategy(check=check_role)
BINDING = Strategy(check=check_binding)
STRATEGIES: Mapping[Resource, Strategy] = {
    ("", "namespaces"): Strategy(create=_new_namespace),
    ("", "pods"): Strategy(create=_new_pod, check=_check_pod),
    ("", "services"): Strategy(create=_new_service),
    ("", "nodes"): Strategy(create=_keep_status),
    ("", "configmaps"): Strategy(check=check_config_map),
    ("", "secrets"): Strategy(check=check_secret),
    ("", "events"): Strategy(check=_check_event),
    ("coordination.k8s.io", "leases"): Strategy(check=_check_lease),
    ("", "persistentvolumeclaims"): Strategy(create=_new_claim),
    ("apps", "deployments"): WORKLOAD,
    ("apps", "replicasets"): replace(WORKLOAD, create=lambda obj: {**obj, "status": {"replicas": 0}}),
    ("apps", "statefulsets"): replace(WORKLOAD, create=lambda obj: {**obj, "status": {"replicas": 0}}),
    ("apps", "daemonsets"): WORKLOAD,
    ("rbac.authorization.k8s.io", "roles"): ROLE,
    ("rbac.authorization.k8s.io", "clusterroles"): ROLE,
    ("rbac.authorization.k8s.io", "rolebindings"): BINDING,
    ("rbac.authorization.k8s.io", "clusterrolebindings"): BINDING,
}


def missing_fields(obj: Object, kind: Kind) -> list[Cause]:
    """Required fields absent below a built-in object's spec."""
    spec = kind.schema.child("spec")
    if spec is None:
        return []
    return list(_missing(obj.get("spec", {}), spec, "spec"))


def _missing(value: Any, node: Node, path: str) -> Iterator[Cause]:
    if isinstance(value, dict):
        needed = node.required_names if isinstance(node, ModelNode) else ()
        for name in needed:
            if value.get(name, MISSING) in (MISSING, "", []):
                yield required(f"{path}.{name}")
        for name, each in value.items():
            child = node.child(name)
            if child is not None and isinstance(each, (dict, list)):
                yield from _missing(each, child, f"{path}.{name}")
    elif isinstance(value, list) and node.items is not None and _structured(node.items):
        for index, each in enumerate(value):
            yield from _missing(each, node.items, f"{path}[{index}]")


@functools.cache
def _structured(node: Node) -> bool:
    return isinstance(node, ModelNode)
