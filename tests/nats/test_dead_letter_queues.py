"""Dead letters that are tasks of another queue (`deadLetter.queueRef`), on a server and in memory alike."""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

import protoqueue
from backends import Backend, worker_of
from protoqueue import (
    ConfigurationError,
    DeadLetterInfo,
    InvalidTask,
    NewTask,
    QueueNotFound,
    Redrive,
    Reject,
    Retries,
    Task,
)
from protoqueue.broker import Message
from protoqueue.protocol.message_headers import Header
from protoqueue.protocol.task_codec import encode_task
from provisioning import GroupSpec, QueueSpec
from waiting import eventually

QUICK = {"initial_delay": 0.05, "max_attempts": 2, "jitter": 0.0}


@dataclass
class Seen:
    """What the handlers of one queue were given."""

    tasks: list[Task] = field(default_factory=list)

    @property
    def ids(self) -> list[str]:
        return [task.id for task in self.tasks]

    @property
    def letters(self) -> list[DeadLetterInfo]:
        return [task.dead_letter for task in self.tasks if task.dead_letter]


@pytest.fixture
def spec(queue_name: str) -> QueueSpec:
    return QueueSpec(queue_name, dead_letter_queue=f"{queue_name}-dlq")


def letters_spec(spec: QueueSpec, **changes: Any) -> QueueSpec:
    return QueueSpec(spec.dead_letter_queue, **changes)


def rejecting(backend: Backend, queue: protoqueue.Queue, times: int = 1, group: str = "mailers") -> tuple[Any, Seen]:
    """A worker that gives up each task so many times, and does it then."""
    worker, seen = worker_of(backend, queue, group), Seen()

    @worker.handler
    async def work(payload: Any, task: Task) -> None:
        seen.tasks.append(task)
        if seen.ids.count(task.id) <= times:
            raise Reject("no such user")

    return worker, seen


def redriving(backend: Backend, queue: protoqueue.Queue, delay: float = 0, group: str = "mailers") -> tuple[Any, Seen]:
    """A worker that sends each letter back."""
    worker, seen = worker_of(backend, queue, group), Seen()

    @worker.handler
    async def work(payload: Any, task: Task) -> None:
        seen.tasks.append(task)
        raise Redrive(delay)

    return worker, seen


async def dead_of(queue: protoqueue.Queue) -> list[protoqueue.DeadLetter]:
    return [letter async for letter in queue.dead_letters()]


async def test_a_task_that_dies_is_a_task_of_the_dead_letter_queue_with_its_id_and_why(backend, spec, start) -> None:
    queue, letters = await backend.queue(spec), await backend.queue(letters_spec(spec))
    worker, gave_up = worker_of(backend, queue), Seen()

    @worker.handler("welcome")
    async def work(payload: Any, task: Task) -> None:
        gave_up.tasks.append(task)
        raise ValueError("no such user\nat all")

    new = NewTask({"to": "a@b.c"}, "welcome", priority=9, metadata={"tenant": 7}, dedup_id="once", retry=Retries(1))
    receipt = await queue.enqueue(new)
    analyst, seen = rejecting(backend, letters, times=0)
    await backend.set_up(spec, GroupSpec(retry=QUICK))
    start(worker)
    start(analyst)
    await eventually(lambda: len(seen.tasks) == 1)
    (task,) = seen.tasks
    assert (task.id, task.type, task.priority, task.metadata) == (receipt.id, "welcome", 9, {"tenant": 7})
    assert (task.attempt, task.data) == (1, b'{"to":"a@b.c"}')
    assert (task.retries, task.max_attempts) == (None, 5)  # what was said of the work is not said of its dead letter
    info = task.dead_letter
    assert info is not None
    assert (info.reason, info.error, info.error_type) == ("MaxAttempts", "no such user at all", "ValueError")
    assert (info.attempts, info.queue, info.group) == (1, queue.name, "mailers")
    assert "raise ValueError" in info.traceback
    assert info.worker
    assert info.failed_at is not None
    assert info.previous is None
    assert all(task.dead_letter is None for task in gave_up.tasks)
    assert (await queue.stats()).dead == 0
    await eventually(_holds_nothing(letters))


