"""What is said of an object of which the API server refuses something, and what is kept of one that goes."""

import base64
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from protoqueue_operator.adapters.kubernetes import ApiError, Gone
from protoqueue_operator.core.conditions import Condition
from protoqueue_operator.core.resources import Key
from protoqueue_operator.reconcile.brokers import Brokers
from protoqueue_operator.reconcile.cache import Cache
from protoqueue_operator.reconcile.dispatch import Dispatcher
from protoqueue_operator.reconcile.metrics import Metrics
from protoqueue_operator.reconcile.runtime import Runtime
from protoqueue_operator.reconcile.scaling import Scaler
from protoqueue_operator.reconcile.work import Again
from unit.operator.samples import group_body, queue_body


class Answering:
    """Answers every request in the same way."""

    def __init__(self, answer: ApiError | dict[str, Any]) -> None:
        self._answer = answer

    async def get(self, _: Key) -> dict[str, Any]:
        if isinstance(self._answer, ApiError):
            raise self._answer
        return self._answer


class Said:
    def __init__(self) -> None:
        self.conditions: dict[str, Condition] = {}

    def report(self, resource: Any, _: object, conditions: list[Condition], **__: object) -> None:
        self.conditions[resource.meta.name] = conditions[0]


NAMING_A_SECRET = {"nats": {"connectionSecretRef": {"name": "account"}}}


async def look(
    answer: ApiError | dict[str, Any], queue: dict[str, Any] | None = NAMING_A_SECRET
) -> tuple[Said, list[Again | None]]:
    """At a queue with this spec, if there is one, and then at its group."""
    kubernetes, said, cache = cast("Any", Answering(answer)), Said(), Cache()
    brokers = Brokers(cast("Any", None), kubernetes, cast("Any", SimpleNamespace()))
    runtime = Runtime(cast("Any", None), kubernetes, brokers, cache, cast("Any", said), lambda: datetime.now(UTC))
    if queue is not None:
        cache.observe_queue(queue_body(queue))
    cache.observe_group(group_body())
    dispatcher = Dispatcher(runtime, Scaler(runtime), Metrics())
    return said, [await dispatcher.look_at(key) for key in (*cache.queues, *cache.groups)]


async def test_what_the_operator_may_not_do_is_said_where_users_look() -> None:
    message = 'secrets "account" is forbidden: User "protoqueue" cannot get resource "secrets"'
    said, again = await look(ApiError(403, "Forbidden", message))
    assert again == [Again(), Again()], "with growing pauses"
    for name in ("email", "mailers"):
        condition = said.conditions[name]
        assert (condition.type, condition.status, condition.reason) == ("Ready", "False", "KubernetesRefused")
        assert message in condition.message


@pytest.mark.parametrize("status", [0, 409, 429, 500, 503])
async def test_what_passes_by_itself_is_no_news(status: int) -> None:
    said, again = await look(ApiError(status, "", "not now"))
    assert again == [Again(), Again()]
    assert said.conditions == {}


class Vanishing:
    """While the Secret is read, the queue goes: nothing held it yet."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self.dispatcher: Dispatcher | None = None

    async def get(self, _: Key) -> dict[str, Any]:
        (queue,) = self._cache.queues.values()
        self._cache.remove(queue.meta.key, queue.meta.uid)
        assert self.dispatcher
        await self.dispatcher.look_at(queue.meta.key)
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
    cache, counting = Cache(), Counting()
    kubernetes = Vanishing(cache)
    brokers = Brokers(cast("Any", None), cast("Any", kubernetes), cast("Any", counting))
    brokers._open[cast("Any", None)] = cast("Any", SimpleNamespace())
    reporter = SimpleNamespace(report=lambda *_: None, forget=lambda _: None)
    runtime = Runtime(
        cast("Any", None), cast("Any", kubernetes), brokers, cache, cast("Any", reporter), lambda: datetime.now(UTC)
    )
    kubernetes.dispatcher = Dispatcher(runtime, Scaler(runtime), Metrics())
    cache.observe_queue(queue_body({"nats": {"connectionSecretRef": {"name": "account"}}}))
    group = cache.observe_group(group_body(finalizers=["protoqueue.dev/operator"]))
    await kubernetes.dispatcher.look_at(group.meta.key)
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
