"""What users get for their own tests."""

import asyncio
from typing import Any

import pytest
import yaml
from google.protobuf import json_format

import protoqueue
from protoqueue.protocol.v1 import config_pb2
from protoqueue.testing import in_memory
from protoqueue.testing.streams import matches
from protoqueue_operator.api.v1alpha1 import objects
from protoqueue_operator.api.v1alpha1.consumer_group import ConsumerGroupSpec
from protoqueue_operator.api.v1alpha1.effective_spec import effective_spec
from protoqueue_operator.api.v1alpha1.queue import QueueSpec
from protoqueue_operator.jetstream import desired, runtime_config
from protoqueue_operator.jetstream.layout import initial_layout
from waiting import eventually

worker = protoqueue.Worker("default/email", group="mailers")
sent: list[str] = []


@worker.handler
async def send(payload: dict[str, str]) -> None:
    sent.append(payload["to"])


async def test_a_worker_written_for_a_server_runs_in_memory_and_time_can_be_moved() -> None:
    sent.clear()
    async with in_memory("default/email", group="mailers") as memory:
        queue = await memory.client.queue("default/email")
        await queue.enqueue({"to": "a@b.c"}, delay=3600)
        assert await worker.run_once() == 0
        await memory.advance(3600)
        assert await worker.run_once() == 1
        assert sent == ["a@b.c"]


async def test_connect_gives_the_queue_in_memory_whatever_the_url() -> None:
    async with in_memory("default/email", group="mailers"):
        async with await protoqueue.connect("nats://nowhere:1") as client:
            await (await client.queue("default/email")).enqueue({"to": "x"})
        async with await protoqueue.connect() as client:
            assert (await (await client.queue("default/email")).stats()).waiting == 1


def test_a_worker_that_was_stopped_can_serve_again_also_in_another_event_loop() -> None:
    sent.clear()

    async def serve_one(address: str) -> None:
        async with in_memory("default/email", group="mailers") as memory:
            await (await memory.client.queue("default/email")).enqueue({"to": address})
            serving = asyncio.create_task(worker.serve())
            await eventually(lambda: address in sent)
            worker.stop()
            await serving

    for address in ("first", "second"):
        asyncio.run(serve_one(address))
    assert sent == ["first", "second"]


async def test_a_worker_runs_once_at_a_time() -> None:
    async with in_memory("default/email", group="mailers"):
        serving = asyncio.create_task(worker.serve())
        await asyncio.sleep(0)
        for again in (worker.serve, worker.run_once):
            with pytest.raises(protoqueue.ConfigurationError, match="is already running"):
                await again()
        worker.stop()
        await asyncio.wait_for(serving, 60)
        assert await worker.run_once() == 0


def test_subjects_match_as_in_nats() -> None:
    for pattern, subject, expected in (
        ("a.b", "a.b", True),
        ("a.*", "a.b", True),
        ("a.*", "a.b.c", False),
        ("a.>", "a.b.c", True),
        ("a.>", "a", False),
        (">", "a", True),
        ("*.b", "a.c", False),
        ("a.b.c", "a.b", False),
    ):
        assert matches(pattern, subject) is expected, (pattern, subject)


def attempts_of(queue: str = "default/q", **settings: Any) -> tuple[protoqueue.Worker, list[tuple[Any, int]]]:
    """A worker whose handler raises what its payload names, and the payloads and attempts it has seen."""
    worker, seen = protoqueue.Worker(queue, group="g", **settings), []
    errors = {"fail": ValueError("failed"), "retry": protoqueue.Retry(delay=60), "snooze": protoqueue.Snooze(60)}

    @worker.handler
    async def handle(payload: Any, task: protoqueue.Task) -> None:
        seen.append((payload, task.attempt))
        if isinstance(payload, str) and payload in errors:
            raise errors[payload]

    return worker, seen


