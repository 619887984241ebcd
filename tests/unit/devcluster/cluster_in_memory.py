"""A cluster small enough to step through: it applies a plan's writes and plays the kubelet."""

import copy
import itertools
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta

from protoqueue_devcluster.controllers.actions import Action, Create, Delete, Merge
from protoqueue_devcluster.controllers.deployments import plan_deployment
from protoqueue_devcluster.controllers.ownership import controlled_by
from protoqueue_devcluster.controllers.pods import format_time, is_active, is_ready
from protoqueue_devcluster.controllers.replicasets import plan_replica_set
from protoqueue_devcluster.kube.client import DEPLOYMENTS, PODS, REPLICA_SETS, Kind, Object

START = datetime(2030, 1, 1, tzinfo=UTC)


def deployment(replicas: int = 3, image: str = "one", **spec: object) -> Object:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}}
    return {
        "metadata": {"name": "web", "namespace": "default", "generation": 1},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": template,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
            "revisionHistoryLimit": 10,
            "progressDeadlineSeconds": 600,
            **spec,
        },
    }


class World:
    """Objects by kind; `now` moves only when told."""

    def __init__(self) -> None:
        self.now = START
        self.objects: dict[Kind, list[Object]] = {DEPLOYMENTS: [], REPLICA_SETS: [], PODS: []}
        self._serial = itertools.count(1)

    def add(self, kind: Kind, body: Object) -> Object:
        obj = copy.deepcopy(body)
        serial = next(self._serial)
        metadata = obj["metadata"]
        metadata.setdefault("name", f"{metadata.get('generateName', 'x')}{serial:05}")
        metadata |= {"uid": f"uid-{serial}", "creationTimestamp": format_time(self.now), "generation": 1}
        obj.setdefault("status", {})
        self.objects[kind].append(obj)
        return obj

    def write(self, actions: Iterable[Action]) -> int:
        """Apply and count the writes."""
        writes = list(actions)
        for action in writes:
            match action:
                case Create(kind, body):
                    self.add(kind, body)
                case Merge(_, target, patch):
                    _merge(target, patch)
                    target["metadata"]["generation"] += "spec" in patch
                case Delete(kind, target):
                    self._delete(kind, target)
        return len(writes)

    def step(self) -> int:
        """One round of both controllers; returns the number of writes."""
        writes = 0
        for obj in list(self.objects[DEPLOYMENTS]):
            sets = controlled_by(obj, self.objects[REPLICA_SETS])
            pods = [pod for rs in sets for pod in controlled_by(rs, self.objects[PODS])]
            writes += self.write(plan_deployment(obj, sets, pods, self.now).actions)
        for obj in list(self.objects[REPLICA_SETS]):
            writes += self.write(plan_replica_set(obj, controlled_by(obj, self.objects[PODS]), self.now).actions)
        return writes

    def settle(self, kubelet: Callable[[], bool] | None = None, check: Callable[[], None] | None = None) -> None:
        """Step until nothing is written and the kubelet has nothing to do."""
        for _ in range(500):
            writes = self.step()
            if check:
                check()
            moved = (kubelet or self.kubelet)()
            self.now += timedelta(seconds=1)
            if not writes and not moved:
                return
        raise AssertionError("the controllers did not settle")

    def kubelet(self, at_most: int = 1000) -> bool:
        """Start pending pods and finish leaving ones; returns whether anything happened."""
        moved = 0
        for pod in list(self.objects[PODS]):
            if moved >= at_most:
                break
            if "deletionTimestamp" in pod["metadata"]:
                self.objects[PODS].remove(pod)
                moved += 1
            elif not is_ready(pod):
                self.make_ready(pod)
                moved += 1
        return bool(moved)

    def make_ready(self, pod: Object) -> None:
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": format_time(self.now)}
        pod["spec"]["nodeName"] = "node"
        pod["status"] = {"phase": "Running", "conditions": [ready]}

    @property
    def active(self) -> list[Object]:
        return [pod for pod in self.objects[PODS] if is_active(pod)]

    def _delete(self, kind: Kind, target: Object) -> None:
        if kind is PODS and target["spec"].get("nodeName"):
            target["metadata"]["deletionTimestamp"] = format_time(self.now)
        else:
            self.objects[kind].remove(target)


def _merge(target: Object, patch: Object) -> None:
    for key, value in patch.items():
        if isinstance(value, dict):
            _merge(target.setdefault(key, {}), value)
        elif value is None:
            target.pop(key, None)
        else:
            target[key] = value
