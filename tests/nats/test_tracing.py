"""The context of a trace on its way through JetStream."""

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import protoqueue
from protoqueue import NewTask, Retry, Task
from waiting import eventually


async def test_one_trace_leads_through_batch_schedule_and_retry_to_every_attempt(
    make_queue, make_worker, start, server, queue_name
) -> None:
    await make_queue()
    provider, exporter = TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    worker = make_worker(tracer_provider=provider)

    @worker.handler
    async def handle(payload: str, task: Task) -> None:
        if task.attempt == 1:
            raise Retry(delay=0.1)

    def spans(kind: str) -> list[ReadableSpan]:
        return [span for span in exporter.get_finished_spans() if span.name == f"{kind} default/{queue_name}"]

    async with await protoqueue.connect(server.url, tracer_provider=provider) as client:
        queue = await client.queue(f"default/{queue_name}")
        with provider.get_tracer("app").start_as_current_span("request"):
            await queue.enqueue("one")
            await queue.enqueue_batch(["two", "three", NewTask("later", delay=0.2)])
        start(worker)
        await eventually(lambda: len(spans("process")) == 8)

        one, batch = (span.context.span_id for span in spans("enqueue"))
        assert sorted(run.parent.span_id for run in spans("process")) == sorted([one] * 2 + [batch] * 6)
        assert sorted(run.attributes["protoqueue.task.attempt"] for run in spans("process")) == [1] * 4 + [2] * 4
        assert len({span.context.trace_id for span in exporter.get_finished_spans()}) == 1
