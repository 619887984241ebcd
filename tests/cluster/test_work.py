"""From enqueue to the worker's pod and back: what the whole system does with a task."""

import time
from itertools import pairwise
from typing import Any

import protoqueue
from cluster.lab import Lab
from cluster.operator_process import OperatorProcess
from protoqueue_devcluster.kube.client import CONSUMER_GROUPS, QUEUES
from waiting import eventually

TELL_EACH = """
@worker.handler
async def handle(payload: dict, task: Task):
    tell("done", payload["n"], task.attempt)
"""
QUICK = {"maxAttempts": 3, "initialDelay": "400ms", "multiplier": 2, "jitter": 0}


async def serve(lab: Lab, text: str, *, queue: dict[str, Any] | None = None, **group: Any) -> None:
    await lab.queue(**(queue or {}))
    await lab.group(worker={"template": lab.worker_template(text)}, **group)
    await lab.ready(groups=("mailers",))


async def letters(queue: protoqueue.Queue) -> list[protoqueue.DeadLetter]:
    return [letter async for letter in queue.dead_letters()]


async def test_a_task_reaches_a_pod_is_done_and_leaves_the_queue(lab: Lab) -> None:
    await serve(lab, TELL_EACH)
    async with await lab.client() as client:
        await (await client.queue(f"{lab.namespace}/email")).enqueue({"n": 7})
    await eventually(lambda: lab.told == [["done", "7", "1"]])

    async def is_empty() -> bool:
        info = await lab.stream()
        return bool(info and info["state"]["messages"] == 0)

    await eventually(is_empty)


async def test_one_at_a_time_it_stays_while_limits_come_and_go(lab: Lab) -> None:
    """New tasks, those that come due and what is left in a stream that is given up: all count together."""
    text = """
@worker.handler
async def handle(payload: dict, task: Task):
    tell("starts", payload["n"])
    await asyncio.sleep(0.05)
    tell("ends", payload["n"])
"""
    await serve(lab, text, queue={"priorityLevels": 1}, maxInFlight=1)
    tasks = 0
    async with await lab.client() as client:
        queue = await client.queue(f"{lab.namespace}/email")
        for limits in ({"maxTasks": 1000}, None, {"maxAge": "1h"}):
            for delay in (0, 0.3) * 5:
                await queue.enqueue({"n": tasks}, delay=delay)
                tasks += 1
            await pause_until_nothing_is_in_flight(lab)
            await lab.queue(limits=limits)
            await lab.ready(groups=("mailers",))
            await lab.group(paused=False)
        for delay in (0, 0.3) * 5:
            await queue.enqueue({"n": tasks}, delay=delay)
            tasks += 1
        await eventually(lambda: len(lab.told) >= 2 * tasks)
    starts, ends = lab.told[::2], lab.told[1::2]
    assert [(*each,) for each in starts] == [("starts", n) for _, n in ends], "each ends before the next starts"
    assert sorted(int(n) for _, n in ends) == list(range(tasks)), "and each ran once"


async def pause_until_nothing_is_in_flight(lab: Lab) -> None:
    await lab.group(paused=True)
    await lab.condition(CONSUMER_GROUPS, "mailers", reason="Paused")

    async def none_is() -> bool:
        for end in ("", "_LATER"):
            answer = await lab.api(f"CONSUMER.LIST.{lab.stream_name(suffix=end)}", {"offset": 0})
            if any(info["num_ack_pending"] for info in answer.get("consumers") or ()):
                return False
        return True

    await eventually(none_is)


async def test_a_failing_task_is_tried_again_with_growing_delays_and_then_buried(lab: Lab) -> None:
    text = """
@worker.handler
async def handle(payload: dict, task: Task):
    tell(task.attempt, time.time())
    raise ValueError("no luck")
"""
    await serve(lab, text, queue={"retry": QUICK})
    async with await lab.client() as client:
        queue = await client.queue(f"{lab.namespace}/email")
        receipt = await queue.enqueue({"n": 1})
        (letter,) = await eventually(lambda: letters(queue))
    assert [int(attempt) for attempt, _ in lab.told] == [1, 2, 3]
    waits = [float(after) - float(before) for (_, before), (_, after) in pairwise(lab.told)]
    assert 0.4 <= waits[0] < 2
    assert 0.8 <= waits[1] < 2.4
    assert (letter.task.id, letter.reason, letter.attempts) == (receipt.id, "MaxAttempts", 3)
    stream = lab.stream_name(suffix="_DLQ")
    message = await lab.nats.jetstream().get_last_msg(stream, f"pqdlq.{lab.namespace}.email.mailers")
    headers = message.headers or {}
    assert (headers["Pq-Reason"], headers["Pq-Attempts"], headers["Pq-Group"]) == ("MaxAttempts", "3", "mailers")
    assert (headers["Pq-Error-Type"], headers["Pq-Error"]) == ("ValueError", "no luck")

    async def counted() -> bool:
        return bool((await lab.get(QUEUES, "email"))["status"].get("tasks", {}).get("dead") == 1)

    await eventually(counted)


