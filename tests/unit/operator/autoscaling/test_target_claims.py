"""Who sizes an object that several groups name."""

from typing import Any

import pytest

from protoqueue_operator.api.v1alpha1.errors import ScaleTargetTaken
from protoqueue_operator.api.v1alpha1.objects import Group
from protoqueue_operator.autoscaling.decision import Load
from protoqueue_operator.autoscaling.target_claims import named_target, own_target
from unit.operator.samples import group_body, metadata
from unit.operator.wired import Wired

OLD, NEW = "2025-01-01T00:00:00Z", "2026-01-01T00:00:00Z"
TEMPLATE = {"template": {"spec": {"containers": [{"name": "worker"}]}}}


def naming(target: str, **reference: str) -> dict[str, Any]:
    return {"scaleTargetRef": {"name": target, **reference}}


def body(name: str, worker: dict[str, Any], created: str = NEW, **more: Any) -> dict[str, Any]:
    return group_body({"worker": worker}, name=name, creationTimestamp=created, **more)


def deployment_body(name: str, owner: str) -> dict[str, Any]:
    owners = [{"uid": f"uid-of-{owner}", "controller": True}]
    return {"metadata": metadata(name, ownerReferences=owners), "spec": {"replicas": 1}}


def sizer(wired: Wired, group: Group) -> str | None:
    target = named_target(group)
    found = wired.wiring.claims.sizer_of(target) if target else None
    return found.meta.name if found else None


@pytest.mark.parametrize(
    ("first", "second", "sizer_of_it"),
    [
        (body("b", naming("x"), OLD), body("a", naming("x"), NEW), "b"),
        (body("b", naming("x")), body("a", naming("x")), "a"),
        (body("a", naming("x"), OLD), body("b", naming("x", kind="StatefulSet")), "b"),
        (body("a", naming("x"), OLD), body("b", naming("x", apiVersion="example.com/v1")), "b"),
        (body("a", naming("x", apiVersion="apps/v1beta2"), OLD), body("b", naming("x")), "a"),
        (body("a", TEMPLATE, OLD), body("b", naming("a")), "b"),
    ],
    ids=["older", "made in one second", "another kind", "another API", "another version", "nothing made yet"],
)
def test_the_oldest_that_names_an_object_sizes_it(first: Any, second: Any, sizer_of_it: str) -> None:
    wired = Wired()
    wired.group(first)
    assert sizer(wired, wired.group(second)) == sizer_of_it


def test_what_a_group_has_made_it_sizes_itself_whoever_is_older() -> None:
    wired = Wired()
    older = wired.group(body("older", naming("made"), OLD))
    made = wired.group(body("made", TEMPLATE))
    wired.caches.deployments.observe(deployment_body("made", owner="somebody"))
    assert (sizer(wired, older), wired.wiring.claims.target_of(made.meta.key)) == ("older", None)
    wired.caches.deployments.observe(deployment_body("made", owner="made"))
    assert (sizer(wired, older), wired.wiring.claims.target_of(made.meta.key)) == ("made", own_target(made))


def test_an_object_is_free_when_its_group_goes_or_names_another() -> None:
    wired = Wired()
    first = wired.group(body("first", naming("x"), OLD))
    second = wired.group(body("second", naming("x")))
    wired.group(body("first", naming("y"), OLD, generation=2))
    assert sizer(wired, second) == "second"
    wired.group(body("first", naming("x"), OLD, generation=3))
    assert sizer(wired, second) == "first"
    wired.caches.groups.remove(first.meta.key, first.meta.uid)
    assert sizer(wired, second) == "second"
    wired.caches.groups.remove(second.meta.key, second.meta.uid)
    assert not wired.wiring.claims._naming


class Api:
    """Lists these groups; nothing has a size."""

    def __init__(self, *groups: dict[str, Any]) -> None:
        self._groups = groups
        self.listed = 0

    async def pages(self, kind: str, namespace: str | None, selector: str) -> Any:
        self.listed += 1
        yield {"items": list(self._groups)}

    async def scale(self, *_: str) -> dict[str, Any]:
        raise AssertionError("nobody is to ask")


class Said(list[tuple[str, str]]):
    def report(self, _: object, __: object, conditions: Any = (), **___: object) -> None:
        self += [(each.reason, each.message) for each in conditions]


async def test_a_target_of_another_is_neither_read_nor_scaled() -> None:
    wired = Wired(Api(), said=Said())
    wired.group(body("first", naming("x"), OLD))
    second = wired.group(body("second", naming("x")))
    wired.applied(second)
    assert await wired.executor.scale(second, Load(waiting=9)) is None
    ((reason, message),) = wired.said
    assert reason == "Disabled"
    assert "the Deployment x is already scaled by the ConsumerGroup first" in message


HAD_TO_YIELD = {"conditions": [{"type": "Ready", "status": "False", "reason": "ScaleTargetTaken"}]}


