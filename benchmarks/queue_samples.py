"""What it costs the operator to keep the history of thousands of queues for their charts.

    python benchmarks/queue_samples.py [--queues 2000] [--rounds 12]

The operator's own recorder and a nats-server. A round is a look at every queue, which happens every 0.8 s while they
have work, and a turn of each, which comes every ten seconds. The figures are of the round that took least CPU time, so
that they mean something on a busy machine too. First, what a day of a queue takes in JetStream, one that changes all
the time and has its workers resized every ten seconds.
"""

import argparse
import asyncio
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from figures import Figure, machine, show
from stage import run

from protoqueue.protocol.samples import FINE
from protoqueue_devcluster.lifeline import Lifeline
from protoqueue_devcluster.nats import running_nats
from protoqueue_operator.api.v1alpha1.objects import Group, Queue, parse_group, parse_queue
from protoqueue_operator.jetstream.broker import Broker
from protoqueue_operator.jetstream.kv import SAMPLES, ensure_bucket
from protoqueue_operator.nats.connection import Connection
from protoqueue_operator.nats.credentials import Credentials
from protoqueue_operator.timeseries.recorder import WRITTEN_AGAIN_S, Recorder
from protoqueue_operator.timeseries.series import Counts, Progress
from protoqueue_operator.timeseries.store import Resized, SeriesStore

ROUND_S = 0.8
DAY_S = 86_400
MOST_BYTES = 2e6
MOST_CORES = 2.0


def body(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    meta = {"name": name, "namespace": "bench", "uid": f"uid-of-{name}", "generation": 1, "resourceVersion": "1"}
    return {"kind": kind, "metadata": meta | {"creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": spec}


class Population:
    """Queues, and a recorder of theirs."""

    def __init__(self, broker: Broker, count: int, clock: Callable[[], float] = time.time) -> None:
        queues = [parse_queue(body("Queue", f"queue-{number}", {})) for number in range(count)]
        self.queues: list[Queue] = queues
        by_key = {queue.meta.key: queue for queue in queues}
        self.store = SeriesStore(clock)
        self.recorder = Recorder(broker, by_key.keys, by_key.get, self.store, lambda _: (3, 2))
        self._ended = 0

    def look(self, queue: Queue, recorder: Recorder | None) -> None:
        """What a sample comes to before the recorder, with or without it."""
        self._ended += 7
        counts = Counts(random.randrange(100_000), random.randrange(1000), 5000, 12, time.time() - 30)
        progress = {"workers": Progress(arrived=self._ended + counts.waiting, ended=self._ended)}
        if recorder:
            recorder.observe(queue, counts, progress)


@dataclass(frozen=True)
class Costs:
    """CPU seconds of a round over all queues, at least."""

    look: float
    busy_turn: float
    idle_turn: float
    server_turn: float
    """Of nats-server, for what is written in a busy turn."""


async def costs(broker: Broker, nats_pid: int, queues: int, rounds: int) -> Costs:
    now = time.time() // FINE.block_s * FINE.block_s
    population = Population(broker, queues, lambda: now)
    looks, turns, idle, server = [], [], [], []
    process = psutil.Process(nats_pid)

    def look(recorder: Recorder | None) -> float:
        began = time.process_time()
        for queue in population.queues:
            population.look(queue, recorder)
        return time.process_time() - began

    async def turn() -> float:
        began = time.process_time()
        await population.recorder._take_turn(1)
        await broker.connection.request("$JS.API.INFO", b"", 5)  # all of it is sent
        return time.process_time() - began

    for _ in range(rounds):
        looks.append(look(population.recorder) - look(None))
        now += FINE.step_s
        used = sum(process.cpu_times()[:2])
        turns.append(await turn())
        await asyncio.sleep(0.5)
        server.append(sum(process.cpu_times()[:2]) - used)
        population.recorder.swept()
        now += FINE.step_s
        idle.append(await turn())
    return Costs(min(looks), min(turns[1:]), min(idle[1:]), min(server[1:]))


async def bytes_of_a_day(broker: Broker) -> float:
    """Of one queue, in JetStream."""
    now = time.time() // DAY_S * DAY_S
    population = Population(broker, 1, lambda: now)
    (queue,) = population.queues
    group: Group = parse_group(body("ConsumerGroup", "workers", {"queueRef": {"name": queue.meta.name}}))
    for number in range(DAY_S // FINE.step_s + FINE.per_block):
        population.look(queue, population.recorder)
        population.store.resized(Resized(group, number, number + 1, "ScaledUp", "m" * 300))
        now += FINE.step_s
        await population.recorder._take_turn(1)  # a moment of `run`
    await ensure_bucket(broker.jetstream, SAMPLES, 1)
    info = await broker.jetstream.stream("KV_pq-samples")
    assert info
    size: int = info["state"]["bytes"]
    return size


async def measure(queues: int, rounds: int) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="queue-samples-") as directory, Lifeline(Path(directory)) as lifeline:
        async with running_nats(Path(directory), lifeline=lifeline) as nats:
            connection = Connection(Credentials((nats.url,)), lambda _: None)
            connection.open()
            while not connection.is_up:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            broker = Broker.over(connection)
            day = await bytes_of_a_day(broker)
            say(f"a day of one queue: {day / 1e3:.0f} kB")
            memory = psutil.Process().memory_info().rss
            found = await costs(broker, nats.pid, queues, rounds)
            memory = psutil.Process().memory_info().rss - memory
            await connection.close()
    per_s = {"look": 100 / ROUND_S, "turn": 100 / FINE.step_s}
    busy = found.look * per_s["look"] + found.busy_turn * per_s["turn"]
    again = FINE.step_s / WRITTEN_AGAIN_S
    idle = (found.idle_turn * (1 - again) + found.busy_turn * again) * per_s["turn"]
    each = f"{1e6 * found.look / queues:.1f} µs each"
    return [
        Figure("queues that change all the time", busy, "% of a core", MOST_CORES),
        Figure("…, of that the looks", found.look * per_s["look"], "% of a core", note=each),
        Figure("…, nats-server", found.server_turn * per_s["turn"], "% of a core"),
        Figure("idle queues", idle, "% of a core", MOST_CORES),
        Figure("memory", memory / 1e6, "MB", note=f"{memory / queues / 1e3:.1f} kB a queue"),
        Figure("a day of the busiest queue", day / 1e6, "MB", MOST_BYTES / 1e6, "resized every ten seconds"),
    ]  # fmt: skip


def say(text: str) -> None:
    """So that who waits sees that it goes on."""
    print(f"… {text}", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queues", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=12)
    arguments = parser.parse_args()
    figures = run(measure(arguments.queues, arguments.rounds), 900)
    show(f"the history of {arguments.queues:,} queues ({machine()})", figures)


if __name__ == "__main__":
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    main()