async def test_a_letter_has_all_the_attempts_that_its_new_queue_gives_however_many_it_had(backend, spec, start) -> None:
    queue = await backend.queue(spec, GroupSpec(retry=QUICK))
    letters = await backend.queue(letters_spec(spec), GroupSpec(retry={**QUICK, "max_attempts": 3}))
    attempts: list[tuple[str, int]] = []

    def failing(name: str) -> protoqueue.Worker:
        worker = protoqueue.Worker(name, group="mailers", url=backend.url)

        @worker.handler
        async def fail(payload: int, task: Task) -> None:
            attempts.append((name, task.attempt))
            raise ValueError

        return worker

    await queue.enqueue(1)
    for each in (queue, letters):
        start(failing(each.name))
    await eventually(_dead(letters, 1))
    assert attempts == [*((queue.name, n) for n in (1, 2)), *((letters.name, n) for n in (1, 2, 3))]
    (letter,) = await dead_of(letters)
    assert letter.task.dead_letter is not None
    assert (letter.attempts, letter.task.dead_letter.attempts) == (3, 2)


def _holds_nothing(*queues: protoqueue.Queue) -> Any:
    async def empty() -> bool:
        stats = [await queue.stats() for queue in queues]
        return all((each.waiting, each.in_flight, each.scheduled) == (0, 0, 0) for each in stats)

    return empty


@pytest.mark.parametrize("delay", [0, 0.3])
async def test_a_letter_that_is_redriven_comes_again_to_its_queue_with_fresh_attempts(
    backend, spec, start, delay: float
) -> None:
    queue, letters = await backend.queue(spec), await backend.queue(letters_spec(spec))
    worker, seen = rejecting(backend, queue)
    analyst, had = redriving(backend, letters, delay)
    receipts = await queue.enqueue_batch(range(5))
    start(worker)
    start(analyst)
    await eventually(lambda: len(seen.tasks) == 10)
    assert sorted(seen.ids) == sorted([receipt.id for receipt in receipts] * 2)
    assert {(task.attempt, task.dead_letter) for task in seen.tasks} == {(1, None)}
    assert sorted(had.ids) == sorted(receipt.id for receipt in receipts)
    await eventually(_holds_nothing(queue, letters))
    assert (await dead_of(queue), await dead_of(letters)) == ([], [])


async def test_a_redrive_of_an_ordinary_task_is_a_failure_that_says_so(backend, queue_name, start) -> None:
    queue = await backend.queue(QueueSpec(queue_name), GroupSpec(retry=QUICK))
    worker, seen = redriving(backend, queue)
    await queue.enqueue(1)
    start(worker)
    await eventually(_dead(queue, 1))
    (letter,) = await dead_of(queue)
    assert (letter.reason, letter.error_type, letter.attempts) == ("MaxAttempts", "InvalidTask", 2)
    assert "Redrive sends back what died in another queue" in letter.error
    assert len(seen.tasks) == 2


def _dead(queue: protoqueue.Queue, count: int) -> Any:
    async def dead() -> bool:
        return (await queue.stats()).dead == count

    return dead


async def test_a_letter_that_dies_again_is_a_dead_letter_of_that_queue_and_still_says_why_it_died_first(
    backend, spec, start
) -> None:
    queue, letters = await backend.queue(spec), await backend.queue(letters_spec(spec))
    worker, _ = rejecting(backend, queue)
    analyst, seen = rejecting(backend, letters)
    receipt = await queue.enqueue(1)
    start(worker)
    start(analyst)
    await eventually(_dead(letters, 1))
    (letter,) = await dead_of(letters)
    assert (letter.task.id, letter.reason, letter.group) == (receipt.id, "Rejected", "mailers")
    assert letter.task.dead_letter is not None
    assert (letter.task.dead_letter.queue, letter.task.dead_letter.error) == (queue.name, "no such user")
    await letter.redrive()
    await eventually(lambda: len(seen.letters) == 2)
    assert seen.letters[0] == seen.letters[1]


async def test_letters_are_received_by_hand_like_any_task(backend, spec, start) -> None:
    queue, letters = await backend.queue(spec), await backend.queue(letters_spec(spec))
    worker, _ = rejecting(backend, queue)
    receipt = await queue.enqueue({"n": 1})
    start(worker)
    (received,) = await letters.receive(wait=60)
    assert (received.id, received.payload(), received.attempt) == (receipt.id, {"n": 1}, 1)
    assert received.dead_letter is not None
    assert (received.dead_letter.reason, received.dead_letter.error) == ("Rejected", "no such user")
    await received.ack()
    await eventually(_holds_nothing(letters))


