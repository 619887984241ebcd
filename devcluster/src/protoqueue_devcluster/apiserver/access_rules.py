"""What is wrong with roles and their bindings."""

from collections.abc import Iterator
from typing import Any

from .statuses import Cause, invalid_value, not_supported, required

Object = dict[str, Any]


def check_role(obj: Object, _old: Object | None) -> list[Cause]:
    return list(_rule_causes(obj))


def _rule_causes(role: Object) -> Iterator[Cause]:
    for index, rule in enumerate(role.get("rules") or ()):
        path, urls = f"rules[{index}]", rule.get("nonResourceURLs")
        if not rule.get("verbs"):
            yield required(f"{path}.verbs", "verbs must contain at least one value")
        if urls and role["kind"] == "Role":
            yield invalid_value(f"{path}.nonResourceURLs", urls, "namespaced rules cannot apply to non-resource URLs")
        if urls:
            continue
        if not rule.get("apiGroups"):
            yield required(f"{path}.apiGroups", "resource rules must supply at least one api group")
        if not rule.get("resources"):
            yield required(f"{path}.resources", "resource rules must supply at least one resource")


def check_binding(obj: Object, old: Object | None) -> list[Cause]:
    return list(_binding_causes(obj, old))


def _binding_causes(binding: Object, old: Object | None) -> Iterator[Cause]:
    role = binding.get("roleRef") or {}
    if old is not None and role != old.get("roleRef"):
        yield invalid_value("roleRef", role, "cannot change roleRef")
    roles = ("Role", "ClusterRole") if binding["kind"] == "RoleBinding" else ("ClusterRole",)
    if role.get("kind") not in roles:
        yield not_supported("roleRef.kind", role.get("kind", ""), roles)
    if not role.get("name"):
        yield required("roleRef.name")
    for index, subject in enumerate(binding.get("subjects") or ()):
        kind, path = subject.get("kind", ""), f"subjects[{index}]"
        if not subject.get("name"):
            yield required(f"{path}.name")
        if kind not in {"ServiceAccount", "User", "Group"}:
            yield not_supported(f"{path}.kind", kind, ["ServiceAccount", "User", "Group"])
        if kind == "ServiceAccount" and not subject.get("namespace") and binding["kind"] == "ClusterRoleBinding":
            yield required(f"{path}.namespace")
