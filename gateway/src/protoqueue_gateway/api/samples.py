"""What a queue held over time, for charts."""

from typing import Any

from starlette.responses import Response

from protoqueue import QueueSample, WorkerChange
from protoqueue_gateway.api import inputs, outputs
from protoqueue_gateway.api.bodies import read_query
from protoqueue_gateway.api.operation import Answer, Call, Operations, json_answer
from protoqueue_gateway.auth.keys import Action

operations = Operations()

_EXAMPLE = {
    "stepSeconds": 10,
    "samples": [
        {
            "at": "2026-11-30T09:00:00Z", "waiting": 120, "inFlight": 20, "scheduled": 3, "dead": 1, "arrivals": 45,
            "completions": 38, "oldestAgeSeconds": 17, "workersDesired": 3, "workersAvailable": 2,
        }
    ],
    "changes": [
        {
            "at": "2026-11-30T09:00:04Z", "group": "mailers", "before": 1, "after": 3, "reason": "ScaledUp",
            "message": "140 tasks outstanding",
        }
    ],
}  # fmt: skip


@operations.add(
    "GET", "/queues/{queue}/samples", "Look back at the last hour or day of a queue", Action.READ,
    query=inputs.SamplesQuery,
    answers={200: Answer("Oldest first; where a step is missing nobody measured.", outputs.Samples, _EXAMPLE)},
    problems=["QueueNotFound"],
)  # fmt: skip
async def samples(call: Call) -> Response:
    since = read_query(call.request, inputs.SamplesQuery).since
    found = await (await call.services.connection.queue(call.queue)).samples(since)
    return json_answer({
        "stepSeconds": int(found.step.total_seconds()),
        "samples": [_sample(sample) for sample in found.samples],
        "changes": [_change(change) for change in found.changes],
    })  # fmt: skip


def _sample(sample: QueueSample) -> dict[str, Any]:
    age = sample.oldest_age
    return {
        "at": sample.at, "waiting": sample.waiting, "inFlight": sample.in_flight, "scheduled": sample.scheduled,
        "dead": sample.dead, "arrivals": sample.arrivals, "completions": sample.completions,
        "oldestAgeSeconds": None if age is None else int(age.total_seconds()),
        "workersDesired": sample.workers_desired, "workersAvailable": sample.workers_available,
    }  # fmt: skip


def _change(change: WorkerChange) -> dict[str, Any]:
    return {
        "at": change.at, "group": change.group, "before": change.before, "after": change.after,
        "reason": change.reason, "message": change.message,
    }  # fmt: skip