async def test_what_is_given_up_by_hand_goes_there_too(backend, spec) -> None:
    queue, letters = await backend.queue(spec), await backend.queue(letters_spec(spec))
    await queue.enqueue_batch([1, 2])
    first, second = await queue.receive(2, wait=60)
    await first.reject("bad")
    await (await queue.lease(second.token)).reject("worse")
    received = await letters.receive(2, wait=60)
    while len(received) < 2:
        received += await letters.receive(2, wait=60)
    assert {(one.id, one.dead_letter.error) for one in received if one.dead_letter} == {
        (first.id, "bad"),
        (second.id, "worse"),
    }


async def test_while_there_is_no_such_queue_letters_stay_in_the_own_dead_letters(backend, spec, start) -> None:
    queue = await backend.queue(spec)
    worker, _ = rejecting(backend, queue)
    await queue.enqueue(1)
    start(worker)
    await eventually(_dead(queue, 1))
    (letter,) = await dead_of(queue)
    assert letter.error == "no such user"


async def test_what_a_full_dead_letter_queue_does_not_take_stays_in_the_own_dead_letters(backend, spec, start) -> None:
    queue = await backend.queue(spec)
    letters = await backend.queue(letters_spec(spec, limits={"max_msgs": 2}))
    worker, _ = rejecting(backend, queue)
    await queue.enqueue_batch(range(5))
    start(worker)
    await eventually(_dead(queue, 3))
    assert (await letters.stats()).waiting == 2


async def test_bytes_that_are_not_a_task_stay_in_the_own_dead_letters(backend, spec, start) -> None:
    queue, letters = await backend.queue(spec), await backend.queue(letters_spec(spec))
    worker, _ = rejecting(backend, queue)
    await backend.client._broker.publish(Message(spec.queue.task(0), b"\xff\xff not protobuf"), 5)
    await queue.enqueue(1)
    start(worker)
    await eventually(_dead(queue, 1))
    await eventually(lambda: _waiting(letters, 1))
    (letter,) = await dead_of(queue)
    assert letter.reason == "Undecodable"


async def _waiting(queue: protoqueue.Queue, count: int) -> bool:
    return (await queue.stats()).waiting == count


async def test_a_task_without_an_id_keeps_the_one_it_was_given(backend, spec, start) -> None:
    queue, letters = await backend.queue(spec), await backend.queue(letters_spec(spec))
    worker, seen = rejecting(backend, queue)
    await letters.enqueue_batch(["other"] * 3, timeout=60)
    await letters.purge()  # it is called by its place, which is another one there
    await backend.client._broker.publish(Message(spec.queue.task(0), encode_task("", b"1")), 5)
    analyst, had = redriving(backend, letters)
    start(worker)
    start(analyst)
    await eventually(lambda: len(seen.tasks) == 2)
    assert set(seen.ids) == set(had.ids) == {seen.ids[0]}


async def test_an_ordered_task_keeps_its_key_and_goes_back_to_its_partition(backend, spec, start) -> None:
    queue = await backend.queue(replace(spec, partitions=4))
    letters = await backend.queue(letters_spec(spec, partitions=2))
    worker, seen = rejecting(backend, queue)
    analyst, had = redriving(backend, letters)
    await queue.enqueue_batch([NewTask(n, ordering_key=key) for n in range(2) for key in "abc"])
    start(worker)
    start(analyst)
    await eventually(lambda: len(seen.tasks) == 12)
    assert sorted(task.ordering_key for task in had.tasks) == list("aabbcc")
    assert sorted(task.ordering_key for task in seen.tasks) == list("aaaabbbbcccc")
    for key in "abc":  # letters of one key stay in order, there and back
        assert [task.data for task in had.tasks if task.ordering_key == key] == [b"0", b"1"]
    await eventually(_holds_nothing(queue, letters))


async def test_tasks_of_a_queue_without_order_go_into_an_ordered_one(backend, spec, start) -> None:
    queue, letters = await backend.queue(spec), await backend.queue(letters_spec(spec, partitions=4))
    worker, seen = rejecting(backend, queue)
    analyst, had = redriving(backend, letters)
    await queue.enqueue_batch(range(3))
    start(worker)
    start(analyst)
    await eventually(lambda: len(seen.tasks) == 6)
    assert len(had.tasks) == 3


