"""How often and when a task is tried, as the task and its handler say it: on a server and in memory alike."""

import json

from backends import is_empty, letters_of, worker_of
from protoqueue import NewTask, Retries, Retry, Task
from provisioning import GroupSpec, QueueSpec
from waiting import eventually

QUICK = {"initial_delay": 0.05, "max_attempts": 3, "jitter": 0.0}


class Declined(Exception):
    pass


async def test_how_often_a_task_is_tried_its_producer_says_before_the_handler_and_that_before_the_group(
    backend, spec, start
) -> None:
    queue = await backend.queue(spec, GroupSpec(retry=QUICK | {"max_attempts": 2}))
    worker, seen = worker_of(backend, queue), []

    async def work(payload: int, task: Task) -> None:
        seen.append((task.type, payload, task.attempt, task.max_attempts, task.is_last_attempt))
        raise ValueError

    worker.handler("group")(work)
    worker.handler("handler", retries=Retries(3))(work)
    await queue.enqueue_batch([NewTask(1, "group"), NewTask(2, "group", retry=Retries(1, initial_delay=60))])
    await queue.enqueue(3, type="handler")
    await queue.enqueue(4, type="handler", retry=Retries(4, initial_delay=0.01, jitter=0))
    start(worker)
    await eventually(lambda: is_empty(queue))
    attempts = {1: 2, 2: 1, 3: 3, 4: 4}
    assert sorted(seen, key=lambda one: one[1:3]) == [
        ("group" if n < 3 else "handler", n, attempt, most, attempt == most)
        for n, most in attempts.items()
        for attempt in range(1, most + 1)
    ]
    letters = {int(letter.task.data): letter for letter in await letters_of(queue)}
    assert {n: (letter.attempts, letter.task.max_attempts) for n, letter in letters.items()} == {
        n: (most, most) for n, most in attempts.items()
    }
    assert letters[2].task.retries == Retries(1, 60)
    assert {letter.reason for letter in letters.values()} == {"MaxAttempts"}


async def test_a_redriven_task_keeps_what_its_producer_said_about_attempts(backend, spec) -> None:
    queue = await backend.queue(spec, GroupSpec(retry=QUICK))
    worker, seen = worker_of(backend, queue), []

    @worker.handler
    async def work(payload: int, task: Task) -> None:
        seen.append((task.attempt, task.max_attempts))
        raise ValueError

    await queue.enqueue(1, retry=Retries(1))
    for _ in range(2):
        await worker.run_once()
        assert await queue.redrive() == 1
    assert seen == [(1, 1)] * 2


async def test_which_errors_are_worth_another_attempt_the_handler_says(backend, spec, start) -> None:
    queue = await backend.queue(spec, GroupSpec(retry=QUICK))
    worker, seen = worker_of(backend, queue), []
    errors = {"timeout": TimeoutError, "declined": Declined, "other": KeyError, "asked": Retry}

    async def work(payload: str, task: Task) -> None:
        seen.append((task.type, payload, task.attempt))
        raise errors[payload]

    worker.handler("on", retry_on=(TimeoutError,), give_up_on=(Declined,))(work)
    worker.handler("up", give_up_on=Declined)(work)
    items = [NewTask(payload, kind) for kind in ("on", "up") for payload in errors]
    await queue.enqueue_batch(items)
    start(worker)
    await eventually(lambda: is_empty(queue))
    often = {(kind, payload): max(n for k, p, n in seen if (k, p) == (kind, payload)) for kind, payload, _ in seen}
    assert often == {
        ("on", "timeout"): 3, ("on", "declined"): 1, ("on", "other"): 1, ("on", "asked"): 3,
        ("up", "timeout"): 3, ("up", "declined"): 1, ("up", "other"): 3, ("up", "asked"): 3,
    }  # fmt: skip
    letters = await letters_of(queue)
    final = {(letter.task.type, json.loads(letter.task.data)) for letter in letters if letter.reason == "Rejected"}
    assert final == {pair for pair, count in often.items() if count == 1}
    assert {one.error_type for one in letters if one.reason == "Rejected"} == {"Declined", "KeyError"}


async def test_a_received_task_is_tried_as_often_as_its_producer_says(backend, spec) -> None:
    queue = await backend.queue(spec, GroupSpec(retry=QUICK | {"max_attempts": 1}))
    await queue.enqueue(1, retry=Retries(3))
    tokens = []
    for attempt in range(1, 4):
        (task,) = await queue.receive(wait=60)
        assert (task.attempt, task.max_attempts, task.is_last_attempt) == (attempt, 3, attempt == 3)
        if attempt == 1:
            await task.retry(delay=0)
        else:
            tokens.append(task.token)
            await (await queue.lease(task.token)).retry(delay=0)
    (letter,) = await letters_of(queue)
    assert (letter.reason, letter.attempts, letter.task.max_attempts) == ("MaxAttempts", 3, 3)


async def test_an_ordered_task_is_tried_as_often_as_its_producer_says(backend, queue_name, start) -> None:
    queue = await backend.queue(QueueSpec(queue_name, partitions=2), GroupSpec(retry=QUICK | {"max_attempts": 2}))
    worker, seen = worker_of(backend, queue), []

    @worker.handler(retries=Retries(3))
    async def work(payload: int, task: Task) -> None:
        seen.append((payload, task.attempt, task.is_last_attempt))
        raise ValueError

    await queue.enqueue(1, ordering_key="a", retry=Retries(1))
    await queue.enqueue(2, ordering_key="a")
    await queue.enqueue(3, ordering_key="a", retry=Retries(4))
    start(worker)
    await eventually(lambda: is_empty(queue))
    most = {1: 1, 2: 3, 3: 4}
    assert seen == [(n, attempt, attempt == m) for n, m in most.items() for attempt in range(1, m + 1)]
