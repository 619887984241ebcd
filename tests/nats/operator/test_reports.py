"""What a reconcile has to say of a queue, and what of it can wait."""

from collections.abc import Iterable
from typing import Any

from nats_server import NatsServer
from protoqueue_operator.api.v1alpha1.labels import FINALIZER
from protoqueue_operator.nats.credentials import Credentials
from unit.operator.samples import queue_body
from unit.operator.wired import Wired, make_pool
from waiting import eventually


class Said:
    """In the place of the reporter: fields that are told at once, and those that go with the counters."""

    def __init__(self) -> None:
        self.fields: dict[bool, set[str]] = {True: set(), False: set()}

    def report(self, _: object, fields: dict[str, Any], __: Iterable[object] = (), *, urgent: bool = True) -> None:
        self.fields[urgent] |= fields.keys()

    def __getattr__(self, _: str) -> Any:
        return lambda *_, **__: None


class Api:
    async def namespace_uid(self, _: str) -> str:
        return "uid-of-namespace"


async def test_the_next_time_of_a_schedule_is_written_with_the_counters(server: NatsServer) -> None:
    """It changes whenever one fires: that of thousands of queues, every minute and all in the same second."""
    said = Said()
    brokers = make_pool(Api(), Said(), Credentials((server.url,)))
    wired = Wired(Api(), brokers, said)
    brokers.start()
    try:
        await eventually(lambda: brokers.own.connection.is_up)
        schedules = [{"name": "often", "cron": "* * * * *", "type": "report"}]
        body = queue_body({"schedules": schedules}, name="often", finalizers=[FINALIZER])
        await wired.wiring.queues.apply(wired.queue(body))
    finally:
        await brokers.stop()
    assert said.fields[False] == {"schedules", "nextScheduleTime"}
    assert said.fields[False].isdisjoint(said.fields[True])
