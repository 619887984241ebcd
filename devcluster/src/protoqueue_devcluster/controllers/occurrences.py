"""What a plan's writes mean to whoever reads `kubectl describe`."""

from collections.abc import Iterable, Iterator

from protoqueue_devcluster.controllers.actions import Action, Create, Delete, Merge
from protoqueue_devcluster.kube.client import PODS, REPLICA_SETS, Kind, Object
from protoqueue_devcluster.kube.events import Occurrence


def occurrences(obj: Object, kind: Kind, actions: Iterable[Action]) -> Iterator[Occurrence]:
    """The Events of `obj` for these writes, in the words of the real controllers."""
    metadata = obj["metadata"]
    pods_made = pods_deleted = 0

    def occurrence(reason: str, message: str) -> Occurrence:
        return Occurrence(kind, metadata["namespace"], metadata["name"], metadata["uid"], reason, message)

    for action in actions:
        match action:
            case Create(made, body, subresource="binding") if made is PODS:
                where = body["target"]["name"]
                yield occurrence(
                    "Scheduled", f"Successfully assigned {metadata['namespace']}/{metadata['name']} to {where}"
                )
            case Create(made, body) if made is REPLICA_SETS and (size := body["spec"]["replicas"]):
                yield occurrence(
                    "ScalingReplicaSet", f"Scaled up replica set {body['metadata']['name']} from 0 to {size}"
                )
            case Merge(made, target, {"spec": {"replicas": size}}) if made is REPLICA_SETS:
                before = target["spec"].get("replicas", 1)
                if size != before:
                    direction, name = "up" if size > before else "down", target["metadata"]["name"]
                    message = f"Scaled {direction} replica set {name} from {before} to {size}"
                    yield occurrence("ScalingReplicaSet", message)
            case Create(made) if made is PODS:
                pods_made += 1
            case Delete(made) if made is PODS:
                pods_deleted += 1
    # The real controllers tell each pod apart; here one Event tells a batch, which reads as well and costs one write.
    if pods_made:
        yield occurrence("SuccessfulCreate", f"Created {_pods(pods_made)}")
    if pods_deleted:
        yield occurrence("SuccessfulDelete", f"Deleted {_pods(pods_deleted)}")


def _pods(count: int) -> str:
    return "1 pod" if count == 1 else f"{count} pods"
