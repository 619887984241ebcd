"""The operator under thousands of Queues and ConsumerGroups: how fast, how heavy, how fresh.

    python benchmarks/operator_scale.py [--queues 2000] [--groups 2000]
    python benchmarks/operator_scale.py --kubeconfig F --nats-url U [--run-operator]

Five acts: create everything and wait until all of it is Ready; look on while nothing happens; let the backlog of some
groups change; restart the operator; print. Every group sleeps at zero workers with a Deployment of its own (or has no
workers at all, with --no-workers). Against a cluster whose operator is not run from here, what needs its process
(memory, CPU, restart) is left out.
"""

import argparse
import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import psutil
from figures import Figure, machine, percentile, show
from nats.aio.msg import Msg
from population import Follower, Name, create, group, queue
from stage import Meter, Operator, Stage, add_arguments, namespace, readings, run, settle, staged

import nats
import protoqueue
from protoqueue.protocol.names import QueueName
from protoqueue_devcluster.kube.client import CONSUMER_GROUPS, QUEUES

READY_PATIENCE_S = 300.0
LIMIT_S = 900.0
SETTLED_CORES = 0.2
AFTERMATH_S = 8.0
"""Counters seen last are written up to five seconds later."""

IDLE_S = 20.0
BUSY_S = 25.0
PUBLISH_EVERY_S = 0.25
WRITE_WINDOW_S = 5.0
MOST_WRITES_PER_MINUTE = 660
"""The budget of counter writes, ten per second over all objects, and a tenth for what does not wait."""
CLOCK_SLACK_S = 0.1
"""What the way of a watch event may add to one write and not to the next."""


@dataclass
class Findings:
    figures: list[Figure] = field(default_factory=list)

    def add(self, name: str, value: float | None, unit: str, at_most: float | None = None, note: str = "") -> None:
        self.figures.append(Figure(name, value, unit, at_most, note))


@dataclass(frozen=True)
class Scene:
    stage: Stage
    namespace: str
    follower: Follower
    names: Sequence[str]
    """Of the Queues; the first `groups` of them have a group of the same name."""
    groups: int
    found: Findings

    @property
    def objects(self) -> int:
        return len(self.names) + self.groups


class Scales:
    """The operator's memory over time."""

    def __init__(self) -> None:
        self.peak = 0
        self.last = 0

    @contextlib.asynccontextmanager
    async def weighing(self, operator: Operator | None) -> AsyncIterator[None]:
        """Weigh it a few times a second, whichever process it is by then."""
        task = asyncio.create_task(self._weigh(operator)) if operator else None
        try:
            yield
        finally:
            if task:
                task.cancel()

    async def _weigh(self, operator: Operator) -> None:
        while True:
            with contextlib.suppress(psutil.NoSuchProcess, AssertionError):
                self.last = psutil.Process(operator.pid).memory_info().rss
                self.peak = max(self.peak, self.last)
            await asyncio.sleep(0.25)


async def create_all(scene: Scene, *, template: bool) -> None:
    found, pid = scene.found, scene.stage.operator.pid if scene.stage.operator else None
    meter, meters = Meter(pid) if pid else None, scene.stage.meters()
    started = time.monotonic()
    pairs = [
        (queue(name), group(name, name, template=template) if number < scene.groups else None)
        for number, name in enumerate(scene.names)
    ]
    await create(scene.stage.client, scene.namespace, pairs)
    created_s = time.monotonic() - started
    ready_at = scene.follower.ready_at
    complete = await scene.follower.wait_until(lambda: len(ready_at) >= scene.objects, READY_PATIENCE_S - created_s)
    took_s = max(ready_at.values(), default=started) - started
    note = f"{len(ready_at):,} of {scene.objects:,} Ready after {READY_PATIENCE_S:.0f} s"
    found.add("created by the client", created_s, "s", note=f"{scene.objects / created_s:,.0f} objects a second")
    found.add("first create → all Ready", took_s if complete else None, "s", 60, "" if complete else note)
    waits = [at - scene.follower.seen_at[name] for name, at in ready_at.items()]
    found.add("one object: created → Ready, p50", percentile(waits, 0.5), "s")
    if meter:
        found.add("operator's CPU meanwhile", 100 * meter.read(), "% of a core", note=readings(meters))
    writes = scene.stage.writes()
    if writes:
        note = ", ".join(f"{what} {count:,}" for what, count in writes.most_common(6))
        found.add("API writes per object until Ready", writes.total() / scene.objects, "", note=note)


