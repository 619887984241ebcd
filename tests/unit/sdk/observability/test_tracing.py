"""Spans with OpenTelemetry's own SDK, and nothing where it is missing or not set up."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

import pytest
import pytest_asyncio
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

import protoqueue
from protoqueue import NewTask, Reject, Retry, Snooze, Task
from protoqueue.broker import Message
from protoqueue.protocol.message_headers import Header
from protoqueue.protocol.names import QueueName
from protoqueue.testing import InMemory, in_memory

NAME = QueueName("default", "email")


@dataclass
class Traced:
    """A queue in memory whose client and workers make spans with `provider`."""

    memory: InMemory
    provider: TracerProvider
    exporter: InMemorySpanExporter
    queue: protoqueue.Queue

    def worker(self) -> protoqueue.Worker:
        return protoqueue.Worker(str(NAME), group="mailers", tracer_provider=self.provider)

    def spans(self, kind: str) -> Sequence[ReadableSpan]:
        """Those of a kind, in the order they ended in."""
        return [span for span in self.exporter.get_finished_spans() if span.name == f"{kind} {NAME}"]


@pytest_asyncio.fixture
async def traced() -> AsyncIterator[Traced]:
    provider, exporter = TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    async with in_memory(str(NAME), group="mailers") as memory:
        async with await protoqueue.connect(tracer_provider=provider) as client:
            yield Traced(memory, provider, exporter, await client.queue(str(NAME)))


async def headers_in(memory: InMemory, sequence: int = 1) -> Mapping[str, str]:
    stored = await memory.broker.next_message(NAME.stream, sequence, ">", 1)
    assert stored is not None
    return stored.headers


async def test_an_attempt_is_a_child_of_the_span_that_enqueued_its_task(traced: Traced) -> None:
    worker, seen = traced.worker(), []

    @worker.handler("welcome")
    async def handle(task: Task) -> None:
        seen.append(trace.get_current_span().get_span_context().span_id)

    with traced.provider.get_tracer("app").start_as_current_span("request") as request:
        receipt = await traced.queue.enqueue({"to": "x"}, type="welcome")
    await worker.run_once()
    (sent,), (run,) = traced.spans("enqueue"), traced.spans("process")
    assert sent.parent is not None
    assert sent.parent.span_id == request.get_span_context().span_id
    assert run.parent is not None
    assert run.parent.span_id == sent.context.span_id
    assert [link.context.span_id for link in run.links] == [sent.context.span_id]
    assert seen == [run.context.span_id]
    assert (sent.kind, run.kind) == (trace.SpanKind.PRODUCER, trace.SpanKind.CONSUMER)
    common = {
        "messaging.system": "protoqueue",
        "messaging.destination.name": "default/email",
        "messaging.message.id": receipt.id,
    }
    assert sent.attributes == common | {"messaging.operation.name": "enqueue", "messaging.operation.type": "send"}
    assert run.attributes == common | {
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.consumer.group.name": "mailers",
        "protoqueue.task.type": "welcome",
        "protoqueue.task.attempt": 1,
    }


async def test_a_batch_is_one_span_and_all_its_tasks_belong_to_it(traced: Traced) -> None:
    worker = traced.worker()

    @worker.handler
    def handle(payload: int) -> None: ...

    await traced.queue.enqueue_batch([1, NewTask(2, priority=9), NewTask(3, delay=60)])
    await worker.run_once()
    await traced.memory.advance(60)
    await worker.run_once()
    (sent,) = traced.spans("enqueue")
    assert sent.attributes is not None
    assert sent.attributes["messaging.batch.message_count"] == 3
    assert [run.parent and run.parent.span_id for run in traced.spans("process")] == [sent.context.span_id] * 3


async def test_retries_and_redrives_keep_the_trace_and_failures_are_recorded(traced: Traced) -> None:
    worker, errors = traced.worker(), iter([Retry("busy", delay=5), Reject("no address"), Reject("no address")])

    @worker.handler
    async def handle(task: Task) -> None:
        raise next(errors)

    await traced.queue.enqueue({})
    await worker.run_once()
    await traced.memory.advance(5)
    await worker.run_once()
    await traced.queue.redrive()
    await worker.run_once()
    (sent,), runs = traced.spans("enqueue"), traced.spans("process")
    assert [run.attributes and run.attributes["protoqueue.task.attempt"] for run in runs] == [1, 2, 1]
    assert {run.parent and run.parent.span_id for run in runs} == {sent.context.span_id}
    assert {run.context.trace_id for run in runs} == {sent.context.trace_id}
    first, second, _ = runs
    assert (first.status.status_code, first.status.description) == (trace.StatusCode.ERROR, "busy")
    assert second.attributes is not None
    assert second.attributes["error.type"] == "Reject"
    (event,) = second.events
    assert event.name == "exception"


async def test_a_snooze_and_a_cancelled_task_are_no_failures(traced: Traced) -> None:
    worker, started = traced.worker(), asyncio.Event()

    @worker.handler("snooze")
    async def snooze(task: Task) -> None:
        raise Snooze(60)

    @worker.handler("wait")
    async def wait(task: Task) -> None:
        started.set()
        await asyncio.Event().wait()

    await traced.queue.enqueue({}, type="snooze")
    receipt = await traced.queue.enqueue({}, type="wait")
    running = asyncio.create_task(worker.run_once())
    await asyncio.wait_for(started.wait(), 60)
    assert await traced.queue.cancel(receipt.id)
    await asyncio.wait_for(running, 60)
    assert [run.status.status_code for run in traced.spans("process")] == [trace.StatusCode.UNSET] * 2


async def test_an_enqueue_that_is_refused_is_an_error(traced: Traced) -> None:
    with pytest.raises(protoqueue.InvalidTask):
        await traced.queue.enqueue({}, priority=11)
    (sent,) = traced.spans("enqueue")
    assert sent.status.status_code is trace.StatusCode.ERROR


async def test_what_a_handler_enqueues_belongs_to_its_attempt(traced: Traced) -> None:
    worker = traced.worker()

    @worker.handler
    async def handle(payload: int) -> None:
        if payload:
            await (await worker.client.queue(str(NAME))).enqueue(payload - 1)

    await traced.queue.enqueue(1)
    await worker.run_once()
    assert len({span.context.trace_id for span in traced.exporter.get_finished_spans()}) == 1
    _, sent = traced.spans("enqueue")
    assert sent.parent is not None
    assert sent.parent.span_id in {run.context.span_id for run in traced.spans("process")}


@pytest.mark.parametrize("header", ["nonsense", f"00-{0:032}-{0:016}-01", ""])
async def test_an_attempt_without_a_usable_context_begins_a_trace(traced: Traced, header: str) -> None:
    worker = traced.worker()

    @worker.handler
    async def handle(task: Task) -> None: ...

    await traced.memory.broker.publish(Message(NAME.task(0), b"", {Header.TRACE_PARENT: header}), 1)
    with traced.provider.get_tracer("app").start_as_current_span("around the worker"):
        assert await worker.run_once() == 1
    (run,) = traced.spans("process")
    assert run.parent is None
    assert not run.links


async def test_a_traceparent_in_the_metadata_is_the_caller_s_own_business(traced: Traced) -> None:
    worker, metadata = traced.worker(), {"traceparent": f"00-{1:032}-{1:016}-01"}
    seen: list[Mapping[str, object]] = []

    @worker.handler
    async def handle(task: Task) -> None:
        seen.append(task.metadata)

    untraced = await traced.memory.client.queue(str(NAME))
    await untraced.enqueue({}, metadata=metadata)
    await worker.run_once()
    (run,) = traced.spans("process")
    assert run.parent is None
    assert seen == [metadata]


async def test_the_state_of_the_trace_and_the_decision_not_to_sample_travel_too(traced: Traced) -> None:
    state = trace.TraceState([("vendor", "x1")])
    context = trace.SpanContext(0xA, 0xB, is_remote=True, trace_flags=trace.TraceFlags(1), trace_state=state)
    with trace.use_span(trace.NonRecordingSpan(context)):
        await traced.queue.enqueue({})
    assert (await headers_in(traced.memory))[Header.TRACE_STATE] == "vendor=x1"
    async with await protoqueue.connect(tracer_provider=TracerProvider(sampler=ALWAYS_OFF)) as client:
        await (await client.queue(str(NAME))).enqueue({})
    flags = int((await headers_in(traced.memory, 2))[Header.TRACE_PARENT].rpartition("-")[2], 16)
    assert not flags & trace.TraceFlags.SAMPLED


async def test_where_nobody_has_set_up_opentelemetry_tasks_carry_no_context() -> None:
    async with in_memory(str(NAME), group="mailers") as memory:
        await (await memory.client.queue(str(NAME))).enqueue({})
        assert list(await headers_in(memory)) == [Header.MSG_ID]


WITHOUT_THE_EXTRA = """
import asyncio, sys
sys.modules["opentelemetry"] = None  # importing it fails as if it were not there
import protoqueue
from protoqueue.testing import in_memory

