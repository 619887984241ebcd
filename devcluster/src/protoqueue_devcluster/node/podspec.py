"""The parts of a pod that the node looks at, parsed once."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from protoqueue_devcluster.kube.client import Object


@dataclass(frozen=True)
class Mount:
    volume: str
    path: str
    sub_path: str = ""


@dataclass(frozen=True)
class Container:
    """One container; `env`, `env_from` and the probes stay as the API has them until they are needed."""

    name: str
    image: str
    command: tuple[str, ...]
    arguments: tuple[str, ...]
    working_dir: str | None
    env: tuple[Mapping[str, Any], ...]
    env_from: tuple[Mapping[str, Any], ...]
    ports: Mapping[str, int]
    mounts: tuple[Mount, ...]
    resources: Mapping[str, Any]
    startup_probe: Mapping[str, Any] | None
    readiness_probe: Mapping[str, Any] | None
    liveness_probe: Mapping[str, Any] | None


@dataclass(frozen=True)
class PodSpec:
    """A pod as it was when it was bound: nothing of this may change while it runs."""

    uid: str
    namespace: str
    name: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    node: str
    service_account: str
    init_containers: tuple[Container, ...]
    containers: tuple[Container, ...]
    volumes: tuple[Mapping[str, Any], ...]
    restart_policy: str
    grace_s: float

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def parse_pod(pod: Object) -> PodSpec:
    """Parse what the API server has validated and filled with defaults; raises nothing on such a pod."""
    metadata, spec = pod["metadata"], pod["spec"]
    return PodSpec(
        uid=metadata["uid"],
        namespace=metadata["namespace"],
        name=metadata["name"],
        labels=metadata.get("labels") or {},
        annotations=metadata.get("annotations") or {},
        node=spec.get("nodeName", ""),
        service_account=spec.get("serviceAccountName", "default"),
        init_containers=tuple(_parse_container(entry) for entry in spec.get("initContainers") or []),
        containers=tuple(_parse_container(entry) for entry in spec["containers"]),
        volumes=tuple(spec.get("volumes") or []),
        restart_policy=spec.get("restartPolicy", "Always"),
        grace_s=float(spec.get("terminationGracePeriodSeconds", 30)),
    )


def _parse_container(entry: Object) -> Container:
    return Container(
        name=entry["name"],
        image=entry.get("image", ""),
        command=tuple(entry.get("command") or ()),
        arguments=tuple(entry.get("args") or ()),
        working_dir=entry.get("workingDir"),
        env=tuple(entry.get("env") or ()),
        env_from=tuple(entry.get("envFrom") or ()),
        ports={port["name"]: port["containerPort"] for port in entry.get("ports") or [] if port.get("name")},
        mounts=tuple(
            Mount(mount["name"], mount["mountPath"].rstrip("/") or "/", mount.get("subPath", ""))
            for mount in entry.get("volumeMounts") or []
        ),
        resources=entry.get("resources") or {},
        startup_probe=entry.get("startupProbe"),
        readiness_probe=entry.get("readinessProbe"),
        liveness_probe=entry.get("livenessProbe"),
    )
