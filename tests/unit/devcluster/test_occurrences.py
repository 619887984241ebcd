from protoqueue_devcluster.controllers.actions import Create, Delete, Merge
from protoqueue_devcluster.controllers.occurrences import occurrences
from protoqueue_devcluster.controllers.scheduling import binding
from protoqueue_devcluster.kube.client import DEPLOYMENTS, PODS, REPLICA_SETS, Object
from unit.devcluster.cluster_in_memory import deployment

WEB: Object = deployment() | {"metadata": {"name": "web", "namespace": "default", "uid": "u"}}
REPLICA_SET: Object = {"metadata": {"name": "web-x", "namespace": "default"}, "spec": {"replicas": 3}}


def told(actions: list[Create | Merge | Delete]) -> list[tuple[str, str]]:
    return [(found.reason, found.message) for found in occurrences(WEB, DEPLOYMENTS, actions)]


def test_scaling_is_told_with_its_direction() -> None:
    resized = [Merge(REPLICA_SETS, REPLICA_SET, {"spec": {"replicas": size}}) for size in (5, 1, 3)]
    assert told([Create(REPLICA_SETS, REPLICA_SET), *resized]) == [
        ("ScalingReplicaSet", "Scaled up replica set web-x from 0 to 3"),
        ("ScalingReplicaSet", "Scaled up replica set web-x from 3 to 5"),
        ("ScalingReplicaSet", "Scaled down replica set web-x from 3 to 1"),
    ]


def test_a_replica_set_that_begins_with_no_pod_is_not_told_of() -> None:
    assert told([Create(REPLICA_SETS, REPLICA_SET | {"spec": {"replicas": 0}})]) == []


def test_pods_made_and_deleted_together_are_told_together() -> None:
    pod: Object = {"metadata": {"name": "p", "namespace": "default", "uid": "u"}, "spec": {}}
    assert told([Create(PODS, pod), Create(PODS, pod), Delete(PODS, pod)]) == [
        ("SuccessfulCreate", "Created 2 pods"),
        ("SuccessfulDelete", "Deleted 1 pod"),
    ]
    assert told([binding(pod, "n")]) == [("Scheduled", "Successfully assigned default/web to n")]


def test_status_and_annotations_are_not_worth_an_event() -> None:
    annotated = Merge(REPLICA_SETS, REPLICA_SET, {"metadata": {"annotations": {"a": "b"}}})
    assert told([annotated, Merge(DEPLOYMENTS, WEB, {"status": {"replicas": 1}}, "status")]) == []
