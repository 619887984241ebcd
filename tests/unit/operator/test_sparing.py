import pytest

from protoqueue_operator.core.sparing import DELETION_COST, WorkerPod, costs_to_write, parse_pod


def pod(name: str, cost: str = "") -> WorkerPod:
    return WorkerPod(name, f"uid-of-{name}", cost)


@pytest.mark.parametrize(
    ("pods", "running", "written"),
    [
        ([pod("a"), pod("b")], {"a": 3, "b": 0}, {"a": "3"}),
        ([pod("a", "3"), pod("b")], {"a": 3, "b": 0}, {}),
        ([pod("a", "3"), pod("b")], {"a": 0, "b": 1}, {"a": "0", "b": "1"}),
        ([pod("a"), pod("b")], {"a": 2, "b": 2}, {}),
        ([pod("silent"), pod("b")], {"b": 0}, {"silent": "1"}),
        ([pod("silent"), pod("b")], {"b": 5}, {"silent": "1", "b": "5"}),
        ([pod("a")], {"a": 4, "somewhere else": 0}, {}),
        ([], {"a": 4}, {}),
    ],
)
def test_pods_are_marked_by_what_they_have_to_do_where_they_differ(
    pods: list[WorkerPod], running: dict[str, int], written: dict[str, str]
) -> None:
    assert {pod.name: cost for pod, cost in costs_to_write(pods, running).items()} == written


def test_the_cost_is_read_from_the_annotation() -> None:
    meta = {"name": "a", "uid": "uid-of-a"}
    assert parse_pod({"metadata": meta}) == pod("a")
    assert parse_pod({"metadata": {**meta, "annotations": {DELETION_COST: "7"}}}) == pod("a", "7")
