from dataclasses import dataclass
from datetime import UTC, datetime
from inspect import Parameter
from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct
from pydantic import BaseModel

from protoqueue import ConfigurationError, InvalidTask, Task, UndecodableTask
from protoqueue.protocol.message_headers import Header
from protoqueue.protocol.payloads import decoder_for, encode_payload
from protoqueue.protocol.task_codec import decode_task, encode_task, with_id
from protoqueue.protocol.v1 import task_pb2


class Email(BaseModel):
    to: str
    copies: int = 1


@dataclass
class Point:
    x: int


@pytest.mark.parametrize(
    ("payload", "annotation", "received"),
    [
        ({"a": [1, None]}, dict, {"a": [1, None]}),
        ({"a": 1}, dict[str, int], {"a": 1}),
        ({"a": 1}, Any, {"a": 1}),
        ({"a": 1}, Parameter.empty, {"a": 1}),
        (b"\x00", bytes, b"\x00"),
        (b"\x00", Parameter.empty, b"\x00"),
        (bytearray(b"x"), bytes, b"x"),
        ("grün", str, "grün"),
        ([1, 2], list[int], [1, 2]),
        (None, type(None), None),
        (1.5, float, 1.5),
        (datetime(2030, 1, 1, tzinfo=UTC), datetime, datetime(2030, 1, 1, tzinfo=UTC)),
        (Email(to="a"), Email, Email(to="a")),
        ({"to": "a"}, Email, Email(to="a")),
        (Email(to="a"), dict, {"to": "a", "copies": 1}),
        ({"x": 1}, Point, Point(1)),
        (Point(1), dict, {"x": 1}),
        (b'{"to": "a"}', Email, Email(to="a")),
        (task_pb2.Task(id="1"), task_pb2.Task, task_pb2.Task(id="1")),
        (task_pb2.Task(id="1"), Parameter.empty, task_pb2.Task(id="1")),
        ({"id": "1"}, task_pb2.Task, task_pb2.Task(id="1")),
        (task_pb2.Task(id="1"), bytes, b"\n\x011"),
    ],
)
def test_a_payload_arrives_as_what_the_annotation_says(payload: Any, annotation: Any, received: Any) -> None:
    data, content_type = encode_payload(payload)
    assert decoder_for(annotation)(data, content_type) == received


@pytest.mark.parametrize(
    ("payload", "annotation"),
    [
        ({"to": 1}, Email),
        ("text", dict),
        ([1], dict),
        (b"\xff", dict),
        (b"\xff", Email),
        (b"\xff\xff", task_pb2.Task),
        (Struct(), task_pb2.Task),
        (task_pb2.Task(), dict),
        (task_pb2.Task(), Email),
        ({"no": "such field"}, task_pb2.Task),
    ],
)
def test_a_payload_that_does_not_fit_is_undecodable(payload: Any, annotation: Any) -> None:
    data, content_type = encode_payload(payload)
    with pytest.raises(UndecodableTask):
        decoder_for(annotation)(data, content_type)


def test_a_protobuf_message_that_this_worker_does_not_know_is_undecodable() -> None:
    with pytest.raises(UndecodableTask, match=r"un\.Known"):
        decoder_for(Parameter.empty)(b"", "application/protobuf; type=un.Known")


def test_an_annotation_that_no_payload_can_become_is_refused_at_once() -> None:
    with pytest.raises(ConfigurationError, match="annotate with"):
        decoder_for(object())


def test_a_payload_that_cannot_be_encoded_says_what_can() -> None:
    with pytest.raises(InvalidTask, match="pass bytes"):
        encode_payload(object())


def test_a_task_survives_the_wire() -> None:
    task = Task(
        id="7",
        data=b"\x00",
        type="t",
        content_type="application/json",
        attempt=3,
        priority=9,
        enqueued_at=datetime(2030, 1, 1, 0, 0, 0, 123000, tzinfo=UTC),
        ordering_key="k",
        metadata={"a": {"b": [1.0, "x", None]}},
    )
    data = encode_task(task.id, task.data, "t", task.content_type, 9, task.enqueued_at, "k", task.metadata)
    assert decode_task(data, {Header.ATTEMPT: "3"}, 1) == task


@pytest.mark.parametrize("metadata", [{}, {"a": 1}])
@pytest.mark.parametrize("moment", [None, datetime(2030, 1, 1, tzinfo=UTC)])
def test_the_bytes_of_a_task_are_those_of_one_protobuf_message(
    metadata: dict[str, Any], moment: datetime | None
) -> None:
    wire = task_pb2.Task(id="7", data=b"x" * 300, type="t", content_type="application/json", ordering_key="k")
    wire.metadata.priority = 9
    if moment is not None:
        wire.metadata.timestamp = int(moment.timestamp() * 1000)
    if metadata:
        wire.metadata.custom_metadata.update(metadata)
    for _ in range(2):  # what it has in common with the one before is not encoded again
        encoded = encode_task("7", b"x" * 300, "t", "application/json", 9, moment, "k", metadata)
        assert encoded == wire.SerializeToString()


def test_what_equals_a_priority_that_was_encoded_before_is_none() -> None:
    encode_task("1", b"", priority=5)
    with pytest.raises(TypeError):
        encode_task("2", b"", priority=5.0)  # type: ignore[arg-type]


def test_messages_of_the_original_schema_decode() -> None:
    """Its fields 1-3: id, data, and metadata with priority, timestamp, retries."""
    data = b"\x0a\x011" + b"\x12\x02{}" + b"\x1a\x06" + b"\x08\x0a" + b"\x10\x07" + b"\x18\x02"
    task = decode_task(data, {}, 1)
    assert (task.id, task.data, task.priority) == ("1", b"{}", 10)


@pytest.mark.parametrize("attempt", ["", "0", "-1", "x", "²", "1.5"])
def test_a_nonsensical_attempt_counts_as_the_first(attempt: str) -> None:
    assert decode_task(b"", {Header.ATTEMPT: attempt}, 1).attempt == 1


def test_a_task_without_id_is_called_by_its_sequence_and_a_recurring_one_by_its_schedule() -> None:
    assert decode_task(b"", {}, 12).id == "task@12"
    fired = {Header.SCHEDULER: "pq.default.email.cron.nightly"}
    assert decode_task(encode_task("always the same", b""), fired, 12).id == "nightly@12"
    assert decode_task(with_id(b"", "nightly@12"), {}, 99).id == "nightly@12"


def test_delayed_tasks_keep_their_id_when_their_schedule_fires() -> None:
    fired = {Header.SCHEDULER: "pq.default.email.scheduled.7"}
    assert decode_task(encode_task("7", b""), fired, 12).id == "7"