async def look_on(scene: Scene, operator: Operator, scales: Scales) -> None:
    found, stage = scene.found, scene.stage
    found.add("all Ready → calm", await settle(operator, SETTLED_CORES, 60), "s")
    await asyncio.sleep(AFTERMATH_S)
    meters, meter, before = stage.meters(), Meter(operator.pid), stage.writes()
    await asyncio.sleep(IDLE_S)
    used = 100 * meter.read()
    found.add("idle: operator's CPU", used, "% of a core", 10, readings(meters))
    if stage.requests:
        found.add("idle: API writes", (stage.writes() - before).total(), f"in {IDLE_S:.0f} s", 0)
    found.add("operator's memory when idle", scales.last / 1e6, "MB RSS", 400)


async def restart(scene: Scene, operator: Operator) -> None:
    """Steady again: whatever waited is looked at, a fresh edit is obeyed, and the CPU is calm."""
    found, stage = scene.found, scene.stage
    before = stage.writes()
    started = time.monotonic()
    await operator.stop()
    stopped_s = time.monotonic() - started
    started = time.monotonic()
    await operator.start()
    began_s = time.monotonic() - started
    edited = "Queue", scene.names[-1]
    follower = scene.follower
    follower.ready_at.pop(edited, None)
    await stage.client.merge(QUEUES, {"spec": {"visibilityTimeout": "45s"}}, edited[1], scene.namespace)
    calm_s = began_s + await settle(operator, SETTLED_CORES, 120)
    obeyed = await follower.wait_until(lambda: edited in follower.ready_at, 30)
    obeyed_s = follower.ready_at[edited] - started if obeyed else None
    found.add("restart: SIGTERM → ended", stopped_s, "s")
    found.add("restart: start → an edit is obeyed", obeyed_s, "s")
    found.add("restart: start → calm", calm_s, "s", note=f"answers its liveness probe after {began_s:.1f} s")
    reasons = Counter(reason.partition(":")[0] for reason in follower.unready.values())
    note = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common(4))
    found.add("restart: objects no longer Ready", len(follower.unready), "", 0, note)
    if stage.requests:
        writes = stage.writes() - before
        note = ", ".join(f"{what} {count}" for what, count in writes.most_common(4))
        found.add("restart: API writes", writes.total(), "", note=note)


