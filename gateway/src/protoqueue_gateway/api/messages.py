"""Messages: enqueued, received, settled."""

import asyncio
import base64
import re
from datetime import datetime
from typing import Any

from pydantic_core import from_json, to_json
from starlette.responses import Response

from protoqueue import DeadLetterInfo, InvalidTask, ProtoQueueError, Receipt, Task
from protoqueue.protocol.payloads import JSON
from protoqueue_gateway.api import inputs, outputs
from protoqueue_gateway.api.bodies import read_body, read_query
from protoqueue_gateway.api.failures import problem_of
from protoqueue_gateway.api.operation import Answer, Call, Operations, json_answer, raw_json
from protoqueue_gateway.api.problems import Problem
from protoqueue_gateway.auth.keys import Action
from protoqueue_gateway.service.errors import Fault, ServiceError
from protoqueue_gateway.service.messages import Received

operations = Operations()

_IDEMPOTENCY = {"Idempotency-Key": "The dedupId of a message that has none of its own; of a batch `<key>:<number>`."}
_ITEM = re.compile(r"item ([0-9]+) of the batch, counted from 0: ")
_IDEMPOTENCY_KEY = re.compile("[!-~]{1,200}")
_TASK_ID = "01j9zk3v5w8x7y6t5s4r3q2p1n"
_STORED = {"id": _TASK_ID, "duplicate": False, "matched": None, "replaced": None}
_MESSAGE = {"payload": {"to": "ada@example.org"}, "type": "welcome", "priority": 5}


@operations.add(
    "POST", "/queues/{queue}/messages", "Enqueue a message", Action.ENQUEUE, tag="messages",
    body=inputs.NewMessage, headers=_IDEMPOTENCY, example=_MESSAGE,
    answers={201: Answer("It is stored.", outputs.Stored, _STORED)},
    problems=["QueueNotFound", "QueueFull"],
)  # fmt: skip
async def enqueue(call: Call) -> Response:
    message = await read_body(call, inputs.NewMessage)
    receipt = await call.services.messages.enqueue(call.queue, message.task(idempotency_key(call)))
    return json_answer(_stored(receipt), 201)


@operations.add(
    "POST", "/queues/{queue}/messages/batch", "Enqueue several messages, all or none", Action.ENQUEUE, tag="messages",
    body=inputs.NewMessages, headers=_IDEMPOTENCY, example={"messages": [_MESSAGE, {"payload": 2, "delay": "5m"}]},
    answers={201: Answer(
        "All are stored.", outputs.StoredAll, {"messages": [_STORED]},
    )},
    problems=["QueueNotFound", "QueueFull"],
)  # fmt: skip
async def enqueue_batch(call: Call) -> Response:
    batch = await read_body(call, inputs.NewMessages)
    _bound(call, "messages", len(batch.messages))
    key = idempotency_key(call)
    tasks = [
        message.task(f"{key}:{number}" if key else None) for number, message in enumerate(batch.messages)
    ]  # fmt: skip
    try:
        receipts = await call.services.messages.enqueue_batch(call.queue, tasks)
    except ProtoQueueError as error:
        raise _of_batch(error) from error
    return json_answer({"messages": list(map(_stored, receipts))}, 201)


_MATCHED = {"dedup_id": "dedupId", "unique": "unique"}


def _stored(receipt: Receipt) -> dict[str, Any]:
    return {
        "id": receipt.id, "duplicate": receipt.duplicate, "matched": _MATCHED.get(receipt.matched),
        "replaced": receipt.replaced or None,
    }  # fmt: skip


def _of_batch(error: ProtoQueueError) -> Problem:
    """With the message at fault, and with what is stored all the same: immediate and delayed ones lie apart."""
    problem = problem_of(error) or Problem("Internal", "the gateway failed")
    if isinstance(error, InvalidTask) and (match := _ITEM.match(problem.detail)):
        problem.faults = [Fault(("messages", int(match[1])), problem.detail[match.end() :])]
        problem.detail = f"message {match[1]} cannot be enqueued: {problem.detail[match.end() :]}"
    if any(error.receipts):
        stored = [None if one is None else _stored(one) for one in error.receipts]
        problem.more = {"messages": stored}
    return problem


