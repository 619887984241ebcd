"""Who may run beside a suspect, and when."""

import asyncio

import pytest

from protoqueue.consumer import isolation
from protoqueue.consumer.isolation import Isolation, trial_s
from waiting import eventually


async def never() -> None:
    pytest.fail("its trial is not over")


async def test_a_suspect_waits_for_what_runs_and_nothing_starts_meanwhile() -> None:
    room, begun, exit_process = Isolation(lambda: None), asyncio.Event(), asyncio.Event()

    async def suspect() -> int | None:
        async with room.alone(0, never) as beside:
            begun.set()
            await exit_process.wait()
        return beside

    room.begin()
    running = asyncio.create_task(suspect())
    await eventually(lambda: room.is_closed)
    assert not begun.is_set()
    room.end()
    await begun.wait()
    assert room.is_closed
    exit_process.set()
    assert await running == 0
    assert not room.is_closed


async def test_what_takes_long_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "ALONE_S", 0.05)
    room = Isolation(lambda: None)
    room.begin()
    async with room.alone(0, never) as beside:
        assert beside == 1


async def test_of_two_suspects_one_goes_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "TURN_WAIT_S", 0.05)
    room = Isolation(lambda: None)
    async with room.alone(0, never) as first, room.alone(0, never) as second:
        assert (first, second) == (0, None)
    assert not room.is_closed


async def test_after_its_trial_others_start_beside_a_suspect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "ALONE_S", 0.05)
    room, noted = Isolation(lambda: None), asyncio.Event()

    async def note() -> None:
        assert room.is_closed  # noted before anything starts
        noted.set()

    async with room.alone(0, note):
        await noted.wait()
        await eventually(lambda: not room.is_closed)
        async with room.alone(0, note) as beside:
            assert beside == 1
    assert not room.is_closed


@pytest.mark.parametrize("how", ["cancelled", "failed"])
async def test_a_suspect_that_ends_otherwise_leaves_the_room_open(how: str) -> None:
    room, begun = Isolation(lambda: None), asyncio.Event()

    async def suspect() -> None:
        async with room.alone(0, never):
            begun.set()
            if how == "failed":
                raise ValueError
            await asyncio.Event().wait()

    running = asyncio.create_task(suspect())
    await begun.wait()
    running.cancel()
    await asyncio.wait([running])
    assert not room.is_closed
    async with room.alone(0, never) as beside:
        assert beside == 0


async def test_a_worker_that_stops_starts_no_suspect() -> None:
    room = Isolation(lambda: None)
    room.begin()
    room.stop()
    async with room.alone(0, never) as beside:
        assert beside is None
    assert not room.is_closed


def test_a_trial_is_longer_after_each_death_that_came_after_it() -> None:
    assert [trial_s(late) for late in range(4)] == [10, 40, 160, 640]


async def test_of_a_suspect_whose_worker_is_told_to_stop_no_end_of_the_trial_is_noted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """That its worker stops is noted by then: a kill after that is no reason for a longer trial."""
    monkeypatch.setattr(isolation, "ALONE_S", 0.05)
    room = Isolation(lambda: None)
    async with room.alone(0, never):
        room.stop()
        await eventually(lambda: not room.is_closed)
