"""A worker's answers to requests: to cancel a task, whether it holds one, and its status."""

import contextlib

from protoqueue.broker import Broker
from protoqueue.consumer.loop import WorkLoop
from protoqueue.consumer.settings import SettingsWatch
from protoqueue.protocol.names import GroupName
from protoqueue.protocol.worker_status import WorkerStatus, host_name


async def answer_requests(
    stack: contextlib.AsyncExitStack, broker: Broker, group: GroupName, loop: WorkLoop, settings: SettingsWatch,
    concurrency: int,
) -> None:  # fmt: skip
    """Answer until the stack unwinds."""

    def cancel_task(task_id: bytes) -> bytes | None:
        return b"" if loop.cancel(task_id.decode(errors="replace")) else None

    def report_held(task_id: bytes) -> bytes | None:
        held = loop.held(task_id.decode(errors="replace"))
        return held.encode() if held else None

    def report_status(_: bytes) -> bytes:
        trouble = broker.acks_refused or loop.unsettled or settings.missing or ""
        return WorkerStatus(host_name(), loop.running, concurrency, loop.is_rate_limited, trouble).encode()

    for subject, answer in (
        (group.queue.cancellations, cancel_task),
        (group.queue.holder_requests, report_held),
        (group.status_requests, report_status),
    ):
        stack.push_async_callback((await broker.listen(subject, answer)).unsubscribe)