@pytest.mark.parametrize(
    ("other", "is_taken"),
    [
        (body("other", naming("x"), OLD), True),
        (body("x", TEMPLATE), True),
        (body("other", naming("y"), OLD), False),
        (body("other", TEMPLATE), False),
        (body("zeta", naming("x")), False),
    ],
)
async def test_after_a_start_a_group_that_had_to_yield_asks_before_it_scales(other: Any, is_taken: bool) -> None:
    """What the watches have yet to bring, the API server knows."""
    yielding = body("mine", naming("x")) | {"status": HAD_TO_YIELD}
    wired = Wired(Api(yielding, other))
    group = wired.group(yielding)
    assert wired.wiring.claims.taken_by_another(group) is None
    if not is_taken:
        return await wired.wiring.targets.refuse_taken(group, wired.state_of(group))
    with pytest.raises(ScaleTargetTaken, match=other["metadata"]["name"]):
        await wired.wiring.targets.refuse_taken(group, wired.state_of(group))
    return None


async def test_nobody_else_asks() -> None:
    api = Api()
    wired = Wired(api)
    group = wired.group(body("mine", naming("x")))
    await wired.wiring.targets.refuse_taken(group, wired.state_of(group))
    assert not api.listed


def shared(name: str, created: str = NEW, **more: Any) -> dict[str, Any]:
    return body(name, {"scaleTargetRef": {"name": "x", "shared": True}}, created, **more)


def test_groups_that_all_say_so_share_an_object_and_others_do_not() -> None:
    wired = Wired()
    first, second = wired.group(shared(name="a", created=OLD)), wired.group(shared(name="b"))
    third = wired.group(body("c", naming("x")))
    claims = wired.wiring.claims
    assert [claims.taken_by_another(each) is None for each in (first, second, third)] == [True, True, False]
    assert [each.meta.name for each in claims.partners_of(first)] == ["b"]
    assert [each.meta.name for each in claims.partners_of(second)] == ["a"]
    assert claims.partners_of(third) == []
    wired.group(body("a", naming("x"), OLD, generation=2))
    assert "set scaleTargetRef.shared in both" in str(claims.taken_by_another(second))
    assert claims.partners_of(second) == []


def test_a_group_that_comes_to_share_what_it_names_calls_its_rivals() -> None:
    wired = Wired()
    alone = wired.group(body("a", naming("x"), OLD))
    before = wired.wiring.claims.claim_of(alone.meta.key)
    wired.group(shared(name="a", created=OLD, generation=2))
    assert before != wired.wiring.claims.claim_of(alone.meta.key)


class Scale:
    """One Deployment of so many workers."""

    def __init__(self, replicas: int) -> None:
        self.replicas = replicas
        self.written: list[int] = []

    async def scale(self, *_: str) -> dict[str, Any]:
        return {"spec": {"replicas": self.replicas}, "status": {"replicas": self.replicas}}

    async def set_scale(self, *where: Any) -> dict[str, Any]:
        self.replicas = where[-1]
        self.written.append(self.replicas)
        return {"metadata": {"resourceVersion": "1"}}

    async def get(self, *_: object) -> dict[str, Any]:
        raise AssertionError("nobody else has sized it")


class Told(Said):
    def event(self, *_: object, **__: object) -> None: ...


def sharing(name: str, created: str) -> dict[str, Any]:
    autoscale = {"minReplicas": 0, "maxReplicas": 20, "scaleDownDelay": "0s", "target": {"tasksPerWorker": 1}}
    worker = {"scaleTargetRef": {"name": "x", "shared": True}}
    return group_body({"worker": worker, "autoscale": autoscale}, name=name, creationTimestamp=created)


async def test_the_largest_wish_wins_and_the_reason_says_whose_it_is() -> None:
    api = Scale(1)
    wired = Wired(api, said=Told())
    first, second = wired.group(sharing("a", OLD)), wired.group(sharing("b", NEW))
    for group in (first, second):
        wired.applied(group)
    assert await wired.executor.scale(first, Load(waiting=2)) == 2
    assert await wired.executor.scale(second, Load(waiting=9)) == 9
    assert await wired.executor.scale(first, Load(waiting=3)) == 9
    reason, message = wired.said[-1]
    assert reason == "SharedTarget"
    assert message == (
        "the Deployment x is shared, and the ConsumerGroup b wants 9 workers, this one 3: holding 9 workers"
    )
    assert await wired.executor.scale(second, Load(waiting=1)) == 3
    assert "the ConsumerGroup a wants 3 workers, this one 1: 9 → 3 workers" in wired.said[-1][1]
    assert await wired.executor.scale(first, Load(waiting=2)) == 2
    assert api.written == [2, 9, 3, 2]
    assert "Contended" not in {reason for reason, _ in wired.said}


async def test_while_the_wish_of_another_is_unknown_there_are_not_fewer() -> None:
    """As after a start, or while its NATS is away."""
    wired = Wired(Scale(5), said=Told())
    first, second = wired.group(sharing("a", OLD)), wired.group(sharing("b", NEW))
    wired.applied(first)
    assert await wired.executor.scale(first, Load(waiting=1)) == 5
    assert "what the ConsumerGroup b wants is not known yet, this one 1: holding 5 workers" in wired.said[-1][1]
    wired.applied(second)
    assert await wired.executor.scale(second, None) == 5
    assert await wired.executor.scale(first, Load(waiting=1)) == 5
    assert await wired.executor.scale(first, Load(waiting=8)) == 8
    wired.caches.groups.remove(second.meta.key, second.meta.uid)
    assert await wired.executor.scale(first, Load(waiting=1)) == 1
