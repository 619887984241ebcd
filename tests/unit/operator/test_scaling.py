"""How often the target of a group is asked for, with an API that counts."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from protoqueue_operator.adapters.kubernetes import Gone
from protoqueue_operator.core.autoscale import Load
from protoqueue_operator.core.consumer_group import ConsumerGroupSpec
from protoqueue_operator.core.resources import Group
from protoqueue_operator.reconcile import scaling
from protoqueue_operator.reconcile.cache import Cache
from protoqueue_operator.reconcile.runtime import Established, Runtime
from protoqueue_operator.reconcile.scaling import Scaler
from unit.operator.samples import group


class Api:
    """Knows the scale of what is in `sizes`, by name."""

    def __init__(self) -> None:
        self.sizes: dict[str, int] = {}
        self.asked: list[str] = []

    async def scale(self, api_version: str, kind: str, namespace: str, name: str) -> dict[str, Any]:
        self.asked.append(name)
        if name not in self.sizes:
            raise Gone(404, "NotFound", f"{name} not found")
        return {"spec": {"replicas": self.sizes[name]}, "status": {"replicas": self.sizes[name]}}

    async def set_scale(self, api_version: str, kind: str, namespace: str, name: str, replicas: int) -> dict[str, Any]:
        self.sizes[name] = replicas
        return {"metadata": {}}


def said(*_: object, **__: object) -> None:
    """Statuses and Events are another matter."""


@pytest.fixture
def runtime() -> Runtime:
    reporter = SimpleNamespace(report=said, event=said)
    nothing: Any = None
    return Runtime(nothing, cast("Any", Api()), nothing, Cache(), cast("Any", reporter), lambda: datetime.now(UTC))


def aiming_at(name: str, runtime: Runtime) -> Group:
    made = group(worker={"scaleTargetRef": {"name": name}}, autoscale={"target": {"tasksPerWorker": 1}})
    assert isinstance(made.spec, ConsumerGroupSpec)
    runtime.state_of(made.meta.key, made.meta.uid).established = Established(made.spec, (), paused=False)
    return made


async def test_a_target_that_is_missing_is_not_asked_for_with_every_sample(runtime: Runtime) -> None:
    api, scaler = cast("Any", runtime.kubernetes), Scaler(runtime)
    made = aiming_at("missing", runtime)
    for _ in range(20):
        assert await scaler.settle(made, Load(ready=1)) is None
    assert api.asked == ["missing"]


async def test_a_target_that_came_is_found_by_itself(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    api, scaler = cast("Any", runtime.kubernetes), Scaler(runtime)
    made = aiming_at("late", runtime)
    await scaler.settle(made, Load(ready=1))
    api.sizes["late"] = 0
    monkeypatch.setattr(scaling, "SCALE_SEEN_FOR_S", -1)
    assert await scaler.settle(made, Load(ready=3)) == 3
    assert api.sizes["late"] == 3


async def test_another_target_is_asked_for_at_once(runtime: Runtime) -> None:
    api, scaler = cast("Any", runtime.kubernetes), Scaler(runtime)
    api.sizes |= {"one": 5, "other": 0}
    await scaler.settle(aiming_at("one", runtime), Load(ready=5))
    assert await scaler.settle(aiming_at("other", runtime), Load(ready=2)) == 2
    assert api.sizes == {"one": 5, "other": 2}
