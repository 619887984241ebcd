"""The Deployment of a group whose workers the operator runs, as a server-side apply configuration."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from protoqueue.protocol.names import GroupName
from protoqueue_operator.api.v1alpha1.consumer_group import ConsumerGroupSpec
from protoqueue_operator.api.v1alpha1.crd import API_VERSION
from protoqueue_operator.api.v1alpha1.deployment import Deployment
from protoqueue_operator.api.v1alpha1.errors import ForeignAsset
from protoqueue_operator.api.v1alpha1.labels import APPLIED_ANNOTATION, FIELD_MANAGER, GROUP_LABEL
from protoqueue_operator.api.v1alpha1.managed_fields import holds_all, lost_fields
from protoqueue_operator.api.v1alpha1.objects import Group
from protoqueue_operator.nats.credentials import Credentials

_DEFAULT_GRACE_PERIOD_S = 30
"""Kubernetes' default for pods that do not state one."""

MIN_READY_S = 5
"""How long a worker runs before it counts as available.

One that fails at its start never does, so that a rollout of such workers stops at the first instead of replacing all
working ones: a pod without a readiness probe is ready at once.
"""

_SECRET_VOLUME = "protoqueue-nats"  # noqa: S105 -- a volume's name
_SECRET_DIGEST = "protoqueue.dev/nats-secret-digest"  # noqa: S105 -- an annotation's name
_SECRET_PATH = "/etc/protoqueue/nats"  # noqa: S105 -- where it is mounted


def check_ownership(group: Group, deployment: Deployment | None) -> None:
    """Raises ForeignAsset if a Deployment of the group's name has another owner."""
    if deployment and deployment.controller_uid != group.meta.uid:
        raise ForeignAsset(
            f"a Deployment {group.meta.name} exists and does not belong to this group: "
            "rename the group, or name the Deployment in spec.worker.scaleTargetRef",
            field="spec.worker.template",
        )


def is_as_desired(deployment: Deployment, group: Group, desired: Mapping[str, Any]) -> bool:
    """Whether exactly this, except for the size, was applied for the group, and is unchanged since."""
    return (
        deployment.controller_uid == group.meta.uid
        and deployment.applied == desired["metadata"]["annotations"][APPLIED_ANNOTATION]
        and holds_all(deployment.applied_fields, desired)
    )


def taken_over(deployment: Deployment, desired: Mapping[str, Any]) -> tuple[str, ...]:
    """The fields that others have changed or removed since exactly this was applied; empty if anything else was.

    Values are left out: they may be secret.
    """
    if deployment.applied != desired["metadata"]["annotations"][APPLIED_ANNOTATION]:
        return ()
    return tuple(lost_fields(deployment.applied_fields, desired))


def is_superfluous(deployment: Deployment, group: Group, spec: ConsumerGroupSpec) -> bool:
    """Whether it is the group's own, and the group no longer has a template.

    One that `scaleTargetRef` names is kept: a user who names the group's own Deployment wants it to stay.
    """
    worker = spec.worker
    if deployment.controller_uid != group.meta.uid or deployment.meta.deleting_since:
        return False
    if worker and worker.template is not None:
        return False
    target = worker.scale_target_ref if worker else None
    return target is None or (target.kind, target.name) != ("Deployment", deployment.key.name)


@dataclass(frozen=True)
class WorkerConnection:
    """How workers reach NATS: by a URL without credentials, or by a Secret, which is mounted, or both."""

    url: str
    """Empty if it is in the Secret."""
    secret: str | None = None
    credentials: Credentials | None = None
    """What the Secret was found to hold."""
    digest: str = ""
    """A digest of the Secret's data: pods are replaced when it changes, since their environment is read once."""

    def environment(self) -> list[dict[str, Any]]:
        if self.secret is None:
            return [{"name": "PROTOQUEUE_NATS_URL", "value": self.url}]
        source = {"secretKeyRef": {"name": self.secret, "key": "url"}}
        variables: list[dict[str, Any]] = [
            {"name": "PROTOQUEUE_NATS_URL", **({"value": self.url} if self.url else {"valueFrom": source})},
            {"name": "PROTOQUEUE_NATS_SECRET_DIR", "value": _SECRET_PATH},
        ]
        if self.credentials and self.credentials.creds:
            variables.append({"name": "PROTOQUEUE_NATS_CREDS", "value": f"{_SECRET_PATH}/creds"})
        if self.credentials and self.credentials.ca:
            variables.append({"name": "PROTOQUEUE_NATS_CA", "value": f"{_SECRET_PATH}/ca.crt"})
        return variables


