"""What other producers may put into a queue, by mistake or on purpose: it becomes a dead letter and hurts nobody."""

import asyncio
import os
from urllib.parse import urlsplit

import pytest

from backends import letters_of
from protoqueue import Task
from protoqueue.protocol.names import QueueName
from protoqueue.protocol.task_codec import encode_task
from protoqueue.protocol.v1 import task_pb2
from provisioning import GroupSpec
from waiting import eventually

TWICE = GroupSpec(retry={"max_attempts": 2, "initial_delay": 0.05, "rollout_grace": 0}, visibility_s=2)


async def publish(url: str, subject: str, headers: bytes, data: bytes) -> None:
    """As bytes: no client library would send such headers."""
    where = urlsplit(url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    block = b"NATS/1.0" + headers + b"\r\n\r\n"
    sizes = f"{len(block)} {len(block) + len(data)}".encode()
    writer.write(b'CONNECT {"verbose":false,"headers":true}\r\n')
    writer.write(b"HPUB " + os.fsencode(subject) + b" " + sizes + b"\r\n" + block + data + b"\r\nPING\r\n")
    while not (await asyncio.wait_for(reader.readline(), 60)).startswith(b"PONG"):
        assert not reader.at_eof()
    writer.close()


def task(**fields: object) -> bytes:
    return task_pb2.Task(**{"id": "t", "data": b"1", "content_type": "application/json"} | fields).SerializeToString()


def with_metadata(value: float) -> bytes:
    wire = task_pb2.Task(id="t", data=b"1")
    wire.metadata.custom_metadata.update({"a": value})
    return wire.SerializeToString()


GOOD = encode_task("t", b"1", content_type="application/json")
HOSTILE = {
    "an attempt of many digits": (b"\r\nPq-Attempt: " + b"9" * 5000, GOOD),
    "an attempt in superscript": ("\r\nPq-Attempt: ²".encode(), GOOD),
    "an expiry in superscript": ("\r\nPq-Expires-At: ²".encode(), GOOD),
    "an expiry of many digits": (b"\r\nPq-Expires-At: " + b"9" * 5000, GOOD),
    "a header name that cannot be sent": (b"\r\na@b: c\r\n: d\r\n(: e", GOOD),
    "headers of no encoding": (b"\r\nA: \xff\xfe\r\nB\xff: c\r\nno colon", GOOD),
    "as many headers as a stream takes": (b"\r\nA: " + b"x" * 65500, GOOD),
    "headers of the server": (b"\r\nNats-TTL: 1h\r\nNats-Schedule-Target: a.b", GOOD),
    "a status": (b" 503", GOOD),
    "a status with a text": (b" 404 No Messages", GOOD),
    "a trace of nonsense": (b"\r\ntraceparent: 00-zz\r\ntracestate: =,=", GOOD),
    "a time beyond all calendars": (b"", task(metadata=task_pb2.TaskMetadata(timestamp=2**62))),
    "a time before all calendars": (b"", task(metadata=task_pb2.TaskMetadata(timestamp=-(2**62)))),
    "infinite metadata": (b"", with_metadata(float("inf"))),
    "metadata that is no number": (b"", with_metadata(float("nan"))),
    "a priority that is none": (b"", task(metadata=task_pb2.TaskMetadata(priority=-7))),
    "a long id": (b"", task(id="x" * 5000)),
    "an id of several lines": (b"", task(id="a\r\nNats-Schedule: @every 1s\r\n\r\n")),
    "an id with blanks and wildcards": (b"", task(id="a * > b")),
    "an empty id": (b"", task(id="")),
    "a long type": (b"", task(type="y" * 5000)),
    "a content type of nowhere": (b"", task(content_type="application/protobuf; type=no.Where")),
    "no bytes at all": (b"", b""),
    "bytes that are no task": (b"", b"\xff\xff"),
}


@pytest.mark.parametrize("what", HOSTILE)
async def test_whatever_a_producer_sends_becomes_a_dead_letter_and_holds_nothing_up(
    make_queue, make_worker, start, server, queue_name, what: str
) -> None:
    queue = await make_queue(TWICE)
    headers, data = HOSTILE[what]
    worker, done = make_worker(concurrency=1), []

    @worker.handler
    async def fail(task: Task) -> None:
        raise ValueError("\udcff", task.id[:20])

    @worker.handler("good")
    async def work(task: Task) -> None:
        done.append(task.id)

    start(worker)
    await publish(server.url, QueueName("default", queue_name).task(1), headers, data)
    (letter,) = await eventually(lambda: letters_of(queue))
    assert letter.reason in ("MaxAttempts", "Undecodable")
    receipt = await queue.enqueue(1, type="good")
    await eventually(lambda: done == [receipt.id])
    assert await queue.redrive() == 1

    async def dead_again() -> bool:
        return [letter.redrives for letter in await letters_of(queue)] == [1]

    await eventually(dead_again)
    stats = await queue.stats()
    assert (stats.waiting, stats.in_flight, stats.scheduled) == (0, 0, 0)


async def test_a_subject_of_no_encoding_is_that_of_a_task_all_the_same(
    make_queue, make_worker, start, server, queue_name
) -> None:
    await make_queue(TWICE)
    worker, seen = make_worker(), []

    @worker.handler
    async def work(task: Task) -> None:
        seen.append(task.id)

    start(worker)
    await publish(server.url, QueueName("default", queue_name).retry("\udcff\udcfe", 1), b"", GOOD)
    await eventually(lambda: seen == ["t"])
