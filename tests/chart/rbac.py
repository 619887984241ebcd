"""Kubernetes' RBAC as a pure question: which rule allows a request?"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

Object = dict[str, Any]

OPERATOR_AGENTS = ("kopf/", "protoqueue-operator")


@dataclass(frozen=True)
class Request:
    """What a client asked the API server for. `resource` has the subresource behind a slash."""

    verb: str
    group: str
    resource: str
    namespace: str = ""
    name: str = ""

    @classmethod
    def parse(cls, line: Object) -> "Request":
        """Read a line of the embedded API's request log."""
        resource = "/".join(filter(None, (line["resource"], line["subresource"])))
        # A namespace counts as an object within itself: a Role there can allow reading it.
        namespace = line["name"] if line["resource"] == "namespaces" else line["namespace"]
        return cls(line["verb"], line["group"], resource, namespace, line["name"])


def operator_requests(log: Iterable[str]) -> Iterator[Request]:
    """What the operator asked for, from lines of the API server's log; a watch is in it once it has ended."""
    for line in map(json.loads, log):
        if line["userAgent"].startswith(OPERATOR_AGENTS):
            request = Request.parse(line)
            yield request
            if request.verb == "patch" and line["status"] == 201:
                yield replace(request, verb="create")  # an apply that creates is authorised as that too


@dataclass(frozen=True)
class Permission:
    """One verb on one resource, everywhere (`namespace` empty) or in one namespace; `names` empty means all."""

    verb: str
    group: str
    resource: str
    namespace: str = ""
    names: frozenset[str] = frozenset()

    def allows(self, request: Request) -> bool:
        return (
            (self.verb, self.group, self.resource) == (request.verb, request.group, request.resource)
            and self.namespace in ("", request.namespace)
            and (not self.names or request.name in self.names)
        )


def permissions(objects: Iterable[Object], account: str, namespace: str) -> Iterator[Permission]:
    """What the roles among `objects` let a ServiceAccount do, by the bindings among them."""
    roles = {
        (each["kind"], each["metadata"].get("namespace", ""), each["metadata"]["name"]): each["rules"]
        for each in objects
        if each["kind"] in ("Role", "ClusterRole")
    }
    subject = {"kind": "ServiceAccount", "name": account, "namespace": namespace}
    for binding in objects:
        if binding["kind"] not in ("RoleBinding", "ClusterRoleBinding") or subject not in binding["subjects"]:
            continue
        where = binding["metadata"].get("namespace", "")
        reference = binding["roleRef"]
        home = where if reference["kind"] == "Role" else ""
        for rule in roles[reference["kind"], home, reference["name"]]:
            yield from _granted(rule, where)


def _granted(rule: Object, namespace: str) -> Iterator[Permission]:
    names = frozenset(rule.get("resourceNames", ()))
    for group in rule["apiGroups"]:
        for resource in rule["resources"]:
            for verb in rule["verbs"]:
                yield Permission(verb, group, resource, namespace, names)


def denied(requests: Iterable[Request], granted: Iterable[Permission]) -> set[Request]:
    held = tuple(granted)
    return {request for request in requests if not any(each.allows(request) for each in held)}


def unused(requests: Iterable[Request], granted: Iterable[Permission]) -> set[Permission]:
    made = tuple(requests)
    return {each for each in granted if not any(each.allows(request) for request in made)}
