"""What `scaleTargetRef` names is asked for its scale alone, and its group looked at where that is news."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from protoqueue.aio import cancel
from protoqueue_operator.api.v1alpha1.consumer_group import ConsumerGroupSpec
from protoqueue_operator.api.v1alpha1.objects import Group
from protoqueue_operator.runtime.client import ApiError, Gone
from protoqueue_operator.runtime.poller import go_round
from unit.operator.samples import group_body
from unit.operator.wired import Wired
from waiting import eventually


class Api:
    """Sizes by the name of what has them, wanted and observed."""

    def __init__(self, **sizes: tuple[int, int]) -> None:
        self.sizes = sizes
        self.asked: list[str] = []
        self.written: list[tuple[str, int]] = []
        self.is_away = False
        self.failures = 0
        """So many writes to come fail."""

    async def scale(self, _: str, __: str, ___: str, name: str) -> dict[str, Any]:
        self.asked.append(name)
        if self.is_away:
            raise ApiError(0, "Unreachable", "")
        if name not in self.sizes:
            raise Gone(404, "NotFound", f"{name} not found")
        wanted, observed = self.sizes[name]
        return {"spec": {"replicas": wanted}, "status": {"replicas": observed}}

    async def set_scale(self, _: str, __: str, ___: str, name: str, replicas: int) -> dict[str, Any]:
        self.written.append((name, replicas))
        if self.failures:
            self.failures -= 1
            raise ApiError(500, "", "not now")
        self.sizes[name] = (replicas, replicas)
        return {"metadata": {}}


class Said(list[dict[str, Any]]):
    def report(self, _: object, fields: dict[str, Any], *__: object, **___: object) -> None:
        self.append(fields)

    def event(self, *_: object) -> None:
        """Nobody listens."""


class Setting:
    def __init__(self, api: Api) -> None:
        self.api, self.said = api, Said()
        self.wired = Wired(api, said=self.said, target_period_s=0.01)
        self.looked_at: set[str] = set()
        self.poller = self.wired.wiring.target_poller
        self.poller._look_again = lambda key: self.looked_at.add(key.name)

    async def group(self, name: str = "mailers", target: str = "existing", **spec: Any) -> Group:
        """One that was looked at, unless its target is another's."""
        worker = {"scaleTargetRef": {"name": target}}
        made = self.wired.group(group_body({"worker": worker, **spec}, name=name))
        assert isinstance(made.spec, ConsumerGroupSpec)
        await self.wired.wiring.targets.observe(made, made.spec, self.wired.state_of(made))
        self.wired.applied(made)
        return made

    @contextlib.asynccontextmanager
    async def going_round(self) -> AsyncIterator[None]:
        """Until everything was asked for once more than when the body ended."""
        running = asyncio.create_task(self.poller.run())
        try:
            yield
            asked = len(self.api.asked)
            await eventually(lambda: len(self.api.asked) > asked + 2, interval_s=0.001)
        finally:
            await cancel(running)


@pytest.fixture
def setting() -> Setting:
    return Setting(Api(existing=(1, 1)))


AUTOSCALED = {"autoscale": {"target": {"tasksPerWorker": 1}}}


@pytest.mark.parametrize("spec", [{}, AUTOSCALED], ids=["fixed", "autoscaled"])
async def test_a_group_whose_target_is_as_it_was_is_not_looked_at(setting: Setting, spec: dict[str, Any]) -> None:
    await setting.group(**spec)
    async with setting.going_round():
        pass
    assert (setting.looked_at, setting.api.written) == (set(), [])


@pytest.mark.parametrize(
    ("before", "after"),
    [(None, (1, 0)), ((1, 1), (2, 1)), ((1, 1), None)],
    ids=["made", "sized", "removed"],
)
@pytest.mark.parametrize("spec", [{}, AUTOSCALED], ids=["fixed", "autoscaled"])
async def test_a_target_that_was_made_sized_or_removed_has_its_group_looked_at(
    before: tuple[int, int] | None, after: tuple[int, int] | None, spec: dict[str, Any]
) -> None:
    setting = Setting(Api(**({"existing": before} if before else {})))
    await setting.group(**spec)
    async with setting.going_round():
        setting.api.sizes = {"existing": after} if after else {}
    assert setting.looked_at == {"mailers"}


@pytest.mark.parametrize("spec", [{}, AUTOSCALED], ids=["fixed", "autoscaled"])
async def test_workers_that_come_are_told_of_and_the_group_is_not_looked_at(
    setting: Setting, spec: dict[str, Any]
) -> None:
    setting.api.sizes["existing"] = (1, 0)
    await setting.group(**spec)
    async with setting.going_round():
        setting.api.sizes["existing"] = (1, 1)
    assert setting.said[-1]["replicas"] == 1
    assert not setting.looked_at


async def test_a_fixed_size_that_could_not_be_written_is_written_again(setting: Setting) -> None:
    await setting.group(replicas=3)
    setting.api.failures = 2
    async with setting.going_round():
        await eventually(lambda: setting.api.sizes["existing"] == (3, 3), interval_s=0.001)
    assert setting.api.written == [("existing", 3)] * 3
    assert not setting.looked_at


async def test_an_api_server_that_is_away_for_a_while_is_no_news(setting: Setting) -> None:
    await setting.group()
    setting.api.is_away = True
    async with setting.going_round():
        pass
    setting.api.is_away = False
    async with setting.going_round():
        pass
    assert not setting.looked_at


async def test_an_object_is_asked_for_on_behalf_of_the_one_group_that_sizes_it(setting: Setting) -> None:
    await setting.group("a")
    await setting.group("b")
    setting.api.asked.clear()
    await go_round(list(setting.wired.caches.groups), setting.poller._ask_for, 0.01)
    assert setting.api.asked == ["existing"]


async def test_a_visit_that_hangs_holds_up_no_other() -> None:
    came: list[int] = []
    hangs = asyncio.Event()

    async def visit(number: int) -> None:
        came.append(number)
        if number == 0:
            await hangs.wait()

    going = asyncio.create_task(go_round(range(20), visit, 0.01))
    await eventually(lambda: len(came) == 20, interval_s=0.001)
    assert not going.done()
    hangs.set()
    await going


async def test_what_is_visited_is_spread_over_the_time_there_is() -> None:
    loop, came = asyncio.get_running_loop(), []

    async def visit(_: int) -> None:
        came.append(loop.time())

    began = loop.time()
    await go_round(range(10), visit, 0.2)
    assert all(at - began >= 0.02 * number for number, at in enumerate(came))
    assert loop.time() - began >= 0.2