async def test_a_worker_killed_in_the_middle_of_a_task_loses_nothing(lab: Lab) -> None:
    text = """
@worker.handler
async def handle(payload: dict, task: Task):
    if not os.path.exists("second"):
        open("second", "w").close()
        tell("killed")
        os.kill(os.getpid(), signal.SIGKILL)
    tell("done", payload["n"])
"""
    await serve(lab, text, queue={"visibilityTimeout": "1s"})
    async with await lab.client() as client:
        await (await client.queue(f"{lab.namespace}/email")).enqueue({"n": 1})
    await eventually(lambda: lab.told == [["killed"], ["done", "1"]])


async def test_a_task_that_kills_its_worker_goes_to_the_dead_letters(lab: Lab) -> None:
    text = """
@worker.handler
async def handle(payload: dict, task: Task):
    tell("killed")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    await serve(lab, text, queue={"visibilityTimeout": "1s", "retry": {**QUICK, "maxAttempts": 2}})
    async with await lab.client() as client:
        queue = await client.queue(f"{lab.namespace}/email")
        await queue.enqueue({"n": 1})
        (letter,) = await eventually(lambda: letters(queue))
    assert letter.reason == "Crashed"
    assert len(lab.told) == 2


async def test_workers_come_with_the_work_and_go_when_it_is_done(lab: Lab) -> None:
    text = """
@worker.handler
async def handle(payload: dict):
    await asyncio.sleep(0.2)
    tell(payload["n"], os.getpid())
"""
    autoscale = {
        "maxReplicas": 3,
        "target": {"tasksPerWorker": 20},
        "scaleDownDelay": "2s",
        "idleDelay": "3s",
    }
    await serve(lab, text, autoscale=autoscale)
    assert await lab.replicas() == 0
    async with await lab.client() as client:
        queue = await client.queue(f"{lab.namespace}/email")
        started = time.monotonic()
        await queue.enqueue({"n": 0})

        async def woken() -> bool:
            return await lab.replicas() == 1

        await eventually(woken, interval_s=0.02)
        assert time.monotonic() - started < 10, "two hundredths of a second where nothing else is to be done"
        await lab.condition(CONSUMER_GROUPS, "mailers", "Scaling", status="True", reason="ScaledUp")
        await queue.enqueue_batch([{"n": number} for number in range(1, 200)])
    sizes = set()

    async def done() -> bool:
        sizes.add(await lab.replicas())
        return len(lab.told) >= 200 and await lab.replicas() == 0

    await eventually(done)
    assert max(sizes) == 3
    assert sorted(int(number) for number, _ in lab.told) == list(range(200))
    # Each is shown long enough for whoever watches or asks now and then; the status is written every few seconds.
    for reason in ("ScaledDown", "Idle"):
        await lab.condition(CONSUMER_GROUPS, "mailers", "Scaling", status="True", reason=reason)
    reasons = await lab.event_reasons("mailers")
    assert {"ScaledUp", "ScaledDown"} <= set(reasons)
    assert len([reason for reason in reasons if reason.startswith("Scaled")]) <= 6, (
        "an Event only when the size changes"
    )
    await eventually(lambda: lab.pods_are_gone())


async def test_an_operator_killed_in_the_middle_loses_nothing(lab: Lab, operator: OperatorProcess) -> None:
    text = """
@worker.handler
async def handle(payload: dict):
    await asyncio.sleep(0.05)
    tell(payload["n"])
"""
    autoscale = {"maxReplicas": 2, "target": {"tasksPerWorker": 50}, "scaleDownDelay": "1s", "idleDelay": "1s"}
    await serve(lab, text, autoscale=autoscale)
    async with await lab.client() as client:
        queue = await client.queue(f"{lab.namespace}/email")
        await queue.enqueue_batch([{"n": number} for number in range(300)])
        await eventually(lambda: len(lab.told) > 20)
        operator.kill()
        await queue.enqueue_batch([{"n": number} for number in range(300, 400)])
        await eventually(lambda: len(lab.told) > 150)
        operator.start()

        async def done() -> bool:
            return len(lab.told) >= 400 and await lab.replicas() == 0

        await eventually(done)
    assert sorted(int(number) for (number,) in lab.told) == list(range(400))


async def test_a_group_at_zero_wakes_when_a_delayed_task_comes_due(lab: Lab) -> None:
    text = """
@worker.handler
async def handle(payload: dict):
    tell("done", payload["n"])
"""
    await serve(lab, text, autoscale={"maxReplicas": 1, "idleDelay": "60s"})
    async with await lab.client() as client:
        queue = await client.queue(f"{lab.namespace}/email")
        due = time.time() + 12  # on a slow machine it takes some seconds until it is counted
        await queue.enqueue({"n": 1}, delay=12)

        async def counted() -> bool:
            return (await lab.get(QUEUES, "email"))["status"]["tasks"]["scheduled"] == 1

        await eventually(counted, timeout_s=10)
        assert await lab.replicas() == 0, "nobody waits for a task that is not due"

        async def woken() -> bool:
            return await lab.replicas() == 1

        await eventually(woken, interval_s=0.02)
        # A third of a second is JetStream's own lateness at worst, one second the operator's round: on a slow machine
        # ten times as much.
        assert 0 <= time.time() - due < 20
    await eventually(lambda: lab.told == [["done", "1"]])
