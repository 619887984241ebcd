"""What is done before the operator is removed: an API server in memory, with the answers that a real one gives."""

from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from protoqueue_operator.api.v1alpha1.labels import FINALIZER
from protoqueue_operator.api.v1alpha1.meta import Key
from protoqueue_operator.runtime.client import ApiError, Conflict, Gone
from protoqueue_operator.runtime.leader_lease import SURRENDER_S
from protoqueue_operator.uninstall import HOLDER, release_all
from unit.operator.samples import group_body, queue_body, redrive_body

LEASE = Key("Lease", "operators", "operator")


class Api:
    """With one Queue and one group; `writes` is how often somebody else writes an object before it is let go."""

    def __init__(self, holder: str | None, *, writes: int = 0) -> None:
        self.lease = None if holder is None else {"metadata": {}, "spec": {"holderIdentity": holder}}
        self.creations_lost = 0
        self.held = {
            "Queue": queue_body(finalizers=[FINALIZER]),
            "ConsumerGroup": group_body(finalizers=[FINALIZER]),
            "Redrive": redrive_body(finalizers=[FINALIZER]),
        }
        self._writes = writes

    async def get(self, key: Key) -> dict[str, Any]:
        if key.kind != "Lease":
            raise ApiError(403, "Forbidden", f"the operator may not get a {key.kind}")
        if self.lease is None:
            raise Gone(404, "NotFound", "no such Lease")
        return self.lease

    async def put_lease(self, _: Key, lease: dict[str, Any]) -> dict[str, Any]:
        self.lease = lease
        return lease

    async def create_lease(self, key: Key, lease: dict[str, Any]) -> dict[str, Any]:
        if self.creations_lost:
            self.creations_lost -= 1
            self.lease = {"metadata": {}, "spec": {"holderIdentity": "the leader"}}
            raise Conflict(409, "AlreadyExists", "another was first")
        return await self.put_lease(key, {"metadata": {}, **lease})

    async def pages(self, kind: str, _: str | None, __: str) -> AsyncIterator[dict[str, Any]]:
        yield {"items": [self.held[kind]]}

    async def set_finalizers(self, key: Key, _: str, finalizers: tuple[str, ...]) -> None:
        if self._writes:
            self._writes -= 1
            raise Conflict(409, "Conflict", "written since")
        self.held[key.kind]["metadata"]["finalizers"] = list(finalizers)


class Waits(list[float]):
    """For how long a leader was given the time to notice."""

    async def sleep(self, seconds: float) -> None:
        self.append(seconds)


@pytest.mark.parametrize(
    ("holder", "may_still_act"),
    [("", False), ("operator-0_1", True), (HOLDER, True), (None, True)],
    ids=["nobody", "an operator", "an earlier try that failed", "whoever had a Lease that was deleted"],
)
async def test_finalizers_go_only_when_no_operator_can_act_any_more(holder: str | None, may_still_act: bool) -> None:
    api, waits = Api(holder), Waits()
    assert await release_all(cast("Any", api), LEASE, (), waits.sleep) == 3
    assert waits == ([SURRENDER_S] if may_still_act else [])
    assert api.lease
    assert api.lease["spec"]["holderIdentity"] == HOLDER


async def test_an_operator_that_creates_the_lease_first_is_no_error() -> None:
    api, waits = Api(None), Waits()
    api.creations_lost = 1
    assert await release_all(cast("Any", api), LEASE, (), waits.sleep) == 3
    assert waits == [SURRENDER_S]


async def test_what_somebody_writes_meanwhile_is_let_go_all_the_same_without_a_right_to_read_it() -> None:
    api = Api("", writes=3)
    assert await release_all(cast("Any", api), LEASE, ("default",)) == 3
    assert [each["metadata"]["finalizers"] for each in api.held.values()] == [[], [], []]


async def test_what_somebody_writes_all_the_time_is_an_error() -> None:
    with pytest.raises(Conflict):
        await release_all(cast("Any", Api("", writes=1000)), LEASE, ())
