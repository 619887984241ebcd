"""Outcomes that NATS does not take."""

import asyncio
import json
import urllib.error
import urllib.request

from ports import free_port
from protoqueue import NewTask, Reject
from protoqueue.protocol.names import QueueName
from provisioning import GroupSpec, QueueSpec, api, provision
from waiting import eventually

WITHOUT = 7


def asked(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


async def test_outcomes_that_cannot_be_stored_hold_no_slots_and_make_the_worker_unready(
    make_queue, make_worker, start, nc, queue_name, monkeypatch
) -> None:
    """The stream of the dead letters is gone, and twice as many tasks die as there are slots."""
    monkeypatch.setenv("PROTOQUEUE_METRICS_PORT", str(port := free_port()))
    queue = await make_queue(GroupSpec(visibility_s=2))
    await api(nc, f"STREAM.DELETE.{QueueName('default', queue_name).dead_letter_stream}", {})
    worker, done, refused = make_worker(concurrency=4), set(), []

    @worker.handler
    async def work(payload: int) -> None:
        done.add(payload)

    @worker.handler("bad")
    async def refuse(payload: int) -> None:
        refused.append(payload)
        raise Reject("bad")

    await queue.enqueue_batch([NewTask(number, type="bad") for number in range(8)])
    start(worker)
    await eventually(lambda: len(refused) >= 4)
    await queue.enqueue_batch(list(range(WITHOUT)))
    await eventually(lambda: done == set(range(WITHOUT)))

    async def is_unready() -> bool:
        status, body = await asyncio.to_thread(asked, port, "/readyz")
        return status == 503 and "cannot be stored" in json.loads(body).get("outcomes", "")

    await eventually(is_unready)
    assert (await asyncio.to_thread(asked, port, "/healthz"))[0] == 200
    _, metrics = await asyncio.to_thread(asked, port, "/metrics")
    (gauge,) = [line for line in metrics.splitlines() if line.startswith("protoqueue_unsettled_tasks{")]
    assert float(gauge.rpartition(" ")[2]) == 8
    await provision(nc, QueueSpec(queue_name), [GroupSpec(visibility_s=2)])

    async def is_well() -> bool:
        letters = [letter async for letter in queue.dead_letters()]
        return len(letters) == 8 and (await asyncio.to_thread(asked, port, "/readyz"))[0] == 200

    await eventually(is_well)
    assert sorted(refused) == list(range(8))  # each ran once: their leases were kept


async def test_what_still_cannot_be_stored_when_the_worker_stops_goes_back(
    make_queue, make_worker, nc, queue_name
) -> None:
    queue = await make_queue(GroupSpec(visibility_s=60, retry={"max_attempts": 1}))
    await api(nc, f"STREAM.DELETE.{QueueName('default', queue_name).dead_letter_stream}", {})
    worker, refused = make_worker(grace_s=3), asyncio.Event()

    @worker.handler
    async def refuse(payload: int) -> None:
        refused.set()
        raise Reject("bad")

    await queue.enqueue(1)
    serving = asyncio.create_task(worker.serve())
    await refused.wait()
    worker.stop()
    await asyncio.wait_for(serving, 60)
    (task,) = await queue.receive(1, wait=30, group="mailers")  # sooner than the lease
    assert task.payload() == 1
    await task.ack()