worker = protoqueue.Worker("default/email", group="mailers")

@worker.handler
async def handle(payload: str) -> None:
    print("ran", payload)

async def main():
    async with in_memory("default/email", group="mailers") as memory:
        queue = await memory.client.queue("default/email")
        await queue.enqueue("one")
        await queue.enqueue_batch(["two"])
        stored = await memory.broker.next_message("PQ_default_email", 1, ">", 1)
        print(*stored.headers)
        await worker.run_once()

asyncio.run(main())
"""


WITH_THE_PROCESS_S_PROVIDER = """
import asyncio
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
import protoqueue
from protoqueue.testing import in_memory

worker = protoqueue.Worker("default/email", group="mailers")
worker.handler(lambda task: None)
exporter, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)

async def main():
    async with in_memory("default/email", group="mailers") as memory:
        await (await memory.client.queue("default/email")).enqueue("one")
        await worker.run_once()

asyncio.run(main())
print(*(span.name for span in exporter.get_finished_spans()), sep="\\n")
"""


def test_clients_and_workers_use_what_the_process_has_set_up() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITH_THE_PROCESS_S_PROVIDER], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.splitlines() == ["enqueue default/email", "process default/email"], done.stderr


def test_without_the_extra_everything_works_and_tasks_carry_no_context() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_THE_EXTRA], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.splitlines() == ["Nats-Msg-Id", "ran one", "ran two"], done.stderr
