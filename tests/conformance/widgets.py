"""The custom resource the conformance tests work on, with a bit of everything a schema can say."""

import secrets
from dataclasses import dataclass
from typing import Any

DURATION = "^([0-9]+(ms|s|m|h|d))+$"

SPEC = {
    "type": "object",
    "description": "what is wanted",
    "required": ["size"],
    "x-kubernetes-validations": [
        {"rule": "!(has(self.every) && has(self.cron))", "message": "give cron or every, not both"},
        {
            "rule": "!has(self.low) || !has(self.high) || self.low <= self.high",
            # A string of bounded length: the real server counts the cost of any other as unlimited and refuses it.
            "messageExpression": "(has(self.title) ? self.title : 'it') + ' has its low above its high'",
        },
    ],
    "properties": {
        "size": {"type": "integer", "minimum": 1, "maximum": 10, "description": "how big"},
        "mode": {
            "type": "string",
            "enum": ["A", "B"],
            "default": "A",
            "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "mode is immutable"}],
        },
        "levels": {
            "type": "integer",
            "x-kubernetes-validations": [{"rule": "self >= oldSelf", "message": "levels may only grow"}],
        },
        "wait": {"type": "string", "pattern": DURATION},
        "title": {"type": "string", "minLength": 2, "maxLength": 5},
        "cron": {"type": "string"},
        "every": {"type": "string"},
        "low": {"type": "integer"},
        "high": {"type": "integer"},
        "ratio": {"type": "number", "minimum": 0, "exclusiveMinimum": True},
        "replicas": {"type": "integer"},
        "port": {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]},
        "retry": {
            "type": "object",
            "default": {},
            "properties": {"attempts": {"type": "integer", "default": 5}, "delay": {"type": "string"}},
        },
        "tags": {"type": "array", "maxItems": 3, "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "notes": {"type": "object", "additionalProperties": {"type": "string"}},
        "items": {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
            "items": {
                "type": "object",
                "required": ["name"],
                "properties": {"name": {"type": "string"}, "v": {"type": "integer"}},
            },
        },
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    },
}

OPEN = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}

SCHEMA = {
    "type": "object",
    "required": ["spec"],
    "x-kubernetes-validations": [
        {"rule": "!self.metadata.name.contains('.')", "message": "name must be a DNS label"},
    ],
    "properties": {
        "spec": SPEC,
        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    },
}


def definition(group: str, schema: dict[str, Any] | None = None, plural: str = "widgets") -> dict[str, Any]:
    """The CustomResourceDefinition of the widgets."""
    kind = plural[:-1].capitalize()
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "subresources": {
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.replicas",
                "statusReplicasPath": ".status.replicas",
                "labelSelectorPath": ".status.selector",
            },
        },
        "additionalPrinterColumns": [
            {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
            {"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status'},
            {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
        ],
        "schema": {"openAPIV3Schema": schema or SCHEMA},
    }
    names = {"plural": plural, "singular": plural[:-1], "kind": kind, "shortNames": [f"x{plural}"]}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": [version]},
    }


@dataclass(frozen=True)
class Widgets:
    """Where the widgets of one namespace are."""

    group: str
    namespace: str

    @property
    def path(self) -> str:
        return f"/apis/{self.group}/v1/namespaces/{self.namespace}/widgets"

    def at(self, name: str, subresource: str = "") -> str:
        return f"{self.path}/{name}" + (f"/{subresource}" if subresource else "")

    def named(self, name: str, /, metadata: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
        """A widget; `size` is 1 unless said otherwise."""
        body = self.applied(name, **{"size": 1, **spec})
        return {**body, "metadata": {**body["metadata"], **(metadata or {})}}

    def applied(self, name: str, /, **spec: Any) -> dict[str, Any]:
        """A widget that says only what it is told to."""
        return {"apiVersion": f"{self.group}/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec}


def unique(prefix: str) -> str:
    return f"{prefix}-{secrets.token_hex(4)}"
