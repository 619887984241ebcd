from collections.abc import AsyncIterator, Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest

from protoqueue.protocol.worker_status import WorkerStatus
from protoqueue_operator.api.v1alpha1.meta import Key
from protoqueue_operator.api.v1alpha1.objects import Group, parse_group
from protoqueue_operator.autoscaling.deletion_cost import DeletionCosts
from protoqueue_operator.autoscaling.deletion_order import (
    DELETION_COST,
    WorkerPod,
    costs_to_write,
    parse_pod,
    running_by_host,
)
from protoqueue_operator.runtime.client import ApiError, Gone
from unit.operator.samples import group, group_body

PARTNER = parse_group(group_body(name="senders"))


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


def test_an_idle_worker_that_answers_is_told_from_one_that_does_not() -> None:
    running = running_by_host([("busy", 1), ("idle", 0)])
    assert running == {"busy": 1, "idle": 0}
    assert costs_to_write([pod("busy"), pod("idle")], running) == {pod("busy"): "1"}


def test_the_tasks_of_all_workers_of_a_host_are_added_up() -> None:
    assert running_by_host([("a", 1), ("b", 0), ("a", 2), ("b", 0)]) == {"a": 3, "b": 0}


class Pods:
    """Three that answer the roll call, one of them idle. What is `refused` ends like this: a pod's name, or a verb."""

    def __init__(self, **refused: ApiError) -> None:
        self.costs: dict[str, str] = {}
        self.running = {"a": 1, "b": 2, "c": 0}
        self._refused = refused

    async def pages(self, *_: str) -> AsyncIterator[Mapping[str, Any]]:
        if error := self._refused.get("list"):
            raise error
        yield {"items": [{"metadata": {"name": name, "uid": name}} for name in "abc"]}

    async def annotate(self, key: Key, _: str, annotations: Mapping[str, str]) -> None:
        if error := self._refused.get("patch") or self._refused.get(key.name):
            raise error
        self.costs[key.name] = annotations[DELETION_COST]

    async def request_many(self, *asked: object) -> list[bytes]:
        running = {"a": 0, "b": 0, "c": 4} if PARTNER.name.status_requests in asked else self.running
        return [WorkerStatus(name, count).encode() for name, count in running.items()]


async def spare(pods: Pods, *partners: Group) -> None:
    broker = SimpleNamespace(connection=pods)
    brokers = SimpleNamespace(known=lambda _: broker)
    await DeletionCosts(cast("Any", pods), cast("Any", brokers)).write(group(), "app=x", 3, partners)


async def test_the_one_busy_pod_is_marked_although_it_has_a_single_task() -> None:
    pods = Pods()
    pods.running = {"a": 0, "b": 1, "c": 0}
    await spare(pods)
    assert pods.costs == {"b": "1"}


async def test_a_pod_that_is_idle_for_one_group_stays_for_what_it_does_for_another() -> None:
    pods = Pods()
    await spare(pods, PARTNER)
    assert pods.costs == {"a": "1", "b": "2", "c": "4"}


async def test_one_that_goes_meanwhile_keeps_no_other_from_being_marked() -> None:
    pods = Pods(a=Gone(404, "NotFound", "gone"))
    await spare(pods)
    assert pods.costs == {"b": "2"}


@pytest.mark.parametrize("verb", ["list", "patch"])
async def test_without_the_right_to_mark_pods_that_is_said_and_nothing_held_up(
    verb: str, caplog: pytest.LogCaptureFixture
) -> None:
    """As with a chart older than the operator."""
    pods = Pods(**{verb: ApiError(403, "Forbidden", f"may not {verb} pods")})
    await spare(pods)
    assert pods.costs == {}
    assert "pod deletion costs not written: object=ConsumerGroup/default/mailers" in caplog.text
    assert f"may not {verb} pods" in caplog.text


async def test_what_is_no_answer_of_a_worker_is_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    pods = Pods()
    answers = [b"?", b"[" * 100_000, *await pods.request_many()]

    async def everybody(*_: object) -> list[bytes]:
        return answers

    pods.request_many = everybody  # type: ignore[method-assign]
    await spare(pods)
    assert pods.costs == {"a": "1", "b": "2"}
    assert caplog.text.count("worker status not read: object=ConsumerGroup/default/mailers") == 2