async def test_after_time_was_moved_each_thing_is_due_when_it_says_and_not_before() -> None:
    retry: Any = {"initial_delay": 60, "multiplier": 2, "jitter": 0, "max_attempts": 4, "max_delay": 3600}
    async with in_memory("default/q", group="g", retry=retry, dead_letter={"expired": True}) as memory:
        queue = await memory.client.queue("default/q")
        worker, seen = attempts_of()
        await memory.advance(3600)
        for payload in ("fail", "retry", "snooze"):
            await queue.enqueue(payload)
        await queue.enqueue("later", delay=60)
        await queue.enqueue("soon over", expires=60, priority=1)
        receipt = await queue.enqueue("cancelled", delay=60)
        await queue.enqueue("not yet over", expires=3600)
        assert await worker.run_once() == 5
        assert sorted(seen) == [("fail", 1), ("not yet over", 1), ("retry", 1), ("snooze", 1), ("soon over", 1)]
        await queue.enqueue("over", expires=60)
        assert await queue.cancel(receipt.id)
        seen.clear()
        await memory.advance(59)
        assert await worker.run_once() == 1  # what expires
        assert seen == [("over", 1)]
        await queue.enqueue("over", expires=60)
        await memory.advance(61)
        seen.clear()
        assert await worker.run_once() == 5
        assert sorted(seen) == [("fail", 2), ("later", 1), ("retry", 2), ("snooze", 1)]
        assert [letter.reason async for letter in queue.dead_letters()] == ["Expired"]
        seen.clear()
        await memory.advance(60)
        await worker.run_once()
        assert sorted(seen) == [("retry", 3), ("snooze", 1)]
        stats = await queue.stats()
        assert (stats.waiting, stats.in_flight, stats.scheduled) == (0, 0, 3)


async def test_a_lease_runs_out_and_the_age_of_a_task_is_what_time_was_moved() -> None:
    async with in_memory("default/q", group="g", visibility_timeout=30) as memory:
        queue = await memory.client.queue("default/q")
        receipt = await queue.enqueue(1)
        (lent,) = await queue.receive(group="g")
        await memory.advance(29)
        assert await queue.receive(group="g") == []
        await memory.advance(2)
        (again,) = await queue.receive(group="g")
        assert (again.id, lent.id) == (receipt.id,) * 2
        age = (await queue.stats()).oldest_age
        assert age is not None
        assert 31 <= age.total_seconds() < 61


@pytest.mark.parametrize("scope", ["queue", "Group", "Worker"])
async def test_a_rate_limit_yields_as_time_is_moved(scope: str) -> None:
    limit: Any = {"tasks": 1, "per": "1h"}
    async with in_memory("default/q", group=None) as memory:
        memory.add_queue("default/q", **({"rate_limit": limit} if scope == "queue" else {}))
        memory.add_group("default/q", "g", **({} if scope == "queue" else {"rate_limit": limit | {"scope": scope}}))
        queue = await memory.client.queue("default/q")
        worker, seen = attempts_of()
        await queue.enqueue_batch([1, 2, 3])
        serving = asyncio.create_task(worker.serve())
        for count in (1, 2, 3):
            await eventually(lambda count=count: len(seen) == count)
            await asyncio.sleep(0.05)  # in which no more may start
            assert len(seen) == count
            await memory.advance(3601)
        worker.stop()
        await serving


