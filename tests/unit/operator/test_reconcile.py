"""What is said of an object of which the API server refuses something, and what is kept of one that goes."""

import base64
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from protoqueue_operator.api.v1alpha1.conditions import Condition
from protoqueue_operator.api.v1alpha1.meta import Key
from protoqueue_operator.api.v1alpha1.objects import parse_group
from protoqueue_operator.autoscaling.state import LastApplied
from protoqueue_operator.jetstream.broker import Broker, Home
from protoqueue_operator.runtime.client import ApiError, Gone
from protoqueue_operator.runtime.workqueue import Requeue
from unit.operator.samples import group_body, queue_body
from unit.operator.wired import Wired, make_pool


class Answering:
    """Answers every request in the same way."""

    def __init__(self, answer: ApiError | dict[str, Any]) -> None:
        self._answer = answer

    async def get(self, _: Key) -> dict[str, Any]:
        if isinstance(self._answer, ApiError):
            raise self._answer
        return self._answer

    async def namespace_uid(self, _: str) -> str:
        return "uid-of-namespace"

    async def pages(self, *_: object) -> AsyncIterator[dict[str, Any]]:
        """Of groups: one that no watch has brought yet."""
        yield {"items": [group_body(NAMING_X, name="older", creationTimestamp="2025-01-01T00:00:00Z")]}


NAMING_X = {"worker": {"scaleTargetRef": {"name": "x"}}, "autoscale": {}}


class Said:
    def __init__(self) -> None:
        self.conditions: dict[str, Condition] = {}

    def report(self, resource: Any, _: object, conditions: list[Condition], **__: object) -> None:
        self.conditions[resource.meta.name] = conditions[0]


NAMING_A_SECRET = {"nats": {"connectionSecretRef": {"name": "account"}}}


async def look(
    answer: ApiError | dict[str, Any], queue: dict[str, Any] | None = NAMING_A_SECRET
) -> tuple[Said, list[Requeue | None]]:
    """At a queue with this spec, if there is one, and then at its group."""
    kubernetes, said = Answering(answer), Said()
    wired = Wired(kubernetes, make_pool(kubernetes, SimpleNamespace()), said)
    if queue is not None:
        wired.queue(queue_body(queue))
    wired.group(group_body())
    return said, [await wired.reconcile(key) for key in (*wired.caches.queues, *wired.caches.groups)]


async def test_what_the_operator_may_not_do_is_said_where_users_look() -> None:
    message = 'secrets "account" is forbidden: User "protoqueue" cannot get resource "secrets"'
    said, again = await look(ApiError(403, "Forbidden", message))
    assert again == [Requeue(), Requeue()], "with growing pauses"
    for name in ("email", "mailers"):
        condition = said.conditions[name]
        assert (condition.type, condition.status, condition.reason) == ("Ready", "False", "KubernetesRefused")
        assert message in condition.message


@pytest.mark.parametrize("status", [0, 409, 429, 500, 503])
async def test_what_passes_by_itself_is_no_news(status: int) -> None:
    said, again = await look(ApiError(status, "", "not now"))
    assert again == [Requeue(), Requeue()]
    assert said.conditions == {}


async def test_a_failure_that_the_api_server_repeats_word_for_word_is_said_where_users_look() -> None:
    kubernetes, said = Answering(ApiError(500, "", "admission webhook failed")), Said()
    wired = Wired(kubernetes, make_pool(kubernetes, SimpleNamespace()), said)
    key = wired.queue(queue_body(NAMING_A_SECRET)).meta.key
    assert await wired.reconcile(key) == Requeue()
    assert said.conditions == {}, "it may be well a moment later"
    assert await wired.reconcile(key) == Requeue()
    assert said.conditions["email"].reason == "KubernetesRefused"
    assert "admission webhook failed" in said.conditions["email"].message


class Vanishing:
    """While the Secret is read, the queue goes: nothing held it yet."""

    def __init__(self) -> None:
        self.wired: Wired | None = None

    async def namespace_uid(self, _: str) -> str:
        return "uid-of-namespace"

    async def get(self, _: Key) -> dict[str, Any]:
        assert self.wired
        (queue,) = self.wired.caches.queues.values()
        self.wired.caches.queues.remove(queue.meta.key, queue.meta.uid)
        await self.wired.reconcile(queue.meta.key)
        url = base64.b64encode(b"nats://127.0.0.1:1").decode()
        return {"metadata": {"resourceVersion": "1"}, "data": {"url": url}}


class Counting:
    """Brokers that are open."""

    def __init__(self) -> None:
        self.open = 0

    def broker_opened(self, _: object) -> None:
        self.open += 1

    def broker_closed(self, _: object) -> None:
        self.open -= 1


async def test_a_queue_that_goes_while_its_group_is_looked_at_leaves_no_connection_behind() -> None:
    counting, kubernetes = Counting(), Vanishing()
    brokers = make_pool(kubernetes, counting)
    brokers._open[cast("Any", None)] = cast("Any", SimpleNamespace())
    reporter = SimpleNamespace(report=lambda *_: None, forget=lambda _: None)
    wired = kubernetes.wired = Wired(kubernetes, brokers, reporter)
    wired.queue(queue_body({"nats": {"connectionSecretRef": {"name": "account"}}}))
    group = wired.group(group_body(finalizers=["protoqueue.dev/operator"]))
    await wired.reconcile(group.meta.key)
    assert counting.open == 0


