"""What queues and groups are called, and what JetStream calls their streams, consumers and keys.

Nothing else spells such a name out; the other names of the contract are in `subjects`, `buckets`, `consumer_names`,
`message_headers` and `message_ids`. Kubernetes names hold neither `_` nor capitals, and a Queue's name no dots, so
every name here is unambiguous.
"""

import re
from dataclasses import dataclass

from protoqueue.protocol.subjects import QueueSubjects
from protoqueue.protocol.tokens import token_of

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True, order=True)
class QueueName(QueueSubjects):
    """A queue's namespace and name, and what JetStream calls its parts."""

    namespace: str
    name: str

    @classmethod
    def parse(cls, text: str) -> "QueueName":
        """Read `namespace/name`; raises ValueError that says what is wrong."""
        namespace, slash, name = text.partition("/")
        if not slash or not _LABEL.fullmatch(namespace) or not _LABEL.fullmatch(name):
            raise ValueError(f"{text!r} is not a queue name: write <namespace>/<name>, both DNS labels: default/email")
        return cls(namespace, name)

    @classmethod
    def of_stream(cls, stream: str) -> "QueueName | None":
        """The queue whose stream, of whichever kind, has this name; None where it is no queue's."""
        parts = stream.split("_")
        if parts[0] != "PQ" or len(parts) not in (3, 4):
            return None
        return cls(parts[1], parts[2])

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def stream(self) -> str:
        return f"PQ_{self.namespace}_{self.name}"

    @property
    def new_stream(self) -> str:
        """Where the new tasks of a queue with limits are stored: what comes due neither counts nor is refused."""
        return f"{self.stream}_NEW"

    @property
    def later_stream(self) -> str:
        """Where an ordered queue keeps what is not yet due."""
        return f"{self.stream}_LATER"

    @property
    def dead_letter_stream(self) -> str:
        return f"{self.stream}_DLQ"

    @property
    def history_stream(self) -> str:
        """Where the records of finished attempts are kept."""
        return f"{self.stream}_HISTORY"

    @property
    def config_key(self) -> str:
        return f"{self.namespace}.{self.name}"

    @property
    def freed_key(self) -> str:
        """Key in `pq-config` of the dedup ids that were freed; no group's, as a label holds no `_`."""
        return f"{self.config_key}._freed"

    def samples_key(self, resolution: str, slot: int) -> str:
        """Key in `pq-samples` of a block of what was measured of the queue."""
        return f"{self.config_key}.{resolution}.{slot}"


@dataclass(frozen=True, order=True)
class GroupName:
    """A consumer group of a queue."""

    queue: QueueName
    name: str

    @classmethod
    def parse(cls, queue: QueueName, text: str) -> "GroupName":
        """The group of that name; raises ValueError that says what is wrong."""
        if not _LABEL.fullmatch(text):
            raise ValueError(f"{text!r} is not a consumer group name: write a DNS label such as mailers")
        return cls(queue, text)

    def __str__(self) -> str:
        return f"{self.queue}/{self.name}"

    @property
    def config_key(self) -> str:
        return f"{self.queue.config_key}.{self.name}"

    @property
    def consumer_prefix(self) -> str:
        """What every consumer of this group, and no other group's, begins with."""
        return f"{self.name}_"

    @property
    def status_requests(self) -> str:
        """Where the group's workers are asked who they are and what they have to do; no stream stores it."""
        return f"pq.{self.queue.config_key}.workers.{self.name}"

    def level_consumer(self, level: int) -> str:
        return f"{self.name}_p{level}"

    def unique_consumer(self, level: int) -> str:
        return f"{self.name}_u{level}"

    def partition_consumer(self, partition: int) -> str:
        return f"{self.name}_o{partition}"

    def done_key(self, task_id: str) -> str:
        """Key in the idempotency ledger."""
        return f"{self.config_key}.{token_of(task_id)}"

    @property
    def seal_key(self) -> str:
        """Key of what the group's message ids are sealed with; with a dot more than that of any finished task."""
        return f"{self.config_key}.seal.key"

    def lease_key(self, delivery: str) -> str:
        """Key of until when a delivery's lease was extended; with a dot more than that of any finished task."""
        return f"{self.config_key}.lease.{delivery}"

    def firings_key(self, schedule: str) -> str:
        """Key of the slots of a schedule that were begun; with a dot more than that of any finished task."""
        return f"{self.config_key}.schedule.{schedule}"

    @property
    def throttle_key(self) -> str:
        """Key of until when the group starts nothing; with a dot more than that of any finished task."""
        return f"{self.config_key}.throttle.until"

    def started_key(self, place: str) -> str:
        """Key of that the message at a place was begun; `*` as group matches that of every group."""
        return f"{self.config_key}.started.{place}"

    def attempts_key(self, partition: int) -> str:
        """Key of the deliveries of a partition's task; with a dot more than that of any finished task."""
        return f"{self.config_key}.partition.{partition}"

    def delivery_key(self, place: str) -> str:
        """The same for the message at a place, as `place_of` names it, of a queue that is not ordered."""
        return f"{self.config_key}.message.{place}"
