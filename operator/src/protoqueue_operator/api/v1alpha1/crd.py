"""CustomResourceDefinitions, made from the models: the only place where a schema is written down is the model itself.

A structural schema (Kubernetes, "Custom Resources: specifying a structural schema") knows no `$ref`, no `null` type and
no titles; pydantic's JSON schema has all three, so they are folded away here.
"""

from typing import Any

from protoqueue_operator.core.consumer_group import ConsumerGroupSpec, ConsumerGroupStatus
from protoqueue_operator.core.fields import Model
from protoqueue_operator.core.queue import QueueSpec, QueueStatus

GROUP = "protoqueue.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

_NAME_RULE = {
    "rule": "self.metadata.name.matches('^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$')",
    "message": "metadata.name must be a DNS label: up to 63 lower-case letters, digits and dashes, no dots",
}
_DROPPED = {"title", "additionalProperties", "discriminator"}

Schema = dict[str, Any]


def crds() -> dict[str, Schema]:
    """The definitions by plural name."""
    return {
        "queues": _definition(
            kind="Queue",
            plural="queues",
            short="pq",
            description="Queue is a work queue on NATS JetStream.",
            spec=QueueSpec,
            status=QueueStatus,
            columns=[
                _ready_column(),
                _column("Waiting", "integer", ".status.tasks.ready", "Tasks waiting for a worker"),
                _column("In-Flight", "integer", ".status.tasks.inFlight", "Tasks with a worker"),
                _column("Scheduled", "integer", ".status.tasks.scheduled", "Tasks not yet due"),
                _column("Dead", "integer", ".status.tasks.dead", "Dead letters"),
                _column("Age", "date", ".metadata.creationTimestamp", "Time since creation"),
            ],
            subresources={"status": {}},
        ),
        "consumergroups": _definition(
            kind="ConsumerGroup",
            plural="consumergroups",
            short="pcg",
            description="ConsumerGroup is a group of workers that consumes a Queue, and how it is scaled.",
            spec=ConsumerGroupSpec,
            status=ConsumerGroupStatus,
            columns=[
                _column("Queue", "string", ".spec.queueRef.name", "The queue consumed"),
                _ready_column(),
                _column("Waiting", "integer", ".status.tasks.ready", "Tasks waiting for a worker of this group"),
                _column("In-Flight", "integer", ".status.tasks.inFlight", "Tasks with a worker of this group"),
                _column("Replicas", "integer", ".status.replicas", "Workers observed"),
                _column("Desired", "integer", ".status.desiredReplicas", "Workers wanted"),
                _column("Age", "date", ".metadata.creationTimestamp", "Time since creation"),
            ],
            subresources={
                "status": {},
                "scale": {
                    "specReplicasPath": ".spec.replicas",
                    "statusReplicasPath": ".status.replicas",
                    "labelSelectorPath": ".status.selector",
                },
            },
        ),
    }


def _ready_column() -> Schema:
    return _column("Ready", "string", '.status.conditions[?(@.type=="Ready")].status', "Whether it is as specified")


def _column(name: str, kind: str, path: str, description: str) -> Schema:
    return {"name": name, "type": kind, "jsonPath": path, "description": description}


def _definition(
    *,
    kind: str,
    plural: str,
    short: str,
    description: str,
    spec: type[Model],
    status: type[Model],
    columns: list[Schema],
    subresources: Schema,
) -> Schema:
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "singular": kind.lower(),
                "shortNames": [short],
                "categories": ["protoqueue"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": subresources,
                    "additionalPrinterColumns": columns,
                    "schema": {
                        "openAPIV3Schema": {
                            "description": description,
                            "type": "object",
                            "required": ["spec"],
                            "x-kubernetes-validations": [_NAME_RULE],
                            "properties": {
                                "apiVersion": {"type": "string"},
                                "kind": {"type": "string"},
                                "metadata": {"type": "object"},
                                "spec": structural(spec),
                                "status": structural(status),
                            },
                        }
                    },
                }
            ],
        },
    }


def structural(model: type[Model]) -> Schema:
    """The model's schema as Kubernetes wants it."""
    schema = model.model_json_schema(by_alias=True, mode="validation")
    return _folded(schema, schema.get("$defs", {}))


def _folded(schema: Schema, definitions: dict[str, Schema]) -> Schema:
    """`schema` without references, null branches and titles; what stands beside them wins over what they hold."""
    if "$ref" in schema:
        target = definitions[schema["$ref"].removeprefix("#/$defs/")]
        return _folded(target | {key: value for key, value in schema.items() if key != "$ref"}, definitions)
    if "anyOf" in schema and not schema.get("x-kubernetes-int-or-string"):
        (branch,) = (branch for branch in schema["anyOf"] if branch.get("type") != "null")
        return _folded(branch | {key: value for key, value in schema.items() if key != "anyOf"}, definitions)
    folded = {key: value for key, value in schema.items() if key not in _DROPPED | {"$defs"}}
    if folded.get("default", ...) is None:
        del folded["default"]
    if "const" in folded:
        folded["enum"] = [folded.pop("const")]
    for key in ("minimum", "maximum"):
        exclusive = folded.pop(f"exclusive{key.capitalize()}", None)
        if exclusive is not None:
            folded |= {key: exclusive, f"exclusive{key.capitalize()}": True}
    if "properties" in folded:
        folded["properties"] = {name: _folded(value, definitions) for name, value in folded["properties"].items()}
    if "items" in folded:
        folded["items"] = _folded(folded["items"], definitions)
    return folded
