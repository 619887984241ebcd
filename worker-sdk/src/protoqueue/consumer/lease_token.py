"""A lease as text: enough to settle a received task elsewhere, without its payload. Pure."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime

from protoqueue.broker import Delivery
from protoqueue.errors import InvalidTask
from protoqueue.protocol.config import GroupSettings
from protoqueue.protocol.names import GroupName, QueueName

_VERSION = 1


@dataclass(frozen=True, slots=True)
class LeaseToken:
    """One delivery of a task. `until` is when its lease ends unless it is extended."""

    group: GroupName
    task_id: str
    attempt: int
    stream: str
    subject: str
    reply: str
    sequence: int
    deliveries: int
    stored_ns: int
    until: datetime

    @classmethod
    def of(cls, delivery: Delivery, group: GroupSettings, task_id: str, attempt: int, until: datetime) -> "LeaseToken":
        return cls(
            group.name, task_id, attempt, delivery.stream, delivery.subject, delivery.reply, delivery.sequence,
            delivery.deliveries, delivery.stored_ns, until,
        )  # fmt: skip

    def encode(self) -> str:
        queue, until_ms = self.group.queue, int(self.until.timestamp() * 1000)
        return json.dumps(
            [
                _VERSION, queue.namespace, queue.name, self.group.name, self.task_id, self.attempt, self.stream,
                self.subject, self.reply, self.sequence, self.deliveries, self.stored_ns, until_ms,
            ],
            separators=(",", ":"),
        )  # fmt: skip

    @classmethod
    def decode(cls, text: str) -> "LeaseToken":
        """Raises InvalidTask for text that `encode` has not written."""
        try:
            match json.loads(text):
                case [
                    int(version), str(namespace), str(queue), str(group), str(task_id), int(attempt), str(stream),
                    str(subject), str(reply), int(sequence), int(deliveries), int(stored_ns), int(until_ms),
                ] if version == _VERSION:  # fmt: skip
                    until = datetime.fromtimestamp(until_ms / 1000, UTC)
                    name = GroupName(QueueName(namespace, queue), group)
                    return cls(name, task_id, attempt, stream, subject, reply, sequence, deliveries, stored_ns, until)
        except (ValueError, OverflowError, RecursionError):
            pass
        raise InvalidTask("not a token of a received task")

    def delivery(self, data: bytes = b"", headers: dict[str, str] | None = None) -> Delivery:
        """The delivery, with what the stream still has of the message."""
        return Delivery(
            self.subject,
            data,
            headers or {},
            self.reply,
            self.sequence,
            self.deliveries,
            0,
            self.stored_ns,
            stream=self.stream,
        )
