"""Which of a group's pods are to go first when some have to: those that have the least to do."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
"""Annotation of Kubernetes: of the pods of a ReplicaSet that run, those with the lower cost are deleted first."""

_UNKNOWN = 1
"""A worker that does not answer may just be at work: it goes after the idle ones and before the busiest."""


@dataclass(frozen=True)
class WorkerPod:
    name: str
    uid: str
    cost: str
    """As annotated; empty where it is not."""


def parse_pod(body: Mapping[str, Any]) -> WorkerPod:
    meta = body["metadata"]
    return WorkerPod(meta["name"], meta["uid"], (meta.get("annotations") or {}).get(DELETION_COST, ""))


def costs_to_write(pods: Iterable[WorkerPod], running: Mapping[str, int]) -> dict[WorkerPod, str]:
    """`running` has the tasks of each pod that has answered. Nothing is written where it would make no difference."""
    wanted = {pod: running.get(pod.name, _UNKNOWN) for pod in pods}
    if len(set(wanted.values())) < 2:
        return {}
    return {pod: str(cost) for pod, cost in wanted.items() if str(cost) != (pod.cost or "0")}
