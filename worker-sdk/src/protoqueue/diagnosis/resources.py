"""What Kubernetes says of a queue: its Queue, its ConsumerGroups, and their pods. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

GROUP_LABEL = "protoqueue.dev/consumer-group"
"""Of a worker's pod, where the operator has made its Deployment."""

_STARTING = ("ContainerCreating", "PodInitializing", "")
NO_IMAGE = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError")


@dataclass(frozen=True)
class Condition:
    """One condition of a resource's status."""

    status: str
    reason: str
    message: str


@dataclass(frozen=True)
class Resource:
    """What the Queue or ConsumerGroup says of itself; without a cluster that answers there is none."""

    conditions: Mapping[str, Condition] = field(default_factory=dict)
    is_current: bool = True
    """Whether Ready tells of the newest edit."""
    paused: bool = False
    desired: int | None = None
    available: int | None = None
    maximum: int | None = None
    """`autoscale.maxReplicas`; None where the size is fixed."""
    has_workers: bool = True
    """Whether the operator is to run workers: `spec.worker` is set."""
    secret: str = ""
    """The Secret that says where NATS is, of a Queue that names one."""
    selector: str = ""
    """Labels of the workers' pods."""
    target: str = ""
    """What is scaled, as kubectl takes it, such as `deployment/mailers`."""

    @classmethod
    def read(cls, body: Mapping[str, Any]) -> "Resource":
        """From the object as the API server returns it; what is missing or of another shape is left out."""
        spec, status, meta = body.get("spec") or {}, body.get("status") or {}, body.get("metadata") or {}
        conditions = {
            each["type"]: Condition(each.get("status", ""), each.get("reason", ""), each.get("message", ""))
            for each in status.get("conditions") or []
        }
        generation = meta.get("generation")
        told = [each.get("observedGeneration") for each in status.get("conditions") or [] if each["type"] == "Ready"]
        worker = spec.get("worker") or {}
        target = worker.get("scaleTargetRef") or {}
        name = target.get("name") or meta.get("name", "")
        return cls(
            conditions,
            is_current=all(each in (None, generation) for each in told),
            paused=bool(spec.get("paused")),
            desired=status.get("desiredReplicas"),
            available=status.get("availableReplicas", status.get("replicas")),
            maximum=(spec.get("autoscale") or {}).get("maxReplicas"),
            has_workers="worker" in spec or body.get("kind") == "Queue",
            secret=((spec.get("nats") or {}).get("connectionSecretRef") or {}).get("name", ""),
            selector=status.get("selector") or f"{GROUP_LABEL}={meta.get('name', '')}",
            target=f"{(target.get('kind') or 'Deployment').lower()}/{name}",
        )


@dataclass(frozen=True)
class Pod:
    """A worker's pod, and what keeps it from being ready: of its containers that which was restarted most."""

    name: str
    is_ready: bool = False
    restarts: int = 0
    container: str = ""
    image: str = ""
    waits_for: str = ""
    """A reason of Kubernetes' own, such as CrashLoopBackOff; empty while it only starts."""
    message: str = ""
    exit_code: int | None = None
    """With which the container ended last."""
    ended_because: str = ""
    """Why, in Kubernetes' words, such as OOMKilled."""
    unschedulable: str = ""
    """Why no node takes it."""


def read_pods(items: Iterable[Mapping[str, Any]]) -> list[Pod]:
    """Without those that are being deleted, or have ended for good: they are not workers any more."""
    return [_pod(body) for body in items if _counts(body)]


def _counts(body: Mapping[str, Any]) -> bool:
    phase = (body.get("status") or {}).get("phase")
    return "deletionTimestamp" not in body["metadata"] and phase not in ("Succeeded", "Failed")


def _pod(body: Mapping[str, Any]) -> Pod:
    status = body.get("status") or {}
    conditions = {each["type"]: each for each in status.get("conditions") or ()}
    scheduled = conditions.get("PodScheduled") or {}
    name, is_ready = body["metadata"]["name"], (conditions.get("Ready") or {}).get("status") == "True"
    unschedulable = scheduled.get("message", "") if scheduled.get("status") == "False" else ""
    containers = [*_statuses(status, "initContainerStatuses"), *_statuses(status, "containerStatuses")]
    worst = max(containers, key=_badness, default=None)
    if worst is None:
        return Pod(name, is_ready, unschedulable=unschedulable)
    state = worst.get("state") or {}
    waiting = state.get("waiting") or {}
    ended = state.get("terminated") or (worst.get("lastState") or {}).get("terminated") or {}
    reason = waiting.get("reason", "")
    return Pod(
        name,
        is_ready,
        restarts=worst.get("restartCount", 0),
        container=worst.get("name", ""),
        image=worst.get("image", ""),
        waits_for="" if reason in _STARTING else reason,
        message=waiting.get("message", ""),
        exit_code=ended.get("exitCode"),
        ended_because=ended.get("reason", ""),
        unschedulable=unschedulable,
    )


def _statuses(status: Mapping[str, Any], name: str) -> Iterator[Mapping[str, Any]]:
    yield from status.get(name) or ()


def _badness(container: Mapping[str, Any]) -> tuple[bool, int]:
    reason = ((container.get("state") or {}).get("waiting") or {}).get("reason", "")
    return reason not in _STARTING, container.get("restartCount", 0)


def worst_of(pods: Sequence[Pod]) -> Pod | None:
    """That which is not ready and has most to tell; None where all are ready."""
    unready = [pod for pod in pods if not pod.is_ready]
    return max(unready, key=lambda pod: (bool(pod.waits_for or pod.unschedulable), pod.restarts), default=None)


def workers_of(groups: Iterable[Mapping[str, Any]], queue: str) -> dict[str, str]:
    """Labels of the pods of each group of a queue that the operator runs workers for."""
    found = {}
    for body in groups:
        resource = Resource.read(body)
        if ((body.get("spec") or {}).get("queueRef") or {}).get("name") == queue and resource.has_workers:
            found[body["metadata"]["name"]] = resource.selector
    return found


@dataclass(frozen=True)
class StartedPod:
    """A pod by its name, how often its containers were restarted, and whether any of them has begun."""

    name: str
    restarts: int
    has_log: bool


def started_pods(items: Iterable[Mapping[str, Any]]) -> list[StartedPod]:
    """Pods as their logs are read, those on their way out too; by name."""
    found = []
    for body in items:
        statuses = (body.get("status") or {}).get("containerStatuses") or []
        begun = [s for s in statuses if {"running", "terminated"} & (s.get("state") or {}).keys() or s.get("lastState")]
        restarts = sum(status.get("restartCount", 0) for status in statuses)
        found.append(StartedPod(body["metadata"]["name"], restarts, has_log=bool(begun)))
    return sorted(found, key=lambda pod: pod.name)
