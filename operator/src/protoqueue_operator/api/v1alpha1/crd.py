"""CustomResourceDefinitions, made from the models: the only place where a schema is written down is the model itself.

A structural schema (Kubernetes, "Custom Resources: specifying a structural schema") knows no `$ref`, no `null` type and
no titles; pydantic's JSON schema has all three, so they are folded away here.
"""

from typing import Any

from protoqueue_operator.api.v1alpha1.consumer_group import ConsumerGroupSpec, ConsumerGroupStatus
from protoqueue_operator.api.v1alpha1.fields import Model
from protoqueue_operator.api.v1alpha1.pod_template import pod_template_schema
from protoqueue_operator.api.v1alpha1.queue import QueueSpec, QueueStatus
from protoqueue_operator.api.v1alpha1.redrive import RedriveSpec, RedriveStatus

GROUP = "protoqueue.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

_NAME_RULE = {
    "rule": "self.metadata.name.matches('^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$')",
    "message": "metadata.name must be a DNS label: up to 63 lower-case letters, digits and dashes, no dots",
}
_OTHER_QUEUE_RULE = {
    "rule": "!has(self.spec.deadLetter) || !has(self.spec.deadLetter.queueRef) || "
    "self.spec.deadLetter.queueRef.name != self.metadata.name",
    "message": "spec.deadLetter.queueRef.name must name another Queue",
}
_PROGRESSING = '.status.conditions[?(@.type=="Progressing")]'
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
                *_ready_columns(),
                _column("Waiting", "integer", ".status.tasks.waiting", "Tasks waiting for a worker"),
                _column("In-Flight", "integer", ".status.tasks.inFlight", "Tasks in flight"),
                _column("Scheduled", "integer", ".status.tasks.scheduled", "Tasks not yet due"),
                _column("Dead", "integer", ".status.tasks.dead", "Dead letters"),
                _column("Oldest", "date", ".status.oldestTaskTime", "Age of the oldest waiting task"),
                _column("Next-Schedule", "string", ".status.nextScheduleTime", "When a schedule fires", priority=1),
                _column("Age", "date", ".metadata.creationTimestamp", "Time since creation"),
            ],
            subresources={"status": {}},
            rules=(_OTHER_QUEUE_RULE,),
        ),
        "consumergroups": _definition(
            kind="ConsumerGroup",
            plural="consumergroups",
            short="pcg",
            description="ConsumerGroup is a group of workers that consumes a Queue, and its scaling.",
            spec=ConsumerGroupSpec,
            status=ConsumerGroupStatus,
            columns=[
                _column("Queue", "string", ".spec.queueRef.name", "Queue that is consumed"),
                *_ready_columns(),
                _column("Waiting", "integer", ".status.tasks.waiting", "Tasks waiting for a worker of this group"),
                _column("In-Flight", "integer", ".status.tasks.inFlight", "Tasks in flight in this group"),
                _column("Available", "integer", ".status.availableReplicas", "Available workers"),
                _column("Desired", "integer", ".status.desiredReplicas", "Desired number of workers"),
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
            selectable=(".spec.queueRef.name",),
        ),
        "redrives": _definition(
            kind="Redrive",
            plural="redrives",
            short="prd",
            description="Redrive puts dead letters of a Queue back into it.",
            spec=RedriveSpec,
            status=RedriveStatus,
            columns=[
                _column("Queue", "string", ".spec.queueRef.name", "Queue whose dead letters are moved"),
                _column("State", "string", f"{_PROGRESSING}.reason", "What is being done, or waited for"),
                _column("Matched", "integer", ".status.matched", "Dead letters that match"),
                _column("Moved", "integer", ".status.moved", "Dead letters that are back in the queue"),
                _column("Remaining", "integer", ".status.remaining", "Dead letters that are still to be moved"),
                _column("Failed", "integer", ".status.failed", "Dead letters that could not be moved"),
                _column("Age", "date", ".metadata.creationTimestamp", "Time since creation"),
                _column("Message", "string", f"{_PROGRESSING}.message", "Message of Progressing", priority=1),
            ],
            subresources={"status": {}},
            selectable=(".spec.queueRef.name",),
        ),
    }


def _ready_columns() -> list[Schema]:
    ready = '.status.conditions[?(@.type=="Ready")]'
    return [
        _column("Ready", "string", f"{ready}.status", "Whether the resource is as specified"),
        _column("Reason", "string", f"{ready}.reason", "Reason of the Ready condition"),
        _column("Message", "string", f"{ready}.message", "Message of the Ready condition", priority=1),
    ]


def _column(name: str, kind: str, path: str, description: str, priority: int = 0) -> Schema:
    """`priority` 1 is shown with `-o wide`."""
    column = {"name": name, "type": kind, "jsonPath": path, "description": description}
    return column | ({"priority": priority} if priority else {})


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
    selectable: tuple[str, ...] = (),
    rules: tuple[Schema, ...] = (),
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
                    **({"selectableFields": [{"jsonPath": path} for path in selectable]} if selectable else {}),
                    "schema": {
                        "openAPIV3Schema": {
                            "description": description,
                            "type": "object",
                            "required": ["spec"],
                            "x-kubernetes-validations": [_NAME_RULE, *rules],
                            "properties": {
                                "apiVersion": {"type": "string"},
                                "kind": {"type": "string"},
                                "metadata": {"type": "object"},
                                "spec": _with_pod_template(structural(spec)),
                                # Until the operator has seen an object, nothing that waits may take it for done.
                                "status": structural(status) | {"default": {"observedGeneration": -1}},
                            },
                        }
                    },
                }
            ],
        },
    }


def _with_pod_template(spec: Schema) -> Schema:
    """A pod template's schema is Kubernetes' own, except for what it says of itself here."""
    if "worker" in spec["properties"]:
        worker = spec["properties"]["worker"]["properties"]
        worker["template"] = pod_template_schema() | {"description": worker["template"]["description"]}
    return spec


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