MANIFESTS = """
apiVersion: protoqueue.dev/v1alpha1
kind: Queue
metadata: {name: orders, namespace: shop}
spec:
  ordering: {partitions: 4}
  limits: {maxTasks: 2, maxTaskSize: 2Ki}
  retry: {maxAttempts: 2, initialDelay: 1m30s, multiplier: 3, maxDelay: 1h, jitter: 0}
  visibilityTimeout: 45s
  schedules: [{name: nightly, cron: "0 0 3 * * *"}]
  deadLetter: {queueRef: {name: orders-dlq}}
---
apiVersion: protoqueue.dev/v1alpha1
kind: Queue
metadata: {name: orders-dlq, namespace: shop}
spec: {}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: other}
---
apiVersion: protoqueue.dev/v1alpha1
kind: ConsumerGroup
metadata: {name: bookers, namespace: shop}
spec:
  queueRef: {name: orders}
  exactlyOnce: true
  retry: {maxAttempts: 3}
  rateLimit: {tasks: 5, scope: Worker}
  autoscale: {maxReplicas: 5}
---
apiVersion: protoqueue.dev/v1alpha1
kind: Queue
metadata: {name: news}
spec:
  delivery: Broadcast
  priorityLevels: 2
  deadLetter: {enabled: false}
  paused: true
  retry: {maxAttempts: 9, initialDelay: 1s, multiplier: 1.5, maxDelay: 5m, jitter: 0.5}
---
apiVersion: protoqueue.dev/v1alpha1
kind: ConsumerGroup
metadata: {name: readers}
spec: {queueRef: {name: news}, priorityPolicy: Weighted, priorityWeights: [1, 3], startFrom: All, maxInFlight: 7}
"""


def without_streams(config: Any) -> Any:
    """In memory a queue without ordering is one stream, whatever limits it has."""
    if isinstance(config, config_pb2.QueueConfig):
        for name in ("stream", "later_stream", "draining_streams", "max_age"):
            config.ClearField(name)
    else:
        config.ClearField("moved")
        kept = {(each.name, each.level, each.partition): each for each in config.consumers}
        config.ClearField("consumers")
        for each in kept.values():
            each.ClearField("stream")
            config.consumers.append(each)
    return config


async def test_manifests_say_in_memory_what_the_operator_makes_of_them(tmp_path) -> None:
    file = tmp_path / "queues.yaml"
    file.write_text(MANIFESTS)
    documents = [d for d in yaml.safe_load_all(MANIFESTS) if d["kind"] != "ConfigMap"]
    async with in_memory(manifests=file) as memory:
        specs = {}
        for document in documents:
            metadata = {
                "namespace": "default",
                "uid": "u",
                "generation": 1,
                "creationTimestamp": "2026-01-01T00:00:00Z",
            } | document["metadata"]
            body = document | {"metadata": metadata}
            if document["kind"] == "Queue":
                queue = objects.parse_queue(body)
                specs[queue.name] = spec = QueueSpec.model_validate(document["spec"])
                letters_to = spec.dead_letter.queue_ref.name if spec.dead_letter.queue_ref else ""
                layout = initial_layout(queue.name, spec)
                expected: Any = runtime_config.queue_config(queue, spec, layout, letters_to)
                key = queue.name.config_key
            else:
                group = objects.parse_group(body)
                spec = specs[group.name.queue]
                group_spec = effective_spec(ConsumerGroupSpec.model_validate(document["spec"]), spec)
                made = desired.group_consumers(group, group_spec, spec, initial_layout(group.name.queue, spec))
                expected, key = runtime_config.group_config(group, group_spec, spec, made), group.name.config_key
            data = memory.broker.key("pq-config", key).value
            assert data is not None
            assert without_streams(json_format.Parse(data, type(expected)())) == without_streams(expected)
        orders = await memory.client.queue("shop/orders")
        for number in range(2):
            await orders.enqueue(number, ordering_key="k")
        with pytest.raises(protoqueue.QueueFull):
            await orders.enqueue(3, ordering_key="k")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (MANIFESTS.replace("maxAttempts: 2", "maxAttemps: 2"), r"Queue orders in .*retry\.maxAttemps"),
        (MANIFESTS.replace("1m30s", "soon"), r"Queue orders in .*retry\.initialDelay.*soon"),
        (MANIFESTS.replace("queueRef: {name: orders}", "queueRef: {name: order}"), "has no Queue shop/order"),
        ("a: [", "cannot be read"),
    ],
)
async def test_a_manifest_that_cannot_be_is_refused_by_what_is_wrong(tmp_path, text: str, said: str) -> None:
    file = tmp_path / "queues.yaml"
    file.write_text(text)
    with pytest.raises(protoqueue.ConfigurationError, match=said):
        async with in_memory(manifests=file):
            pass


