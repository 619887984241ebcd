import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protoqueue_devcluster.controllers.deployments import plan_deployment
from protoqueue_devcluster.controllers.pods import is_ready
from protoqueue_devcluster.controllers.rollouts import rollout_of
from protoqueue_devcluster.kube.client import DEPLOYMENTS, PODS, REPLICA_SETS, Object
from unit.devcluster.cluster_in_memory import World, deployment


def conditions(obj: Object) -> dict[str, tuple[str, str]]:
    return {c["type"]: (c["status"], c["reason"]) for c in obj["status"]["conditions"]}


def edit(obj: Object, **spec: object) -> None:
    obj["spec"] = {**copy.deepcopy(obj["spec"]), **spec}
    obj["metadata"]["generation"] += 1


def set_image(obj: Object, image: str) -> None:
    template = copy.deepcopy(obj["spec"]["template"])
    template["spec"]["containers"][0]["image"] = image
    edit(obj, template=template)


def images(world: World) -> list[str]:
    return [pod["spec"]["containers"][0]["image"] for pod in world.active]


def sizes(world: World) -> list[int]:
    return [rs["spec"]["replicas"] for rs in world.objects[REPLICA_SETS]]


def test_a_new_deployment_gets_a_replica_set_named_and_labelled_by_its_template() -> None:
    world = World()
    web = world.add(DEPLOYMENTS, deployment(replicas=2))
    world.settle()
    (replica_set,) = world.objects[REPLICA_SETS]
    digest = replica_set["metadata"]["labels"]["pod-template-hash"]
    assert replica_set["metadata"]["name"] == f"web-{digest}"
    assert replica_set["spec"]["selector"]["matchLabels"] == {"app": "web", "pod-template-hash": digest}
    assert replica_set["metadata"]["annotations"] == {
        "deployment.kubernetes.io/desired-replicas": "2",
        "deployment.kubernetes.io/max-replicas": "3",
        "deployment.kubernetes.io/revision": "1",
    }
    owner = replica_set["metadata"]["ownerReferences"][0]
    assert (owner["kind"], owner["uid"], owner["controller"]) == ("Deployment", web["metadata"]["uid"], True)
    assert web["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "1"
    assert all(pod["metadata"]["labels"]["pod-template-hash"] == digest for pod in world.active)


def test_a_settled_deployment_reports_its_pods_and_plans_nothing() -> None:
    world = World()
    web = world.add(DEPLOYMENTS, deployment(replicas=2))
    world.settle()
    assert {k: v for k, v in web["status"].items() if k != "conditions"} == {
        "observedGeneration": 1, "replicas": 2, "readyReplicas": 2, "availableReplicas": 2, "updatedReplicas": 2,
    }  # fmt: skip
    assert conditions(web) == {
        "Available": ("True", "MinimumReplicasAvailable"),
        "Progressing": ("True", "NewReplicaSetAvailable"),
    }
    assert world.step() == 0


def test_pods_that_are_not_ready_leave_the_deployment_unavailable() -> None:
    world = World()
    web = world.add(DEPLOYMENTS, deployment(replicas=2))
    world.settle(kubelet=lambda: False)
    assert conditions(web)["Available"] == ("False", "MinimumReplicasUnavailable")
    assert web["status"]["unavailableReplicas"] == 2


@pytest.mark.parametrize(("before", "after"), [(1, 4), (4, 1), (3, 0), (0, 2)])
def test_scaling_keeps_the_replica_set_and_its_revision(before: int, after: int) -> None:
    world = World()
    web = world.add(DEPLOYMENTS, deployment(replicas=before))
    world.settle()
    edit(web, replicas=after)
    world.settle()
    assert sizes(world) == [after]
    assert len(world.active) == after
    assert web["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "1"
    assert web["status"].get("replicas", 0) == after


@settings(max_examples=60, deadline=None)
@given(
    replicas=st.integers(1, 12),
    surge=st.sampled_from([0, 1, 3, "25%", "100%"]),
    unavailable=st.sampled_from([0, 1, 2, "25%", "50%"]),
    pace=st.integers(1, 4),
)
def test_a_rolling_update_stays_within_surge_and_unavailability_and_arrives(
    replicas: int, surge: int | str, unavailable: int | str, pace: int
) -> None:
    world = World()
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
    web = world.add(DEPLOYMENTS, deployment(replicas=replicas, strategy=strategy))
    world.settle()
    set_image(web, "two")
    bounds = rollout_of(web, world.objects[REPLICA_SETS])

    def within_bounds() -> None:
        assert len(world.active) <= replicas + bounds.max_surge
        assert sum(is_ready(pod) for pod in world.active) >= replicas - bounds.max_unavailable

    world.settle(kubelet=lambda: world.kubelet(at_most=pace), check=within_bounds)
    assert images(world) == ["two"] * replicas
    assert sorted(sizes(world)) == [0, replicas]
    assert web["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "2"


def test_a_rollout_that_never_gets_ready_keeps_the_old_pods_and_misses_its_deadline() -> None:
    world = World()
    web = world.add(DEPLOYMENTS, deployment(replicas=4, progressDeadlineSeconds=30))
    world.settle()
    set_image(web, "broken")
    world.settle(kubelet=lambda: False)
    assert images(world).count("one") == 3
    assert conditions(web)["Progressing"][0] == "True"
    plan = plan_deployment(web, world.objects[REPLICA_SETS], world.objects[PODS], world.now)
    assert plan.look_again_s is not None
    world.now = world.now.replace(minute=30)
    world.step()
    assert conditions(web)["Progressing"] == ("False", "ProgressDeadlineExceeded")


def test_recreate_removes_every_old_pod_before_a_new_one_starts() -> None:
    world = World()
    web = world.add(DEPLOYMENTS, deployment(replicas=3, strategy={"type": "Recreate"}))
    world.settle()
    set_image(web, "two")

    def never_both() -> None:
        assert len({pod["spec"]["containers"][0]["image"] for pod in world.objects[PODS]}) <= 1

    world.settle(check=never_both)
    assert images(world) == ["two"] * 3


def test_returning_to_an_older_template_takes_up_its_replica_set_as_the_newest_revision() -> None:
    world = World()
    web = world.add(DEPLOYMENTS, deployment(replicas=2))
    world.settle()
    set_image(web, "two")
    world.settle()
    set_image(web, "one")
    world.settle()
    assert sizes(world) == [2, 0]
    assert web["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "3"
    assert world.step() == 0


def test_empty_replica_sets_beyond_the_history_limit_are_forgotten_oldest_first() -> None:
    world = World()
    web = world.add(DEPLOYMENTS, deployment(replicas=1, revisionHistoryLimit=1))
    for image in ("one", "two", "three", "four"):
        set_image(web, image)
        world.settle()
    kept = [rs["spec"]["template"]["spec"]["containers"][0]["image"] for rs in world.objects[REPLICA_SETS]]
    assert kept == ["three", "four"]


def test_a_paused_deployment_scales_but_does_not_roll() -> None:
    world = World()
    web = world.add(DEPLOYMENTS, deployment(replicas=1))
    world.settle()
    set_image(web, "two")
    edit(web, paused=True, replicas=3)
    world.settle()
    assert images(world) == ["one"] * 3


def test_scaling_in_the_middle_of_a_rollout_keeps_both_sides_in_proportion() -> None:
    world = World()
    web = world.add(DEPLOYMENTS, deployment(replicas=4))
    world.settle()
    set_image(web, "two")
    world.settle(kubelet=lambda: False)
    assert sizes(world) == [3, 2]
    edit(web, replicas=8)
    world.step()
    assert sizes(world) == [6, 4]


def test_a_deployment_being_deleted_makes_no_pods() -> None:
    world = World()
    web = world.add(DEPLOYMENTS, deployment(replicas=2))
    web["metadata"]["deletionTimestamp"] = "2030-01-01T00:00:00Z"
    world.settle()
    assert world.objects[REPLICA_SETS] == []
