"""Several worker processes on a real nats-server share one limit."""

import asyncio
import contextlib
import sys
import time
from bisect import bisect_left
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nats_server import NatsServer
from unit.sdk.ratelimit.windows import most_in_excess
from waiting import eventually

WORKER = Path(__file__).with_name("worker.py")
JITTER_S = 0.005
"""How late a print may follow the start it reports, beside what the machine lets a process wait."""


class WorkerProcess:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.starts: list[float] = []
        self.changes: list[float] = []
        self.late_s = 0.0
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, url: str, tasks: int, burst: int) -> "WorkerProcess":
        pipe = asyncio.subprocess.PIPE
        return cls(
            await asyncio.create_subprocess_exec(
                sys.executable, str(WORKER), url, str(tasks), str(burst), stdin=pipe, stdout=pipe
            )
        )

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            if line.startswith(b"late "):
                self.late_s = float(line.split()[1])
            elif line.startswith(b"changed "):
                self.changes.append(float(line.split()[1]))
            else:
                self.starts.append(float(line))

    def change(self, tasks: int, burst: int) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{tasks} {burst}\n".encode())

    def most_within(self, seconds: float, since: float) -> int:
        """How many tasks it has started in the busiest `seconds` after `since`."""
        starts = [start for start in self.starts if start >= since]
        return max((bisect_left(starts, start + seconds) - at for at, start in enumerate(starts)), default=0)

    def kill(self) -> None:
        self._process.kill()

    async def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        await self._reading


class Crew(list[WorkerProcess]):
    @property
    def starts(self) -> list[float]:
        return sorted(start for worker in self for start in worker.starts)

    @property
    def jitter_s(self) -> float:
        return JITTER_S + max(worker.late_s for worker in self)

    def within(self, begin: float, end: float) -> int:
        return sum(begin <= start < end for start in self.starts)

    async def all_started(self) -> None:
        await eventually(lambda: all(worker.starts for worker in self))

    async def change(self, tasks: int, burst: int) -> float:
        """By when the new limit holds in every process."""
        times = len(self[0].changes) + 1
        for worker in self:
            worker.change(tasks, burst)
        await eventually(lambda: all(len(worker.changes) == times for worker in self))
        return max(worker.changes[-1] for worker in self)


@contextlib.asynccontextmanager
async def crew_of(workers: int, server: NatsServer, tasks: int, burst: int) -> AsyncIterator[Crew]:
    crew = Crew([await WorkerProcess.start(server.url, tasks, burst) for _ in range(workers)])
    try:
        yield crew
    finally:
        for worker in crew:
            await worker.end()


async def test_three_processes_share_a_limit_exactly_and_fairly(server):
    rate, burst, seconds = 200, 40, 8
    async with crew_of(3, server, rate, burst) as crew:
        await crew.all_started()
        begin = time.monotonic() + burst / rate  # the first burst is spent
        await asyncio.sleep(begin + seconds - time.monotonic())
    assert crew.within(begin, begin + seconds) == pytest.approx(
        rate * seconds, abs=rate * (0.03 * seconds + crew.jitter_s)
    )
    assert most_in_excess(crew.starts, rate, burst) <= rate * crew.jitter_s
    for worker in crew:
        mine = sum(begin <= start < begin + seconds for start in worker.starts)
        assert mine == pytest.approx(rate * seconds / 3, rel=0.25)


async def test_a_process_that_is_killed_costs_the_others_at_most_what_it_had_leased(server):
    rate, burst = 200, 40
    async with crew_of(3, server, rate, burst) as crew:
        await crew.all_started()
        crew[0].kill()
        killed = time.monotonic()
        await asyncio.sleep(2)
    assert crew.within(killed, killed + 2) >= 0.97 * rate * 2 - rate * (0.05 + crew.jitter_s)
    assert most_in_excess(crew.starts, rate, burst) <= rate * crew.jitter_s


async def test_a_change_takes_hold_in_all_processes(server):
    async with crew_of(3, server, 20, 5) as crew:
        await crew.all_started()
        faster = await crew.change(300, 30)
        await eventually(lambda: all(worker.most_within(1, faster) > 20 + 5 for worker in crew))
        slower = await crew.change(50, 5)
        await eventually(lambda: crew.within(slower, time.monotonic()) > 3 * 50)
    saved_up = 30  # by when the limit was the faster one
    after_faster = [start for start in crew.starts if faster <= start < slower]
    after_slower = [start for start in crew.starts if start >= slower]
    assert most_in_excess(after_faster, 300, 30) <= 300 * crew.jitter_s
    assert most_in_excess(after_slower, 50, saved_up + 5) <= 50 * crew.jitter_s


async def test_a_server_that_is_killed_and_comes_back_empty_brings_no_burst_and_the_rate_recovers(server):
    rate, burst = 100, 50
    async with crew_of(3, server, rate, burst) as crew:
        await crew.all_started()
        await asyncio.sleep(2)
        server.kill()
        killed = time.monotonic()
        await asyncio.sleep(1)
        back = time.monotonic()
        await server.start()
        await server.create_bucket()
        await eventually(lambda: crew.within(back, time.monotonic()) >= 1)
        recovered = time.monotonic() + 1  # everyone has noticed
        await asyncio.sleep(recovered + 2 - time.monotonic())
    assert crew.within(killed + 0.5, back) == 0
    assert most_in_excess(crew.starts, rate, burst) <= rate * crew.jitter_s
    assert crew.within(recovered, recovered + 2) == pytest.approx(rate * 2, abs=rate * (0.1 + crew.jitter_s))