def idempotency_key(call: Call) -> str | None:
    key = call.request.headers.get("idempotency-key")
    if key is not None and not _IDEMPOTENCY_KEY.fullmatch(key):
        raise Problem("BadRequest", "Idempotency-Key has 1 to 200 visible characters of ASCII")
    return key


def _bound(call: Call, name: str, count: int) -> None:
    if count > (most := call.services.settings.max_batch_size):
        raise Problem("Invalid", f"there are {count}, and {most} are allowed", [Fault((name,), f"at most {most}")])


@operations.add(
    "GET", "/queues/{queue}/messages", "Receive messages, waiting for the first", Action.CONSUME, tag="messages",
    query=inputs.ReceiveQuery,
    answers={200: Answer("The messages received; empty when none came in time.", outputs.Messages, {"messages": [{
        "id": _TASK_ID, "receipt": "rQ5x…", "payload": {"to": "ada@example.org"}, "type": "welcome", "attempt": 1,
        "maxAttempts": 4, "priority": 5, "enqueuedAt": "2026-11-30T09:00:00Z", "metadata": {},
        "orderingKey": None, "deadLetter": None,
        "leasedUntil": "2026-11-30T09:00:30Z", "group": "email",
    }]})},
    problems=["QueueNotFound", "GroupNotFound", "TooManyRequests"],
)  # fmt: skip
async def receive(call: Call) -> Response:
    query, services = read_query(call.request, inputs.ReceiveQuery), call.services
    received = await services.messages.receive(
        call.queue, query.group, query.max_messages, query.wait.total_seconds(), caller=call.key.id,
        revoked=call.revoked(), gone=_left(call),
    )  # fmt: skip
    return raw_json(b'{"messages":[' + b",".join(map(_message, received)) + b"]}")


async def _left(call: Call) -> None:
    """Returns when the client has gone. What of a body comes before is of no interest."""
    while (await call.request.receive())["type"] != "http.disconnect":
        pass


def _message(received: Received) -> bytes:
    task = received.task
    told = {
        "id": task.id, "receipt": received.receipt, "type": task.type, "attempt": task.attempt,
        "maxAttempts": task.max_attempts, "priority": task.priority, "enqueuedAt": moment(task.enqueued_at),
        "metadata": task.metadata, "orderingKey": task.ordering_key or None,
        "deadLetter": _dead_letter(task.dead_letter), "leasedUntil": moment(task.leased_until), "group": task.group,
    }  # fmt: skip
    return with_payload(told, task)


def _dead_letter(info: DeadLetterInfo | None) -> dict[str, Any] | None:
    if info is None:
        return None
    told = {
        "reason": info.reason, "error": info.error, "errorType": info.error_type, "traceback": info.traceback,
        "attempts": info.attempts, "failedAt": moment(info.failed_at), "worker": info.worker, "queue": info.queue,
        "group": info.group,
    }  # fmt: skip
    return told | {"previous": _dead_letter(info.previous)} if info.previous else told


def with_payload(told: dict[str, Any], task: Task) -> bytes:
    """A JSON object with the task's payload: as it is where that is JSON, else in base64."""
    if task.content_type in (JSON, "") and _is_json(task.data):
        return to_json(told)[:-1] + b',"payload":' + task.data + b"}"
    more = {"payloadBase64": base64.b64encode(task.data).decode(), "contentType": task.content_type}
    return to_json(told | more)


def _is_json(data: bytes) -> bool:
    try:
        from_json(data, allow_inf_nan=False)
    except ValueError:
        return False
    return True


