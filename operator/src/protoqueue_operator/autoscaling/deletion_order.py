"""Which of a group's pods to delete first on a scale-down: those with the fewest tasks."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
"""Annotation of Kubernetes: of a ReplicaSet's running pods, those with a lower cost are deleted first."""

_UNKNOWN = 1
"""A worker that does not answer may be busy: it goes after the idle ones and before the busiest."""


@dataclass(frozen=True)
class WorkerPod:
    name: str
    uid: str
    cost: str
    """The annotated cost; empty without one."""


def parse_pod(body: Mapping[str, Any]) -> WorkerPod:
    meta = body["metadata"]
    return WorkerPod(meta["name"], meta["uid"], (meta.get("annotations") or {}).get(DELETION_COST, ""))


def running_by_host(answers: Iterable[tuple[str, int]]) -> dict[str, int]:
    """The number of tasks of each host that answered, over all its workers: 0 for an idle one."""
    running: dict[str, int] = {}
    for host, tasks in answers:
        running[host] = running.get(host, 0) + tasks
    return running


def costs_to_write(pods: Iterable[WorkerPod], running: Mapping[str, int]) -> dict[WorkerPod, str]:
    """`running` has the number of tasks of each pod that answered.

    Nothing is written if it would make no difference.
    """
    wanted = {pod: running.get(pod.name, _UNKNOWN) for pod in pods}
    if len(set(wanted.values())) < 2:
        return {}
    return {pod: str(cost) for pod, cost in wanted.items() if str(cost) != (pod.cost or "0")}