async def test_a_letter_of_a_broadcast_queue_goes_back_to_the_group_that_gave_it_up(backend, spec, start) -> None:
    queue = await backend.queue(replace(spec, broadcast=True), GroupSpec("mailers"), GroupSpec("billing"))
    letters = await backend.queue(letters_spec(spec))
    mailers, mailed = rejecting(backend, queue, group="mailers")
    billing, billed = rejecting(backend, queue, times=0, group="billing")
    analyst, had = redriving(backend, letters)
    receipt = await queue.enqueue(1)
    for worker in (mailers, billing, analyst):
        start(worker)
    await eventually(lambda: len(mailed.tasks) == 2)
    assert [info.group for info in had.letters] == ["mailers"]
    await eventually(_holds_nothing(queue, letters))
    assert billed.ids == [receipt.id]


async def test_letters_of_letters_name_each_death_and_go_back_one_queue_at_a_time(backend, spec, start) -> None:
    last = f"{spec.name}-last"
    queue = await backend.queue(spec)
    letters = await backend.queue(letters_spec(spec, dead_letter_queue=last))
    final = await backend.queue(QueueSpec(last))
    worker, seen = rejecting(backend, queue)
    analyst, had = rejecting(backend, letters)
    auditor, found = redriving(backend, final)
    receipt = await queue.enqueue(1)
    for one in (worker, analyst, auditor):
        start(one)
    await eventually(lambda: len(had.tasks) == 2)
    (info,) = found.letters
    assert (info.queue, info.previous) == (letters.name, had.letters[0])
    assert had.letters[0] == had.letters[1]
    assert (seen.ids, found.ids) == ([receipt.id], [receipt.id])


async def test_a_letter_whose_queue_is_gone_or_forged_fails_with_what_is_wrong(backend, spec, start) -> None:
    letters = await backend.queue(letters_spec(spec), GroupSpec(retry=QUICK))
    worker, seen = redriving(backend, letters)
    await backend.queue(replace(spec, broadcast=True), GroupSpec("billing"))
    for queue in (f"default/{spec.name}", f"default/{spec.name}-gone", "another/email", letters.name, "nonsense"):
        info = f'{{"reason":"Rejected","queue":"{queue}","group":"mailers"}}'
        headers = {Header.MSG_ID: queue, Header.DEAD_LETTER: info}
        message = Message(letters_spec(spec).queue.task(1), encode_task(queue, b"1"), headers)
        await backend.client._broker.publish(message, 5)
    start(worker)
    await eventually(_dead(letters, 5))
    errors = {letter.task.id: letter.error for letter in await dead_of(letters)}
    assert "does not exist any more" in errors[f"default/{spec.name}-gone"]
    assert f"group default/{spec.name}/mailers, which" in errors[f"default/{spec.name}"]
    assert all("as the queue it died in" in errors[queue] for queue in ("another/email", letters.name, "nonsense"))
    assert len(seen.tasks) == 10


@pytest.mark.parametrize("header", ["", "{", "[]", "[" * 50_000, '{"queue": 1, "group": {}}', "null", '"x"'])
async def test_what_another_producer_puts_there_is_no_dead_letter(backend, spec, start, header: str) -> None:
    queue = await backend.queue(spec)
    worker, seen = rejecting(backend, queue, times=0)
    message = Message(spec.queue.task(1), encode_task("a", b"1"), {Header.DEAD_LETTER: header, "X": "y"})
    await backend.client._broker.publish(message, 5)
    start(worker)
    await eventually(lambda: len(seen.tasks) == 1)
    assert seen.tasks[0].dead_letter is None


