"""Dead letters that are put back by the operator: started, looked at, stopped."""

from starlette.responses import Response

from protoqueue_gateway.api import inputs, outputs
from protoqueue_gateway.api.bodies import read_body
from protoqueue_gateway.api.messages import idempotency_key, moment
from protoqueue_gateway.api.operation import Answer, Call, Operations, json_answer
from protoqueue_gateway.auth.keys import Action
from protoqueue_gateway.service.redrives import RedriveView

operations = Operations()

_IDEMPOTENCY = {"Idempotency-Key": "A second request with the same key starts nothing, and tells what the first did."}

_REDRIVE = {
    "name": "email-1f9c03ab", "state": "Redriving", "message": "putting dead letters back into the queue",
    "finished": False, "matched": 1200, "moved": 400, "remaining": 800, "failed": 0, "limit": None, "suspended": False,
    "dryRun": False, "createdAt": "2026-11-30T09:10:00Z", "startedAt": "2026-11-30T09:10:00Z", "finishedAt": None,
}  # fmt: skip
_STARTED = _REDRIVE | {
    "state": "Pending", "message": "", "matched": None, "moved": None, "remaining": None, "failed": None,
    "startedAt": None,
}  # fmt: skip


@operations.add(
    "POST", "/queues/{queue}/dead-letters/redrive", "Put dead letters back with fresh attempts", Action.MANAGE,
    tag="dead letters", body=inputs.Redrive, body_optional=True, headers=_IDEMPOTENCY,
    example={"filter": {"reasons": ["MaxAttempts"]}, "rate": 100, "limit": 1000},
    answers={202: Answer("It has been started: `Location` says where to look.", outputs.RedriveProgress, _STARTED)},
    problems=["QueueNotFound"],
)  # fmt: skip
async def redrive(call: Call) -> Response:
    body = await read_body(call, inputs.Redrive, optional=True)
    await call.services.queues.require(call.queue)
    found = await call.services.redrives.create(call.queue, body.stated(), idempotency_key(call))
    path = f"/v1/namespaces/{call.queue.namespace}/queues/{call.queue.name}/redrives/{found.name}"
    return json_answer(_told(found), 202, {"Location": path})


@operations.add(
    "GET", "/queues/{queue}/redrives", "List redrives, the newest first", Action.READ, tag="dead letters",
    answers={200: Answer("Those of the last hour, and what is under way.", outputs.RedriveList,
                         {"redrives": [_REDRIVE]})},
)  # fmt: skip
async def list_redrives(call: Call) -> Response:
    found = await call.services.redrives.list_of(call.queue)
    return json_answer({"redrives": [_told(each) for each in found]})


@operations.add(
    "GET", "/queues/{queue}/redrives/{name}", "Look how far a redrive is", Action.READ, tag="dead letters",
    answers={200: Answer("How far it is.", outputs.RedriveProgress, _REDRIVE)}, problems=["RedriveNotFound"],
)  # fmt: skip
async def get_redrive(call: Call) -> Response:
    return json_answer(_told(await call.services.redrives.get(call.queue, call.request.path_params["name"])))


@operations.add(
    "DELETE", "/queues/{queue}/redrives/{name}", "Stop a redrive", Action.MANAGE, tag="dead letters",
    answers={204: Answer("It stops. What was moved stays moved.")}, problems=["RedriveNotFound"],
)  # fmt: skip
async def stop_redrive(call: Call) -> Response:
    await call.services.redrives.stop(call.queue, call.request.path_params["name"])
    return Response(status_code=204)


def _told(found: RedriveView) -> dict[str, object]:
    return {
        "name": found.name, "state": found.state, "message": found.message, "finished": found.is_finished,
        "matched": found.matched, "moved": found.moved, "remaining": found.remaining, "failed": found.failed,
        "limit": found.limit, "suspended": found.is_suspended, "dryRun": found.is_dry_run,
        "createdAt": moment(found.created_at), "startedAt": moment(found.started_at),
        "finishedAt": moment(found.finished_at),
    }  # fmt: skip
