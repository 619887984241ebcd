"""Spans of producers and handlers, where OpenTelemetry is installed (the extra `protoqueue[otel]`) and set up.

Names and attributes follow OpenTelemetry's semantic conventions for messaging; what they have no word for is under
`protoqueue.`. The context travels in the headers of W3C Trace Context, which retries, dead letters and redrives keep.
"""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Optional

from protoqueue.outcomes import Redrive, Snooze
from protoqueue.protocol.names import GroupName, QueueName
from protoqueue.task import Task

try:
    from opentelemetry import trace
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    _INSTALLED = True
except ImportError:
    _INSTALLED = False

if TYPE_CHECKING:
    from opentelemetry.trace import Span, TracerProvider
    from opentelemetry.util.types import AttributeValue

NOT_TRACED: AbstractContextManager[Mapping[str, str]] = nullcontext({})
"""In place of a producer's span: no headers."""


class Tracing:
    """Makes spans with one tracer. Without tracing callers hold None instead, which only costs that check."""

    def __init__(self, provider: "TracerProvider") -> None:
        self._tracer = provider.get_tracer("protoqueue")
        self._propagator = TraceContextTextMapPropagator()

    @classmethod
    def using(cls, provider: "TracerProvider | None") -> Optional["Tracing"]:
        """With `provider`, else the process's; None if OpenTelemetry is missing or not set up by now."""
        if not _INSTALLED:
            return None
        provider = provider or trace.get_tracer_provider()
        return None if isinstance(provider, trace.ProxyTracerProvider) else cls(provider)

    @contextmanager
    def sending(
        self, queue: QueueName, *, task_id: str | None = None, count: int | None = None
    ) -> Iterator[Mapping[str, str]]:
        """A producer's span, of one task or a batch of `count`; yields the headers that lead consumers to it."""
        attributes = _attributes("enqueue", "send", queue)
        if task_id is not None:
            attributes["messaging.message.id"] = task_id
        if count is not None:
            attributes["messaging.batch.message_count"] = count
        span = self._tracer.start_span(f"enqueue {queue}", kind=trace.SpanKind.PRODUCER, attributes=attributes)
        with _current(span):
            headers: dict[str, str] = {}
            self._propagator.inject(headers)
            yield headers

    @contextmanager
    def attempt(self, task: Task, headers: Mapping[str, str], group: GroupName) -> Iterator[None]:
        """A consumer's span for one run of a handler: a child of the span that enqueued the task, and linked to it.

        It knows nothing of what is current in the worker: without the headers it begins a trace.
        """
        attributes = _attributes("process", "process", group.queue) | {
            "messaging.message.id": task.id,
            "messaging.consumer.group.name": group.name,
            "protoqueue.task.attempt": task.attempt,
        }
        if task.type:
            attributes["protoqueue.task.type"] = task.type
        parent = self._propagator.extract(headers, Context())
        sent = trace.get_current_span(parent).get_span_context()
        span = self._tracer.start_span(
            f"process {group.queue}",
            parent,
            kind=trace.SpanKind.CONSUMER,
            attributes=attributes,
            links=[trace.Link(sent)] if sent.is_valid else None,
        )
        with _current(span):
            yield


@contextmanager
def _current(span: "Span") -> Iterator[None]:
    """Have `span` be the current one, and tell it how the block ends."""
    with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
        try:
            yield
        except (Exception, asyncio.CancelledError) as error:
            if _is_failure(error):
                span.record_exception(error)
                span.set_attribute("error.type", type(error).__qualname__)
                span.set_status(trace.StatusCode.ERROR, str(error))
            raise


def _is_failure(error: Exception | asyncio.CancelledError) -> bool:
    """Not a snooze, a redrive, a stop of the worker or a cancellation of the task."""
    if isinstance(error, asyncio.CancelledError):
        current = asyncio.current_task()
        return current is None or not current.cancelling()
    return not isinstance(error, Redrive | Snooze)


def _attributes(name: str, kind: str, queue: QueueName) -> "dict[str, AttributeValue]":
    return {
        "messaging.system": "protoqueue",
        "messaging.operation.name": name,
        "messaging.operation.type": kind,
        "messaging.destination.name": str(queue),
    }
