"""Dead letters: listed, looked at, deleted. `redrives` has them put back."""

from starlette.responses import Response

from protoqueue import DeadLetter
from protoqueue_gateway.api import inputs, outputs
from protoqueue_gateway.api.bodies import read_query
from protoqueue_gateway.api.cursors import read_cursor, write_cursor
from protoqueue_gateway.api.messages import moment, with_payload
from protoqueue_gateway.api.operation import Answer, Call, Operations, raw_json
from protoqueue_gateway.auth.keys import Action

operations = Operations()

_LETTER = {
    "id": "01j9zk3v5w8x7y6t5s4r3q2p1n", "sequence": 7, "type": "welcome", "payload": {"to": "ada@example.org"},
    "metadata": {}, "priority": 5, "orderingKey": None, "enqueuedAt": "2026-11-30T09:00:00Z", "reason": "MaxAttempts",
    "error": "nack", "errorType": "Retry", "traceback": "", "attempts": 4, "maxAttempts": 4, "group": "email",
    "worker": "gateway-7d9f-1", "failedAt": "2026-11-30T09:10:00Z", "redrives": 0,
}  # fmt: skip
_NOT_THERE = ["QueueNotFound", "DeadLetterNotFound"]


@operations.add(
    "GET", "/queues/{queue}/dead-letters", "List dead letters, oldest first", Action.READ, tag="dead letters",
    query=inputs.LettersQuery,
    answers={200: Answer("A page of them.", outputs.DeadLetterPage, {"deadLetters": [_LETTER], "cursor": None})},
    problems=["QueueNotFound"],
)  # fmt: skip
async def list_dead_letters(call: Call) -> Response:
    query = read_query(call.request, inputs.LettersQuery)
    after = read_cursor("letters", query.cursor)
    letters, last = await call.services.dead_letters.page(
        call.queue, query.group, after if isinstance(after, int) else 0, query.limit
    )
    cursor = "null" if last is None else f'"{write_cursor("letters", last)}"'
    content = b",".join(map(_letter, letters))
    return raw_json(b'{"deadLetters":[' + content + b'],"cursor":' + cursor.encode() + b"}")


@operations.add(
    "GET", "/queues/{queue}/dead-letters/{id}", "Get a dead letter", Action.READ, tag="dead letters",
    answers={200: Answer("The newest of this task.", outputs.DeadLetter, _LETTER)}, problems=_NOT_THERE,
)  # fmt: skip
async def get_dead_letter(call: Call) -> Response:
    return raw_json(_letter(await call.services.dead_letters.find(call.queue, call.request.path_params["id"])))


@operations.add(
    "DELETE", "/queues/{queue}/dead-letters/{id}", "Delete a dead letter", Action.MANAGE, tag="dead letters",
    answers={204: Answer("It is gone.")}, problems=_NOT_THERE,
)  # fmt: skip
async def delete_dead_letter(call: Call) -> Response:
    await call.services.dead_letters.delete(call.queue, call.request.path_params["id"])
    return Response(status_code=204)


def _letter(letter: DeadLetter) -> bytes:
    task = letter.task
    told = {
        "id": task.id, "sequence": letter.sequence, "type": task.type, "metadata": task.metadata,
        "priority": task.priority, "orderingKey": task.ordering_key or None, "enqueuedAt": moment(task.enqueued_at),
        "reason": letter.reason, "error": letter.error, "errorType": letter.error_type, "traceback": letter.traceback,
        "attempts": letter.attempts, "maxAttempts": task.max_attempts, "group": letter.group, "worker": letter.worker,
        "failedAt": moment(letter.failed_at), "redrives": letter.redrives,
    }  # fmt: skip
    return with_payload(told, task)
