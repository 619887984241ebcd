"""What is said of an object of which the API server refuses something."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from protoqueue_operator.adapters.kubernetes import ApiError
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


class Refusing:
    """Answers every request in the same way."""

    def __init__(self, error: ApiError) -> None:
        self._error = error

    async def get(self, _: Key) -> None:
        raise self._error


class Said:
    def __init__(self) -> None:
        self.conditions: dict[str, Condition] = {}

    def report(self, resource: Any, _: object, conditions: list[Condition], **__: object) -> None:
        self.conditions[resource.meta.name] = conditions[0]


async def look(error: ApiError) -> tuple[Said, list[Again | None]]:
    """At a queue that names a Secret, and at its group."""
    kubernetes, said, cache = cast("Any", Refusing(error)), Said(), Cache()
    brokers = Brokers(cast("Any", None), kubernetes, cast("Any", SimpleNamespace()))
    runtime = Runtime(cast("Any", None), kubernetes, brokers, cache, cast("Any", said), lambda: datetime.now(UTC))
    cache.observe_queue(queue_body({"nats": {"connectionSecretRef": {"name": "account"}}}))
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