async def test_letters_from_before_stay_and_are_forwarded_or_redriven_when_somebody_asks(backend, spec, start) -> None:
    queue = await backend.queue(replace(spec, dead_letter_queue=""))
    letters = await backend.queue(letters_spec(spec))
    worker, seen = rejecting(backend, queue)
    await backend.client._broker.publish(Message(spec.queue.task(0), b"\xff\xff not protobuf"), 5)
    receipts = await queue.enqueue_batch([NewTask(n, type="abc"[n % 3]) for n in range(9)])
    start(worker)
    await eventually(_dead(queue, 10))
    with pytest.raises(ConfigurationError, match=r"spec\.deadLetter\.queueRef"):
        await queue.forward_dead_letters()
    await backend.set_up(spec)
    await eventually(lambda: queue.dead_letter_queue == letters.name)
    assert (await queue.stats()).dead == 10, "setting it moves nothing"
    assert await queue.forward_dead_letters(type="a", limit=2) == 2
    assert await queue.redrive(type="b") == 3
    assert await queue.forward_dead_letters(reason="rejected") == 4
    (left,) = await dead_of(queue)
    assert left.reason == "Undecodable"
    assert await queue.forward_dead_letters() == 0, "nobody could work on it"
    _, had = analyst = redriving(backend, letters)
    start(analyst[0])
    await eventually(lambda: len(seen.tasks) == 18)
    assert set(had.ids) == {one.id for n, one in enumerate(receipts) if n % 3 != 1}
    assert {(info.reason, info.queue, info.attempts) for info in had.letters} == {("Rejected", queue.name, 1)}
    await eventually(_holds_nothing(queue, letters))


async def test_a_letter_that_was_sent_on_and_kept_as_well_is_forwarded_once(backend, spec, start) -> None:
    queue, letters = await backend.queue(spec), await backend.queue(letters_spec(spec))
    await queue.enqueue(1)
    (task,) = await queue.receive(wait=60)
    settings = queue._settings
    await task.reject("no")  # and its worker died before it could acknowledge that, and it came again
    queue._settings = replace(settings, dead_letter_queue=None)
    delivery, holder = task._delivery, replace(task._holder, queue=queue._settings)
    await replace(task, _holder=holder, _settled=[]).reject("no")
    queue._settings = settings
    assert (delivery.deliveries, len(await dead_of(queue))) == (1, 1)
    assert await queue.forward_dead_letters() == 1
    assert ((await letters.stats()).waiting, await dead_of(queue)) == (1, [])


async def test_letters_are_redriven_by_hand(backend, spec) -> None:
    queue, letters = await backend.queue(spec), await backend.queue(letters_spec(spec))
    receipts = await queue.enqueue_batch([1, 2])
    for task in await queue.receive(2, wait=60):
        with pytest.raises(InvalidTask, match="dead_letter"):
            await task.redrive()
        await task.reject("no")
    for _ in receipts:
        (letter,) = await letters.receive(1, wait=60)
        await (letter if letter.id == receipts[0].id else await letters.lease(letter.token)).redrive()
    back: list[Task] = []
    while len(back) < 2:
        back += await queue.receive(2, wait=60)
    assert {(task.id, task.attempt, task.dead_letter) for task in back} == {(one.id, 1, None) for one in receipts}
    await eventually(_holds_nothing(letters))


async def test_a_task_that_waits_to_be_redriven_is_seen_and_cancelled_like_any_that_is_delayed(backend, spec) -> None:
    queue, letters = await backend.queue(spec), await backend.queue(letters_spec(spec))
    receipt = await queue.enqueue(1)
    (task,) = await queue.receive(wait=60)
    await task.reject("no")
    (letter,) = await letters.receive(wait=60)
    await letter.redrive(3600)
    (scheduled,) = await queue.peek_scheduled()
    assert (scheduled.task.id, scheduled.task.dead_letter) == (receipt.id, None)
    assert not await letters.cancel(receipt.id)
    assert await queue.cancel(receipt.id)
    await eventually(_holds_nothing(queue, letters))


async def test_a_letter_whose_queue_is_gone_cannot_be_redriven_by_hand_and_is_still_held(backend, spec) -> None:
    letters = await backend.queue(letters_spec(spec))
    info = f'{{"reason":"Rejected","queue":"default/{spec.name}-gone","group":"mailers"}}'
    message = Message(letters_spec(spec).queue.task(1), encode_task("a", b"1"), {Header.DEAD_LETTER: info})
    await backend.client._broker.publish(message, 5)
    (letter,) = await letters.receive(wait=60)
    for held in (letter, await letters.lease(letter.token)):
        with pytest.raises(QueueNotFound, match="does not exist any more"):
            await held.redrive()
    await letter.ack()
    await eventually(_holds_nothing(letters))
