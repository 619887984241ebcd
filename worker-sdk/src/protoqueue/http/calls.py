"""Each call of the gateway as a value: what to send, and what the answer means. Both clients send them."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from protoqueue.errors import ProtoQueueError
from protoqueue.http.errors import LeaseLost, MalformedAnswer, api_error
from protoqueue.http.leases import Leases
from protoqueue.http.model import Enqueued, Message, QueueInfo, QueueStats
from protoqueue.http.transport import Answer, Request
from protoqueue.http.wire import (
    Duration,
    MessageOptions,
    decode_enqueued,
    decode_message,
    decode_queue,
    decode_stats,
    encode_message,
    listed,
    queue_path,
    seconds,
)

_READY_WAIT_S = 10.0

T = TypeVar("T")


@dataclass(frozen=True)
class Call(Generic[T]):
    """A request, what its answer means, and what is to be done when it fails for good."""

    request: Request
    decode: Callable[[Answer], T]
    failed: Callable[[ProtoQueueError], None] = lambda _: None


def create(
    name: str, config: Mapping[str, Any] | None, spec: Mapping[str, Any] | None, wait: Duration | None
) -> Call[QueueInfo]:
    path, _, own_name = queue_path(name).rpartition("/")
    body = {"name": own_name, "config": config, "spec": spec}
    asked = seconds(wait)
    request = Request(
        "POST",
        path,
        {field: value for field, value in body.items() if value is not None},
        {} if asked is None else {"wait": asked},
        wait_s=asked if isinstance(asked, int | float) else _READY_WAIT_S,
    )
    return Call(request, lambda answer: decode_queue(answer.value))


def enqueue(queue: str, payload: Any, options: MessageOptions) -> Call[Enqueued]:
    request = Request("POST", f"{queue_path(queue)}/messages", encode_message(payload, **options))
    made_here = not options.get("dedup_id")
    return Call(request, lambda answer: decode_enqueued(answer.value, made_here=made_here))


def enqueue_batch(queue: str, messages: Iterable[Mapping[str, Any]]) -> Call[list[Enqueued]]:
    given = [dict(message) for message in messages]
    body = {"messages": [encode_message(**message) for message in given]}

    def decode(answer: Answer) -> list[Enqueued]:
        stored = listed(answer.value, "messages")
        if len(stored) != len(given):
            raise MalformedAnswer(f"{len(given)} messages were sent, and the answer has {len(stored)}")
        return [
            decode_enqueued(one, made_here=not message.get("dedup_id"))
            for one, message in zip(stored, given, strict=True)
        ]

    return Call(Request("POST", f"{queue_path(queue)}/messages/batch", body), decode)


def receive(
    leases: Leases, queue: str, max_messages: int, wait: float, group: str | None, retries: int | None = None
) -> Call[list[Message]]:
    query: dict[str, str | int | float] = {"maxMessages": max_messages, "wait": f"{wait:g}"}
    if group:
        query["group"] = group

    def decode(answer: Answer) -> list[Message]:
        items = listed(answer.value, "messages")
        messages = [decode_message(item, queue, group or "", answer.at) for item in items]
        for message in messages:
            leases.add(message)
        return messages

    request = Request("GET", f"{queue_path(queue)}/messages", query=query, wait_s=wait, retries=retries)
    return Call(request, decode)


def settle(leases: Leases, message: Message, verb: str, body: Mapping[str, Any]) -> Call[None]:
    """`ack`, `nack`, `reject`, `throttle`: afterwards the message is no longer held."""

    def failed(error: ProtoQueueError) -> None:
        if isinstance(error, LeaseLost):
            leases.forget(message)

    return Call(Request("POST", _receipt_path(message, verb), body), lambda _: leases.forget(message), failed)


def extend(
    leases: Leases,
    message: Message,
    duration: float | None,
    *,
    retries: int | None = None,
    timeout_s: float | None = None,
) -> Call[None]:
    body = {} if duration is None else {"seconds": duration}
    ending = settle(leases, message, "extend", body)
    request = Request("POST", ending.request.path, body, retries=retries, timeout_s=timeout_s)
    return Call(request, lambda _: None, ending.failed)


def ack_together(leases: Leases, messages: list[Message]) -> Call[list[ProtoQueueError | None]]:
    """Ack messages of one queue: an error for each that could not be, None for the others."""
    body = {"receipts": [message.receipt for message in messages]}

    def decode(answer: Answer) -> list[ProtoQueueError | None]:
        results = listed(answer.value, "results")
        if len(results) != len(messages):
            raise MalformedAnswer(f"{len(messages)} receipts were sent, and the answer has {len(results)} results")
        for message in messages:
            leases.forget(message)
        return list(map(_ack_error, results))

    return Call(Request("POST", f"{queue_path(messages[0].queue)}/messages/ack", body), decode)


def stats(queue: str) -> Call[QueueStats]:
    return Call(Request("GET", f"{queue_path(queue)}/stats"), lambda answer: decode_stats(answer.value))


def nack_body(delay: Duration | None) -> dict[str, Any]:
    return {} if delay is None else {"delay": seconds(delay)}


def throttle_body(delay: Duration, reason: str) -> dict[str, Any]:
    return {"delay": seconds(delay), **({"reason": reason} if reason else {})}


def _ack_error(result: object) -> ProtoQueueError | None:
    if not isinstance(result, dict):
        return MalformedAnswer("a receipt has no result")
    if result.get("ok") is True:
        return None
    status = result.get("status")
    return api_error(status if isinstance(status, int) else 409, result)


def _receipt_path(message: Message, verb: str) -> str:
    return f"{queue_path(message.queue)}/messages/{quote(message.receipt, safe='')}/{verb}"