async def test_a_group_without_consumers_gets_those_of_its_queue() -> None:
    async with in_memory("default/q", group=None, ordering={"partitions": 2}) as memory:
        memory.add_group(config_pb2.GroupConfig(namespace="default", queue="q", name="g"))
        queue = await memory.client.queue("default/q")
        worker, seen = attempts_of()
        await queue.enqueue_batch([protoqueue.NewTask(n, ordering_key=f"k{n}") for n in range(8)])
        assert await worker.run_once() == len(seen) == 8


async def test_options_say_which_shape_a_queue_has() -> None:
    async with in_memory("default/q", group="g", priority_levels=5, exactly_once=True, paused=True) as memory:
        config = await memory.client.queue("default/q")
        assert (config._settings.priority_levels, config._settings.paused) == (5, True)
        with pytest.raises(protoqueue.ConfigurationError, match=r"queue default/other: priority_level"):
            memory.add_queue("default/other", priority_level=5)  # type: ignore[call-arg]
        with pytest.raises(protoqueue.ConfigurationError, match="queue default/other does not exist"):
            memory.add_group("default/other", "g")


async def test_a_run_that_is_cancelled_or_out_of_time_leaves_nothing_behind() -> None:
    async with in_memory("default/q", group="g") as memory:
        queue = await memory.client.queue("default/q")
        worker, begun = protoqueue.Worker("default/q", group="g", concurrency=2), asyncio.Event()

        @worker.handler
        async def hang(payload: int) -> None:
            begun.set()
            await asyncio.sleep(60)

        await queue.enqueue_batch(list(range(10)))
        before = asyncio.all_tasks()
        with pytest.raises(TimeoutError):
            await worker.run_once(timeout=0.05)
        running = asyncio.create_task(worker.run_once())
        begun.clear()
        await begun.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(running, 60)
        assert len(await queue.receive(10, group="g")) == 10
        await eventually(lambda: asyncio.all_tasks() <= before)


async def test_a_run_of_what_is_paused_or_missing_ends_and_says_so() -> None:
    async with in_memory("default/q", group="g", paused=True) as memory:
        await (await memory.client.queue("default/q")).enqueue(1)
        worker, seen = attempts_of()
        assert await asyncio.wait_for(worker.run_once(), 60) == 0
        memory.add_queue("default/q")
        memory.add_group("default/q", "g", paused=True)
        assert await asyncio.wait_for(worker.run_once(), 60) == 0
        memory.add_group("default/q", "g")
        assert await asyncio.wait_for(worker.run_once(), 60) == len(seen) == 1
        other, _ = attempts_of("default/other")
        with pytest.raises(protoqueue.QueueNotFound, match="default/other"):
            await asyncio.wait_for(other.run_once(), 60)
        memory.add_queue("default/other")
        with pytest.raises(protoqueue.GroupNotFound, match="ConsumerGroup g"):
            await asyncio.wait_for(other.run_once(), 60)


async def test_a_run_can_raise_what_a_handler_raised_once_the_task_is_settled() -> None:
    async with in_memory("default/q", group="g") as memory:
        queue = await memory.client.queue("default/q")
        worker, seen = attempts_of()
        await queue.enqueue_batch(["snooze", "fail"])
        with pytest.raises(ValueError, match="failed"):
            await worker.run_once(raise_errors=True)
        assert sorted(seen) == [("fail", 1), ("snooze", 1)]
        stats = await queue.stats()
        assert (stats.in_flight, stats.scheduled) == (0, 2)
        assert await worker.run_once(raise_errors=True) == 0
