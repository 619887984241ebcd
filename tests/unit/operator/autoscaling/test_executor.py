"""How often the target of a group is asked for, with an API that counts."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from protoqueue_operator.adapters.kubernetes import ApiError, Gone
from protoqueue_operator.core.autoscale import Load
from protoqueue_operator.core.conditions import Condition
from protoqueue_operator.core.consumer_group import ConsumerGroupSpec, ConsumerGroupStatus
from protoqueue_operator.core.load import NOTHING, ConsumerState
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
        self.refusals: list[ApiError] = []
        """What the next writes are answered with."""
        self.written = 0

    async def scale(self, api_version: str, kind: str, namespace: str, name: str) -> dict[str, Any]:
        self.asked.append(name)
        if name not in self.sizes:
            raise Gone(404, "NotFound", f"{name} not found")
        return {"spec": {"replicas": self.sizes[name]}, "status": {"replicas": self.sizes[name]}}

    async def set_scale(self, api_version: str, kind: str, namespace: str, name: str, replicas: int) -> dict[str, Any]:
        self.written += 1
        if self.refusals:
            raise self.refusals.pop()
        self.sizes[name] = replicas
        return {"metadata": {}}


class Said(list[tuple[str, str]]):
    """Conditions by reason and message; Events are another matter."""

    def report(self, _: object, __: object, conditions: Iterable[Condition] = (), **___: object) -> None:
        self += [(each.reason, each.message) for each in conditions]

    def event(self, *_: object) -> None:
        """Nobody listens."""


@pytest.fixture
def runtime() -> Runtime:
    nothing: Any = None
    return Runtime(nothing, cast("Any", Api()), nothing, Cache(), cast("Any", Said()), lambda: datetime.now(UTC))


def aiming_at(name: str, runtime: Runtime, **autoscale: Any) -> Group:
    autoscale = {"target": {"tasksPerWorker": 1}, **autoscale}
    made = group(worker={"scaleTargetRef": {"name": name}}, autoscale=autoscale)
    assert isinstance(made.spec, ConsumerGroupSpec)
    runtime.state_of(made.meta.key, made.meta.uid).established = Established(made.spec, (), paused=False)
    return made


async def test_a_target_that_is_missing_is_not_asked_for_with_every_sample(runtime: Runtime) -> None:
    api, scaler = cast("Any", runtime.kubernetes), Scaler(runtime)
    made = aiming_at("missing", runtime)
    for _ in range(20):
        assert await scaler.settle(made, Load(ready=1)) is None
    assert api.asked == ["missing"]


async def test_another_target_is_asked_for_at_once(runtime: Runtime) -> None:
    api, scaler = cast("Any", runtime.kubernetes), Scaler(runtime)
    api.sizes |= {"one": 5, "other": 0}
    await scaler.settle(aiming_at("one", runtime), Load(ready=5))
    assert await scaler.settle(aiming_at("other", runtime), Load(ready=2)) == 2
    assert api.sizes == {"one": 5, "other": 2}


async def test_a_size_that_is_refused_is_named_and_not_asked_for_with_every_sample(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    api, scaler = cast("Any", runtime.kubernetes), Scaler(runtime)
    made = aiming_at("guarded", runtime)
    api.sizes["guarded"], api.refusals = 0, [ApiError(403, "Forbidden", "no right to patch deployments/scale")]
    for _ in range(20):
        assert await scaler.settle(made, Load(ready=3)) == 0
    assert api.written == 1
    message = "Deployment guarded cannot be scaled: no right to patch deployments/scale"
    assert cast("Any", runtime.reporter) == [("TargetNotFound", message)]
    monkeypatch.setattr(scaling, "REFUSED_FOR_S", -1)
    assert await scaler.settle(made, Load(ready=3)) == 3


async def test_what_passes_by_itself_is_tried_again_with_the_next_sample(runtime: Runtime) -> None:
    api, scaler = cast("Any", runtime.kubernetes), Scaler(runtime)
    made = aiming_at("busy", runtime)
    api.sizes["busy"], api.refusals = 0, [ApiError(409, "Conflict", ""), ApiError(0, "Unreachable", "")]
    assert [await scaler.settle(made, Load(ready=3)) for _ in range(3)] == [0, 0, 3]


async def test_a_scale_down_that_did_not_come_about_does_not_wait_out_its_delay_anew(runtime: Runtime) -> None:
    api, scaler, now = cast("Any", runtime.kubernetes), Scaler(runtime), datetime(2026, 1, 1, tzinfo=UTC)
    made = aiming_at("busy", runtime, minReplicas=1, scaleDownDelay="60s")
    api.sizes["busy"], api.refusals = 9, [ApiError(500, "", "not now")]
    sizes = []
    for second in (0, 59, 60, 61):
        runtime.now = lambda second=second: now + timedelta(seconds=second)  # type: ignore[misc]
        sizes.append(await scaler.settle(made, Load(in_flight=2)))
    assert sizes == [9, 9, 9, 2]


def showing(made: Group, said: tuple[str, str]) -> Group:
    told = {"type": "Scaling", "status": "True", "reason": said[0], "message": said[1]}
    return replace(made, status=ConsumerGroupStatus.model_validate({"conditions": [told]}))


async def test_a_change_of_size_is_said_until_the_status_shows_it_and_only_then_what_followed(runtime: Runtime) -> None:
    scaler, said = Scaler(runtime), cast("Any", runtime.reporter)
    cast("Any", runtime.kubernetes).sizes["existing"] = 0
    made = aiming_at("existing", runtime)
    for ready in (3, 2, 3):
        await scaler.settle(made, Load(ready=ready))
    grown = ("ScaledUp", "3 tasks outstanding: 0 → 3 workers")
    assert said == [grown, grown, grown]
    await scaler.settle(showing(made, grown), Load(ready=3))
    assert said[-1] == ("Stable", "3 tasks outstanding")


async def test_what_is_said_of_a_size_is_of_the_generation_it_was_decided_for(runtime: Runtime) -> None:
    scaler, said = Scaler(runtime), cast("Any", runtime.reporter)
    cast("Any", runtime.kubernetes).sizes["existing"] = 0
    made = aiming_at("existing", runtime)
    await scaler.settle(made, Load(ready=3))
    await scaler.settle(replace(made, meta=replace(made.meta, generation=2)), Load(ready=3))
    assert said[-1] == ("Stable", "3 tasks outstanding")


async def test_of_a_paused_group_it_is_said_that_it_is(runtime: Runtime) -> None:
    cast("Any", runtime.kubernetes).sizes["existing"] = 0
    made = aiming_at("existing", runtime)
    state = runtime.state_of(made.meta.key, made.meta.uid)
    assert state.established
    state.established = replace(state.established, paused=True)
    await Scaler(runtime).settle(made, Load())
    assert cast("Any", runtime.reporter) == [("Idle", "paused: nothing to do")]


async def test_an_unknown_backlog_is_said_at_once(runtime: Runtime) -> None:
    scaler, said = Scaler(runtime), cast("Any", runtime.reporter)
    cast("Any", runtime.kubernetes).sizes["existing"] = 0
    made = aiming_at("existing", runtime)
    await scaler.settle(made, Load(ready=3))
    await scaler.settle(made, None)
    assert said[-1][0] == "BacklogUnknown"


@pytest.mark.parametrize(
    ("backlog", "has_scaled_before", "size"),
    [
        (NOTHING, True, 9),
        (NOTHING, False, 0),
        (ConsumerState(4, 0, 0), True, 4),
    ],
)
async def test_from_one_empty_answer_no_group_gets_smaller_that_had_a_size(
    runtime: Runtime, backlog: ConsumerState, has_scaled_before: bool, size: int
) -> None:
    """Servers that have just come back can answer too early: sampling knows that, and asks again."""
    api, scaler = cast("Any", runtime.kubernetes), Scaler(runtime)
    made = aiming_at("existing", runtime, scaleDownDelay="0s", idleDelay="0s")
    if has_scaled_before:
        told = {"type": "Scaling", "status": "True", "reason": "Stable"}
        made = replace(made, status=ConsumerGroupStatus.model_validate({"conditions": [told]}))
    api.sizes["existing"] = 9
    await scaler.look_at(made, backlog)
    assert api.sizes["existing"] == size
