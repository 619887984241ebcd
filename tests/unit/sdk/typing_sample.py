"""Right and wrong uses. A comment says which error a type checker is to find in a line; see test_typing.py."""

from pydantic import BaseModel

import protoqueue
from protoqueue import Queue, ReceivedTask, Task, TaskType, Worker


class Email(BaseModel):
    to: str


class Sms(BaseModel):
    number: str


WELCOME = TaskType("welcome", Email)
worker = Worker("default/email", group="mailers")


async def produce(queue: Queue) -> None:
    receipt = await queue.enqueue(WELCOME(Email(to="a")), delay=60)
    identity: str = receipt.id
    await queue.enqueue_batch([WELCOME(Email(to=identity), dedup_id="a")])
    await queue.enqueue(WELCOME(Sms(number="1")))  # error: arg-type
    await queue.enqueue(WELCOME(Email(to="a"), dealy=1))  # error: call-arg
    try:
        await queue.enqueue_batch([1])
    except protoqueue.QueueFull as error:
        rest: list[bool] = [one is None for one in error.receipts]
        rest.append(rest[error.first_not_stored])


async def connect() -> None:
    async with protoqueue.connect() as client:
        await client.queue("default/email")
    client = await protoqueue.connect()
    await client.queue(7)  # error: arg-type


async def by_hand(received: ReceivedTask) -> str:
    email = received.payload(Email)
    number: int = email.to  # error: assignment
    anything: int = received.payload()
    either: Email | Sms = received.payload(Email | Sms)
    return f"{email.to}{number}{anything}{either}"


@worker.handler(WELCOME)
async def welcome(email: Email, task: Task) -> None: ...


@worker.handler(WELCOME, timeout=3)
def with_resources(email: Email, *, addresses: set[str]) -> None: ...


@worker.handler(WELCOME)
async def the_task_alone(task: Task) -> None: ...


@worker.handler(WELCOME)  # error: arg-type
async def another_payload(sms: Sms) -> None: ...


@worker.batch(WELCOME, max_size=10)
async def batch(emails: list[Email]) -> None: ...


@worker.batch(WELCOME)  # error: arg-type
async def one_at_a_time(email: Email) -> None: ...


@worker.handler
async def plain(payload: dict[str, int], task: Task) -> None: ...


@worker.handler("report", executor="process")
def report(payload: bytes) -> None: ...


@worker.handler("nothing")  # error: type-var
async def takes_nothing() -> None: ...


@worker.handler("misspelt", executor="proces")  # error: call-overload, untyped-decorator
def misspelt(payload: bytes) -> None: ...