def desired_deployment(
    group: Group, template: Mapping[str, Any], connection: WorkerConnection, replicas: int | None
) -> dict[str, Any]:
    """`replicas` only if the operator's own apply owns that field; otherwise the scale subresource does."""
    labels = {
        "app.kubernetes.io/name": group.meta.name,
        "app.kubernetes.io/component": "worker",
        "app.kubernetes.io/part-of": group.queue_name,
        "app.kubernetes.io/managed-by": FIELD_MANAGER,
        GROUP_LABEL: group.meta.name,
    }
    owner = {
        "apiVersion": API_VERSION,
        "kind": "ConsumerGroup",
        "name": group.meta.name,
        "uid": group.meta.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
    spec: dict[str, Any] = {
        "minReadySeconds": MIN_READY_S,
        "selector": {"matchLabels": {GROUP_LABEL: group.meta.name}},
        "template": _pod_template(template, labels, group.name, connection),
    }
    metadata = {
        "name": group.meta.name,
        "namespace": group.meta.namespace,
        "labels": labels,
        "annotations": {APPLIED_ANNOTATION: _digest(labels, owner, spec)},
        "ownerReferences": [owner],
    }
    if replicas is not None:
        spec["replicas"] = replicas
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


def _digest(*parts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _pod_template(
    template: Mapping[str, Any], labels: Mapping[str, str], group: GroupName, connection: WorkerConnection
) -> dict[str, Any]:
    meta = template.get("metadata") or {}
    spec = template["spec"]
    annotations = dict(meta.get("annotations") or {})
    if connection.digest:
        annotations[_SECRET_DIGEST] = connection.digest
    environment = [
        *connection.environment(),
        {"name": "PROTOQUEUE_QUEUE", "value": str(group.queue)},
        {"name": "PROTOQUEUE_GROUP", "value": group.name},
        {"name": "PROTOQUEUE_GRACE_PERIOD", "value": str(_grace_period_s(spec))},
    ]
    mounts: list[dict[str, Any]] = []
    volumes: list[dict[str, Any]] = []
    if connection.secret:
        mounts = [{"name": _SECRET_VOLUME, "mountPath": _SECRET_PATH, "readOnly": True}]
        volumes = [{"name": _SECRET_VOLUME, "secret": {"secretName": connection.secret}}]
    return {
        **template,
        "metadata": {
            **meta,
            "labels": {**(meta.get("labels") or {}), **labels},
            **({"annotations": annotations} if annotations else {}),
        },
        "spec": {
            **spec,
            "containers": [_container(each, environment, mounts) for each in spec["containers"]],
            **_extended(spec, "volumes", volumes),
        },
    }


def _grace_period_s(pod_spec: Mapping[str, Any]) -> int:
    """How long after SIGTERM the kubelet kills the pod."""
    stated: int | None = pod_spec.get("terminationGracePeriodSeconds")
    return _DEFAULT_GRACE_PERIOD_S if stated is None else stated


def _container(
    container: Mapping[str, Any], environment: list[dict[str, Any]], mounts: list[dict[str, Any]]
) -> dict[str, Any]:
    """What the user set wins."""
    own = container.get("env") or []
    taken = {variable.get("name") for variable in own}
    added = [variable for variable in environment if variable["name"] not in taken]
    return {**container, "env": [*added, *own], **_extended(container, "volumeMounts", mounts)}


def _extended(part: Mapping[str, Any], field: str, more: list[dict[str, Any]]) -> dict[str, Any]:
    return {field: [*(part.get(field) or []), *more]} if more else {}
