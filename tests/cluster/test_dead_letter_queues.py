"""Dead letters as work: `deadLetter.queueRef` of a Queue."""

import asyncio
from typing import Any

import pytest

from cluster.lab import Lab
from protoqueue_devcluster.kube.client import CONSUMER_GROUPS, QUEUES, ApiError
from waiting import eventually

TO_DLQ = {"queueRef": {"name": "email-dlq"}}
FIELD = "spec.deadLetter.queueRef.name"

# Of both queues: what is no letter dies once, what is one goes back.
BOTH = """
@worker.handler
async def handle(payload: dict, task: Task):
    if task.dead_letter:
        tell("letter", payload["n"], task.dead_letter.reason, task.dead_letter.error)
        raise protoqueue.Redrive
    if not os.path.exists(f"seen-{payload['n']}"):
        open(f"seen-{payload['n']}", "w").close()
        raise Reject("unknown")
    tell("done", payload["n"], task.attempt)
"""


async def letters_to(lab: Lab) -> str | None:
    """Where workers of `email` send dead letters."""
    entry = await lab.entry("email")
    assert entry
    name: str | None = entry["deadLetter"].get("queue")
    return name


async def test_a_first_letter_wakes_the_group_that_works_on_it_from_zero(lab: Lab) -> None:
    await lab.queue("email-dlq")
    await lab.queue(deadLetter=TO_DLQ)
    template = lab.worker_template("import protoqueue\n" + BOTH)
    autoscale = {"maxReplicas": 1, "idleDelay": "2s"}
    await lab.group(worker={"template": template}, replicas=1)
    await lab.group("analysts", "email-dlq", worker={"template": template}, autoscale=autoscale)
    await lab.ready(queues=("email", "email-dlq"), groups=("mailers", "analysts"))
    assert await lab.replicas("analysts") == 0
    async with await lab.client() as client:
        queue = await client.queue(f"{lab.namespace}/email")
        await queue.enqueue({"n": 1})
        await eventually(lambda: len(lab.told) == 2)
    assert lab.told == [["letter", "1", "Rejected", "unknown"], ["done", "1", "1"]]
    await lab.condition(CONSUMER_GROUPS, "analysts", "Scaling", status="True", reason="Idle")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"queueRef": {"name": "email"}}, "must name another Queue"),
        ({**TO_DLQ, "enabled": False}, "queueRef excludes enabled: false"),
    ],
)
async def test_what_no_other_object_is_needed_for_is_refused_by_the_api_server(
    lab: Lab, spec: dict[str, Any], said: str
) -> None:
    with pytest.raises(ApiError, match=said):
        await lab.queue(deadLetter=spec)


async def test_a_queue_whose_letters_have_nowhere_to_go_says_so_and_works_on(lab: Lab) -> None:
    await lab.queue(deadLetter=TO_DLQ)
    await lab.group()
    await lab.ready(queues=(), groups=("mailers",))
    missing = await lab.condition(QUEUES, "email", status="False", reason="DeadLetterQueueNotFound")
    assert FIELD in missing["message"]
    assert await letters_to(lab) is None

    await lab.queue("email-dlq")
    await lab.ready(queues=("email", "email-dlq"))
    assert await letters_to(lab) == "email-dlq"

    await lab.queue("email-dlq", deadLetter={"queueRef": {"name": "email"}})
    for name, way in (("email", "email → email-dlq → email"), ("email-dlq", "email-dlq → email → email-dlq")):
        cycle = await lab.condition(QUEUES, name, status="False", reason="InvalidSpec")
        assert FIELD in cycle["message"]
        assert way in cycle["message"]
    assert await letters_to(lab) is None
    await lab.queue("email-dlq", deadLetter={"queueRef": None})
    await lab.ready(queues=("email", "email-dlq"), groups=("mailers",))
    assert await letters_to(lab) == "email-dlq"

    await lab.secret("elsewhere", url=lab.nats_url)
    await lab.queue("email-dlq", nats={"connectionSecretRef": {"name": "elsewhere"}})
    other = await lab.condition(QUEUES, "email", status="False", reason="InvalidSpec")
    assert "another NATS connection" in other["message"]
    await lab.queue("email-dlq", nats=None)
    await lab.ready(queues=("email", "email-dlq"))
    assert "Drift" not in await lab.event_reasons("email")


async def test_a_dead_letter_queue_that_is_deleted_at_work_loses_no_letter(lab: Lab) -> None:
    """It goes at once, whoever names it; what it has stays with its stream, and what dies from then on at home."""
    tasks, rejected = 60, 0
    await lab.queue("email-dlq")
    await lab.queue(deadLetter=TO_DLQ)
    await lab.group()
    await lab.ready(queues=("email", "email-dlq"), groups=("mailers",))
    async with await lab.client() as client:
        queue = await client.queue(f"{lab.namespace}/email")
        await queue.enqueue_batch([{"n": n} for n in range(tasks)])

        async def reject_all() -> None:
            nonlocal rejected
            while rejected < tasks:
                for task in await queue.receive(5, wait=10):
                    await task.reject("no")
                    rejected += 1
                await asyncio.sleep(0.01)

        rejecting = asyncio.create_task(reject_all())
        await eventually(lambda: rejected >= 10)
        await lab.delete(QUEUES, "email-dlq")
        await lab.gone(QUEUES, "email-dlq")
        await lab.condition(QUEUES, "email", status="False", reason="DeadLetterQueueNotFound")
        await rejecting
        letters = await lab.stream("email-dlq")
        assert letters is not None, "deletionPolicy Retain"
        assert letters["state"]["messages"] + (await queue.stats()).dead == tasks