async def test_a_queue_that_the_watch_has_yet_to_bring_is_not_called_missing() -> None:
    said, again = await look(queue_body(), queue=None)
    assert again == [None], "the queue calls its groups when it is there"
    assert said.conditions == {}


async def test_a_queue_that_the_api_server_does_not_know_is_missing() -> None:
    said, _ = await look(Gone(404, "NotFound", "not found"), queue=None)
    assert said.conditions["mailers"].reason == "QueueNotFound"


async def test_the_group_of_a_queue_that_was_refused_as_new_is_not_left_waiting_for_it() -> None:
    said, _ = await look({}, {"retry": {"initialDelay": "soon"}})
    assert [said.conditions[name].reason for name in ("email", "mailers")] == ["InvalidSpec", "QueueNotReady"]


async def test_what_makes_no_sense_to_the_operator_is_a_condition_and_tried_again() -> None:
    answer = {"metadata": {}, "data": {"url": base64.b64encode(b"nats://a").decode(), "user": 7}}
    said, again = await look(answer)
    assert said.conditions["email"].reason == "InternalError"
    assert "TypeError" in said.conditions["email"].message
    assert again[0] == Requeue()


class Entries:
    """`pq-config` as an earlier operator has left it."""

    def __init__(self, **entries: str) -> None:
        self._entries = entries

    async def get(self, key: str) -> bytes | None:
        text = self._entries.get(key.replace(".", "_"))
        return text and text.encode()  # type: ignore[return-value]


REFUSED = {"priorityWeights": [1, 2], "worker": {"template": {"spec": {"containers": [{"name": "worker"}]}}}}
LEFT = {
    "default_email": '{"priorityLevels": 3}',
    "default_email_mailers": '{"consumers": [{"name": "mailers_p0"}], "maxInFlight": 7, "generation": "4"}',
}


async def refused(
    queue: dict[str, Any],
    spec: dict[str, Any],
    *,
    before: LastApplied | None = None,
    left: dict[str, str] = LEFT,
    status: dict[str, Any] | None = None,
) -> tuple[LastApplied | None, Said]:
    """What the group goes on with when it, or its queue, is refused."""
    said, configs = Said(), Entries(**left)
    home = Home(Broker(cast("Any", None), cast("Any", None), cast("Any", configs)))
    brokers = make_pool(listener=SimpleNamespace())
    brokers.resolve = AsyncAnswer(home)  # type: ignore[method-assign]
    wired = Wired(Answering({}), brokers, said)
    group = wired.group(group_body(spec) | ({"status": status} if status else {}))
    queue_seen = wired.queue(queue_body(queue))
    brokers.set_home(queue_seen.meta.key, home)
    state = wired.state_of(group)
    state.last_applied = before
    for key in (*((queue_seen.meta.key,) if queue else ()), group.meta.key):
        await wired.reconcile(key)
    assert state.is_refused
    return state.last_applied, said


class AsyncAnswer:
    def __init__(self, answer: Any) -> None:
        self._answer = answer

    async def __call__(self, *_: object) -> Any:
        return self._answer


@pytest.mark.parametrize(
    ("queue", "spec"),
    [({}, REFUSED), ({"visibilityTimeout": "10ms"}, {"autoscale": {}})],
    ids=["the group", "its queue"],
)
async def test_what_was_accepted_last_goes_on_when_an_edit_is_refused(
    queue: dict[str, Any], spec: dict[str, Any]
) -> None:
    accepted = parse_group(group_body({"autoscale": {"maxReplicas": 3}})).spec
    before = LastApplied(cast("Any", accepted), (), paused=False)
    last_applied, said = await refused(queue, spec, before=before)
    assert last_applied is before
    assert said.conditions["mailers"].status == "False"
    assert said.conditions["mailers"].reason in ("InvalidSpec", "QueueNotReady")


@pytest.mark.parametrize(
    ("queue", "spec"),
    [({}, REFUSED | {"autoscale": {}}), ({"visibilityTimeout": "10ms"}, {"autoscale": {}})],
    ids=["the group", "its queue"],
)
async def test_after_a_restart_a_refused_group_is_scaled_by_what_was_made_of_it(
    queue: dict[str, Any], spec: dict[str, Any]
) -> None:
    last_applied, _ = await refused(queue, spec)
    assert last_applied
    assert last_applied.spec.autoscale
    assert last_applied.generation == 4
    assert [(each.name, each.max_ack_pending) for each in last_applied.consumers] == [("mailers_p0", 7)]


@pytest.mark.parametrize(
    ("spec", "left"),
    [(REFUSED, {}), ({"autoscale": {"target": {"drainTime": "1ms"}}}, LEFT)],
    ids=["never made", "the scaling itself is refused"],
)
async def test_a_refused_group_that_nobody_knows_how_to_scale_keeps_its_size(
    spec: dict[str, Any], left: dict[str, str]
) -> None:
    last_applied, _ = await refused({}, spec, left=left)
    assert last_applied is None


async def test_after_a_restart_a_target_that_was_anothers_is_not_sized_before_that_one_is_known() -> None:
    """The other's workers would be ended by the first sample."""
    taken = {"conditions": [{"type": "Ready", "status": "False", "reason": "ScaleTargetTaken"}]}
    last_applied, said = await refused({}, NAMING_X, status=taken)
    assert said.conditions["mailers"].reason == "ScaleTargetTaken"
    assert last_applied is None