def moment(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


_SETTLED = {204: Answer("Done.")}
_SETTLING = ["QueueNotFound", "GroupNotFound", "InvalidReceipt", "LeaseLost"]


@operations.add(
    "POST", "/queues/{queue}/messages/ack", "Acknowledge several messages", Action.CONSUME, tag="messages",
    body=inputs.AckBatch, example={"receipts": ["rQ5x…"]},
    answers={200: Answer("What became of each.", outputs.SettledAll, {"results": [{"receipt": "rQ5x…", "ok": True}]})},
    problems=["QueueNotFound"],
)  # fmt: skip
async def ack_batch(call: Call) -> Response:
    batch = await read_body(call, inputs.AckBatch)
    _bound(call, "receipts", len(batch.receipts))
    await call.services.connection.queue(call.queue)  # that there is none is not about one receipt
    results = await asyncio.gather(*(_acked(call, receipt) for receipt in batch.receipts))
    return json_answer({"results": results})


async def _acked(call: Call, receipt: str) -> dict[str, Any]:
    try:
        await call.services.settlement.ack(call.queue, receipt)
    except (ProtoQueueError, ServiceError) as error:
        problem = problem_of(error) or Problem("Internal", "the gateway failed")
        told = {"status": problem.status, "code": problem.code, "detail": problem.detail}
        return {"receipt": receipt, "ok": False, **told}
    return {"receipt": receipt, "ok": True}


@operations.add(
    "POST", "/queues/{queue}/messages/{receipt}/ack", "Acknowledge a message: it is done", Action.CONSUME,
    tag="messages", body=inputs.Nothing, body_optional=True, answers=_SETTLED, problems=_SETTLING,
)  # fmt: skip
async def ack(call: Call) -> Response:
    await read_body(call, inputs.Nothing, optional=True)
    await call.services.settlement.ack(call.queue, call.request.path_params["receipt"])
    return Response(status_code=204)


@operations.add(
    "POST", "/queues/{queue}/messages/{receipt}/nack", "The attempt failed: the next one later", Action.CONSUME,
    tag="messages", body=inputs.Nack, body_optional=True, example={"delay": 5}, answers=_SETTLED, problems=_SETTLING,
)  # fmt: skip
async def nack(call: Call) -> Response:
    body = await read_body(call, inputs.Nack, optional=True)
    delay_s = None if body.delay is None else body.delay.total_seconds()
    await call.services.settlement.nack(call.queue, call.request.path_params["receipt"], delay_s)
    return Response(status_code=204)


@operations.add(
    "POST", "/queues/{queue}/messages/{receipt}/reject", "Give a message up: to the dead letters", Action.CONSUME,
    tag="messages", body=inputs.Reject, body_optional=True, example={"reason": "no such address"}, answers=_SETTLED,
    problems=_SETTLING,
)  # fmt: skip
async def reject(call: Call) -> Response:
    body = await read_body(call, inputs.Reject, optional=True)
    await call.services.settlement.reject(call.queue, call.request.path_params["receipt"], body.reason)
    return Response(status_code=204)


@operations.add(
    "POST", "/queues/{queue}/messages/{receipt}/throttle", "Close the group for a while: what the task calls is busy",
    Action.CONSUME, tag="messages", body=inputs.Throttle, example={"delay": 30, "reason": "429 from the mail API"},
    answers={204: Answer(
        "The message comes again after that, as the same attempt; until then nobody gets a message of the group."
    )},
    problems=_SETTLING,
)  # fmt: skip
async def throttle(call: Call) -> Response:
    body = await read_body(call, inputs.Throttle)
    await call.services.settlement.throttle(call.queue, call.request.path_params["receipt"], body.delay, body.reason)
    return Response(status_code=204)


@operations.add(
    "POST", "/queues/{queue}/messages/{receipt}/extend", "Hold a message for longer", Action.CONSUME, tag="messages",
    body=inputs.Extend, body_optional=True, example={"seconds": 60}, answers=_SETTLED, problems=_SETTLING,
)  # fmt: skip
async def extend(call: Call) -> Response:
    body = await read_body(call, inputs.Extend, optional=True)
    await call.services.settlement.extend(call.queue, call.request.path_params["receipt"], body.seconds)
    return Response(status_code=204)