async def keep_busy(scene: Scene, busy: int, operator: Operator | None) -> None:
    """Give the groups work that nobody does, and more of it all the time."""
    names = scene.names[: min(busy, scene.groups)]
    async with protoqueue.connect(scene.stage.nats_url) as client:
        queues = [await client.queue(f"{scene.namespace}/{name}") for name in names]
        await first_words(scene, queues, names)
        started, meter = time.monotonic(), Meter(operator.pid) if operator else None
        async with samples_heard(scene.stage.nats_url, scene.namespace, names) as heard:
            while time.monotonic() - started < BUSY_S:
                await asyncio.gather(*(each.enqueue({}) for each in random.sample(queues, len(queues) // 4)))
                await asyncio.sleep(PUBLISH_EVERY_S)
    if meter:
        scene.found.add(f"{len(names)} groups with work: operator's CPU", 100 * meter.read(), "% of a core")
    report_ages(scene.found, heard)
    report_writes(scene, names, started)


async def first_words(scene: Scene, queues: Sequence[protoqueue.Queue], names: Sequence[str]) -> None:
    """The first task of each queue, one after the other, and when `status.tasks` tells of it."""
    published: dict[Name, float] = {}
    for name, each in zip(names, queues, strict=True):
        published["ConsumerGroup", name] = time.monotonic()
        await each.enqueue({})
        await asyncio.sleep(0.02)
    told: dict[Name, float] = {}
    until = time.monotonic() + 15
    while len(told) < len(published) and time.monotonic() < until:
        await asyncio.sleep(0.1)
        told = {key: at - published[key] for key, at in scene.follower.worked_at.items() if key in published}
    scene.found.add("first publish → status.tasks, p50", percentile(told.values(), 0.5), "s")
    note = "" if len(told) == len(published) else f"{len(published) - len(told)} never told"
    scene.found.add("first publish → status.tasks, p99", percentile(told.values(), 0.99), "s", note=note)


@contextlib.asynccontextmanager
async def samples_heard(url: str, namespace: str, names: Iterable[str]) -> AsyncIterator[dict[str, list[float]]]:
    """When the consumers of each of these queues were asked for: anybody on the account hears the requests."""
    heard: dict[str, list[float]] = {QueueName(namespace, name).stream: [] for name in names}

    async def note(message: Msg) -> None:
        _, _, _, verb, stream, *_ = message.subject.split(".")
        if verb in {"LIST", "INFO"} and stream in heard:
            heard[stream].append(time.monotonic())

    client = await nats.connect(url)
    try:
        await client.subscribe("$JS.API.CONSUMER.>", cb=note)
        yield heard
    finally:
        await client.close()


def report_ages(found: Findings, heard: Mapping[str, Sequence[float]]) -> None:
    """A sample is oldest the moment before the next one: the gaps between them are the ages that matter."""
    gaps = [later - earlier for times in heard.values() for earlier, later in pairwise(times)]
    unheard = sum(1 for times in heard.values() if len(times) < 2)
    note = f"{unheard} of {len(heard)} not sampled" if unheard else ""
    found.add("oldest a sample gets, p50", percentile(gaps, 0.5), "s", note=note)
    found.add("oldest a sample gets, p99", percentile(gaps, 0.99), "s", 1, f"worst {max(gaps, default=0):.2f} s")


def report_writes(scene: Scene, names: Iterable[str], since: float) -> None:
    objects: list[list[float]] = []
    for kind in (QUEUES.name, CONSUMER_GROUPS.name):
        objects += [[at for at in scene.follower.status_writes[kind, name] if at >= since] for name in names]
    most = [max((_within(times, at) for at in times), default=0) for times in objects]
    above = sum(1 for count in most if count > 1)
    closest_s = min((later - earlier for times in objects for earlier, later in pairwise(times)), default=BUSY_S)
    note = (
        f"{above} of {len(objects)} objects above; at least {closest_s:.2f} s between two writes; "
        f"{sum(map(len, objects)):,} writes in {BUSY_S:.0f} s"
    )
    scene.found.add("most status writes of one object in 5 s", max(most, default=0), "", 1, note)
    total = 60 * sum(map(len, objects)) / BUSY_S
    scene.found.add("status writes of all objects", total, "PATCHes a minute", MOST_WRITES_PER_MINUTE)


def _within(times: Sequence[float], start: float) -> int:
    return sum(1 for at in times if start <= at < start + WRITE_WINDOW_S - CLOCK_SLACK_S)


async def play(options: argparse.Namespace, found: Findings) -> None:
    async with staged(options) as stage, namespace(stage) as name:
        names = [f"q{number:04d}" for number in range(options.queues)]
        groups = min(options.groups, options.queues)
        scales = Scales()
        async with Follower(stage.client, name).running() as follower, scales.weighing(stage.operator):
            scene = Scene(stage, name, follower, names, groups, found)
            await create_all(scene, template=not options.no_workers)
            if stage.operator:
                await look_on(scene, stage.operator, scales)
                await restart(scene, stage.operator)
            if groups:
                await keep_busy(scene, options.busy, stage.operator)
        if stage.operator:
            found.add("operator's memory at its peak", scales.peak / 1e6, "MB RSS", 400)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--queues", type=int, default=2000)
    parser.add_argument("--groups", type=int, default=2000, help="at most one per queue")
    parser.add_argument("--busy", type=int, default=200, help="groups that get work")
    parser.add_argument("--no-workers", action="store_true", help="groups without Deployments")
    options = parser.parse_args()
    title, found = f"{options.queues:,} Queues, {options.groups:,} ConsumerGroups; {machine()}", Findings()
    try:
        run(play(options, found), LIMIT_S)
    finally:
        show(title, found.figures)


if __name__ == "__main__":
    main()
