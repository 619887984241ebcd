"""What the operator reads from a Deployment."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from protoqueue_operator.api.v1alpha1.labels import APPLIED_ANNOTATION, FIELD_MANAGER
from protoqueue_operator.api.v1alpha1.managed_fields import applied_fields, last_writer
from protoqueue_operator.api.v1alpha1.meta import Key, Meta, parse_meta


@dataclass(frozen=True)
class Deployment:
    """What is read from a Deployment."""

    meta: Meta
    replicas: int
    """The wanted number, `spec.replicas`."""
    observed_replicas: int
    available_replicas: int
    controller_uid: str | None
    applies_replicas: bool
    """Whether the operator's apply owns `spec.replicas`: leaving it out would then reset it to 1."""
    applied: str | None = None
    """The digest of what was applied."""
    applied_fields: str = "{}"
    """The fields that are unchanged since they were applied."""
    sized_by: str | None = None
    """The manager that wrote `spec.replicas` last."""
    trouble: str | None = None
    """Why pods are not created or do not become ready, from the Deployment's own conditions."""

    @property
    def key(self) -> Key:
        return self.meta.key

    @property
    def uid(self) -> str:
        return self.meta.uid


def parse_deployment(body: Mapping[str, Any]) -> Deployment:
    meta = parse_meta(body, "Deployment")
    owners = body["metadata"].get("ownerReferences") or []
    return Deployment(
        meta=meta,
        replicas=body["spec"].get("replicas", 1),
        observed_replicas=(body.get("status") or {}).get("replicas", 0),
        available_replicas=(body.get("status") or {}).get("availableReplicas", 0),
        controller_uid=next((owner["uid"] for owner in owners if owner.get("controller")), None),
        applies_replicas=any(
            "f:replicas" in entry.get("fieldsV1", {}).get("f:spec", {})
            for entry in body["metadata"].get("managedFields") or []
            if entry.get("manager") == FIELD_MANAGER and entry.get("operation") == "Apply"
        ),
        applied=(body["metadata"].get("annotations") or {}).get(APPLIED_ANNOTATION),
        applied_fields=applied_fields(body["metadata"], FIELD_MANAGER),
        sized_by=last_writer(body["metadata"], "spec", "replicas"),
        trouble=_trouble((body.get("status") or {}).get("conditions") or []),
    )


def _trouble(conditions: list[Mapping[str, str]]) -> str | None:
    """A refused pod, as by Pod Security or a quota, is a better explanation than the missed progress deadline."""
    messages = {(each["type"], each["status"]): each.get("message", "") for each in conditions}
    return messages.get(("ReplicaFailure", "True")) or messages.get(("Progressing", "False"))
