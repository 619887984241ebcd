"""How fast a group gets workers: from the publish of a task until the scale of its Deployment is written.

    python benchmarks/scale_latency.py [--samples 100] [--others 200] [--busy-others 50]
    python benchmarks/scale_latency.py --kubeconfig F --nats-url U [--run-operator]

Each sample is a group of its own, asleep at zero workers. At a moment of chance it gets one task (0 → 1), and some
seconds later enough for a second worker (1 → N). The clock starts before the publish and stops when a watch on
Deployments shows the new size, so the figures hold the ways to NATS and from the API server as well. Meanwhile other
groups are there, some of them with a backlog that changes all the time.
"""

import argparse
import asyncio
import random
import time
from collections.abc import Sequence

from figures import Figure, machine, percentile, show
from population import Follower, Name, Object, create, group, queue
from stage import Stage, add_arguments, namespace, run, staged

import protoqueue
from protoqueue_devcluster.kube.client import DEPLOYMENTS
from protoqueue_devcluster.kube.informer import Informer

READY_PATIENCE_S = 180.0
SCALE_PATIENCE_S = 20.0
LIMIT_S = 600.0
SPREAD_S = 0.6
"""Between two samples on average: far more than one takes, so that they do not wait for each other."""

TASKS_PER_WORKER = 10


class Sizes:
    """When each Deployment was seen to want at least so many workers (monotonic seconds)."""

    def __init__(self, informer: Informer) -> None:
        self._seen: dict[tuple[str, int], asyncio.Future[float]] = {}
        informer.listen(self._observe)

    async def reached(self, name: str, size: int) -> float | None:
        """None if it takes longer than SCALE_PATIENCE_S from now."""
        try:
            async with asyncio.timeout(SCALE_PATIENCE_S):
                return await self._moment(name, size)
        except TimeoutError:
            return None

    def _observe(self, deployment: Object) -> None:
        name = deployment["metadata"]["name"]
        for size in range(1, deployment["spec"].get("replicas", 1) + 1):
            moment = self._moment(name, size)
            if not moment.done():
                moment.set_result(time.monotonic())

    def _moment(self, name: str, size: int) -> asyncio.Future[float]:
        return self._seen.setdefault((name, size), asyncio.get_running_loop().create_future())


async def populate(stage: Stage, place: str, samples: Sequence[str], others: Sequence[str]) -> None:
    """Everything Ready and asleep. Raises SystemExit where that takes too long."""
    pairs = [(queue(name), group(name, name)) for name in others]
    pairs += [(queue(name), group(name, name, maximum=2, tasks_per_worker=TASKS_PER_WORKER)) for name in samples]
    async with Follower(stage.client, place).running() as follower:
        await create(stage.client, place, pairs)
        asleep: set[Name] = {("ConsumerGroup", name) for name in (*samples, *others)}
        if not await follower.wait_until(lambda: asleep <= follower.ready_at.keys(), READY_PATIENCE_S):
            raise SystemExit(f"not all groups were Ready within {READY_PATIENCE_S:.0f} s: {follower.unready}")
    await asyncio.sleep(5)


async def keep_busy(queues: Sequence[protoqueue.Queue], enough: asyncio.Event) -> None:
    """A backlog that nobody works on, and that changes all the time.

    Not cancelled but told: before Python 3.12 a request that is cancelled while its answer comes in goes on.
    """
    while queues and not enough.is_set():
        await random.choice(queues).enqueue({})
        await asyncio.sleep(0.5 / len(queues))


async def sample(queue: protoqueue.Queue, sizes: Sizes, start_s: float) -> tuple[float | None, float | None]:
    """Seconds of 0 → 1 and of 1 → N."""
    name = queue.name.partition("/")[2]
    await asyncio.sleep(start_s)
    first = await _timed(queue, 1, sizes, name, 1)
    await asyncio.sleep(random.uniform(3, 5))
    return first, await _timed(queue, 2 * TASKS_PER_WORKER, sizes, name, 2)


async def _timed(queue: protoqueue.Queue, tasks: int, sizes: Sizes, name: str, size: int) -> float | None:
    started = time.monotonic()
    await queue.enqueue_batch([{}] * tasks)
    seen = await sizes.reached(name, size)
    return None if seen is None else seen - started


async def play(options: argparse.Namespace) -> list[Figure]:
    samples = [f"sample{number:03d}" for number in range(options.samples)]
    others = [f"other{number:03d}" for number in range(options.others)]
    async with staged(options) as stage, namespace(stage) as place:
        await populate(stage, place, samples, others)
        informer = Informer(stage.client, DEPLOYMENTS, place)
        sizes = Sizes(informer)
        async with protoqueue.connect(stage.nats_url) as client, asyncio.TaskGroup() as tasks:
            following = tasks.create_task(informer.run())
            await informer.synced.wait()
            busy = [await client.queue(f"{place}/{name}") for name in others[: options.busy_others]]
            enough = asyncio.Event()
            tasks.create_task(keep_busy(busy, enough))
            queues = [await client.queue(f"{place}/{name}") for name in samples]
            length_s = SPREAD_S * len(samples)
            times = await asyncio.gather(*(sample(each, sizes, random.uniform(0, length_s)) for each in queues))
            enough.set()
            following.cancel()
    return [
        *figures("0 → 1", [first for first, _ in times], 0.25),
        *figures("1 → N", [second for _, second in times], 1.5),
    ]


def figures(name: str, times: Sequence[float | None], goal_s: float) -> list[Figure]:
    seen = [1000 * each for each in times if each is not None]
    lost = len(times) - len(seen)
    note = f"{len(times)} samples" + (f", {lost} not within {SCALE_PATIENCE_S:.0f} s" if lost else "")
    worst = max(seen, default=None)
    return [
        Figure(f"publish → scale written, {name}, p50", percentile(seen, 0.5), "ms", note=note),
        Figure(
            f"publish → scale written, {name}, p99",
            None if lost else percentile(seen, 0.99),
            "ms",
            1000 * goal_s,
            "" if worst is None else f"worst {worst:,.0f} ms",
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--others", type=int, default=200, help="groups besides")
    parser.add_argument("--busy-others", type=int, default=50, help="of these, how many have a changing backlog")
    options = parser.parse_args()
    title = f"{options.samples} groups beside {options.others} others, {options.busy_others} of them busy; {machine()}"
    show(title, run(play(options), LIMIT_S))


if __name__ == "__main__":
    main()
