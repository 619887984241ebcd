"""That a JetStream which refuses does not hold up what is to go."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from protoqueue_operator.core.refusals import BrokerRefused
from protoqueue_operator.core.resources import FINALIZER, Group, Key
from protoqueue_operator.reconcile.cache import Cache
from protoqueue_operator.reconcile.deletion import PATIENCE_S, delete_group
from protoqueue_operator.reconcile.runtime import Runtime
from protoqueue_operator.reconcile.work import Again
from unit.operator.samples import group_body

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


class Api:
    def __init__(self, *, namespace_goes: bool) -> None:
        self.released: list[Key] = []
        self._namespace_goes = namespace_goes

    async def namespace_is_terminating(self, _: str) -> bool:
        return self._namespace_goes

    async def set_finalizers(self, key: Key, _: str, finalizers: tuple[str, ...]) -> dict[str, Any]:
        assert not finalizers
        self.released.append(key)
        return group_body()


class Refusing:
    async def purge(self, _: str) -> None:
        raise BrokerRefused("JetStream refused: stream is offline (10118)")


class Said(list[str]):
    def report(self, _: object, __: object, conditions: list[Any], **___: object) -> None:
        self.append(conditions[0].reason)

    def event(self, _: object, __: str, reason: str, ___: str) -> None:
        self.append(reason)


@pytest.mark.parametrize(
    ("namespace_goes", "after_s", "is_released", "said"),
    [
        (False, 2 * PATIENCE_S, False, ["NatsRefused"]),
        (True, PATIENCE_S - 1, False, ["NatsRefused"]),
        (True, PATIENCE_S + 1, True, ["LeftBehind"]),
    ],
)
async def test_a_namespace_goes_although_jetstream_refuses(
    namespace_goes: bool, after_s: float, is_released: bool, said: list[str]
) -> None:
    api, words, cache = Api(namespace_goes=namespace_goes), Said(), Cache()
    broker = SimpleNamespace(configs=Refusing())
    brokers = SimpleNamespace(known=lambda _: broker)
    now = BEGAN + timedelta(seconds=after_s)
    runtime = Runtime(cast("Any", None), cast("Any", api), cast("Any", brokers), cache, cast("Any", words), lambda: now)
    body = group_body(deletionTimestamp="2026-01-01T00:00:00Z", finalizers=[FINALIZER])
    group: Group = cache.observe_group(body)
    again = await delete_group(group, runtime)
    assert again is None if is_released else isinstance(again, Again)
    assert api.released == ([group.meta.key] if is_released else [])
    assert words == said
