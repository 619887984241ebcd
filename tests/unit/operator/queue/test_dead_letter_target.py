"""Finding the Queue that gets dead letters, as far as caches, Kubernetes and NATS know it."""

from typing import Any, cast

import pytest

from protoqueue.protocol.v1 import config_pb2
from protoqueue_operator.api.v1alpha1.meta import Key
from protoqueue_operator.api.v1alpha1.objects import Queue, parse_queue
from protoqueue_operator.api.v1alpha1.queue import QueueSpec
from protoqueue_operator.jetstream.kv import ConfigBucket
from protoqueue_operator.jetstream.runtime_config import encode
from protoqueue_operator.queue.dead_letter_target import DeadLetterTargets
from protoqueue_operator.runtime.client import Gone, Kubernetes
from unit.operator.samples import queue_body

EMAIL = {"deadLetter": {"queueRef": {"name": "email-dlq"}}}
LETTERS = Key("Queue", "default", "email-dlq")
KEY = "default.email-dlq"


class Objects:
    """What the API server has."""

    def __init__(self, *bodies: dict[str, Any]) -> None:
        self._bodies = {body["metadata"]["name"]: body for body in bodies}

    async def get(self, key: Key) -> dict[str, Any]:
        if key.name not in self._bodies:
            raise Gone(404, "NotFound", "not found")
        return self._bodies[key.name]


class Entries:
    """What `pq-config` holds."""

    def __init__(self, *keys: str) -> None:
        self._keys = keys

    async def get(self, key: str) -> bytes | None:
        return encode(config_pb2.QueueConfig(namespace="default", name="x")) if key in self._keys else None


async def find(
    spec: dict[str, Any], cached: list[dict[str, Any]], stored: list[dict[str, Any]], *entries: str
) -> tuple[str, str]:
    """The name, and the reason why there is none."""
    queue = parse_queue(queue_body(spec))
    known: dict[Key, Queue] = {each.meta.key: each for each in map(parse_queue, cached)}
    targets = DeadLetterTargets(cast("Kubernetes", Objects(*stored)), known)
    assert isinstance(queue.spec, QueueSpec)
    name, wrong = await targets.of(queue, queue.spec, cast("ConfigBucket", Entries(*entries)))
    return name, wrong.reason if wrong else ""


@pytest.mark.parametrize(
    ("cached", "stored", "entries", "expected"),
    [
        ([LETTERS.name], [LETTERS.name], [KEY], ("email-dlq", "")),
        ([], [LETTERS.name], [KEY], ("email-dlq", "")),  # after a restart, before the watch has brought it
        ([], [], [KEY], ("", "DeadLetterQueueNotFound")),
        ([LETTERS.name], [LETTERS.name], [], ("", "DeadLetterQueueNotReady")),
    ],
)
async def test_a_queue_that_is_there_and_known_to_clients_gets_the_letters(
    cached: list[str], stored: list[str], entries: list[str], expected: tuple[str, str]
) -> None:
    bodies = [[queue_body(name=name) for name in names] for names in (cached, stored)]
    assert await find(EMAIL, *bodies, *entries) == expected


async def test_a_queue_without_a_reference_asks_nothing() -> None:
    assert await find({}, [], []) == ("", "")
