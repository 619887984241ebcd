"""Who sizes an object that several groups name."""

from datetime import UTC, datetime
from typing import Any, cast

import pytest

from protoqueue_operator.core.autoscale import Load
from protoqueue_operator.core.consumer_group import ConsumerGroupSpec
from protoqueue_operator.core.refusals import ScaleTargetTaken
from protoqueue_operator.core.resources import Group
from protoqueue_operator.core.targets import named_target, own_target
from protoqueue_operator.reconcile.cache import Cache
from protoqueue_operator.reconcile.runtime import Established, Runtime
from protoqueue_operator.reconcile.scaling import Scaler
from protoqueue_operator.reconcile.targets import refuse_taken_target, taken_by_another
from unit.operator.samples import group_body, metadata

OLD, NEW = "2025-01-01T00:00:00Z", "2026-01-01T00:00:00Z"
TEMPLATE = {"template": {"spec": {"containers": [{"name": "worker"}]}}}


def naming(target: str, **reference: str) -> dict[str, Any]:
    return {"scaleTargetRef": {"name": target, **reference}}


def body(name: str, worker: dict[str, Any], created: str = NEW, **more: Any) -> dict[str, Any]:
    return group_body({"worker": worker}, name=name, creationTimestamp=created, **more)


def deployment_body(name: str, owner: str) -> dict[str, Any]:
    owners = [{"uid": f"uid-of-{owner}", "controller": True}]
    return {"metadata": metadata(name, ownerReferences=owners), "spec": {"replicas": 1}}


def sizer(cache: Cache, group: Group) -> str | None:
    target = named_target(group)
    found = cache.sizer_of(target) if target else None
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
    cache = Cache()
    cache.observe_group(first)
    assert sizer(cache, cache.observe_group(second)) == sizer_of_it


def test_what_a_group_has_made_it_sizes_itself_whoever_is_older() -> None:
    cache = Cache()
    older = cache.observe_group(body("older", naming("made"), OLD))
    made = cache.observe_group(body("made", TEMPLATE))
    cache.observe_deployment(deployment_body("made", owner="somebody"))
    assert (sizer(cache, older), cache.target_of(made.meta.key)) == ("older", None)
    cache.observe_deployment(deployment_body("made", owner="made"))
    assert (sizer(cache, older), cache.target_of(made.meta.key)) == ("made", own_target(made))


def test_an_object_is_free_when_its_group_goes_or_names_another() -> None:
    cache = Cache()
    first = cache.observe_group(body("first", naming("x"), OLD))
    second = cache.observe_group(body("second", naming("x")))
    cache.observe_group(body("first", naming("y"), OLD, generation=2))
    assert sizer(cache, second) == "second"
    cache.observe_group(body("first", naming("x"), OLD, generation=3))
    assert sizer(cache, second) == "first"
    cache.remove(first.meta.key, first.meta.uid)
    assert sizer(cache, second) == "second"
    cache.remove(second.meta.key, second.meta.uid)
    assert not cache._naming


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


def runtime_with(api: Api) -> Runtime:
    nothing: Any = None
    return Runtime(nothing, cast("Any", api), nothing, Cache(), cast("Any", Said()), lambda: datetime.now(UTC))


async def test_a_target_of_another_is_neither_read_nor_scaled() -> None:
    runtime = runtime_with(Api())
    runtime.cache.observe_group(body("first", naming("x"), OLD))
    second = runtime.cache.observe_group(body("second", naming("x")))
    assert isinstance(second.spec, ConsumerGroupSpec)
    runtime.state_of(second.meta.key, second.meta.uid).established = Established(second.spec, (), paused=False)
    assert await Scaler(runtime).settle(second, Load(ready=9)) is None
    ((reason, message),) = cast("Any", runtime.reporter)
    assert reason == "Disabled"
    assert "the Deployment x is sized by the ConsumerGroup first" in message


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
    runtime = runtime_with(Api(yielding, other))
    group = runtime.cache.observe_group(yielding)
    assert taken_by_another(group, runtime) is None
    if not is_taken:
        return await refuse_taken_target(group, runtime)
    with pytest.raises(ScaleTargetTaken, match=other["metadata"]["name"]):
        await refuse_taken_target(group, runtime)
    return None


async def test_nobody_else_asks() -> None:
    api = Api()
    runtime = runtime_with(api)
    await refuse_taken_target(runtime.cache.observe_group(body("mine", naming("x"))), runtime)
    assert not api.listed
