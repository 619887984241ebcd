"""That a JetStream which refuses does not hold up what is to go."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from protoqueue_operator.api.v1alpha1.errors import BrokerRefused
from protoqueue_operator.api.v1alpha1.labels import FINALIZER
from protoqueue_operator.api.v1alpha1.meta import Key
from protoqueue_operator.runtime.deletion import TERMINATING_NAMESPACE_WAIT_S
from protoqueue_operator.runtime.workqueue import Requeue
from unit.operator.samples import group_body
from unit.operator.wired import Wired

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


class Api:
    def __init__(self, *, namespace_goes: bool) -> None:
        self.released: list[Key] = []
        self._namespace_goes = namespace_goes

    async def namespace_is_terminating(self, _: str) -> bool:
        return self._namespace_goes

    async def namespace_uid(self, _: str) -> str:
        return "uid-of-namespace"

    async def set_finalizers(self, key: Key, _: str, finalizers: tuple[str, ...]) -> dict[str, Any]:
        assert not finalizers
        self.released.append(key)
        return group_body()


class Refusing:
    async def stream(self, _: str) -> None:
        """There is none."""

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
        (False, 2 * TERMINATING_NAMESPACE_WAIT_S, False, ["NatsRefused"]),
        (True, TERMINATING_NAMESPACE_WAIT_S - 1, False, ["NatsRefused"]),
        (True, TERMINATING_NAMESPACE_WAIT_S + 1, True, ["LeftBehind"]),
    ],
)
async def test_a_namespace_goes_although_jetstream_refuses(
    namespace_goes: bool, after_s: float, is_released: bool, said: list[str]
) -> None:
    api, words = Api(namespace_goes=namespace_goes), Said()
    broker = SimpleNamespace(configs=Refusing(), jetstream=Refusing())
    brokers = SimpleNamespace(known=lambda _: broker, forget=lambda _: None)
    now = BEGAN + timedelta(seconds=after_s)
    wired = Wired(api, brokers, words, now=lambda: now)
    body = group_body(deletionTimestamp="2026-01-01T00:00:00Z", finalizers=[FINALIZER])
    group = wired.group(body)
    again = await wired.wiring.groups.reconcile(group)
    assert again is None if is_released else isinstance(again, Requeue)
    assert api.released == ([group.meta.key] if is_released else [])
    assert words == said
