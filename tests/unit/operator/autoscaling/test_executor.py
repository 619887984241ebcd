"""How often the target of a group is asked for, with an API that counts."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from protoqueue_operator.api.v1alpha1.conditions import Condition
from protoqueue_operator.api.v1alpha1.consumer_group import ConsumerGroupSpec, ConsumerGroupStatus
from protoqueue_operator.api.v1alpha1.meta import Key
from protoqueue_operator.api.v1alpha1.objects import Group
from protoqueue_operator.autoscaling import executor
from protoqueue_operator.autoscaling.decision import Load
from protoqueue_operator.autoscaling.load import NOTHING, ConsumerState
from protoqueue_operator.consumergroup.readiness import ready_condition
from protoqueue_operator.runtime.client import ApiError, Gone
from unit.operator.samples import group
from unit.operator.wired import Wired


class Api:
    """Knows the scale of what is in `sizes`, by name."""

    def __init__(self) -> None:
        self.sizes: dict[str, int] = {}
        self.asked: list[str] = []
        self.refusals: list[ApiError] = []
        """What the next writes are answered with."""
        self.written = 0
        self.managers: dict[str, str] = {}
        """Who wrote the size of a Deployment last."""

    async def get(self, key: Key) -> dict[str, Any]:
        held = {"manager": self.managers[key.name], "fieldsV1": {"f:spec": {"f:replicas": {}}}}
        return {"metadata": {"managedFields": [held]}}

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

    def __init__(self) -> None:
        super().__init__()
        self.events: list[tuple[str, str]] = []

    def event(self, _: object, __: str, reason: str, message: str) -> None:
        if reason not in ("ScaledUp", "ScaledDown"):
            self.events.append((reason, message))


@pytest.fixture
def wired() -> Wired:
    return Wired(Api(), said=Said())


def aiming_at(name: str, wired: Wired, **autoscale: Any) -> Group:
    autoscale = {"target": {"tasksPerWorker": 1}, **autoscale}
    made = group(worker={"scaleTargetRef": {"name": name}}, autoscale=autoscale)
    wired.applied(made)
    return made


async def test_a_target_that_is_missing_is_not_asked_for_with_every_sample(wired: Wired) -> None:
    api, scaler = wired.kubernetes, wired.executor
    made = aiming_at("missing", wired)
    for _ in range(20):
        assert await scaler.scale(made, Load(waiting=1)) is None
    assert api.asked == ["missing"]


async def test_what_is_said_of_workers_speaks_of_the_generation_that_was_brought_into_being(wired: Wired) -> None:
    """An edit that nobody has looked at yet must not be called ready: a sample may come first."""
    made = aiming_at("workers", wired)
    state = wired.state_of(made)
    assert state.last_applied
    state.last_applied = replace(state.last_applied, generation=1)
    edited = replace(made, meta=replace(made.meta, generation=2))
    assert ready_condition(edited, state, wired.wiring.claims, wired.caches.deployments).observed_generation == 1


async def test_another_target_is_asked_for_at_once(wired: Wired) -> None:
    api, scaler = wired.kubernetes, wired.executor
    api.sizes |= {"one": 5, "other": 0}
    await scaler.scale(aiming_at("one", wired), Load(waiting=5))
    assert await scaler.scale(aiming_at("other", wired), Load(waiting=2)) == 2
    assert api.sizes == {"one": 5, "other": 2}


async def test_a_size_that_is_refused_is_named_and_not_asked_for_with_every_sample(
    wired: Wired, monkeypatch: pytest.MonkeyPatch
) -> None:
    api, scaler = wired.kubernetes, wired.executor
    made = aiming_at("guarded", wired)
    api.sizes["guarded"], api.refusals = 0, [ApiError(403, "Forbidden", "no right to patch deployments/scale")]
    for _ in range(20):
        assert await scaler.scale(made, Load(waiting=3)) == 0
    assert api.written == 1
    message = "Deployment guarded cannot be scaled: no right to patch deployments/scale"
    assert wired.said == [("TargetNotFound", message)]
    monkeypatch.setattr(executor, "REFUSED_FOR_S", -1)
    assert await scaler.scale(made, Load(waiting=3)) == 3


async def test_what_passes_by_itself_is_tried_again_with_the_next_sample(wired: Wired) -> None:
    api, scaler = wired.kubernetes, wired.executor
    made = aiming_at("busy", wired)
    api.sizes["busy"], api.refusals = 0, [ApiError(409, "Conflict", ""), ApiError(0, "Unreachable", "")]
    assert [await scaler.scale(made, Load(waiting=3)) for _ in range(3)] == [0, 0, 3]


async def test_a_scale_down_that_did_not_come_about_does_not_wait_out_its_delay_anew(wired: Wired) -> None:
    api, scaler, now = wired.kubernetes, wired.executor, datetime(2026, 1, 1, tzinfo=UTC)
    made = aiming_at("busy", wired, minReplicas=1, scaleDownDelay="60s")
    api.sizes["busy"], api.refusals = 9, [ApiError(500, "", "not now")]
    sizes = []
    for second in (0, 59, 60, 61):
        wired.now = lambda second=second: now + timedelta(seconds=second)  # type: ignore[misc]
        sizes.append(await scaler.scale(made, Load(in_flight=2)))
    assert sizes == [9, 9, 9, 2]


async def test_without_autoscale_a_size_that_nobody_states_is_kept(wired: Wired) -> None:
    api, scaler, said = wired.kubernetes, wired.executor, wired.said
    api.sizes["existing"] = 50
    aiming_at("existing", wired)
    for spec, size in (({}, 50), ({"replicas": 3}, 3)):
        changed = group(worker={"scaleTargetRef": {"name": "existing"}}, **spec)
        wired.applied(changed)
        assert await scaler.scale(changed, None) == size
    assert api.sizes["existing"] == 3
    assert said == [
        ("Disabled", "neither spec.autoscale nor spec.replicas is set: keeping 50 workers"),
        ("Disabled", "spec.autoscale is not set: using spec.replicas"),
    ]


def showing(made: Group, said: tuple[str, str]) -> Group:
    told = {"type": "Scaling", "status": "True", "reason": said[0], "message": said[1]}
    return replace(made, status=ConsumerGroupStatus.model_validate({"conditions": [told]}))


async def test_a_change_of_size_is_said_until_the_status_shows_it_and_only_then_what_followed(wired: Wired) -> None:
    scaler, said = wired.executor, wired.said
    wired.kubernetes.sizes["existing"] = 0
    made = aiming_at("existing", wired)
    for waiting in (3, 2, 3):
        await scaler.scale(made, Load(waiting=waiting))
    grown = ("ScaledUp", "3 tasks outstanding: 0 → 3 workers")
    assert said == [grown, grown, grown]
    await scaler.scale(showing(made, grown), Load(waiting=3))
    assert said[-1] == ("Stable", "3 tasks outstanding")


async def test_what_is_said_of_a_size_is_of_the_generation_it_was_decided_for(wired: Wired) -> None:
    scaler, said = wired.executor, wired.said
    wired.kubernetes.sizes["existing"] = 0
    made = aiming_at("existing", wired)
    await scaler.scale(made, Load(waiting=3))
    await scaler.scale(replace(made, meta=replace(made.meta, generation=2)), Load(waiting=3))
    assert said[-1] == ("Stable", "3 tasks outstanding")


async def test_of_a_paused_group_it_is_said_that_it_is(wired: Wired) -> None:
    wired.kubernetes.sizes["existing"] = 0
    made = aiming_at("existing", wired)
    state = wired.state_of(made)
    assert state.last_applied
    state.last_applied = replace(state.last_applied, paused=True)
    await wired.executor.scale(made, Load())
    assert wired.said == [("Idle", "paused: nothing to do")]


async def test_an_unknown_backlog_is_said_at_once(wired: Wired) -> None:
    scaler, said = wired.executor, wired.said
    wired.kubernetes.sizes["existing"] = 0
    made = aiming_at("existing", wired)
    await scaler.scale(made, Load(waiting=3))
    await scaler.scale(made, None)
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
    wired: Wired, backlog: ConsumerState, has_scaled_before: bool, size: int
) -> None:
    """Servers that have just come back can answer too early: sampling knows that, and asks again."""
    api, scaler = wired.kubernetes, wired.executor
    made = aiming_at("existing", wired, scaleDownDelay="0s", idleDelay="0s")
    if has_scaled_before:
        told = {"type": "Scaling", "status": "True", "reason": "Stable"}
        made = replace(made, status=ConsumerGroupStatus.model_validate({"conditions": [told]}))
    api.sizes["existing"] = 9
    await scaler.group_applied(made, backlog)
    assert api.sizes["existing"] == size


async def test_who_else_writes_the_size_is_named_once_and_overruled(wired: Wired) -> None:
    api, scaler, said = wired.kubernetes, wired.executor, wired.said
    seconds = [0.0]
    wired.monotonic = lambda: seconds[0]
    made = group(worker={"scaleTargetRef": {"name": "existing"}}, replicas=2)
    state = wired.applied(made)
    api.sizes["existing"], api.managers["existing"] = 2, "kube-controller-manager"
    await scaler.scale(made, None)
    for _ in range(12):  # as a HorizontalPodAutoscaler does
        api.sizes["existing"] = 5
        assert state.scale
        state.scale = replace(state.scale, replicas=5)
        await scaler.scale(made, None)
        assert api.sizes["existing"] == 2
    message = (
        "kube-controller-manager also writes the size of this group's workers, and is overridden: "
        "scale the ConsumerGroup mailers instead, and remove any HorizontalPodAutoscaler that targets its workers"
    )
    contended = [each for each in said if each[0] in ("SizeOverwritten", "SingleWriter")]
    assert set(contended) == {("SizeOverwritten", message)}
    assert [each for each in said.events if each[0] == "SizeOverwritten"] == [("SizeOverwritten", message)]
    assert scaler.contended_for_s(made) == 600
    seconds[0] = 601
    told = {"type": "Contended", "status": "True", "reason": "SizeOverwritten"}
    await scaler.group_applied(
        replace(made, status=ConsumerGroupStatus.model_validate({"conditions": [told]})), NOTHING
    )
    assert "SingleWriter" in [reason for reason, _ in said]
    assert scaler.contended_for_s(made) == 0


@pytest.mark.parametrize("error", [ApiError(0, "Unreachable", ""), ApiError(500, "", "")])
async def test_a_size_of_our_own_that_was_written_and_not_answered_is_nobody_elses(
    wired: Wired, error: ApiError
) -> None:
    api, scaler, said = wired.kubernetes, wired.executor, wired.said
    made = aiming_at("existing", wired)
    api.sizes["existing"], api.refusals = 0, [error]
    await scaler.scale(made, Load(waiting=3))
    state = wired.state_of(made)
    assert state.scale
    state.scale = replace(state.scale, replicas=3)
    await scaler.scale(made, Load(waiting=3))
    assert "SizeOverwritten" not in [reason for reason, _ in said]


async def test_a_size_beside_autoscale_is_said_to_have_no_effect_and_who_wrote_it(wired: Wired) -> None:
    wired.kubernetes.sizes["existing"] = 0
    made = aiming_at("existing", wired)
    assert isinstance(made.spec, ConsumerGroupSpec)
    stated = replace(made, spec=made.spec.model_copy(update={"replicas": 7}), sized_by="kubectl")
    await wired.executor.group_applied(stated, NOTHING)
    await wired.executor.group_applied(replace(stated, sized_by=None), NOTHING)
    message = "spec.replicas, last written by kubectl, is ignored because spec.autoscale is set: remove one of the two"
    assert ("ReplicasIgnored", message) in wired.said
    by_scale = message.replace("last written by kubectl", "written through its scale (kubectl scale)")
    assert ("ReplicasIgnored", by_scale) in wired.said
    assert wired.said.events == [("ReplicasIgnored", message)]


async def test_where_no_accepted_specification_is_known_scaling_is_unknown(wired: Wired) -> None:
    scaler, said = wired.executor, wired.said
    made = aiming_at("existing", wired)
    scaler.report_unknown(made)
    assert said == [], "nothing was said that would have to be taken back"
    scaler.report_unknown(showing(made, ("Idle", "nothing to do")))
    assert [reason for reason, _ in said] == ["SpecRefused"]
