"""Recurring tasks: each says which slot of its schedule it is of, and no slot is worked on twice."""

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import nats
import protoqueue
from nats_server import NatsServer
from protoqueue.protocol.names import QueueName
from protoqueue_operator.api.v1alpha1.queue import QueueSpec as Spec
from protoqueue_operator.queue.schedules import recurring_tasks
from provisioning import GroupSpec, QueueSpec, api, provision
from waiting import eventually

NAME = QueueName("default", "reports")


async def test_what_a_killed_server_fires_again_is_not_run_again(own_server: NatsServer) -> None:
    connection = await nats.connect(own_server.url)
    await provision(connection, QueueSpec("reports"), (GroupSpec(),))
    due = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=25)  # the server stops and starts before that
    cron = f"{due.second} {due.minute} {due.hour} * * *"
    (daily,) = recurring_tasks(NAME, Spec.model_validate({"schedules": [{"name": "daily", "cron": cron}]}))
    await connection.jetstream().publish(daily.subject, daily.data, headers=dict(daily.headers))
    await connection.close()
    own_server.stop()  # what it knows of schedules it writes down when it stops, and otherwise every few minutes
    await own_server.start()
    await stored(own_server, 1)
    own_server.kill()
    await own_server.start()
    await stored(own_server, 2)
    worker, runs = protoqueue.Worker("default/reports", group="mailers", url=own_server.url), []

    @worker.handler
    async def report(payload: dict[str, str], task: protoqueue.Task) -> None:
        runs.append((task.id, task.scheduled_for))

    serving = asyncio.create_task(worker.serve())
    async with await protoqueue.connect(own_server.url) as client:
        queue = await client.queue("default/reports")

        async def is_done() -> bool:
            stats = await queue.stats()
            return stats.waiting + stats.in_flight == 0

        await eventually(is_done)
    assert len(runs) == 1
    assert runs[0][0].startswith("daily@")
    assert runs[0][1] == due
    worker.stop()
    await serving


async def stored(server: NatsServer, count: int) -> None:
    """Return at once when so many tasks lie in the queue's stream."""
    connection = await nats.connect(server.url)

    async def are_stored() -> bool:
        state = (await api(connection, f"STREAM.INFO.{NAME.stream}", {"subjects_filter": ">"}))["state"]
        return sum(n for subject, n in state.get("subjects", {}).items() if ".task." in subject) == count

    await eventually(are_stored, timeout_s=60, interval_s=0.01)
    await connection.close()


async def test_a_slot_keeps_its_time_through_retries(make_queue, make_worker, start, nc) -> None:
    queue = await make_queue(GroupSpec(retry={"initial_delay_s": 0.1, "jitter": 0.0}))
    name = QueueName.parse(str(queue.name))
    worker, seen = make_worker(), []

    @worker.handler
    async def report(payload: object, task: protoqueue.Task) -> None:
        seen.append((task.id, task.scheduled_for, task.attempt))
        if task.attempt == 1:
            raise RuntimeError("not yet")

    (often,) = recurring_tasks(name, Spec.model_validate({"schedules": [{"name": "often", "cron": "* * * * * *"}]}))
    began = datetime.now(UTC)
    await nc.jetstream().publish(often.subject, often.data, headers=dict(often.headers))
    start(worker)
    await eventually(lambda: len([attempt for *_, attempt in seen if attempt == 2]) >= 2)
    await nc.jetstream().purge_stream(QueueSpec(name.name).later_stream, subject=often.subject)
    slots = {task_id: slot for task_id, slot, attempt in seen if attempt == 1}
    assert len(set(slots.values())) == len(slots)
    assert all(began < slot <= datetime.now(UTC) and not slot.microsecond for slot in slots.values())
    assert all(slots[task_id] == slot for task_id, slot, attempt in seen if attempt == 2)


async def test_after_an_outage_what_was_missed_is_not_made_up_for_firing_by_firing(own_server: NatsServer) -> None:
    connection = await nats.connect(own_server.url)
    await provision(connection, QueueSpec("reports"), (GroupSpec(),))
    (often,) = recurring_tasks(NAME, Spec.model_validate({"schedules": [{"name": "often", "cron": "* * * * * *"}]}))
    await connection.jetstream().publish(often.subject, often.data, headers=dict(often.headers))
    await eventually(lambda: slots(own_server))
    await connection.close()
    own_server.stop()
    stopped = datetime.now(UTC)
    await asyncio.sleep(10)  # the outage
    await own_server.start()

    async def goes_on() -> bool:
        return max(await slots(own_server)) > stopped + timedelta(seconds=12)

    await eventually(goes_on)
    fired = sorted(await slots(own_server))
    assert max(later - slot for slot, later in pairwise(fired)) >= timedelta(seconds=5), fired


async def slots(server: NatsServer) -> list[datetime]:
    """Of the firings that lie in the queue's stream."""
    async with await protoqueue.connect(server.url) as client:
        tasks = await (await client.queue(str(NAME))).peek(limit=1000)
    return [task.scheduled_for for task in tasks if task.scheduled_for]
